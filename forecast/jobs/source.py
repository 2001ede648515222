"""The rows of a shard: pieces of csv, csv.gz or parquet files, under the names of the training, in one table."""

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from forecast.data.formats import DAMAGE, table_of
from forecast.data.read import read_file
from forecast.errors import DataError
from forecast.jobs.types import Job, Piece, Shard

ENDINGS: Final = (".csv", ".csv.gz", ".parquet", ".pq")


class Refused(NamedTuple):
    """A file that could not be read."""

    path: str
    detail: str


def ending(path: str) -> str | None:
    """Which of ENDINGS a file has; None for another."""
    return next((each for each in ENDINGS if path.lower().endswith(each)), None)


def parquet(path: str) -> bool:
    return ending(path) in (".parquet", ".pq")


def read(shard: Shard, job: Job) -> tuple[pl.DataFrame, list[Refused]]:
    """The rows of a shard, and the files that are damaged or lack a column."""
    tables, refused = [], dict[str, Refused]()
    for piece in shard.pieces:
        try:
            table = one(piece, job)
        except DataError as fault:
            refused[piece.path] = Refused(piece.path, str(fault))
            continue
        tables.append(mine(table, shard, job))
    whole = pl.concat(tables, how="diagonal_relaxed") if tables else pl.DataFrame()
    return whole, list(refused.values())


def one(piece: Piece, job: Job) -> pl.DataFrame:
    """A piece under the names of the training; DataError where it is damaged or lacks a column."""
    there, back = columns(piece.path), {after: was for was, after in job.rename}
    within = {name: value for name, value in piece.partition}
    if job.wide:
        return melted(piece, job, there, back)
    found = {name: back.get(name, name) for name in job.wanted}
    inside = {after: was for after, was in found.items() if was in there}
    beside = {after: within[was] for after, was in found.items() if was in within and was not in there}
    for name in job.needed:
        if name not in inside and name not in beside:
            said = f"no column '{back.get(name, name)}'"
            raise DataError(
                f"{piece.path} has {said}", f"found {', '.join(there[:12])}",
                f"correct it, or set rename={{{there[0] if there else 'COLUMN'}: {name}}}",
            )  # fmt: skip
    table = load(piece, list(dict.fromkeys(inside.values())))
    made = table.select(pl.col(was).alias(after) for after, was in inside.items())
    return made.with_columns(pl.lit(value, pl.String).alias(after) for after, value in beside.items())


def melted(piece: Piece, job: Job, there: Sequence[str], back: dict[str, str]) -> pl.DataFrame:
    """A wide table, a column for each series, as a long one. Empty cells are no rows, unless a series has no other."""
    assert job.id is not None and job.time is not None and job.target is not None
    time = back.get(job.time, job.time)
    if time not in there:
        raise DataError(
            f"{piece.path} has no column '{time}'", f"found {', '.join(there[:12])}", "correct it, or set rename="
        )
    ids = [name for name in there if name != time and (piece.columns is None or name in set(piece.columns))]
    table = load(piece, [time, *ids])
    long = table.unpivot(ids, index=time, variable_name=job.id, value_name=job.target).rename({time: job.time})
    value = pl.col(job.target)
    if long[job.target].dtype == pl.String:
        value = value.replace("", None)
    empty = value.is_null()
    return long.filter(~empty | empty.all().over(job.id))


def mine(table: pl.DataFrame, shard: Shard, job: Job) -> pl.DataFrame:
    """The rows of the ids that are the shard's; rows without an id go with the first ones."""
    if job.id is None or shard.low is None and shard.high is None:
        return table
    name, keep = pl.col(job.id), pl.lit(True)
    if shard.low is not None:
        keep = (name > shard.low).fill_null(False)
    if shard.high is not None:
        keep = keep & (name <= shard.high).fill_null(shard.low is None)
    return table.filter(keep)


def columns(path: str) -> list[str]:
    """Names of the columns of a file; DataError where it is damaged."""
    if parquet(path):
        import pyarrow.parquet as pq

        try:
            return list(pq.read_schema(path).names)
        except DAMAGE as fault:
            raise damaged(path, fault) from fault
    return list(text(path, 1 << 16).columns)


def load(piece: Piece, names: list[str]) -> pl.DataFrame:
    """These columns of a piece as they are in the file; those of csv files are text."""
    if not parquet(piece.path):
        return (text(piece.path) if ending(piece.path) == ".csv.gz" else read_file(Path(piece.path))).select(names)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:  # by Arrow, not by polars: see forecast/data/formats.py
        with pq.ParquetFile(piece.path, page_checksum_verification=True, pre_buffer=False) as file:
            groups = range(file.num_row_groups) if piece.groups is None else piece.groups
            table = file.read_row_groups(list(groups), columns=names, use_threads=False)
        table.validate(full=True)
        frame = pl.from_arrow(table.cast(pa.schema([pa.field(field.name, field.type) for field in table.schema])))
    except DAMAGE as fault:
        raise damaged(piece.path, fault) from fault
    assert isinstance(frame, pl.DataFrame)
    return frame.select(names)


def text(path: str, most: int | None = None) -> pl.DataFrame:
    """A csv file, packed or not, as text; `most`: its first lines only, of so many bytes."""
    packed = ending(path) == ".csv.gz"
    try:
        with (gzip.open if packed else io.open)(path, "rb") as file:
            data: bytes = file.read() if most is None else file.read(most)
            if most is not None and len(data) == most:
                data = data[: data.rfind(b"\n") + 1] or data
        return table_of(data, Path(path).name.removesuffix(".gz"), [])
    except DataError:
        raise
    except (*DAMAGE, EOFError) as fault:
        raise damaged(path, fault) from fault


def damaged(path: str, fault: BaseException) -> DataError:
    said = (getattr(fault, "strerror", None) or str(fault)).strip().splitlines()
    return DataError(
        f"{path} cannot be read: {said[0].rstrip('.') if said else type(fault).__name__}",
        f"expected a {(ending(path) or '')[1:]} table", "repair it, or leave it out",
    )  # fmt: skip
