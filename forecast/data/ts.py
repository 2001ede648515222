"""Files .ts, in which sktime and the UEA/UCR archives keep labelled series: read by sktime, as one long table.

    @classLabel true a b
    @data
    1.0,2.0,?:0.5,0.6,0.7:a        a series a line; `:` between channels, `?` where nothing was measured

sktime 1.2 turns all text to lower case, takes a comment that is no UTF-8 for damage, and replaces a `?` in a label too.
It is therefore given a copy of the numbers, some lines at a time; class names are kept as they are written.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from forecast.data.stamps import NOTHING
from forecast.errors import DataError

ID: Final = "id"  # of a series: its number in the file, from 1
LABEL: Final = "label"
AT_ONCE: Final = 4 << 20  # bytes of text: sktime makes an object of every channel of every series


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
    frames = []
    for first, nested in _read(lines):
        one = (_timed if timed else _plain)(nested, lines.number[first:], path.name)
        frames.append(one.with_columns(pl.col(ID) + first))
    frame = pl.concat(frames)
    if lines.labels is None:
        return frame
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


def _read(lines: Lines) -> Iterator[tuple[int, Any]]:
    """sktime's tables of so many lines at a time, each with the number of its first series. Lines keep their numbers,
    so that what sktime says of one is true of the file."""
    from sktime.datasets import load_from_tsfile_to_dataframe

    sizes = list(accumulate(len(values) + 1 for values in lines.values))
    turn = np.array(sizes) // AT_ONCE
    borders = [0, *(np.flatnonzero(np.diff(turn)) + 1).tolist(), len(sizes)]
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "some.ts"
        for first, last in zip(borders, borders[1:], strict=False):
            some = [*lines.tags, *[""] * max(0, lines.number[first] - 1 - len(lines.tags))]
            for number, values in zip(lines.number[first:last], lines.values[first:last], strict=True):
                some += [*[""] * (number - 1 - len(some)), values]
            copy.write_text("\n".join(some), encoding="utf-8")
            yield first, load_from_tsfile_to_dataframe(str(copy), replace_missing_vals_with="nan")


def _plain(nested: Any, number: Sequence[int], where: str) -> pl.DataFrame:
    """Series below each other; `number` tells their lines."""
    lengths = np.array([[len(cell) for cell in nested[name]] for name in nested.columns]).T  # (n, C)
    steps = lengths.max(axis=1)
    odd = ((lengths != steps[:, None]) & (lengths > 0)).any(axis=1) | (steps == 0)
    if odd.any():
        at = int(odd.argmax())
        many = ", ".join(str(n) for n in sorted(set(lengths[at].tolist())))
        raise DataError(
            f"{where}: the channels of the series in line {number[at]} have {many} steps",
            "expected as many in each, or none where a channel was not measured",
            "correct the line; write ? for a value that is missing",
        )
    columns: dict[str, Any] = {ID: np.repeat(np.arange(len(steps)), steps)}
    for name, length in zip(nested.columns, lengths.T, strict=True):
        values = np.full(int(steps.sum()), np.nan)
        values[np.repeat(length > 0, steps)] = np.concatenate(list(nested[name])).astype(np.float64)
        columns[name] = values
    return pl.DataFrame(columns)


def _timed(nested: Any, number: Sequence[int], where: str) -> pl.DataFrame:
    """Series whose values have stamps: a row for each stamp that a channel has, in their order."""
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
                f"{where}: the series in line {number[row[ID]]} has two values of {name} at {row['time']}",
                "expected one for each stamp",
                "correct the line",
            )
        channels.append(one)
    joined = reduce(lambda a, b: a.join(b, on=[ID, "time"], how="full", coalesce=True), channels)
    return joined.sort(ID, "time").drop("time")
