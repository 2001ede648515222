"""Files .ts, in which sktime and the UEA/UCR archives keep labelled series: read by sktime, as one long table.

    @classLabel true a b
    @data
    1.0,2.0,?:0.5,0.6,0.7:a        a series a line; `:` between channels, `?` where nothing was measured

sktime 1.2 turns all text to lower case, takes a comment that is no UTF-8 for damage, and replaces a `?` in a label too.
It is therefore given a copy of the numbers, some lines at a time; class names are kept as they are written.
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from forecast.data.stamps import NOTHING
from forecast.errors import DataError

ID: Final = "id"  # of a series: its number in the file, from 1
LABEL: Final = "label"
AT_ONCE: Final = 4 << 20  # characters of a file: what sktime makes of them takes several times as much memory


class Lines(NamedTuple):
    """A file taken apart."""

    tags: list[str]  # the lines that begin with @, one blank between their words
    number: list[int]  # (n,) of the line of each series, from 1
    values: list[str]  # (n,) what stands before the label
    labels: list[str | None] | None  # (n,) None where a label is not known; None where the file has none


def read_ts(path: Path, notes: list[str]) -> pl.DataFrame:
    """A row for each step: id, a column `dim_0`, `dim_1`, … for each channel, and label where the file has labels.

    Channels that are empty in a series are missing there. DataError for a file without labels of classes, ValueError or
    OSError for what sktime does not read.
    """
    lines = _taken_apart(path, notes)
    timed = "@timestamps true" in (tag.lower() for tag in lines.tags)
    if not timed:
        _alike(lines, path.name)
    frames = []
    for first, last in _pieces(lines.values):
        some = lines._replace(number=lines.number[first:last], values=lines.values[first:last])
        one = _timed(some, path.name) if timed else _plain(some, path.name)
        frames.append(one.with_columns(pl.col(ID) + first))
    frame = pl.concat(frames)
    if lines.labels is None:
        return frame.with_columns(pl.col(ID) + 1)
    of = pl.DataFrame({ID: range(len(lines.labels)), LABEL: lines.labels}, schema={ID: pl.Int64, LABEL: pl.String})
    return frame.join(of, on=ID, how="left", maintain_order="left").with_columns(pl.col(ID) + 1)


def _taken_apart(path: Path, notes: list[str]) -> Lines:
    """Tags, values and labels of a file; DataError where that cannot be."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith(("#", "%"))]
    where = next((i for i, (_, line) in enumerate(lines) if line.lower() == "@data"), None)
    if where is None:
        raise DataError(f"{path.name} has no line @data", "expected a header and then the series", "correct the file")
    tags = [" ".join(line.split()) for _, line in lines[: where + 1] if line.startswith("@")]
    rows = lines[where + 1 :]
    if not rows:
        raise DataError(f"{path.name} has no series after @data", "expected one a line", "write the file again")
    if any(tag.lower().startswith("@targetlabel true") for tag in tags):
        raise DataError(f"{path.name} holds numbers to be told (@targetLabel)", "expected classes", "give other data")
    numbers = [number for number, _ in rows]
    classes = next((tag.split()[2:] for tag in tags if tag.lower().startswith("@classlabel true")), None)
    if classes is None:
        return Lines(tags, numbers, [line for _, line in rows], None)
    tags = ["@classLabel false" if tag.lower().startswith("@classlabel") else tag for tag in tags]
    parts = [line.rpartition(":") for _, line in rows]
    labels = [None if label.strip().lower() in NOTHING else label.strip() for *_, label in parts]
    if classes and (odd := sorted({label for label in labels if label is not None} - set(classes))):
        notes.append(f"{path.name}: its header does not name the class{'es' if odd[1:] else ''} {', '.join(odd[:5])}")
    return Lines(tags, numbers, [values for values, *_ in parts], list(labels))


