"""What a batch job's output says: how far it is, what became of all series, what is wrong with those it set aside."""

import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import polars as pl

from forecast.ledger import (
    NAME,
    OF_FILES,
    QUARANTINE,
    REASONS,
    SUCCESS,
    Done,
    done_of,
    files,
    held,
    lines,
    total,
)

State = Literal["running", "finished", "failed", "stopped"]
SILENT_S: Final = 60.0  # where the system does not tell who is at work: so long after its last line a job is given up
SAMPLES: Final = 5  # rows shown of each reason
OPENED: Final = 64  # quarantine files that are looked at for them
KEPT: Final = 64  # manifests held in memory
WIDTH: Final = 300  # letters of a detail


class Shard(NamedTuple):
    """A shard that is done, with when, by whom, and of which files."""

    done: Done
    at: datetime | None  # None: an older program wrote it
    engine: str
    inputs: tuple[str, ...]


class Job(NamedTuple):
    """An output folder as its manifest has it."""

    path: Path
    head: dict[str, Any]
    inputs: int  # files read
    bytes: int  # of them
    shards: tuple[Shard, ...]  # by number
    of: int  # shards in all; 0: it does not say
    fault: str  # why the last job there ended before its end
    facts: dict[str, Any]  # sums over all shards, see ledger.total
    state: State
    changed: datetime  # of the manifest

    @property
    def id(self) -> str:
        """Names it in an address."""
        return job_id(self.path)

    @property
    def started(self) -> datetime | None:
        return stamp(self.head.get("started"))

    @property
    def fresh(self) -> list[Shard]:
        """The shards that the last job did itself."""
        began = self.started
        return [shard for shard in self.shards if began is not None and shard.at is not None and shard.at >= began]

    @property
    def conserved(self) -> bool:
        """Whether every series that went in came out as a forecast, a fallback or quarantined."""
        return bool(sum(self.facts["status"].values()) == self.facts["series"])


class Pace(NamedTuple):
    """How fast the last job is, or was."""

    seconds: float  # since it began
    series: float  # a second
    rows: float  # a second
    left: float | None  # seconds; None: nothing is left, or nothing tells


class Lost(NamedTuple):
    """A reason why series have no forecast of the model."""

    reason: str
    series: int
    do: str
    samples: list[tuple[str, str]]  # (series, detail)


def job_id(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:10]


def read(path: Path) -> Job:
    """The job in an output folder; OSError where its manifest is gone."""
    facts = (path / NAME).stat()
    finished = (path / SUCCESS).is_file()
    parsed = _parsed(str(path), facts.st_mtime_ns, facts.st_size)
    changed = datetime.fromtimestamp(facts.st_mtime, UTC)
    state = _state(finished, parsed.fault, held(path), time.time() - facts.st_mtime)
    return parsed._replace(state=state, changed=changed)


def _state(finished: bool, fault: str, locked: bool | None, silent: float) -> State:
    if finished:
        return "finished"
    if locked or (locked is None and silent < SILENT_S):
        return "running"
    return "failed" if fault else "stopped"


@lru_cache(KEPT)
def _parsed(path: str, mtime: int, size: int) -> Job:
    """The manifest as of a time and a size; the state is not known yet."""
    found = lines(Path(path) / NAME)
    head = next((line for line in found if line.get("kind") == "job"), {})
    inputs = [line for line in found if line.get("kind") == "input"]
    shards = {}
    for line in found:
        if line.get("kind") == "shard" and (shard := _shard(line, str(head.get("engine") or ""))) is not None:
            shards[shard.done.key] = shard  # of a shard that was done twice the last line counts
    ordered = tuple(sorted(shards.values(), key=lambda shard: shard.done.number))
    fault = next((str(line.get("words") or "") for line in reversed(found) if line.get("kind") == "fault"), "")
    return Job(
        Path(path), head, len(inputs), sum(_whole(line.get("size")) for line in inputs), ordered,
        _whole(head.get("shards")), fault, total(shard.done for shard in ordered), "stopped",
        datetime.fromtimestamp(mtime / 1e9, UTC),
    )  # fmt: skip


