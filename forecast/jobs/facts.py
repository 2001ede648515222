"""What is known of a file before its values are read: rows, bytes, which ids stand in which part of it."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.formats import DAMAGE
from forecast.errors import DataError
from forecast.jobs.files import File
from forecast.jobs.source import columns, damaged, ending, load, needs, parquet
from forecast.jobs.types import Job, Piece

UNPACKED: Final = 6  # bytes of a csv in a byte of csv.gz, about
ROW: Final = 40  # bytes of a row of text, about
SEED: Final = 7  # of the hash of ids

Hashes = NDArray[np.uint64]


class Unit(NamedTuple):
    """A row group, or a file that has none, and the ids in it, from `low` to `high`; None where that is not known."""

    file: int  # number of the file
    group: int | None
    rows: int
    bytes: int  # before compression
    low: Any = None
    high: Any = None


class Facts(NamedTuple):
    """The parts of a file; `fault` where it cannot be read."""

    units: list[Unit]
    names: tuple[str, ...] = ()  # of its columns, and of those in its folders' names
    fault: str | None = None


def column(job: Job, name: str) -> str:
    """What the input calls a column of the training."""
    return next((was for was, after in job.rename if after == name), name)


def facts(file: File, number: int, job: Job) -> Facts:
    """Of one file; reads the end of a parquet file only, and the first lines of a text."""
    within = dict(file.partition)
    try:
        there = columns(file.path)
        names = (*there, *within)
        needs(file.path, job, names)
        return Facts(
            _parquet(file, number, job, within) if parquet(file.path) else _text(file, number, job, there), names
        )
    except (DataError, OSError) as fault:
        return Facts([Unit(number, None, 0, 0)], fault=str(fault))


def _text(file: File, number: int, job: Job, there: Sequence[str]) -> list[Unit]:
    size = file.size * (UNPACKED if ending(file.path) == ".csv.gz" else 1)
    key = None if job.id is None else column(job, job.id)
    name = dict(file.partition).get(key) if key is not None and key not in there else None
    return [Unit(number, None, size // ROW, size, name, name)]


def _parquet(file: File, number: int, job: Job, within: dict[str, str | None]) -> list[Unit]:
    import pyarrow.parquet as pq

    try:
        held = pq.read_metadata(file.path)
        schema = pq.read_schema(file.path)
    except DAMAGE as fault:
        raise damaged(file.path, fault) from fault
    key = None if job.id is None else column(job, job.id)
    given = within.get(key) if key is not None and key not in schema.names else None
    wanted = None if job.wide else {column(job, name) for name in job.wanted}
    units = []
    for group in range(held.num_row_groups):
        part = held.row_group(group)
        size, low, high = (part.total_byte_size, given, given) if wanted is None else (0, given, given)
        for at in range(0 if wanted is None else part.num_columns):
            chunk = part.column(at)
            name = chunk.path_in_schema
            size += chunk.total_uncompressed_size if wanted and name in wanted else 0
            if name == key and chunk.is_stats_set and chunk.statistics.has_min_max and chunk.statistics.null_count == 0:
                low, high = chunk.statistics.min, chunk.statistics.max
        # A string in a column of few values is a number there, and 16 bytes in memory.
        units.append(Unit(number, group, part.num_rows, max(size, 16 * part.num_rows), low, high))
    return units


def ids(file: File, job: Job, groups: tuple[int, ...] | None = None) -> Iterator[pl.Series]:
    """The ids of the rows of a file as they are there, some rows at once; DataError where it is damaged."""
    assert job.id is not None
    key = column(job, job.id)
    if key not in columns(file.path):  # its folder's name holds it
        yield pl.Series(key, [dict(file.partition).get(key)], dtype=pl.String)
        return
    for table in load(Piece(file.path, groups), [key]):
        yield table[key]


def text_of(names: pl.Series) -> pl.Series:
    """Ids as the training would call them."""
    if names.dtype.is_nested() or names.dtype == pl.Binary:
        raise DataError(f"column '{names.name}' holds {str(names.dtype).lower()} values", "expected names of series")
    return names.cast(pl.String).str.strip_chars()


def hashes(file: File, job: Job) -> Hashes:
    """(n,) the ids of a file as numbers, each once; two ids may share a number, and then a shard."""
    found: list[pl.Series] = []
    held = 0
    for part in ids(file, job):
        found.append(text_of(part).unique().hash(SEED).unique())
        held += len(found[-1])
        if held > 4_000_000:
            found = [pl.concat(found).unique()]
            held = -len(found[0])  # the next time after as many more
    return pl.concat(found).unique().to_numpy() if found else np.empty(0, np.uint64)
