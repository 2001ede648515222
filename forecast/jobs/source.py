"""The rows of a shard: pieces of csv, csv.gz or parquet files, under the names of the training, in one table."""

import codecs
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

import polars as pl

from forecast.data.formats import DAMAGE, table_of
from forecast.data.read import read_file
from forecast.errors import DataError
from forecast.jobs.types import Job, Piece, Shard

AT_ONCE: Final = 1 << 16  # rows
BUFFER: Final = 1 << 20  # bytes of a column chunk
HEAD: Final = 1 << 16  # bytes of a text that tell what it is
LARGE: Final = 48 << 20  # bytes of a text that is not read at once
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
            tables.append(pl.concat([mine(part, shard, job) for part in parts(piece, job)]))
        except DataError as fault:
            refused[piece.path] = Refused(piece.path, str(fault))
    return (pl.concat(alike(tables), how="diagonal_relaxed") if tables else pl.DataFrame()), list(refused.values())


def alike(tables: list[pl.DataFrame]) -> list[pl.DataFrame]:
    """Tables whose columns can stand below each other: what is of one kind here and another there becomes text."""
    found: dict[str, set[pl.DataType]] = {}
    for table in tables:
        for name, kind in table.schema.items():
            found.setdefault(name, set()).add(kind)
    mixed = {
        name for name, kinds in found.items()
        if len(kinds) > 1 and not all(kind.is_numeric() or kind == pl.Null for kind in kinds)
    }  # fmt: skip
    if not mixed:
        return tables
    return [
        table.with_columns(iso(name, table.schema[name]) for name in mixed & set(table.columns)) for table in tables
    ]


def iso(name: str, kind: pl.DataType) -> pl.Expr:
    """A column as text that is read as it was."""
    if isinstance(kind, pl.Datetime):
        return pl.col(name).dt.to_string("%Y-%m-%dT%H:%M:%S%.6f" + ("%:z" if kind.time_zone else ""))
    return pl.col(name).cast(pl.String)


def known(table: pl.DataFrame, path: str, job: Job) -> pl.DataFrame:
    """The table; DataError for a column that holds neither numbers, text nor stamps."""
    for name, kind in table.schema.items():
        stamp = isinstance(kind, pl.Datetime) or kind == pl.Date
        good = kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Null)
        if job.kind == "forecast" and name == job.time:
            good = stamp or kind == pl.String
        if not good and not (stamp and name == job.time):
            what = "stamps" if name == job.time else "numbers" if name != job.id else "names"
            raise DataError(
                f"{path}: column '{name}' holds {str(kind).lower()} values", f"expected {what}", "convert it"
            )
    return table


def parts(piece: Piece, job: Job) -> Iterator[pl.DataFrame]:
    """A piece under the names of the training, some rows at once; DataError where it is damaged or lacks a column."""
    if piece.fault is not None:
        raise DataError(piece.fault)
    there = columns(piece.path)
    back = {} if piece.ready else {after: was for was, after in job.rename}
    if job.wide and not piece.ready:
        needs(piece.path, job, there)
        yield known(melted(piece, job, there, back), piece.path, job)
        return
    inside, beside = places(piece, job, there, back)
    for table in load(piece, list(dict.fromkeys(inside.values()))):
        made = table.select(pl.col(was).alias(after) for after, was in inside.items())
        made = made.with_columns(pl.lit(value, pl.String).alias(after) for after, value in beside.items())
        yield known(made, piece.path, job)


def places(
    piece: Piece, job: Job, there: Sequence[str], back: dict[str, str]
) -> tuple[dict[str, str], dict[str, str | None]]:
    """Column of the training -> column of the file, and -> what the names of its folders say."""
    within = dict(piece.partition)
    found = {name: back.get(name, name) for name in job.wanted}
    inside = {after: was for after, was in found.items() if was in there}
    beside = {after: within[was] for after, was in found.items() if was in within and was not in there}
    if not piece.ready:
        needs(piece.path, job, (*there, *within))
    return inside, beside


def needs(path: str, job: Job, names: Sequence[str]) -> None:
    """DataError for a column that the training had and that is not among the names."""
    back = {after: was for was, after in job.rename}
    wanted = (job.time,) if job.wide else job.needed
    for key in (back.get(name, name) for name in wanted if name is not None):
        if key not in names:
            raise DataError(
                f"{path} has no column '{key}'", f"found {', '.join(names[:12])}",
                f"correct it, or set 'rename={{COLUMN: {key}}}'",
            )  # fmt: skip


