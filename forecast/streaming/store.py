"""What a stream must not lose, in one SQLite file: the states of series, how far its feed was read, what it gave out.

Each batch is one transaction, so that a stream killed at any instant goes on as if it had not been. Of three ways that
were measured (benchmarks/streaming.md) SQLite is as fast as appending to a file and a third as fast as a memory map;
neither of the two can be cut off anywhere and be whole.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from forecast.errors import ArtifactError, UsageError
from forecast.spool import locked

VERSION: Final = 1
PAGE: Final = 16_384  # bytes
LOG: Final = 64_000_000  # bytes of the write-ahead log, before it is worked into the file
AT_ONCE: Final = 500  # names in one question
Sync = Literal["full", "normal"]
TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS series (name TEXT PRIMARY KEY, at INTEGER NOT NULL, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS given (seq INTEGER PRIMARY KEY, line BLOB NOT NULL);
"""


class Store:
    """One file, held by one process. UsageError where another holds it, ArtifactError where it is something else or was
    written under other weights or settings."""

    def __init__(self, path: str | Path, stamp: str, *, sync: Sync = "full") -> None:
        """sync: full: a batch that was acknowledged outlives a power cut; normal: it outlives a kill of the process,
        and after a power cut the file is whole and lacks the last batches."""
        self.path, self.stamp = Path(path).expanduser(), stamp
        self._hold()
        try:
            self._open(sync)
        except BaseException:
            os.close(self.handle)
            raise

    def _hold(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.handle = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}", do="name another place") from error
        if not locked(self.handle):
            os.close(self.handle)
            raise UsageError(f"{self.path} is in use by another stream", do="end that one, or name another file")

    def _open(self, sync: Sync) -> None:
        try:
            self.db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self.db.execute(f"PRAGMA page_size={PAGE}")
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute(f"PRAGMA synchronous={sync}")
            self.db.execute(f"PRAGMA wal_autocheckpoint={LOG // PAGE}")
            self.db.executescript(TABLES)
            known = self.facts()
            if not known:
                self.note({"stamp": self.stamp, "version": VERSION})
        except (sqlite3.Error, orjson.JSONDecodeError) as error:
            raise ArtifactError(f"{self.path} is no state of a stream: {error}", do="name another file") from error
        if known and (known.get("stamp"), known.get("version")) != (self.stamp, VERSION):
            self.db.close()
            raise ArtifactError(
                f"{self.path} was written under other weights or settings",
                f"expected {self.stamp}, found {known.get('stamp')}",
                "go on with the same run and settings, or name another file",
            )

    def close(self) -> None:
        """Let go of it; a second time nothing happens."""
        self.db.close()
        if self.handle >= 0:
            os.close(self.handle)
        self.handle = -1

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is written inside, or nothing."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self.db.in_transaction:  # a full disk has rolled it back already
                self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def facts(self) -> dict[str, Any]:
        """What was noted."""
        return {key: orjson.loads(value) for key, value in self.db.execute("SELECT key, value FROM facts")}

    def note(self, facts: Mapping[str, Any]) -> None:
        rows = [(key, orjson.dumps(value).decode()) for key, value in facts.items()]
        self.db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    def keep(self, names: Sequence[str], at: Sequence[int], records: Iterable[memoryview]) -> None:
        """The records of series whose last steps were at these times, microseconds in UTC."""
        self.db.executemany(
            "INSERT INTO series VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET at = excluded.at, "
            "record = excluded.record",
            zip(names, at, records, strict=True),
        )

    def fetch(self, names: Sequence[str]) -> dict[str, bytes]:
        """The records of those that are known."""
        found: dict[str, bytes] = {}
        for first in range(0, len(names), AT_ONCE):
            some = names[first : first + AT_ONCE]
            marks = ",".join("?" * len(some))
            found |= dict(self.db.execute(f"SELECT name, record FROM series WHERE name IN ({marks})", some))
        return found

    def purge(self, before: int) -> int:
        """Drop series whose last step was before a time; how many there were."""
        return self.db.execute("DELETE FROM series WHERE at < ?", (before,)).rowcount

    def drop(self, names: Sequence[str]) -> None:
        """Drop series that have ended, if they are there."""
        self.db.executemany("DELETE FROM series WHERE name = ?", [(name,) for name in names])

    def forget(self, name: str) -> bool:
        """Drop one series; whether it was there."""
        return self.db.execute("DELETE FROM series WHERE name = ?", (name,)).rowcount > 0

    def count(self) -> int:
        return int(self.db.execute("SELECT count(*) FROM series").fetchone()[0])

    # What was given out, for those who have not heard it ------------------------------------------------------

    def give(self, lines: Iterable[tuple[int, bytes]]) -> None:
        self.db.executemany("INSERT INTO given VALUES (?, ?)", lines)

    def given(self, after: int, most: int = 10_000) -> list[tuple[int, bytes]]:
        """Lines after one, in order."""
        return list(
            self.db.execute("SELECT seq, line FROM given WHERE seq > ? ORDER BY seq LIMIT ?", (after, most)).fetchall()
        )

    def heard(self, until: int) -> None:
        """Lines that need not be given again."""
        self.db.execute("DELETE FROM given WHERE seq <= ?", (until,))

    def backup(self, path: str | Path) -> None:
        """A copy of all of it, whole, while the stream runs."""
        part = Path(f"{path}.part")
        part.unlink(missing_ok=True)
        target = sqlite3.connect(part)
        try:
            self.db.backup(target)
        finally:
            target.close()
        os.replace(part, path)
