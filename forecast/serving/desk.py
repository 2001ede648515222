"""Between requests and the model: a bounded queue, and the thread that answers together what waits together.

Requests are put in by the thread of the loop, each with the model that was served when it came. The thread that runs
models takes what is waiting, at most `batch` series of one model; so another model is taken up between two batches, and
no request sees both. While the model works the next batch gathers by itself. Only if several requests came together the
time before does it wait a moment for more of them: who is alone is answered at once.
"""

import asyncio
import queue
import time
from collections.abc import Sequence
from threading import Event
from typing import Any, Final, NamedTuple

from forecast.errors import RunError
from forecast.serving.metrics import Metrics
from forecast.serving.model import Model
from forecast.serving.reading import Query
from forecast.serving.tables import Entry
from forecast.serving.work import work
from forecast.streaming.serving.desk import PAUSE_S, SEEN_S, WORDS, Busy, Failed, Phase
from forecast.streaming.serving.guard import Refusal

ENDING: Final = "the server is ending"


class Job(NamedTuple):
    model: Model
    query: Query
    answer: "asyncio.Future[list[Entry]]"


class Desk:
    """`ask` and what the loop does are of its thread; `serve` is of the thread that runs models."""

    def __init__(self, metrics: Metrics, *, batch: int, wait_s: float, most: int, timeout_s: float) -> None:
        """batch: series in one; wait_s: for more of them; most: series that wait; timeout_s: of a request."""
        self.metrics, self.batch, self.wait_s, self.most, self.timeout_s = metrics, batch, wait_s, most, timeout_s
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.held: Job | None = None  # it did not fit in the batch before
        self.waiting = 0  # series that were taken and not answered; of the loop
        self.together = False  # whether the batch before had several requests
        self.phase: Phase = "loading"
        self.loop: asyncio.AbstractEventLoop | None = None

    # In the loop ---------------------------------------------------------------------------------------------

    async def ask(self, model: Model, query: Query) -> list[Entry]:
        """What is said of each series. Busy: come again; Refusal: 422, 504."""
        size = len(query.series)
        if self.phase != "ready":
            raise Busy(ENDING if self.phase == "ending" else WORDS[self.phase])
        if self.waiting + size > self.most:
            raise Busy(f"{self.waiting:,} series are waiting; expected at most {self.most:,}")
        self.waiting += size
        answer: asyncio.Future[list[Entry]] = asyncio.get_running_loop().create_future()
        self.jobs.put(Job(model, query, answer))
        try:
            async with asyncio.timeout(self.timeout_s):
                return await answer
        except TimeoutError:
            self.metrics.late.inc()
            raise Refusal(504, f"no answer within {self.timeout_s:g} s: more is asked than can be done") from None

    def _set(self, answers: Sequence[tuple[Job, Any]]) -> None:
        for job, found in answers:
            self.waiting -= len(job.query.series)
            if not job.answer.done():  # else nobody waits for it any more
                job.answer.set_exception(found) if isinstance(found, Exception) else job.answer.set_result(found)

    # In the thread of the models -----------------------------------------------------------------------------

    def serve(self, stop: Event) -> None:
        """Until `stop` is set and all that was taken is answered."""
        try:
            self.phase = "ready"
            while not stop.is_set():
                if jobs := self._gather(PAUSE_S):
                    self._do(jobs)
                elif self.loop is None:
                    raise RunError("the server has ended by itself", do="start it again")
            self._turn("ending")
            while jobs := self._gather(0):
                self._do(jobs)
        except BaseException:
            self._turn("failed")
            rest = [self.held] if self.held is not None else []
            while not self.jobs.empty():
                rest.append(self.jobs.get_nowait())
            self._answer([(job, Failed("the server has failed")) for job in rest])
            raise

    def _turn(self, phase: Phase) -> None:
        """Into another phase; whatever the loop was putting in is in the queue afterwards."""
        self.phase = phase
        if self.loop is not None:
            seen = Event()
            self.loop.call_soon_threadsafe(seen.set)
            seen.wait(SEEN_S)

    def _next(self, wait_s: float) -> Job | None:
        if (job := self.held) is not None:
            self.held = None
            return job
        try:
            return self.jobs.get(timeout=wait_s) if wait_s > 0 else self.jobs.get_nowait()
        except queue.Empty:
            return None

    def _gather(self, wait_s: float) -> list[Job]:
        """The next jobs: of one model, together at most a batch, or one that is larger."""
        job = self._next(wait_s)
        if job is None:
            return []
        jobs, count = [job], len(job.query.series)
        until = time.monotonic() + self.wait_s if self.together and self.phase == "ready" else 0.0
        while count < self.batch:
            job = self._next(0) or (self._next(until - time.monotonic()) if until else None)
            if job is None:
                break
            if job.model is not jobs[0].model or count + len(job.query.series) > self.batch:
                self.held = job
                break
            jobs.append(job)
            count += len(job.query.series)
        self.together = len(jobs) > 1
        return jobs

    def _do(self, jobs: list[Job]) -> None:
        if gone := [job for job in jobs if job.answer.done()]:  # their requests have waited too long
            self._answer([(job, None) for job in gone])
            jobs = [job for job in jobs if not job.answer.done()]
        if not jobs:
            return
        began = time.perf_counter()
        found = work(jobs[0].model, [job.query for job in jobs])
        self._answer(list(zip(jobs, found, strict=True)))
        statuses = [one["status"] for each in found if not isinstance(each, Exception) for one in each]
        self.metrics.saw(statuses, sum(len(job.query.series) for job in jobs), time.perf_counter() - began)

    def _answer(self, answers: Sequence[tuple[Job, Any]]) -> None:
        if answers and self.loop is not None:
            self.loop.call_soon_threadsafe(self._set, answers)