def melted(piece: Piece, job: Job, there: Sequence[str], back: dict[str, str]) -> pl.DataFrame:
    """A wide table, a column for each series, as a long one. Empty cells are no rows, unless a series has no other."""
    assert job.id is not None and job.time is not None and job.target is not None
    time = back.get(job.time, job.time)
    ids = [name for name in there if name != time and (piece.columns is None or name in set(piece.columns))]
    table = pl.concat(load(piece, [time, *ids]))
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
    return list(text(path, HEAD).columns)


def load(piece: Piece, names: list[str]) -> Iterator[pl.DataFrame]:
    """These columns of a piece as they are in the file, some rows at once; those of csv files are text."""
    if not parquet(piece.path):
        yield from texts(piece.path, names)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:  # by Arrow, not by polars: see forecast/data/formats.py
        with pq.ParquetFile(piece.path, page_checksum_verification=True, pre_buffer=False, buffer_size=BUFFER) as file:
            schema = pa.schema([pa.field(name, file.schema_arrow.field(name).type) for name in names])
            groups = range(file.num_row_groups) if piece.groups is None else piece.groups
            yield frame_of(pa.Table.from_batches([], schema=schema))  # of no rows: a file of none has columns too
            for batch in file.iter_batches(AT_ONCE, row_groups=list(groups), columns=names, use_threads=False):
                batch.validate(full=True)
                yield frame_of(pa.Table.from_batches([batch]).select(names).cast(schema))
    except DAMAGE as fault:
        raise damaged(piece.path, fault) from fault


def frame_of(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def texts(path: str, names: list[str]) -> Iterator[pl.DataFrame]:
    """These columns of a csv file, all text; of a large one some rows at once."""
    if Path(path).stat().st_size > (LARGE // 8 if ending(path) == ".csv.gz" else LARGE):
        yield from streamed(path, names)
        return
    whole = text(path) if ending(path) == ".csv.gz" else read_file(Path(path))
    yield whole.select(names)


def streamed(path: str, names: list[str]) -> Iterator[pl.DataFrame]:
    """These columns of a csv file of any size, as `text` gives them; UTF-8, UTF-16 or Latin-1 by its first bytes."""
    import pyarrow as pa
    from pyarrow import csv

    there = columns(path)
    try:
        with opened(path) as file:
            head = file.read(HEAD)
        encoding = encoded(head)
        lines = head.decode(encoding, errors="replace").lstrip("\ufeff")
        blank = len(lines) - len(lines.lstrip("\r\n"))
        first = lines.lstrip("\r\n").partition("\n")[0]
        separator = max(",;\t|", key=first.count)
        with pa.input_stream(path, compression="gzip" if ending(path) == ".csv.gz" else None) as stream:
            reader = csv.open_csv(
                stream,
                csv.ReadOptions(
                    use_threads=False, block_size=BUFFER * 4, column_names=there, encoding=encoding,
                    skip_rows=1 + lines[:blank].count("\n"),
                ),
                csv.ParseOptions(delimiter=separator, newlines_in_values=True),
                csv.ConvertOptions(
                    include_columns=names, column_types=dict.fromkeys(names, pa.string()), null_values=[""],
                    strings_can_be_null=True,
                ),
            )  # fmt: skip
            for batch in reader:
                yield frame_of(pa.Table.from_batches([batch]))
    except (*DAMAGE, EOFError) as fault:
        raise damaged(path, fault) from fault


def encoded(head: bytes) -> str:
    """The encoding of a text by its first bytes, as `table_of` sees it."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        head[: head.rfind(b"\n") + 1].decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def opened(path: str) -> BinaryIO:
    """A csv file, packed or not."""
    return cast(BinaryIO, gzip.open(path, "rb") if ending(path) == ".csv.gz" else open(path, "rb"))


def text(path: str, most: int | None = None) -> pl.DataFrame:
    """A csv file, packed or not, as text; `most`: its first lines only, of so many bytes."""
    try:
        with opened(path) as file:
            data = file.read() if most is None else file.read(most)
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
