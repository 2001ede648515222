"""A reader per format. Before it, what a file is by its bytes, whatever its name says."""

import codecs
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from forecast.errors import DataError

PARQUET: Final = b"PAR1"
_UNPACK: Final = "unpack it"
_EXPORT: Final = "export it as csv"
# First bytes, what such a file is called, what to do with it.
KINDS: Final = (
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"(\xb5/\xfd", "a zstd archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", _EXPORT),
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"SQLite format 3\0", "an SQLite database", _EXPORT),
    (b"\x89HDF", "an HDF5 file", _EXPORT),
    (b"ARROW1", "an Arrow file", _EXPORT),
    (b"%PDF", "a PDF document", _EXPORT),
    (PARQUET, "a parquet file", "rename it to .parquet"),
)
# What polars, Arrow and codecs raise over damaged bytes.
DAMAGE: Final = (
    pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OSError, NotImplementedError, MemoryError,
)  # fmt: skip
TEXT: Final = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".ts": "ts",
}  # ending → what such a table is called
KEYS: Final = 10_000  # keys of all lines together, each a column
CELLS: Final = 500_000_000  # of a table, filled or not
DEEP: Final = 4  # lists and objects in each other
_STRING: Final = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:"(\s*+:)?)?', re.DOTALL)  # with a colon behind it a key
_BLOCK: Final = 1 << 20  # bytes that are searched for keys at once
_MARKUP: Final = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<svg")


def refuse(path: Path) -> None:
    """Raise DataError where the bytes of `path` are another kind of file than its ending says, or half a file."""
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(-min(4, path.stat().st_size), 2)
        tail = file.read()
    if text := TEXT.get(path.suffix.lower()):
        for magic, kind, do in KINDS:
            if head.startswith(magic):
                if b"xl/" in head or b"[Content_Types]" in head:
                    kind, do = "an Excel workbook", _EXPORT
                raise DataError(f"{path} is {kind} by its first bytes", f"expected a {text} table", do)
        if head.lstrip().lower().startswith(_MARKUP):
            raise DataError(f"{path} is a web page or XML", f"expected a {text} table", "download the data itself")
    elif not head.startswith(PARQUET):
        raise DataError(f"{path} is no parquet file by its first bytes", "expected PAR1", "rename or rewrite it")
    elif tail != PARQUET:
        raise DataError(f"{path} is cut short: it does not end as parquet files do", "expected PAR1", "copy it again")


def ragged(data: bytes, separator: str, where: str) -> None:
    """Raise DataError for the first row with more or fewer fields than the header, and for a quote left open.

    `data` is UTF-8 without empty lines at its start; quoted separators and line ends do not count.
    """
    raw = np.frombuffer(data, np.uint8)
    quoted = np.bitwise_xor.accumulate(raw == ord('"'))
    ends = np.flatnonzero((raw == ord("\n")) & ~quoted)
    if len(quoted) and quoted[-1]:
        opened = int(np.flatnonzero(quoted & (raw == ord('"')))[-1])
        line = int(np.count_nonzero(raw[:opened] == ord("\n"))) + 1
        raise DataError(f"{where}: the quote in line {line} is never closed", 'expected a second "', "correct the line")
    begins = np.concatenate([[0], ends + 1])
    begins = begins[begins < len(raw)]
    fields = np.add.reduceat((raw == ord(separator)) & ~quoted, begins, dtype=np.int64) + 1
    filled = ~np.isin(raw[begins], (ord("\n"), ord("\r")))  # empty lines are passed over
    fields, begins = fields[filled], begins[filled]
    if (odd := fields != fields[0]).any():
        row = int(odd.argmax())
        raise DataError(
            f"{where}: row {row} has {fields[row]} field{'s' if fields[row] > 1 else ''}",
            f"the header has {fields[0]}",
            "correct the row; a decimal comma or an unquoted text may hold a separator",
        )


def _csv(path: Path, notes: list[str]) -> pl.DataFrame:
    return table_of(path.read_bytes(), path.name, notes)


