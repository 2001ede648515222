"""Series of requests into one table, and the table of what is said of them back into replies, series by series."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from forecast.data.freq import Stamps
from forecast.data.table import steps_after
from forecast.serving.reading import Given
from forecast.serving.shape import Shape

Entry = dict[str, Any]  # what a reply says of a series and channel
ID: Final = "unique_id"


def table(series: Sequence[Given], shape: Shape) -> pl.DataFrame:
    """The rows of all series below each other, with the columns of the training."""
    ahead = [max((len(cells) for cells in one.known.values()), default=one.rows) - one.rows for one in series]
    rows = [one.rows + more for one, more in zip(series, ahead, strict=True)]
    found: dict[str, pl.Series] = {}
    if shape.id is not None:
        keys = pl.Series([one.key for one in series], dtype=pl.String)
        found[shape.id] = keys.gather(np.repeat(np.arange(len(series)), rows))
    if shape.time is not None and shape.clock != "none":
        found[shape.time] = _time(series, ahead, shape)
    measured = [*shape.numbers.values(), *shape.others.values(), *([shape.mark] if shape.mark else [])]
    for name in dict.fromkeys(measured):
        found[name] = _stacked([one.values.get(name) for one in series], rows)
    for name in shape.known.values():
        found[name] = _stacked([one.known.get(name) for one in series], rows)
    for name in shape.static.values():
        cells = [
            None if (cell := one.static.get(name)) is None else [cell] * n for one, n in zip(series, rows, strict=True)
        ]
        found[name] = _stacked(cells, rows)
    return pl.DataFrame({name: column.alias(name) for name, column in found.items()})


def _time(series: Sequence[Given], ahead: Sequence[int], shape: Shape) -> pl.Series:
    """Stamps in UTC, those of covariates after the end too."""
    parts = []
    for one, more in zip(series, ahead, strict=True):
        assert one.time is not None
        parts.append(one.time)
        if more:
            assert shape.freq is not None
            parts.append(steps_after(np.repeat(one.time[-1:], more), np.arange(1, more + 1), shape.freq, shape.zone))
    found = pl.Series(np.concatenate(parts))
    return found.dt.replace_time_zone("UTC") if shape.clock == "stamps" and shape.zone is not None else found


def _stacked(parts: Sequence[Any], rows: Sequence[int]) -> pl.Series:
    """Cells of all series, null where a series has none; as text where any of them is text."""
    if all(isinstance(part, np.ndarray) and len(part) == n for part, n in zip(parts, rows, strict=True)):
        return pl.Series(np.concatenate(parts))
    text = any(isinstance(part, list) and str in set(map(type, part)) for part in parts)
    return pl.concat([_column(part, n, text) for part, n in zip(parts, rows, strict=True)])


def _column(part: Any, rows: int, text: bool) -> pl.Series:
    if part is None:
        part = []
    if isinstance(part, np.ndarray):
        made = pl.Series(part, dtype=pl.Float64).fill_nan(None)
    elif text:
        made = pl.Series([None if cell is None else str(cell) for cell in part], dtype=pl.String)
    else:
        made = pl.Series([None if cell is None else float(cell) for cell in part], dtype=pl.Float64)
    made = made.cast(pl.String) if text and made.dtype != pl.String else made
    return made.extend_constant(None, rows - len(made)) if rows > len(made) else made


# Back ----------------------------------------------------------------------------------------------------------------


def faulty(one: Given, reason: str, detail: str, shape: Shape) -> Entry:
    """Of a series that no table was made of."""
    return quarantined(one.name, reason, detail, shape.task)


def quarantined(name: str, reason: str | None, detail: str | None, task: str) -> Entry:
    said = {ID: name, "status": "quarantined", "reason": reason, "detail": detail}
    if task == "forecast":
        return {**said, "channel": None, "cutoff": None, "ds": [], "y_hat": [], "quantiles": {}}
    if task == "event":
        return {
            **said, "last": None, "cutoff": None, "ds": None, "mean": None, "median": None, "quantiles": {},
            "mark": None, "probabilities": {},
        }  # fmt: skip
    return {**said, "label": None, "p": None, "probabilities": {}}


def entries(made: pl.DataFrame, names: Sequence[str], task: str) -> list[list[Entry]]:
    """Of each series in their order; names as they were written."""
    ids = made[ID].rle_id().to_numpy()
    first = np.flatnonzero(np.diff(ids, prepend=-1)).tolist()
    parts = zip(names, first, [*first[1:], made.height], strict=True)
    if task != "forecast":
        rows = made.to_dicts()
        return [[_row(rows[at], name, task)] for name, at, _ in parts]
    columns = {name: made[name].to_list() for name in ("channel", "status", "reason", "detail")}
    numbers = [name for name in made.columns if name == "y_hat" or name[:1] == "q"]
    arrays = {name: made[name].to_numpy() for name in numbers}
    times = {name: _stamps(made[name]) for name in ("cutoff", "ds")}
    return [list(_steps(columns, arrays, times, name, at, end)) for name, at, end in parts]


def _steps(
    columns: dict[str, list[Any]], arrays: dict[str, Any], times: dict[str, Any], name: str, at: int, end: int
) -> Iterable[Entry]:
    """An entry for each channel of a series of rows `at` … `end`, in which channels stand beside each other."""
    channels = columns["channel"]
    if channels[at] is None:
        yield quarantined(name, columns["reason"][at], columns["detail"][at], "forecast")
        return
    wide = next((i for i in range(at + 1, end) if channels[i] == channels[at]), end) - at
    for row in range(at, at + wide):
        own = slice(row, end, wide)
        y_hat, *quantiles = ((key, np.ascontiguousarray(values[own])) for key, values in arrays.items())
        yield {
            ID: name, "status": columns["status"][row], "reason": columns["reason"][row],
            "detail": columns["detail"][row], "channel": channels[row], "cutoff": times["cutoff"][row],
            "ds": times["ds"][own], "y_hat": y_hat[1], "quantiles": dict(quantiles),
        }  # fmt: skip


def written(time: Stamps, zone: str | None) -> Any:
    """(n,) UTC stamps as a reply has them: text with an offset where they are of a zone, else as they are, which are
    written as text later, all at once."""
    if zone is None:
        return time
    column = pl.Series(time).dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    whole = not np.any(time.astype(np.int64) % 1_000_000)
    return column.dt.strftime("%Y-%m-%dT%H:%M:%S%:z" if whole else "%Y-%m-%dT%H:%M:%S%.6f%:z").to_list()


def _stamps(column: pl.Series) -> Any:
    """A column of stamps as a reply has them, numbers as they are."""
    if not isinstance(column.dtype, pl.Datetime):
        return column.to_list()
    zone = column.dtype.time_zone
    utc = column if zone is None else column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return written(utc.to_numpy(), zone)


def _row(row: dict[str, Any], name: str, task: str) -> Entry:
    """Of a sequence of events or a labelled series."""
    found = quarantined(name, row["reason"], row["detail"], task) | {"status": row["status"]}
    if row["status"] == "quarantined":
        return found
    for key in found.keys() & row.keys() - {ID}:
        value = row[key]
        found[key] = value.isoformat() if hasattr(value, "isoformat") else value
    found["probabilities"] = {key[2:]: p for key, p in row.items() if key[:2] == "p_" and key != "p_mark"}
    if task == "event":
        found["quantiles"] = {key: value for key, value in row.items() if key[:1] == "q"}
        if not found["probabilities"] and row.get("mark") is not None:
            found["probabilities"] = {row["mark"]: row.get("p_mark")}
    return found
