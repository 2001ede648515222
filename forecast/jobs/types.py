"""What a job is made of: plain values that travel to other processes and machines."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from forecast.ledger import Done

if TYPE_CHECKING:  # torch
    from forecast.inference.frame import Asked


class Piece(NamedTuple):
    """A part of the input that can be read by itself."""

    path: str  # absolute
    groups: tuple[int, ...] | None = None  # row groups of a parquet file; None: all, or another format
    partition: tuple[tuple[str, str | None], ...] = ()  # columns that the folders' names hold: key=value
    columns: tuple[str, ...] | None = None  # of a wide table: the series that are read; None: all, or a long one
    ready: bool = False  # a bucket of ours: a long table under the names of the training
    fault: str | None = None  # what is wrong with the file, found while planning: it is not read


class Shard(NamedTuple):
    """Whole series, as many as one process reads, forecasts and writes at once."""

    number: int
    key: str  # sha256 of all that its output depends on: input, run, settings
    pieces: tuple[Piece, ...]
    bytes: int  # of the input, not compressed; an estimate
    rows: int  # of its pieces; an estimate for text
    low: Any = None  # only ids above this one and …
    high: Any = None  # … up to this one are its; None: no bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that the work on a shard needs to know. Nothing in it holds a file or a tensor."""

    run: str  # folder of the run
    output: str  # folder
    kind: str = "forecast"  # task of the run: forecast, event or classify
    id: str | None = None  # columns of the training: of ids (None: the input is one series), …
    time: str | None = None
    needed: tuple[str, ...] = ()  # … those that each file must have, …
    wanted: tuple[str, ...] = ()  # … and all that are read where they are there
    target: str | None = None  # the column that the values of a wide table are
    rename: tuple[tuple[str, str], ...] = ()  # column in the input → column of the training
    wide: bool = False
    levels: tuple[float, ...] | None = None
    batch_size: int = 256
    short: str | None = None
    on_bad: str = "quarantine"
    horizon: int | None = None
    now: str | None = None
    nixtla: bool = False
    model: str = ""
    version: str = ""
    run_id: str = ""

    @property
    def asked(self) -> "Asked":
        """What `forecast_frame` is asked."""
        from forecast.inference.frame import Asked

        return Asked(self.levels, self.batch_size, self.short, self.on_bad, self.horizon, self.now)  # type: ignore[arg-type]


class Engine(Protocol):
    """Where shards are worked on. A shard that fails for a reason of ours (ForecastError) ends the job with it; one
    whose process dies is tried three times, then RunError."""

    def run(self, job: Job, shards: Sequence[Shard]) -> Generator[Done]:
        """The shards in any order, each as soon as its files are written; closing the iterator ends all workers."""
        ...