def table_of(data: bytes, where: str, notes: list[str]) -> pl.DataFrame:
    """The bytes of a csv file: any of `,;\\t|` between columns, UTF-8, UTF-16 or else Latin-1; all cells are text."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.decode("utf-16").encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode()
    except UnicodeDecodeError:
        notes.append(f"{where} is not UTF-8; read as Latin-1")
        data = data.decode("latin-1").encode()
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise DataError(
            f"{where}: line {line} holds a NUL byte",
            "expected text in UTF-8, UTF-16 with its mark, or Latin-1",
            "write the file again",
        )
    data = data.lstrip(b"\r\n")
    if not data.strip():
        return pl.DataFrame()
    head = data.partition(b"\n")[0].decode()
    separator = max(",;\t|", key=head.count)
    try:
        frame = pl.read_csv(data, separator=separator, infer_schema=False)
    except pl.exceptions.PolarsError:
        ragged(data, separator, where)
        raise
    if not frame.height or frame[:, -1].null_count():  # polars fills up a row that is too short
        ragged(data, separator, where)
    names = [name.strip() for name in frame.columns]
    for name in names:
        base, mark, _ = name.rpartition("_duplicated_")
        if mark and base in names:
            raise DataError(f"{where} has two columns '{base}'", "expected each name once", "rename one of them")
    return frame.rename(dict(zip(frame.columns, names, strict=True))) if names != frame.columns else frame


def _parquet(path: Path, notes: list[str]) -> pl.DataFrame:
    # By Arrow, not by polars: damaged bytes can make polars 2.1 end the whole process.
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read()
    table.validate(full=True)
    # Text about the columns may be damaged too, and polars panics where it is not UTF-8; a name raises here.
    frame = pl.from_arrow(table.cast(pa.schema([pa.field(field.name, field.type) for field in table.schema])))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _jsonl(path: Path, notes: list[str]) -> pl.DataFrame:
    """A JSON object a line, in UTF-8; a key that a line lacks is empty there, and empty lines are passed over."""
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        return pl.DataFrame()
    _bounded(data, path)
    try:
        return pl.read_ndjson(data, infer_schema_length=None)
    except pl.exceptions.PolarsError:
        _no_object(data, path.name)
        raise


def _bounded(data: bytes, path: Path) -> None:
    """Refuse lines that would make a table of very many or of deep columns, before it is made."""
    keys: set[bytes] = set()
    begin = 0
    while begin < len(data) and len(keys) <= KEYS:
        end = data.find(b"\n", begin + _BLOCK) + 1 or len(data)
        keys.update(text for text, colon in _STRING.findall(data, begin, end) if colon)
        if _depth(data[begin:end]) > DEEP and _depth(_STRING.sub(b"", data[begin:end])) > DEEP:
            raise DataError(
                f"{path.name} holds more than {DEEP} lists or objects in each other",
                "expected numbers and text",
                "write each row as one object",
            )
        begin = end
    lines = data.count(b"\n") + 1
    if len(keys) > KEYS or lines * len(keys) > CELLS:
        many = f"more than {KEYS:,}" if len(keys) > KEYS else f"{len(keys):,}"
        raise DataError(
            f"{path.name} has {many} keys in {lines:,} lines",
            f"expected a table of up to {KEYS:,} columns and {CELLS // 10**6} million cells",
            "write one object a line, all with the same keys",
        )


def _depth(block: bytes) -> int:
    """How many brackets are open at most; those in texts count too."""
    signs = np.frombuffer(block, dtype=np.uint8)
    opened = (signs == ord("[")) | (signs == ord("{"))
    closed = (signs == ord("]")) | (signs == ord("}"))
    return int((opened.cumsum() - closed.cumsum()).max(initial=0))


def _no_object(data: bytes, where: str) -> None:
    """DataError for the first line that is no JSON object; returns where each is one."""
    if data.lstrip().startswith(b"["):
        raise DataError(
            f"{where} begins with a list", "expected one object a line", "write each row as {…} on its line"
        )
    for number, line in enumerate(data.splitlines(), 1):
        try:
            good = not line.strip() or isinstance(json.loads(line, parse_constant=_not_json), dict)
            what = "holds no object"
        except (ValueError, RecursionError) as fault:
            good, what = False, f"is no JSON: {str(fault).split(':')[0]}"
        if not good:
            raise DataError(f"{where}: line {number} {what}", "expected one object a line", "correct the line")


def _not_json(word: str) -> None:
    raise ValueError(f"{word}, for which JSON has null")


READERS: Final[dict[str, Callable[[Path, list[str]], pl.DataFrame]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
    ".pq": _parquet,
}
