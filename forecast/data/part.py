"""A download that is not whole yet: NAME.part, and NAME.part.json with what identifies the file at its source."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from forecast.errors import DataError


class Part:
    """The part of the file at `url`, open for one process at a time; use `opened`.

    The note goes before the bytes it does not fit, and comes before those it fits: whenever the process dies, a
    part with a note is the beginning of the file that the note names.
    """

    def __init__(self, path: Path, url: str, stream: BinaryIO) -> None:
        self.path, self.url, self.stream = path, url, stream
        self.note = path.with_name(path.name + ".json")

    @classmethod
    @contextmanager
    def opened(cls, path: Path, url: str) -> Iterator["Part"]:
        """An old part or an empty one; never through a link. DataError where another process has it."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(path, flags, 0o644)
        except OSError as fault:
            raise DataError(f"{path} cannot be written: {fault.strerror}", do="set to=DIR to another folder") from fault
        with os.fdopen(handle, "rb+", buffering=0) as stream:
            if not _locked(handle) or not path.exists() or not os.path.samestat(os.fstat(handle), path.stat()):
                raise DataError(f"{path} is being fetched by another process", do="wait for it, then run this again")
            yield cls(path, url, stream)

    def end(self) -> int:
        """Bytes so far; what is written goes behind them."""
        return self.stream.seek(0, os.SEEK_END)

    @property
    def mark(self) -> str:
        """The mark the part was begun with; "" where it has none, or is of another address."""
        try:
            note: Any = json.loads(self.note.read_text(encoding="utf-8"))
            return str(note["mark"]) if note["url"] == self.url else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def begin(self, mark: str = "") -> int:
        """Start anew, from nothing, with the mark of what now comes."""
        self.note.unlink(missing_ok=True)
        self.stream.truncate(0)
        if mark:
            draft = self.note.with_name(self.note.name + ".tmp")
            draft.unlink(missing_ok=True)  # it may be a link
            draft.write_text(json.dumps({"url": self.url, "mark": mark}), encoding="utf-8")
            os.replace(draft, self.note)
        return self.stream.seek(0)

    def write(self, piece: bytes) -> None:
        """Append all of it: an unbuffered write may take less."""
        rest = memoryview(piece)
        while rest:
            rest = rest[self.stream.write(rest) :]

    def forget(self) -> None:
        """Remove what is of no use."""
        self.note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)


def _locked(handle: int) -> bool:
    """Whether this process holds the file now; always, on systems without such locks."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
