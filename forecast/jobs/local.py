"""Shards by processes of this machine. A process that is killed is replaced, and its shard begun again.

Each process has its own pipe, so that it is known which shard died with which process; the pool of the standard
library would fail all shards that wait.
"""

import multiprocessing as mp
import os
import signal
from collections.abc import Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final

from forecast import errors
from forecast.errors import ForecastError, RunError, UsageError
from forecast.jobs.types import Job, Shard
from forecast.ledger import Done

TRIES: Final = 3
# A worker has one thread; more arenas of malloc hold what one has freed and another needs.
ENVIRONMENT: Final = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


class Local:
    """The engine of one machine. processes: None for as many as there are cores, 0 for none but this one."""

    def __init__(self, processes: int | None = None) -> None:
        if processes is not None and processes < 0:
            raise UsageError(f"engine.processes is {processes}", "expected a count, 0 for no process but this one")
        self.processes = cores() if processes is None else processes

    def run(self, job: Job, shards: Sequence[Shard]) -> Generator[Done]:
        """See forecast.jobs.types.Engine."""
        if not shards:
            return
        if not self.processes:
            from forecast.jobs.shard import opened, work

            predictor = opened(job)
            for shard in shards:
                yield work(shard, job, predictor)
            return
        pool = Pool(job, min(self.processes, len(shards)))
        try:
            yield from pool.run(shards)
        finally:
            pool.close()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Worker:
    """A process, this end of its pipe, and what it is working on."""

    def __init__(self, job: Job) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=worker, args=(theirs, job), daemon=True)
        before = {key: os.environ.get(key) for key in ENVIRONMENT}
        os.environ.update(ENVIRONMENT)  # read as its libraries are loaded, so it must have them from the start
        try:
            self.process.start()
        finally:
            for key, value in before.items():
                os.environ.pop(key) if value is None else os.environ.update({key: value})
        theirs.close()
        self.shard: Shard | None = None

    def give(self, shard: Shard) -> None:
        self.shard = shard
        with suppress(OSError):  # it is dead already, which is seen where it is waited for
            self.pipe.send(shard)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Pool:
    """Processes that work on shards of a job."""

    def __init__(self, job: Job, size: int) -> None:
        self.job, self.size = job, size
        self.workers: list[Worker] = []
        self.tries: dict[int, int] = {}

    def run(self, shards: Sequence[Shard]) -> Generator[Done]:
        """The shards as they are done."""
        left = list(reversed(shards))
        while left or any(one.shard is not None for one in self.workers):
            while left and len(self.workers) < self.size:
                self.workers.append(Worker(self.job))
            for one in self.workers:
                if one.shard is None and left:
                    one.give(left.pop())
            ready = wait([one.pipe for one in self.workers if one.shard is not None])
            for one in [each for each in self.workers if each.pipe in ready]:
                made = self.heard(one)
                if made is None:
                    left.append(self.again(one))
                else:
                    yield made

    def heard(self, one: Worker) -> Done | None:
        """What a worker says of its shard; None where it died. What it could not do is raised here."""
        try:
            kind, content = one.pipe.recv()
        except (EOFError, OSError):
            return None
        if kind == "fault":
            name, *parts = content
            raise getattr(errors, name)(*parts)
        if kind == "defect":
            raise RuntimeError(content)
        one.shard = None
        made: Done = content
        return made

    def again(self, one: Worker) -> Shard:
        """The shard of a worker that died, which is given to another one; RunError after the third."""
        shard = one.shard
        assert shard is not None
        self.workers.remove(one)
        one.end()
        self.tries[shard.number] = self.tries.get(shard.number, 0) + 1
        if self.tries[shard.number] >= TRIES:
            raise RunError(
                f"shard {shard.number} ended its process {TRIES} times ({ended(one.process.exitcode)})",
                "expected it to be done", f"memory may be short: try a smaller shard_rows= or engine.processes=1; "
                f"its input begins with {shard.pieces[0].path}",
            )  # fmt: skip
        return shard

    def close(self) -> None:
        for one in self.workers:
            one.end()


def ended(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def worker(pipe: Connection, job: Job) -> None:
    """The process: shards come, what became of them goes; it ends when the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the job decides
    from forecast.jobs.shard import opened, work

    predictor: Any = None
    while True:
        try:
            shard = pipe.recv()
        except EOFError:
            return
        try:
            predictor = opened(job) if predictor is None else predictor
            said: tuple[str, Any] = ("done", work(shard, job, predictor))
        except ForecastError as fault:
            said = ("fault", (type(fault).__name__, fault.found, fault.expected, fault.do))
        except Exception as fault:
            said = ("defect", f"shard {shard.number}: {type(fault).__name__}: {fault}")
        try:
            pipe.send(said)
        except OSError:  # nobody is left who could hear it
            return