def _alike(lines: Lines, where: str) -> None:
    """Refuse a series with more or fewer channels than the first one."""
    counts = [values.count(":") + 1 for values in lines.values]
    if odd := next((i for i, count in enumerate(counts) if count != counts[0]), 0):
        many = f"{counts[odd]} channel{'s' if counts[odd] > 1 else ''}"
        raise DataError(
            f"{where}: the series in line {lines.number[odd]} has {many}",
            f"expected {counts[0]}, as in the first one",
            "correct the line",
        )


def _pieces(values: Sequence[str]) -> list[tuple[int, int]]:
    """First and last of so many lines as are read at once."""
    turn = np.cumsum([len(line) + 1 for line in values]) // AT_ONCE
    borders = [0, *(np.flatnonzero(np.diff(turn)) + 1).tolist(), len(values)]
    return list(zip(borders, borders[1:], strict=False))


def _read(lines: Lines) -> Any:
    """sktime's table of these lines. They keep their numbers, so that what it says of one is true of the file."""
    from sktime.datasets import load_from_tsfile_to_dataframe

    copy = [*lines.tags]
    for number, values in zip(lines.number, lines.values, strict=True):
        copy += [*[""] * (number - 1 - len(copy)), values]
    with TemporaryDirectory() as folder:
        place = Path(folder) / "some.ts"
        place.write_text("\n".join(copy), encoding="utf-8")
        return load_from_tsfile_to_dataframe(str(place), replace_missing_vals_with="nan")


def _plain(lines: Lines, where: str) -> pl.DataFrame:
    """Series below each other. sktime makes an object of each channel of each series, and is slow where these are many:
    it is given the channels of a series one after the other, as one."""
    parts = [values.split(":") for values in lines.values]
    sizes = np.array([[part.count(",") + 1 if part.strip() else 0 for part in some] for some in parts])  # (n, C)
    steps = sizes.max(axis=1)
    if (wrong := ((sizes != steps[:, None]) & (sizes > 0)).any(axis=1) | (steps == 0)).any():
        at = int(wrong.argmax())
        raise DataError(
            f"{where}: the channels of the series in line {lines.number[at]} have "
            f"{', '.join(str(n) for n in sorted(set(sizes[at].tolist())))} steps",
            "expected as many in each, or none where a channel was not measured",
            "correct the line; write ? for a value that is missing",
        )
    flat = [",".join(part for part in some if part.strip()) for some in parts]
    values = np.concatenate([cell.to_numpy(np.float64) for cell in _read(lines._replace(values=flat))["dim_0"]])
    number = np.repeat(np.arange(len(steps)), steps)
    step = np.arange(len(number)) - np.repeat(np.cumsum(steps) - steps, steps)
    starts = (np.cumsum(sizes) - sizes.reshape(-1)).reshape(sizes.shape)
    columns: dict[str, Any] = {ID: number}
    for channel in range(sizes.shape[1]):
        there = sizes[number, channel] > 0
        places = np.where(there, starts[number, channel] + step, 0)
        columns[f"dim_{channel}"] = np.where(there, values[places], np.nan)
    return pl.DataFrame(columns)


def _timed(lines: Lines, where: str) -> pl.DataFrame:
    """Series whose values have stamps: a row for each stamp that a channel has, in their order."""
    nested = _read(lines)
    channels = []
    for name in nested.columns:
        cells = list(nested[name])
        times = np.concatenate([np.asarray(cell.index) for cell in cells if len(cell)] or [np.zeros(0)])
        one = pl.DataFrame({
            ID: np.repeat(np.arange(len(cells)), [len(cell) for cell in cells]),
            "time": times,
            name: np.concatenate([np.asarray(cell, np.float64) for cell in cells]),
        })  # fmt: skip
        if (twice := one.select(ID, "time").is_duplicated()).any():
            row = one.row(int(twice.arg_max() or 0), named=True)
            raise DataError(
                f"{where}: the series in line {lines.number[row[ID]]} has two values of {name} at {row['time']}",
                "expected one for each stamp",
                "correct the line",
            )
        channels.append(one)
    joined = reduce(lambda a, b: a.join(b, on=[ID, "time"], how="full", coalesce=True), channels)
    return joined.sort(ID, "time").drop("time")