def _shard(line: dict[str, Any], engine: str) -> Shard | None:
    """A line that is as it should be; None for one of another program, or damaged."""
    try:
        done = done_of({"corrupt": (), **line})
        sums = (done.number, done.rows_in, done.rows_out, done.series, done.seconds, *done.sizes, *done.status.values())
        good = all(isinstance(value, int | float) for value in (*sums, *done.reasons.values()))
    except (KeyError, TypeError, AttributeError):
        return None
    if not good:
        return None
    return Shard(
        done, stamp(line.get("at")), str(line.get("engine") or engine), tuple(map(str, line.get("inputs") or ()))
    )


def stamp(words: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(words)).astimezone(UTC) if words else None
    except ValueError:
        return None


def pace(job: Job, now: datetime) -> Pace | None:
    """None where its manifest has no times, or no shard is done."""
    began, fresh = job.started, job.fresh
    if began is None or not fresh:
        return None
    last = max(shard.at for shard in fresh if shard.at is not None)
    worked = max((last - began).total_seconds(), 1e-3)
    series, rows = (sum(getattr(shard.done, name) for shard in fresh) for name in ("series", "rows_in"))
    todo = _whole(job.head.get("todo")) - len(fresh)
    left = worked / len(fresh) * todo - (now - last).total_seconds() if todo > 0 and job.state == "running" else None
    spent = (now - began).total_seconds() if job.state == "running" else worked
    return Pace(spent, series / worked, rows / worked, None if left is None else max(left, 0.0))


def missing(job: Job) -> list[str]:
    """Files of shards that are not there, or of another size than they had."""
    lost = []
    for shard in job.shards:
        for name, size in zip(files(shard.done), shard.done.sizes, strict=False):
            try:
                whole = (job.path / name).stat().st_size == size
            except OSError:
                whole = False
            if not whole:
                lost.append(name)
    return lost


def lost(job: Job) -> list[Lost]:
    """The reasons, the most frequent first, with a few of the series that each set aside."""
    reasons = dict(sorted(job.facts["reasons"].items(), key=lambda each: -each[1]))
    samples = _samples(job, set(reasons))
    known = {**REASONS, **OF_FILES}
    return [Lost(code, n, known.get(code, "see the detail"), samples.get(code, [])) for code, n in reasons.items()]


def _samples(job: Job, wanted: set[str]) -> dict[str, list[tuple[str, str]]]:
    """(series, detail) of each reason, of the first files that have it. What cannot be read is passed over: the
    page says of each reason how many there are all the same."""
    found: dict[str, list[tuple[str, str]]] = {}
    opened = 0
    for shard in job.shards:
        name, codes = shard.done.quarantine, {*shard.done.reasons, *(OF_FILES if shard.done.corrupt else ())}
        short = {code for code in codes & wanted if len(found.get(code, ())) < SAMPLES}
        if name is None or not short or opened >= OPENED or Path(name).parts[:-1] != (QUARANTINE,):
            continue
        opened += 1
        for code, id, detail in _rows(job.path / QUARANTINE / Path(name).name, short):
            mine = found.setdefault(code, [])
            if len(mine) < SAMPLES and (id, detail) not in mine:
                mine.append((id, detail))
    return found


def _rows(path: Path, codes: set[str]) -> Sequence[tuple[str, str, str]]:
    """(reason, series, detail) of a quarantine file."""
    text = [pl.col(name).cast(pl.String).fill_null("") for name in ("reason", "unique_id", "detail")]
    try:
        frame = (
            pl.scan_parquet(path)
            .select(*text)
            .filter(pl.col("reason").is_in(sorted(codes)))
            .unique(maintain_order=True)
            .group_by("reason", maintain_order=True)
            .head(SAMPLES)
            .select("reason", "unique_id", pl.col("detail").str.slice(0, WIDTH))
            .collect()
        )
    except (pl.exceptions.PolarsError, OSError):
        return []
    return frame.rows()


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
