"""Series that are scattered over files, brought together: a stream through the files into buckets by a hash of the id.

OUTPUT/.work/<key>/ appears whole, by a rename, so that a job that was killed uses it again or makes it anew. Memory is
that of what waits to be written, whatever the size of the input.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from forecast.artifacts import sync_folder
from forecast.errors import DataError, RunError
from forecast.jobs.facts import SEED, text_of
from forecast.jobs.plan import Limits
from forecast.jobs.source import iso, parts
from forecast.jobs.types import Job, Piece

WORK: Final = ".work"
MOST: Final = 256  # files that are open at once
WAITING: Final = 16 << 20  # bytes of rows that wait
DONE: Final = "buckets.json"


class Bucket(NamedTuple):
    """A file of whole series."""

    path: str
    rows: int
    bytes: int


class Spread(NamedTuple):
    """What came of some files."""

    buckets: list[Bucket]
    faults: dict[str, str]  # files that turned out to be damaged: nothing of them is in the buckets
    rows: int


def spread(
    pieces: Sequence[Piece], weight: float, job: Job, limits: Limits, folder: Path, tell: Callable[[str], object]
) -> Spread:
    """Buckets of whole series, none heavier than a shard may be unless one series is; made once, then found again."""
    if (folder / DONE).is_file():
        held = json.loads((folder / DONE).read_text(encoding="utf-8"))
        return Spread(
            [Bucket(str(folder / name), *sizes) for name, *sizes in held["buckets"]], held["faults"], held["rows"]
        )
    draft = folder.with_name(folder.name + ".tmp")
    faults: dict[str, str] = {}
    try:
        while True:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            try:
                good = [piece for piece in pieces if piece.path not in faults]
                buckets = poured(good, weight, job, limits, draft, 0)
                break
            except Damaged as fault:  # begun again without that file, or half of it would be in some buckets
                faults[fault.path] = str(fault.reason)
                tell(f"{fault.reason}; left out")
        rows = sum(bucket.rows for bucket in buckets)
        held = {"buckets": [(Path(b.path).name, b.rows, b.bytes) for b in buckets], "faults": faults, "rows": rows}
        (draft / DONE).write_text(json.dumps(held), encoding="utf-8")
        draft.replace(folder)
    except OSError as error:
        raise RunError(
            f"{draft} cannot be written: {error.strerror or error}", do="make room, and run it again"
        ) from error
    sync_folder(folder.parent)
    return Spread([bucket._replace(path=str(folder / Path(bucket.path).name)) for bucket in buckets], faults, rows)


class Damaged(Exception):
    """A file that cannot be read to its end."""

    def __init__(self, path: str, reason: DataError) -> None:
        super().__init__(path)
        self.path, self.reason = path, reason


def poured(pieces: Sequence[Piece], weight: float, job: Job, limits: Limits, folder: Path, level: int) -> list[Bucket]:
    """The buckets of some pieces; one that is too heavy is poured into smaller ones, by another hash."""
    count = min(MOST, max(1, math.ceil(1.1 * weight)))
    assert job.id is not None
    pour, kinds = Pour(folder, count, level, job.id), types(pieces, job)
    try:
        for piece in pieces:
            for table in told(piece, job):
                pour.add(table.select(one(name, table, kind) for name, kind in kinds.items()))
    finally:
        pour.close()
    made = list[Bucket]()
    for number, (path, rows, size) in sorted(pour.held.items()):
        heavy = max(rows / limits.rows, size / limits.bytes)
        if heavy > 2 and level < 3 and pour.several[number]:
            below = folder / f"{path.stem}-{level}"
            below.mkdir()
            inner = poured([Piece(str(path), ready=True)], heavy, job, limits, below, level + 1)
            path.unlink()
            for each in inner:
                place = folder / f"{path.stem}-{Path(each.path).name}"
                Path(each.path).replace(place)
                made.append(each._replace(path=str(place)))
            below.rmdir()
        else:
            made.append(Bucket(str(path), rows, size))
    return made


def told(piece: Piece, job: Job) -> Iterator[pl.DataFrame]:
    try:
        yield from parts(piece, job)
    except DataError as fault:
        raise Damaged(piece.path, fault) from fault


def types(pieces: Sequence[Piece], job: Job) -> dict[str, Any]:
    """The type of each column in the buckets: that of all files, or text where they differ. Ids are text."""
    found: dict[str, set[Any]] = {}
    for piece in pieces:
        for table in told(piece, job):
            for name, kind in table.schema.items():
                found.setdefault(name, set()).add(kind)
            break
    assert job.id is not None
    made = {name: kinds.pop() if len(kinds) == 1 else pl.String for name, kinds in found.items()}
    return {name: pl.String if name == job.id or kind == pl.Null else kind for name, kind in made.items()}


def one(name: str, table: pl.DataFrame, kind: Any) -> pl.Expr:
    """A column in the type of the buckets, null where the file has none."""
    if name not in table.columns:
        return pl.lit(None, kind).alias(name)
    return iso(name, table.schema[name]) if kind == pl.String else pl.col(name).cast(kind)


class Pour:
    """Rows that go to files by their ids."""

    def __init__(self, folder: Path, count: int, level: int, key: str) -> None:
        self.folder, self.count, self.seed, self.key = folder, count, SEED + 1 + level, key
        self.waiting: list[pl.DataFrame] = []
        self.size = 0
        self.writers: dict[int, Any] = {}
        self.held: dict[int, tuple[Path, int, int]] = {}
        self.ids: dict[int, str | None] = {}
        self.several: dict[int, bool] = {}

    def add(self, table: pl.DataFrame) -> None:
        ids = text_of(table[self.key])
        self.waiting.append(table.with_columns(ids.alias(self.key), (ids.hash(self.seed) % self.count).alias("")))
        self.size += int(self.waiting[-1].estimated_size())
        if self.size > WAITING:
            self.flush()

    def flush(self) -> None:
        """Each bucket's rows, in their order, as a row group."""
        import pyarrow.parquet as pq

        if not self.waiting:
            return
        whole = pl.concat(self.waiting)
        self.waiting, self.size = [], 0
        whole = whole.sort("", maintain_order=True)
        number = whole[""].to_numpy()
        starts = np.flatnonzero(np.diff(number, prepend=-1.0))
        for first, last in zip(starts.tolist(), [*starts[1:].tolist(), len(number)], strict=True):
            rows, bucket = whole[first:last].drop(""), int(number[first])
            table = rows.to_arrow()
            if bucket not in self.writers:
                path = self.folder / f"bucket-{bucket:05d}.parquet"
                self.writers[bucket] = pq.ParquetWriter(path, table.schema, compression="lz4")
                self.held[bucket] = (path, 0, 0)
                self.ids[bucket], self.several[bucket] = rows.item(0, self.key), False
            self.writers[bucket].write_table(table)
            path, before, size = self.held[bucket]
            self.held[bucket] = (path, before + rows.height, size + int(rows.estimated_size()))
            self.several[bucket] |= not bool(rows[self.key].eq_missing(self.ids[bucket]).all())

    def close(self) -> None:
        self.flush()
        for writer in self.writers.values():
            writer.close()
