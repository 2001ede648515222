"""What the verbs that use a finished run take: evaluate, predict, backtest, serve, export."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from forecast.schemas.choices import (
    Columns,
    Format,
    GraphOf,
    Layout,
    OnBad,
    Part,
    Policy,
    Progress,
    Reconcile,
    Short,
    Workers,
)
from forecast.where import RUNS


@dataclass
class Evaluate:
    """conf/evaluate.yaml."""

    run: str | None = None
    compare: Any = None  # a word or a list of words
    output: str | None = None
    split: Part = Part.test
    batch_size: int | None = None
    save: bool = False
    baseline: Any = None  # a name or a list of names
    baseline_windows: int | None = None
    ensemble: Any = None  # a list of runs
    insight: bool = False
    runs: str = RUNS


@dataclass
class JobEngine:
    """`engine` of conf/predict.yaml: where the shards of a job are worked on. `engine=ray` is `engine.kind=ray`."""

    kind: Workers = Workers.local
    processes: int | None = None
    address: str | None = None
    actors: int | None = None
    cpus: float | None = None
    gpus: float | None = None


@dataclass
class Predict:
    """conf/predict.yaml."""

    run: str = MISSING
    input: str = MISSING
    output: str = MISSING
    covariates: str | None = None
    levels: Any = None  # a number or a list of numbers
    paths: int = 0
    adapt: int = 0
    short: Short | None = None
    hierarchy: str | None = None
    reconcile: Reconcile | None = None
    now: Any = None  # a stamp, a number, or latest
    window: float | None = None
    events: int = 0
    hazard: int = 0
    batch_size: int | None = None
    overwrite: bool = False
    rename: Any = None  # a mapping: column in the input -> column of the training
    layout: Layout = Layout.long
    columns: Columns = Columns.forecast
    horizon: int | None = None
    on_bad: OnBad = OnBad.quarantine
    max_bad_fraction: float = 1.0
    shard_rows: int = 250_000
    shard_bytes: int = 16 << 20
    dry_run: bool = False
    progress: Progress = Progress.text
    engine: JobEngine = field(default_factory=JobEngine)
    runs: str = RUNS


@dataclass
class Backtest:
    """conf/backtest.yaml."""

    run: str = MISSING
    output: str = MISSING
    input: str | None = None
    covariates: str | None = None
    origins: Any = None  # a count, or {first, last}
    step: int = 1
    horizon: int | None = None
    policy: Policy = Policy.window
    refit: str = "never"
    warm: bool = False
    levels: Any = None  # a number or a list of numbers
    baseline: Any = None  # a name or a list of names
    baseline_windows: int | None = None
    batch_size: int | None = None
    overwrite: bool = False
    runs: str = RUNS


@dataclass
class Serve:
    """conf/serve.yaml."""

    run: str = MISSING
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    hosts: Any = None  # a name or a list of names
    max_batch: int = 256
    max_wait_ms: float = 2.0
    queue: int = 4096
    max_body: int = 8 << 20
    max_series: int = 1000
    max_steps: int = 100_000
    rate: float = 2000.0
    timeout_s: float = 10.0
    poll_s: float | None = None
    threads: int = 1
    runs: str = RUNS


@dataclass
class Export:
    """conf/export.yaml."""

    run: str = MISSING
    output: str | None = None
    format: Format | None = None
    graph: GraphOf | None = None
    levels: Any = None
    overwrite: bool = False
    runs: str = RUNS
