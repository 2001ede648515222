"""A folder of parquet files as one long table that is never in memory: its files, and its rows a piece at a time.

Folders named `key=value` are columns too. Files count in the order of their paths, their rows in the order of a file;
what begins with _ or . is passed over, as Hive and Spark do.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from forecast.data.formats import DAMAGE, refuse
from forecast.data.freq import Ints
from forecast.data.read import absolute, sha256
from forecast.errors import DataError, nearest

IDS: Final = ("unique_id", "item_id", "series_id", "id")
ENDINGS: Final = (".parquet", ".pq")
AT_ONCE: Final = 1 << 18  # rows of a piece
HEAD: Final = 10_000  # rows that columns are inferred from


class File(NamedTuple):
    """One file of the folder; its name is the path below it."""

    path: Path
    name: str
    keys: dict[str, str]  # of key=value in its path
    rows: int
    columns: dict[str, Any]  # name → Arrow type


class Piece(NamedTuple):
    """Some rows of a file."""

    file: File
    first: int  # row of the file
    frame: pl.DataFrame


class Folder:
    """The files, and what they have in common."""

    def __init__(self, root: Path, files: Sequence[File]) -> None:
        self.root, self.files = root, files
        self.before: Ints = np.concatenate([[0], np.cumsum([file.rows for file in files])]).astype(np.int64)

    @classmethod
    def of(cls, path: str | Path) -> "Folder":
        """The folder, or a single file; DataError where there is nothing to read, or a file is damaged."""
        root = absolute(path)
        if root.is_file():
            return cls(root, [_file(root, root.parent)])
        if not root.is_dir():
            raise DataError(f"{root} does not exist", "expected a folder of parquet files", "correct the path")
        found = [p for p in root.rglob("*") if p.suffix.lower() in ENDINGS and _counts(p.relative_to(root))]
        files = [_file(p, root) for p in sorted(found, key=lambda p: p.relative_to(root).as_posix()) if p.is_file()]
        files = [file for file in files if file.rows]
        if not files:
            raise DataError(
                f"{root} holds no parquet file with rows",
                "expected a folder of files that end in .parquet",
                "convert the data, or read one file with data=series",
            )
        return cls(root, files)

    @property
    def rows(self) -> int:
        return int(self.before[-1])

    def stats(self) -> list[tuple[str, int, int]]:
        """Name, size and time of change of each file: what says that nothing was changed."""
        found = [(file.name, file.path.stat()) for file in self.files]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]

    def digests(self) -> list[str]:
        """The sha256 of each file."""
        return [sha256(file.path) for file in self.files]

    def head(self, id: str | None) -> pl.DataFrame:
        """The first rows, and those of the last file: what columns are inferred from. What a path says beside them can
        name the series (`id`, or a usual name), and is no channel."""
        ends = [self.files[0], *self.files[1:][-1:]]
        wanted = [*ends[0].columns, *(key for key in ends[0].keys if key == id or key in IDS)]
        found = [next(Folder(self.root, [file]).pieces(wanted, HEAD)).frame for file in ends]
        # Types that differ are told by `check`, which knows what the columns are for.
        return pl.concat(found) if found[0].schema == found[-1].schema else found[0]

    def pieces(self, columns: Sequence[str] | None, rows: int = AT_ONCE) -> Iterator[Piece]:
        """The columns (None: all) of all files, at most `rows` rows at a time."""
        for file in self.files:
            wanted = [*file.columns, *file.keys] if columns is None else columns
            lacking = [column for column in wanted if column not in file.columns and column not in file.keys]
            if lacking:
                raise DataError(
                    f"{file.path} has no column '{lacking[0]}'",
                    f"found {', '.join([*file.columns, *file.keys][:12])}",
                    nearest(lacking[0], [*file.columns, *file.keys]),
                )
            yield from _pieces(file, wanted, rows)

    def check(self, time: str, channels: Sequence[str]) -> None:
        """DataError for a column that does not hold stamps, or numbers: they are not parsed from text here."""
        zones: dict[str | None, File] = {}
        for file in self.files:
            for column in (time, *channels):
                kind = file.columns.get(column, pa.string() if column in file.keys else None)
                if kind is None:
                    continue  # said when it is read
                number = pa.types.is_boolean(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
                number = number or pa.types.is_integer(kind) or pa.types.is_floating(kind)
                stamps = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
                if not (stamps if column == time else number):
                    raise DataError(
                        f"{file.path}: column '{column}' holds {kind} values",
                        f"expected {'stamps' if column == time else 'numbers'}",
                        "write the files with such a type, or name another column",
                    )
            zones.setdefault(getattr(file.columns.get(time), "tz", None), file)
        if len(zones) > 1:
            (one, first), (two, other), *_ = zones.items()
            raise DataError(
                f"column '{time}' has the zone {one or 'none'} in {first.name} and {two or 'none'} in {other.name}",
                "expected one zone",
                "write the files alike",
            )

    def place(self, row: int) -> tuple[File, int]:
        """The file of a row of the whole, and its row there."""
        at = int(np.searchsorted(self.before, row, side="right")) - 1
        return self.files[at], row - int(self.before[at])


def _counts(path: Path) -> bool:
    return not any(part.startswith(("_", ".")) for part in path.parts)


def _file(path: Path, root: Path) -> File:
    if not path.stat().st_size:
        raise DataError(f"{path} is empty", "expected a table", "write the file again, or remove it")
    refuse(path)
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except DAMAGE as fault:
        raise _damaged(path, fault) from fault
    below = path.relative_to(root)
    pairs = [part.partition("=") for part in below.parts[:-1] if "=" in part]
    columns = dict(zip(schema.names, schema.types, strict=True))
    keys = {key: unquote(value) for key, _, value in pairs if key not in columns}
    return File(path, below.as_posix(), keys, rows, columns)


def _pieces(file: File, wanted: Sequence[str], rows: int) -> Iterator[Piece]:
    own = [column for column in wanted if column in file.columns]
    some = own or list(file.columns)[:1]  # a file is never empty, though nothing of it may be wanted but its path
    first = 0
    try:
        with pq.ParquetFile(file.path) as opened:
            for batch in opened.iter_batches(batch_size=rows, columns=some):
                frame = pl.DataFrame(pl.from_arrow(batch))
                keys = [pl.lit(value).alias(key) for key, value in file.keys.items() if key in wanted]
                yield Piece(file, first, frame.with_columns(keys).select(wanted))
                first += batch.num_rows
    except DAMAGE as fault:
        raise _damaged(file.path, fault) from fault


def _damaged(path: Path, fault: BaseException) -> DataError:
    text = str(fault).strip().splitlines()
    return DataError(
        f"{path} cannot be read: {text[0].rstrip('.') if text else type(fault).__name__}",
        "expected a parquet table",
        "check the file",
    )
