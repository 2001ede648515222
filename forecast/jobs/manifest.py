"""OUTPUT/_manifest.jsonl: what was read, which shards are done and what became of their series, a JSON object a line.

A line is on the disk before the next shard is begun to be counted; one that a kill has torn is left out. _SUCCESS is
there only while the output is all of what the last job said it would be.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forecast.artifacts import atomic, sweep, sync_folder
from forecast.errors import UsageError
from forecast.jobs.spread import WORK
from forecast.ledger import NAME, QUARANTINE, SUCCESS, Done, done_of, files, lines
from forecast.spool import locked


class Output:
    """The folder of a job; one job at a time may write there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = lines(path / NAME)
        self._lock: int | None = None

    def open(self) -> None:
        """Make it, hold it, remove what a kill left."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path, os.O_RDONLY)
        if not locked(self._lock):
            self.close()
            raise UsageError(f"{self.path} is being written by another job", do="wait for it, or name another folder")
        self.lines = lines(self.path / NAME)  # another job may have ended since
        for folder in (self.path, self.path / QUARANTINE):
            if folder.is_dir():
                for left in folder.glob(".*.tmp"):
                    left.unlink(missing_ok=True)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def done(self) -> dict[str, Done]:
        """Shards that are done, by key: their files are there, of the size they had."""
        found = {}
        for line in self.lines:
            if line.get("kind") == "shard":
                made = done_of(line)
                if all(self.holds(name, size) for name, size in zip(files(made), made.sizes, strict=True)):
                    found[made.key] = made
        return found

    def holds(self, name: str, size: int) -> bool:
        try:
            return (self.path / name).stat().st_size == size
        except OSError:
            return False

    def inputs(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("kind") == "input"]

    def begin(self, head: Sequence[Mapping[str, Any]], kept: Sequence[Done], complete: bool) -> None:
        """The manifest with what holds still; files that belong to nothing are removed. Unless the output is complete
        as it is, it no longer says so."""
        mine = {name for made in kept for name in files(made)}
        parts = [*self.path.glob("part-*.parquet"), *(self.path / QUARANTINE).glob("part-*.parquet")]
        stale = [path for path in parts if path.relative_to(self.path).as_posix() not in mine]
        if stale or not complete:
            (self.path / SUCCESS).unlink(missing_ok=True)
            sync_folder(self.path)
        for path in stale:
            path.unlink()
        before = {line["key"]: line for line in self.lines if line.get("kind") == "shard"}
        text = "".join(json.dumps(line) + "\n" for line in [*head, *(before[made.key] for made in kept)])
        with atomic(self.path / NAME) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def add(self, line: Mapping[str, Any]) -> None:
        """One more line, on the disk when this returns."""
        with open(self.path / NAME, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Remove what helped, and say that the output is complete."""
        shutil.rmtree(self.path / WORK, ignore_errors=True)
        folder = self.path / QUARANTINE
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        with atomic(self.path / SUCCESS) as temporary:
            temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")

    def fault(self, words: str) -> None:
        """Say why the job ended before its end; the next one to begin takes this line away."""
        self.add({"kind": "fault", "words": words, "at": now()})

    def stop(self) -> None:
        """Remove what is half written, after all workers have ended."""
        sweep(self.path)


def row(made: Done, **more: Any) -> dict[str, Any]:
    """A shard as a line."""
    return {"kind": "shard", "state": "done", **made._asdict(), "at": now(), **more}


def now() -> str:
    """UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
