"""A card for a file that has none: what the columns, the step and the season seem to be.

Nothing is kept secret: `card.describe` says what was found, and where two readings are possible the user is
asked.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from forecast.data.card import SPLITS, Card, CardFile, Channel, TimeColumn, plain_splits
from forecast.data.clock import to_utc, to_wall
from forecast.data.folder import IDS
from forecast.data.freq import Freq, infer_freq, parse_freq
from forecast.data.read import read_file
from forecast.data.stamps import NOTHING, epoch, is_stamps, is_text, parse_names, parse_stamps
from forecast.errors import DataError, UsageError, nearest

REST: Final = "rest"  # data.past=rest: every channel that is not forecast
_TIMES: Final = ("ds", "date", "datetime", "time", "timestamp")


def infer_card(
    path: str | Path,
    *,
    time: str | None = None,
    id: str | None = None,
    target: Sequence[str] | None = None,
    past: Sequence[str] | None = None,
    known: Sequence[str] = (),
    static: Sequence[str] = (),
    freq: str | None = None,
    zone: str | None = None,
    season: int | None = None,
    missing: Sequence[float] = (),
    splits: Mapping[str, Any] | None = None,
) -> Card:
    """The card of a csv or parquet file, long (`unique_id, ds, y`) or wide; what is given is not inferred."""
    place = Path(path)
    return infer_frame_card(
        read_file(place),
        place.name,
        name=place.stem,
        time=time,
        id=id,
        target=target,
        past=past,
        known=known,
        static=static,
        freq=freq,
        zone=zone,
        season=season,
        missing=missing,
        splits=splits,
    )


def infer_frame_card(
    frame: pl.DataFrame,
    where: str,
    *,
    name: str,
    time: str | None = None,
    id: str | None = None,
    target: Sequence[str] | None = None,
    past: Sequence[str] | None = None,
    known: Sequence[str] = (),
    static: Sequence[str] = (),
    freq: str | None = None,
    zone: str | None = None,
    season: int | None = None,
    missing: Sequence[float] = (),
    splits: Mapping[str, Any] | None = None,
) -> Card:
    """The same for a table in memory."""
    rest = is_rest(past, frame.columns)
    past = None if rest else past
    for option, given in (("time", [time]), ("id", [id]), ("target", target), ("past", past)):
        for column in given or ():
            if column is not None and column not in frame.columns:
                raise UsageError(
                    f"data.{option} names '{column}', which is no column of {where}",
                    nearest(column, frame.columns),
                )
    time = time or _time_column(frame, where)
    beside = [*known, *static]  # some of them may be in another file
    id = id or _id_column(frame, time, [*(target or ()), *(past or ()), *beside], where)
    behind = [c for c in past or () if c not in (target or ())]
    if rest and target is not None:
        behind = [c for c in frame.columns if c not in (time, id, *target, *beside) and _holds_numbers(frame[c])]
    wanted = list(target) if target is not None else _numbers(frame, {time, id, *behind, *beside}, where)
    if zone is None and isinstance(kind := frame[time].dtype, pl.Datetime):
        zone = kind.time_zone
    step = parse_freq(freq) if freq else real_step(frame, time, id, zone, where)
    return Card(
        name=name,
        kind="series",
        about=f"inferred from {where}",
        source="",
        licence="",
        files=(CardFile(where, rows=frame.height),),
        time=TimeColumn(time, step.alias, zone),
        id=id,
        channels=(
            *(Channel(c) for c in wanted),
            *(Channel(c, "past_only") for c in behind if c not in beside),
            *(Channel(c, "known_future") for c in known),
            *(Channel(c, "static") for c in static),
        ),
        season=season or step.season,
        missing=tuple(float(m) for m in missing),
        splits=plain_splits(splits or SPLITS),
    )


def is_rest(past: Sequence[str] | None, columns: Sequence[str]) -> bool:
    """Whether `past` means every column of numbers that is not forecast, and not a column of that name."""
    return past is not None and list(past) == [REST] and REST not in columns


def _holds_numbers(column: pl.Series) -> bool:
    """A column that can be a channel: numbers, or text that is mostly numbers, in at least one row."""
    if is_text(column) or is_stamps(column) or _is_row_number(column):
        return False
    if column.dtype == pl.String:
        return not column.str.strip_chars().str.to_lowercase().is_in(NOTHING).fill_null(True).all()
    return (column.dtype.is_numeric() or column.dtype == pl.Boolean) and column.null_count() < len(column)


def _time_column(frame: pl.DataFrame, where: str) -> str:
    """The only column of stamps, or the only one with a usual name among several."""
    found = [c for c in frame.columns if is_stamps(frame[c])]
    if named := next((c for c in found if is_stamps(pl.Series([c]))), None):
        raise DataError(
            f"the first line of {where} holds values ('{named}')",
            "expected the names of the columns",
            "add a line of names, such as ds,y",
        )
    usual = [c for c in found if c.lower() in _TIMES]
    if len(found) == 1 or len(usual) == 1:
        return (found if len(found) == 1 else usual)[0]
    for column in frame.columns if not found else ():
        if column.lower() in _TIMES or epoch(frame[column]):
            parse_stamps(frame[column], where)  # says what is wrong with it
    what = f"the columns {', '.join(found)} all hold stamps" if found else f"no column of {where} holds stamps"
    raise DataError(what, f"found columns {', '.join(frame.columns[:12])}", "set data.time=COLUMN")


def _id_column(frame: pl.DataFrame, time: str, taken: Sequence[str], where: str) -> str | None:
    """A usual name, or the only column of text when stamps repeat; None for one series."""
    rest = [c for c in frame.columns if c != time and c not in taken]
    text = [c for c in rest if is_text(frame[c]) and not is_stamps(frame[c])]
    repeats = bool(frame[time].is_duplicated().any())
    usual = [c for c in rest if c.lower() in IDS and (repeats or c in text)]
    if len(usual) == 1:
        return usual[0]
    if not repeats or taken and not text:
        return None
    if len(text) == 1:
        return text[0]
    if text:
        raise DataError(
            f"{where}: stamps repeat, and the columns {', '.join(text)} hold text",
            "expected one that names the series",
            "set data.id=COLUMN",
        )
    return None


def _numbers(frame: pl.DataFrame, taken: set[str | None], where: str) -> list[str]:
    """Every other column; text is refused, since it may be what the user cares for."""
    rest = [c for c in frame.columns if c not in taken and not _is_row_number(frame[c])]
    text = [c for c in rest if is_text(frame[c]) or is_stamps(frame[c])]
    if text:
        raise DataError(
            f"{where}: column '{text[0]}' is neither numbers nor the time: '{frame[text[0]].drop_nulls()[0]}'",
            "expected numeric columns",
            f"set data.target=COLUMN to leave it out, or data.id={text[0]} if it names the series",
        )
    if not rest:
        raise DataError(
            f"{where} has no numeric column beside '{', '.join(c for c in taken if c)}'",
            "expected at least one to forecast",
            "check the file",
        )
    return rest


def _is_row_number(column: pl.Series) -> bool:
    """The index that pandas writes beside a table: no name, and it counts the rows."""
    if column.name not in ("", "Unnamed: 0", "__index_level_0__"):
        return False
    number = column.cast(pl.Float64, strict=False)
    return number.null_count() == 0 and bool((number == pl.int_range(len(number), eager=True)).all())


def real_step(frame: pl.DataFrame, time: str, id: str | None, zone: str | None, where: str) -> Freq:
    """The step of the sorted stamps."""
    stamps, aware = parse_stamps(frame[time], where)
    number = (
        np.zeros(frame.height, np.int64)
        if id is None
        else (parse_names(frame[id], where).rank("dense").fill_null(0).to_numpy().astype(np.int64))
    )
    utc = stamps if aware else to_utc(stamps, zone, number, shift=True)
    order = np.lexsort((utc, number))
    number, utc, wall = number[order], utc[order], (to_wall(stamps, zone) if aware else stamps)[order]
    start = np.concatenate([[0], np.flatnonzero(np.diff(number)) + 1, [len(number)]])
    try:
        return infer_freq(wall if _whole_days(wall) else utc, start)
    except DataError as fault:
        raise DataError(f"{where}, column '{time}': {fault.found}", fault.expected, fault.do) from None


def _whole_days(wall: np.ndarray) -> bool:
    """Whether all stamps show the same time of the day, so that the step is counted on the wall clock."""
    rest = wall - wall.astype("datetime64[D]")
    return bool((rest == rest[0]).all())
