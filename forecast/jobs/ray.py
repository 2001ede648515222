"""Shards by the machines of a Ray cluster; and a Ray Dataset of series → one of forecasts.

The driver of Ray (forecast/jobs/driver.py) is a process of its own: what Ray writes on the terminal goes to a file, and
where Ray ends its driver, since the cluster is gone, the job ends with one line.
"""

import multiprocessing as mp
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forecast import errors
from forecast.errors import RunError, UsageError
from forecast.jobs.cluster import env, imported, missing
from forecast.jobs.driver import LOG, Asking, drive, mapped, predictor
from forecast.jobs.local import ended
from forecast.jobs.types import Job, Shard
from forecast.ledger import Done

if TYPE_CHECKING:  # torch
    import pyarrow as pa

    from forecast.inference.frame import Asked

END_S: Final = 20.0  # for a cluster of this machine to be taken down


class Ray:
    """The engine of a cluster. address: of a running one, or auto; None: one of this machine alone. actors: None for as
    many as fit; cpus, gpus: of each, which may be shares of one."""

    def __init__(
        self, address: str | None = None, actors: int | None = None, cpus: float | None = None,
        gpus: float | None = None,
    ) -> None:  # fmt: skip
        if actors is not None and actors < 1:
            raise UsageError(f"engine.actors is {actors}", "expected at least 1")
        for name, value in (("cpus", cpus), ("gpus", gpus)):
            if value is not None and value < 0:
                raise UsageError(f"engine.{name} is {value:g}", "expected 0 or more")
        self.asking = Asking(address, actors, 1.0 if cpus is None else cpus, gpus or 0.0)
        if not self.asking.cpus + self.asking.gpus:
            raise UsageError("engine.cpus=0 without engine.gpus", "expected a share of a core for each actor")
        if find_spec("ray") is None:
            raise missing("ray")

    def run(self, job: Job, shards: Sequence[Shard]) -> Generator[Done]:
        """See forecast.jobs.types.Engine."""
        if not shards:
            return
        with (
            tempfile.TemporaryDirectory(prefix="ray-", dir=short(), ignore_cleanup_errors=True) as folder,
            driving(self.asking, job, shards, Path(folder)) as (process, pipe),
        ):
            yield from heard(process, pipe, Path(folder) / LOG)


def short() -> str | None:
    """Where the files of a cluster of this machine may be: the path of a socket has at most 107 characters, and Ray
    takes 75 of them."""
    return None if len(tempfile.gettempdir()) < 25 else "/tmp"


@contextmanager
def driving(asking: Asking, job: Job, shards: Sequence[Shard], folder: Path) -> Iterator[tuple[Any, Connection]]:
    """The driver at work, and the pipe by which it tells; it has ended when the block has."""
    context = mp.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=drive, args=(theirs, asking, job, list(shards), str(folder)))
    process.start()
    theirs.close()
    try:
        yield process, pipe
    finally:
        pipe.close()  # which it hears
        process.join(END_S)
        process.kill()
        process.join()


def heard(process: Any, pipe: Connection, log: Path) -> Iterator[Done]:
    """What became of each shard, as it is told; what could not be done is raised here."""
    while True:
        try:
            kind, content = pipe.recv()
        except (EOFError, OSError) as error:
            process.join(END_S)
            lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
            said = [line.strip() for line in lines if line.strip()]
            raise RunError(
                f"the driver of Ray has ended ({ended(process.exitcode)}): {said[-1] if said else 'it says nothing'}",
                "expected a cluster that lives", "run the same command again: it goes on with what is left",
            ) from error  # fmt: skip
        if kind == "end":
            return
        if kind == "fault":
            name, *parts = content
            raise getattr(errors, name)(*parts)
        if kind == "defect":
            raise RuntimeError(content)
        yield content


def predict_dataset(
    dataset: Any, run: "str | Path", asked: "Asked | None" = None, *, actors: int = 1, cpus: float = 1.0,
    gpus: float = 0.0,
) -> Any:  # fmt: skip
    """A Ray Dataset of forecasts, of a Ray Dataset whose blocks hold whole series in the columns of the training.

    Its columns are those of `forecast_frame`. `run`: the path of a run's folder that every machine can read. Lazy, as
    Ray Data is; what is wrong with the table or with what is asked is raised as it is executed.
    """
    from forecast.inference.frame import Asked

    imported()
    words = (str(Path(run).expanduser().absolute()), Asked() if asked is None else asked, gpus > 0)
    asking = Asking(None, actors, cpus, gpus)
    return mapped(dataset, Forecasting, words, asking, actors, batch_size=None, env=env())


class Forecasting:
    """An actor that makes forecasts of a block of whole series."""

    def __init__(self, run: str, asked: "Asked", card: bool) -> None:
        self.job, self.asked, self.card = Job(run=run, output=""), asked, card
        self.predictor: Any = None

    def __call__(self, block: "pa.Table") -> "pa.Table":
        import polars as pl

        from forecast.inference.frame import forecast_frame

        if self.predictor is None:
            self.predictor = predictor(self.job, self.card)
        table = pl.DataFrame(pl.from_arrow(block))
        return forecast_frame(table, self.predictor, self.asked).to_arrow(compat_level=pl.CompatLevel.oldest())
