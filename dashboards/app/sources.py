"""Where pages read from: run folders, MLflow's server, outputs of jobs, a live stream."""

from pathlib import Path
from typing import NamedTuple

from forecast.dashboards import load


class Card(NamedTuple):
    """What is known of a run without opening more than its metrics.json and env.json."""

    id: str
    path: Path | None  # None: known to MLflow only
    kind: str  # series, events, classes
    dataset: str
    model: str
    seed: int | None
    horizon: int | None
    context: int | None
    started: str  # UTC, ISO
    finished: bool
    group: str  # runs of one line of the leaderboard have the same: the digest of all but the seed
    rows: tuple[load.Row, ...]  # of its score table: the model, naive rows, baselines
    parameters: int | None
    seconds: float | None  # to fit
    memory: float | None  # MiB, peak
    damage: str = ""  # why it cannot be read


class Sources:
    """Everything a page may ask for. Safe for several threads; answers are kept until a file changes."""

    def __init__(
        self, runs: Path, mlflow: str | None = None, stream: str | None = None, jobs: tuple[Path, ...] = ()
    ) -> None:
        self.folder = runs  # runs/, which holds train/, backtest/, compare/
        self.mlflow = mlflow  # http://127.0.0.1:5000
        self.stream = stream  # http://127.0.0.1:8000, of forecast stream feed=http
        self.jobs = jobs  # folders given on the command line, besides those found below the working directory
