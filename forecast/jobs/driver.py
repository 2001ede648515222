"""The process that tells a Ray cluster what to do: shards go through Ray Data to actors, each of which keeps the
predictor and has one shard at a time.

Ray gives the shard of an actor that died to another one, and again for as long as that one dies too. So shards are
counted as they begin, by an actor that does nothing else, and given up after the third time.
"""

import math
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

from forecast import __version__
from forecast.errors import ForecastError, RunError, UsageError
from forecast.jobs.cluster import cluster, fitting
from forecast.jobs.local import TRIES, cores
from forecast.jobs.types import Job, Shard
from forecast.ledger import Done

SAID: Final = "said"  # the column of what a worker says, a pickle as Ray's own messages are
SHARD: Final = "shard"
LOG: Final = "driver.log"
Message = tuple[str, Any]  # done, fault, defect or end; and what of it


class Asking(NamedTuple):
    """The settings of engine=ray."""

    address: str | None
    actors: int | None
    cpus: float
    gpus: float


def drive(pipe: Connection, asking: Asking, job: Job, shards: list[Shard], folder: str) -> None:
    """The process: all that it finds out goes into the pipe; it ends when the other end of that is closed."""
    log = os.open(Path(folder) / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the job decides
    threading.Thread(target=watch, args=(pipe,), daemon=True).start()
    try:
        for said in messages(asking, job, shards, Path(folder)):
            pipe.send(said)
        last: Message = "end", None
    except ForecastError as fault:
        last = "fault", (type(fault).__name__, fault.found, fault.expected, fault.do)
    except BrokenPipeError:
        return
    except Exception as fault:
        last = "defect", f"engine=ray: {type(fault).__name__}: {fault}"
    with suppress(BrokenPipeError):
        pipe.send(last)


def watch(pipe: Connection) -> None:
    """End this process as soon as nobody is left who could hear it."""
    with suppress(EOFError, OSError):
        pipe.recv()
    os.kill(os.getpid(), signal.SIGTERM)


def messages(asking: Asking, job: Job, shards: list[Shard], folder: Path) -> Iterator[Message]:
    """What workers say, as soon as they do; RunError where Ray gives up."""
    need = math.ceil((asking.actors or 1) * asking.cpus)
    with cluster(asking.address, max(cores(), need), folder) as ray:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # Ray has set its own
        quiet(ray)
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        actors = min(fitting(machines, asking.cpus, asking.gpus), asking.actors or len(shards), len(shards))
        tries = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Tries).remote()
        rows = [{SHARD: pickle.dumps(shard)} for shard in shards]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        made = mapped(data, Worker, (job, tries, __version__, asking.gpus > 0), asking, actors, batch_size=1)
        try:
            for batch in made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                yield from (pickle.loads(said) for said in batch[SAID].to_pylist())
        except ray.exceptions.RayError as error:
            raise gave_up(error) from error


def quiet(ray: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray 2.60 warns of a setting of its own
        context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False


def gave_up(error: Exception) -> RunError:
    """For what Ray says of its actors."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "No module named 'forecast" in str(error):
        do = "install the same forecast on every machine of the cluster"
    else:
        do = "run the same command again: it goes on with what is left"
    return RunError(f"Ray gave up: {lines[-1]}", "expected actors that live", do)


def mapped(
    data: Any, worker: type, words: tuple[Any, ...], asking: Asking, actors: int, *, batch_size: int | None,
    env: dict[str, Any] | None = None,
) -> Any:  # fmt: skip
    """The Ray Dataset of what actors make of a Ray Dataset; each has one batch at a time. env: what their processes are
    started with, where that is another environment than the job's."""
    import ray

    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors, max_tasks_in_flight_per_actor=1)
    return data.map_batches(
        worker, fn_constructor_args=words, batch_size=batch_size, batch_format="pyarrow", compute=pool,
        num_cpus=asking.cpus, num_gpus=asking.gpus or None, runtime_env=env,
    )  # fmt: skip


def predictor(job: Job, card: bool) -> Any:
    """The predictor of the job's run; card: with its chain on the GPU of this process."""
    from forecast.jobs.shard import opened

    if not card:
        return opened(job)
    from forecast.jobs.device import on_card

    return on_card(opened(job))


class Tries:
    """How often each shard was begun."""

    def __init__(self) -> None:
        self.begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        """Times that it was begun before."""
        before = self.begun.get(number, 0)
        self.begun[number] = before + 1
        return before


class Worker:
    """An actor of a job: takes a shard, says what became of it. What is wrong is said too, and never raised, for Ray
    would try it again."""

    def __init__(self, job: Job, tries: Any, version: str, card: bool = False) -> None:
        self.job, self.tries, self.version, self.card = job, tries, version, card
        self.predictor: Any = None

    def __call__(self, batch: Any) -> Any:
        import pyarrow as pa

        said = [pickle.dumps(self.said(pickle.loads(shard))) for shard in batch[SHARD].to_pylist()]
        return pa.table({SAID: pa.array(said, pa.binary())})

    def said(self, shard: Shard) -> Message:
        try:
            return "done", self._made(shard)
        except ForecastError as fault:
            return "fault", (type(fault).__name__, fault.found, fault.expected, fault.do)
        except Exception as fault:
            return "defect", f"shard {shard.number}: {type(fault).__name__}: {fault}"

    def _made(self, shard: Shard) -> Done:
        import ray

        from forecast.jobs.shard import work

        if self.version != __version__:
            raise UsageError(
                f"forecast is {__version__} on {os.uname().nodename}", f"expected {self.version}, which began the job",
                "install the same forecast on every machine of the cluster",
            )  # fmt: skip
        if ray.get(self.tries.begin.remote(shard.number)) >= TRIES:
            raise RunError(
                f"shard {shard.number} ended its actor {TRIES} times", "expected it to be done",
                f"memory may be short: try a smaller shard_rows= or engine.actors=1; "
                f"its input begins with {shard.pieces[0].path}",
            )  # fmt: skip
        if self.predictor is None:
            self.predictor = predictor(self.job, self.card)
        return work(shard, self.job, self.predictor)
