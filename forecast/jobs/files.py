"""The files of a job's input: what they are called, what their folders say of them, whether they have changed."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from forecast.errors import DataError
from forecast.jobs.source import ENDINGS, ending

NOTHING: Final = "__HIVE_DEFAULT_PARTITION__"


class File(NamedTuple):
    """A file of the input."""

    path: str  # absolute
    name: str  # below the input, with /
    size: int
    mtime_ns: int
    partition: tuple[tuple[str, str | None], ...] = ()
    sha256: str = ""  # "": not known yet


class Found(NamedTuple):
    """What an input holds: its files by name, and how many files of other endings were passed over."""

    files: list[File]
    others: int


def find(source: Path) -> Found:
    """All csv, csv.gz and parquet files of a folder, however deep, or the one file. Names that begin with _ or . are
    left out, as other programs do with their own notes."""
    if source.is_file():
        if ending(source.name) is None:
            raise DataError(f"{source} has another ending", f"expected {', '.join(ENDINGS)}", "convert the file")
        return Found([file_of(source, source.parent)], 0)
    if not source.is_dir():
        raise DataError(f"{source} is no file or folder", f"expected a folder of {', '.join(ENDINGS)} files")
    found, others = [], 0
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith(("_", ".")))
        for name in names:
            if name.startswith(("_", ".")):
                continue
            if ending(name) is None:
                others += 1
            else:
                found.append(file_of(Path(folder, name), source))
    if not found:
        more = f" ({others:,} of other endings)" if others else ""
        raise DataError(f"{source} holds no file that can be read{more}", f"expected {', '.join(ENDINGS)}")
    return Found(sorted(found, key=lambda file: file.name), others)


def file_of(path: Path, above: Path) -> File:
    facts, within = path.stat(), path.relative_to(above)
    pairs = [folder.partition("=") for folder in within.parts[:-1] if "=" in folder.strip("=")]
    partition = tuple((unquote(key), None if value == NOTHING else unquote(value)) for key, _, value in pairs)
    return File(str(path.absolute()), within.as_posix(), facts.st_size, facts.st_mtime_ns, partition)


def digested(files: Sequence[File], known: Iterable[Mapping[str, Any]], threads: int = 2) -> list[File]:
    """The files with their digests; of the size and time that a line in `known` has are not read."""
    before = {(line["name"], line["size"], line["mtime_ns"]): line["sha256"] for line in known}

    def one(file: File) -> File:
        digest = before.get((file.name, file.size, file.mtime_ns))
        return file._replace(sha256=digest or sha256(file.path))

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, files))


def sha256(path: str) -> str:
    """The digest of a file; of one that cannot be read (its shard will say so), that of nothing."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return hashlib.sha256().hexdigest()


def line(file: File) -> dict[str, Any]:
    """A line of the manifest."""
    return {"kind": "input", "name": file.name, "size": file.size, "mtime_ns": file.mtime_ns, "sha256": file.sha256}
