"""The rows of a folder by series, a bucket of whole series at a time: in the order in which the series first appear,
each bucket small enough to be checked and treated in memory.

Rows that come series after series are cut where a bucket ends. Others are written out once, each to the file of its
bucket, and these are read one after another.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from forecast.data.folder import Folder
from forecast.data.freq import Ints
from forecast.data.read import series_names

BUCKET: Final = 1 << 19  # rows of a bucket, unless there were more than
FILES: Final = 512  # of them: each has a file open at once
ROW, NUMBER = "__row__", "__number__"


class Index(NamedTuple):
    """The series of a folder."""

    ids: pl.Series  # (S,) in the order in which they first appear
    rows: Ints  # (S,)
    sorted: bool  # whether the rows of each come together, in that order


class Bucket(NamedTuple):
    """All rows of some series."""

    frame: pl.DataFrame
    row: Ints  # (N,) their rows in the whole folder
    number: Ints  # (N,) numbers of their series

    def in_time(self, column: str, back: int) -> "Bucket":
        """By series and time: a series may lie in several files, in any order. Stamps that go back by no more than
        `back` microseconds stay where they are: a clock shows an hour twice."""
        time = self.frame[column].to_physical().fill_null(0).to_numpy()
        same, ahead = np.diff(self.number) == 0, np.diff(time)
        if not ((np.diff(self.number) < 0) | same & (ahead < -back)).any():
            return self
        mixed = np.zeros(int(self.number.max()) + 1, np.bool_)  # series that are out of order
        order = np.argsort(self.number, kind="stable")
        number, time = self.number[order], time[order]
        fall = (np.diff(number) == 0) & (np.diff(time) < -back)
        mixed[number[1:][fall]] = True
        order = order[np.lexsort((np.where(mixed[number], time, 0), number))]
        return Bucket(self.frame[order], self.row[order], self.number[order])


def index(folder: Folder, id: str) -> Index:
    """One pass over the column of names. Memory for the series."""
    known = pl.DataFrame(schema={"id": pl.String, NUMBER: pl.Int64})
    rows = np.zeros(0, np.int64)
    rising, last = True, -1
    for piece in folder.pieces([id]):
        names = series_names(piece.frame[id], piece.file.name, piece.first).rename("id")
        new = pl.DataFrame({"id": names.unique(maintain_order=True)}).join(known, on="id", how="anti")
        if new.height:
            known = pl.concat([known, new.with_columns(pl.int_range(pl.len()).alias(NUMBER) + known.height)])
            rows = np.concatenate([rows, np.zeros(new.height, np.int64)])
        number = numbers(names, known)
        rows += np.bincount(number, minlength=len(rows))
        rising = rising and last <= number[0] and bool((number[1:] >= number[:-1]).all())
        last = int(number[-1])
    return Index(known["id"], rows, rising)


def numbers(names: pl.Series, known: pl.DataFrame) -> Ints:
    """(N,) the numbers of series by their names."""
    runs = names.rle().struct.unnest().rename({"value": "id"})  # joined by runs: files are often sorted by series
    few = runs.select("id").unique(maintain_order=True)
    few = known.join(few, on="id", how="inner")  # hashes the small table, not the large one
    found = runs.join(few, on="id", how="left", maintain_order="left")
    return np.repeat(found[NUMBER].to_numpy(), found["len"].to_numpy())


def borders(rows: Ints) -> Ints:
    """(K+1,) the first series of each bucket of about BUCKET rows, then their count."""
    most = max(BUCKET, -(-int(rows.sum()) // FILES))
    filled = np.cumsum(rows)
    cut = np.searchsorted(filled, np.arange(0, filled[-1], most), side="right")
    return np.unique(np.append(cut, len(rows))).astype(np.int64)


def buckets(folder: Folder, found: Index, id: str, columns: Sequence[str], place: Path) -> Iterator[Bucket]:
    """The rows of all series; `place` is a folder for what has to be written out on the way."""
    cuts = borders(found.rows)
    if found.sorted:
        yield from _cut(folder, found, id, columns, cuts)
    else:
        yield from _spilled(folder, found, id, columns, cuts, place)


def plain(frame: pl.DataFrame, id: str) -> pl.DataFrame:
    """The same types whatever a file has: names as text, stamps to the microsecond, numbers as float64."""
    kinds = [
        pl.col(name).cast(pl.Datetime("us", getattr(kind, "time_zone", None)) if kind.is_temporal() else pl.Float64)
        for name, kind in frame.schema.items()
        if name != id
    ]
    return frame.with_columns(pl.col(id).cast(pl.String), *kinds)


def _cut(folder: Folder, found: Index, id: str, columns: Sequence[str], cuts: Ints) -> Iterator[Bucket]:
    ends = np.concatenate([[0], np.cumsum(found.rows)])[cuts]
    held: list[pl.DataFrame] = []
    done = seen = 0  # rows given, rows read
    at = 1
    for piece in folder.pieces(columns):
        frame = plain(piece.frame, id)
        while at < len(ends) and seen + frame.height >= ends[at]:
            here = int(ends[at]) - seen
            some = np.arange(cuts[at - 1], cuts[at])
            number = np.repeat(some, found.rows[some])
            yield Bucket(pl.concat([*held, frame[:here]]), np.arange(done, ends[at]), number)
            held, frame = [], frame[here:]
            done = seen = int(ends[at])
            at += 1
        if frame.height:
            held.append(frame)
            seen += frame.height


def _spilled(
    folder: Folder, found: Index, id: str, columns: Sequence[str], cuts: Ints, place: Path
) -> Iterator[Bucket]:
    place.mkdir(parents=True)
    known = pl.DataFrame({"id": found.ids, NUMBER: np.arange(len(found.ids))})
    rest = [column for column in columns if column != id]
    row = 0
    with ExitStack() as stack:
        writers: dict[int, pa.RecordBatchStreamWriter] = {}
        for piece in folder.pieces(columns):
            number = numbers(series_names(piece.frame[id], piece.file.name, piece.first).rename("id"), known)
            of = np.searchsorted(cuts, number, side="right") - 1
            frame = (
                plain(piece.frame, id)
                .select(rest)
                .with_columns(pl.Series(NUMBER, number, pl.UInt32), pl.int_range(row, row + len(number)).alias(ROW))
            )
            row += len(number)
            order = np.argsort(of, kind="stable")
            frame, of = frame[order], of[order]
            starts = np.flatnonzero(np.diff(of, prepend=-1))
            for a, b in zip(starts.tolist(), [*starts[1:].tolist(), len(of)], strict=True):
                table = frame[a:b].to_arrow(compat_level=pl.CompatLevel.oldest())
                bucket = int(of[a])
                if bucket not in writers:
                    writers[bucket] = stack.enter_context(pa.ipc.new_stream(place / f"{bucket}.arrows", table.schema))
                writers[bucket].write_table(table)
    for bucket in range(len(cuts) - 1):
        path = place / f"{bucket}.arrows"
        frame = pl.read_ipc_stream(path)
        path.unlink()
        names = found.ids.gather(frame[NUMBER]).alias(id)
        number = frame[NUMBER].to_numpy().astype(np.int64)
        yield Bucket(frame.with_columns(names).select(columns), frame[ROW].to_numpy(), number)
