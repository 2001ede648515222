"""Between requests and the stream: a bounded queue, and the thread that empties it in micro-batches.

Requests are put in by the thread of the loop. The thread that owns the stream takes what is waiting, at most `batch`
lines, commits it, and only then answers. Who finds the queue full is told so at once and waits in its own place.
"""

import asyncio
import queue
import sqlite3
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any, Final, Literal, NamedTuple

from forecast.errors import ForecastError, RunError
from forecast.streaming.fold import ACCEPTED
from forecast.streaming.serving.admission import Admission
from forecast.streaming.serving.guard import Refusal
from forecast.streaming.serving.hub import Hub, Line
from forecast.streaming.serving.metrics import Metrics
from forecast.streaming.serving.recent import Recent
from forecast.streaming.serving.replies import Reply, Told, latest, reply, told
from forecast.streaming.streamer import Streamer

PAUSE_S: Final = 0.1  # in which a signal is heard
SEEN_S: Final = 10.0  # in which a loop that still runs must have seen that the phase is another
Phase = Literal["loading", "ready", "ending", "failed"]
WORDS: Final[dict[Phase, str]] = {
    "loading": "the model is being loaded", "ending": "the stream is ending", "failed": "the stream has failed",
}  # fmt: skip


class Busy(Exception):
    """Nothing can be taken now; the words say why."""


class Failed(Exception):
    """What was asked could not be done; the words say why."""


class Job(NamedTuple):
    """Lines to take, or something else to do in between."""

    lines: list[bytes]
    call: Callable[[], Any] | None
    answer: "asyncio.Future[Any]"


class Desk:
    """`ask` and what the loop does are of its thread; `serve` is of the thread that owns the stream."""

    def __init__(self, *, batch: int, most: int) -> None:
        """batch: lines in a transaction; most: requests that wait."""
        self.batch, self.most = batch, most
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.held: Job | None = None  # it did not fit in the batch before
        self.phase: Phase = "loading"
        self.loop: asyncio.AbstractEventLoop | None = None
        self.recent = Recent()

    # In the loop ---------------------------------------------------------------------------------------------

    async def take(self, lines: list[bytes]) -> Reply:
        """Readings, and what is said of them once they are committed."""
        found: Reply = await self._ask(lines, None)
        return found

    async def call(self, run: Callable[[], Any]) -> Any:
        """What a function gives in the thread of the stream, between two batches."""
        return await self._ask([], run)

    async def _ask(self, lines: list[bytes], run: Callable[[], Any] | None) -> Any:
        if self.phase != "ready":
            raise (Failed if self.phase == "failed" else Busy)(WORDS[self.phase])
        if self.jobs.qsize() >= self.most:
            raise Busy(f"{self.most:,} requests are waiting")
        answer = asyncio.get_running_loop().create_future()
        self.jobs.put(Job(lines, run, answer))
        return await answer

    # In the thread of the stream -----------------------------------------------------------------------------

    def open(self, streamer: Streamer, admission: Admission, hub: Hub, metrics: Metrics) -> None:
        """From now on readings are taken."""
        self.stamps = bool(streamer.live.facts()["stamps"])
        self.streamer, self.admission, self.hub, self.metrics = streamer, admission, hub, metrics
        self.phase = "ready"

    def serve(self, stop: Event) -> None:
        """Until `stop` is set and all that was taken in is answered. RunError where the stream cannot go on: what was
        not answered is not committed, and is told so."""
        jobs: list[Job] = []
        try:
            while not stop.is_set():
                if jobs := self._gather(PAUSE_S):
                    self._do(jobs)
                elif self.loop is None:
                    raise RunError("the server has ended by itself", do="start it again")
            self._turn("ending")
            while jobs := self._gather(0):
                self._do(jobs)
        except BaseException as error:
            self._turn("failed")
            self._answer([(job, Failed(f"the stream has failed: {_line(error)}")) for job in [*jobs, *self._rest()]])
            if isinstance(error, OSError | sqlite3.Error) and not isinstance(error, ForecastError):
                raise RunError(
                    f"the stream cannot go on: {_line(error)}", do="what was answered is kept: mend it and start again"
                ) from error
            raise

    def _turn(self, phase: Phase) -> None:
        """Into another phase; whatever the loop was putting in is in the queue afterwards."""
        self.phase = phase
        if self.loop is not None:
            seen = Event()
            self.loop.call_soon_threadsafe(seen.set)
            seen.wait(SEEN_S)

    def _rest(self) -> list[Job]:
        found = [self.held] if self.held is not None else []
        self.held = None
        while not self.jobs.empty():
            found.append(self.jobs.get_nowait())
        return found

    def _next(self, wait_s: float) -> Job | None:
        if (job := self.held) is not None:
            self.held = None
            return job
        try:
            return self.jobs.get(timeout=wait_s) if wait_s else self.jobs.get_nowait()
        except queue.Empty:
            return None

    def _gather(self, wait_s: float) -> list[Job]:
        """The next jobs: one call, or requests that together fit in a batch, or one that is larger."""
        jobs: list[Job] = []
        count = 0
        while (job := self._next(0 if jobs else wait_s)) is not None:
            if jobs and (job.call is not None or count + len(job.lines) > self.batch):
                self.held = job
                break
            jobs.append(job)
            count += len(job.lines)
            if job.call is not None or count >= self.batch:
                break
        return jobs

    def _do(self, jobs: list[Job]) -> None:
        if jobs[0].call is not None:
            self._answer([(jobs[0], _called(jobs[0].call))])
            return
        lines = [line for job in jobs for line in job.lines]
        results: list[Told] = []
        for first in range(0, len(lines), self.batch):
            results += self._process(lines[first : first + self.batch])
        answers: list[tuple[Job, Any]] = []
        at = 0
        for job in jobs:
            answers.append((job, reply(results[at : at + len(job.lines)])))
            at += len(job.lines)
        self._answer(answers)

    def _process(self, lines: list[bytes]) -> list[Told]:
        """One transaction; then it is told to all."""
        streamer = self.streamer
        before = streamer.counts["forgotten"]
        batch = streamer.process(lines)
        self.admission.committed(batch, streamer.counts["forgotten"] - before)
        self.metrics.saw(batch, streamer.seconds)
        taken = batch.taken.status <= ACCEPTED
        at = int(batch.parsed.time[taken].max()) if self.stamps and taken.any() else None
        self.recent.batch(len(lines), len(batch.lines), at)
        first = streamer.seq - len(batch.lines) + 1
        pairs = zip(batch.taken.forecasts.ids, batch.lines, strict=True)
        given = [Line(seq, name, text) for seq, (name, text) in enumerate(pairs, first)]
        if given and self.loop is not None:
            self.loop.call_soon_threadsafe(self.hub.put, given)
        return told(batch, len(lines), self.admission.over, lambda names: latest(streamer.live, streamer.writer, names))

    def _answer(self, answers: Sequence[tuple[Job, Any]]) -> None:
        if self.loop is not None:
            self.loop.call_soon_threadsafe(_set, answers)


def _called(run: Callable[[], Any]) -> Any:
    """What a call gives, or why it could not be done; a defect goes on."""
    try:
        return run()
    except Refusal as refusal:
        return refusal
    except (ForecastError, OSError, sqlite3.Error) as error:
        return Failed(_line(error))


def _set(answers: Sequence[tuple[Job, Any]]) -> None:
    for job, found in answers:
        if not job.answer.done():  # else nobody waits for it any more
            job.answer.set_exception(found) if isinstance(found, Exception) else job.answer.set_result(found)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
