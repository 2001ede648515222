"""What `forecast train` takes: tasks, data, optimiser, trainer."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from forecast.schemas.choices import (
    Accelerator,
    Balance,
    Gaps,
    Loss,
    Norm,
    Out,
    Precision,
    Sample,
    Scale,
    Schedule,
    Twice,
)
from forecast.where import RUNS


@dataclass
class Forecast:
    """conf/task/forecast.yaml: steps in, steps out, what a forecast is made of, and its loss."""

    name: str = "forecast"
    context: int = MISSING
    horizon: int = MISSING
    output: Out = Out.point
    loss: Loss = Loss.mse
    levels: list[float] = field(default_factory=lambda: [0.05, 0.25, 0.5, 0.75, 0.95])
    frequency: float = 0.0
    calibrate: bool = True
    min: float | None = None
    max: float | None = None
    causal: bool = False
    aligned: bool = False


@dataclass
class Event:
    """conf/task/event.yaml: what is learned from, and which horizon is scored beside the next event."""

    name: str = "event"
    survival: bool = True
    window: float | None = None
    paths: int = 32
    origins: int = 256
    causal: bool = True
    aligned: bool = True


@dataclass
class Augment:
    """The changes that each batch of a classifier's training undergoes; 0: none. See forecast.tasks.augment."""

    jitter: float = 0.0
    scale: float = 0.0
    warp: float = 0.0
    channel_dropout: float = 0.0
    mixup: float = 0.0


@dataclass
class Classify:
    """conf/task/classify.yaml: what is learned from, how, and what stands beside it."""

    name: str = "classify"
    d_model: int = 64
    layers: int = 1
    skip: bool = True
    refit: bool = True
    rival: bool = True
    balance: Balance = Balance.none
    encoder_lr: float = 1.0
    smoothing: float = 0.0
    average: float | None = None
    augment: Augment = field(default_factory=Augment)
    causal: bool = True
    aligned: bool = True


@dataclass
class Labelled:
    """conf/data/labelled.yaml and those built on it: the arguments of forecast.data.LabelModule."""

    card: str | None = None
    path: str | None = None
    test: str | None = None
    id: str | None = None
    time: str | None = None
    label: str | None = None
    channels: Any = None  # a name or a list of names
    missing: Any = None  # a number or a list of numbers that mean "not observed"
    splits: Any = None  # shares or lists of ids
    val: float = 0.2
    scale: Scale = Scale.standard
    batch_size: int = 16
    places: int = 65536
    seed: int = MISSING


@dataclass
class Events:
    """conf/data/events.yaml and those built on it: the arguments of forecast.data.EventModule."""

    card: str | None = None
    path: str | None = None
    id: str | None = None
    time: str | None = None
    mark: str | None = None
    labels: str | None = None
    unit: str | None = None
    grid: float | None = None
    floor: float | None = None
    twice: Twice | None = None
    covariates: Any = None  # a name or a list of names
    periods: Any = None  # day, week, year, numbers, or a list of them
    splits: Any = None  # dates, shares or lists of ids
    hawkes: Any = None  # a process to simulate
    batch_size: int = 64
    longest: int = 2048
    places: int = 65536
    seed: int = MISSING


@dataclass
class Series:
    """conf/data/*.yaml: the arguments of forecast.data.SeriesModule."""

    card: str | None = None
    path: str | None = None
    time: str | None = None
    id: str | None = None
    target: Any = None  # a name or a list of names
    past: Any = None
    known: Any = None
    static: Any = None
    categories: Any = None
    covariates: str | None = None
    freq: str | None = None
    zone: str | None = None
    season: int | None = None
    missing: Any = None  # a number or a list of numbers that mean "not observed"
    splits: Any = None  # shares, rows or dates of train, val and test
    holidays: Any = None  # a country or a list of countries, a table of days
    gaps: Gaps = Gaps.error
    scale: Scale = Scale.standard
    min_context: int | None = None
    sample: Sample = Sample.window
    weight: str | None = None
    context: int = MISSING
    horizon: int = MISSING
    stride: int = 1
    batch_size: int = 32
    workers: int = 0
    seed: int = MISSING


@dataclass
class Folder:
    """conf/data/folder.yaml: the arguments of forecast.data.FolderModule."""

    card: str | None = None
    path: str | None = None
    cache: str | None = None
    time: str | None = None
    id: str | None = None
    target: Any = None  # a name or a list of names
    past: Any = None
    freq: str | None = None
    zone: str | None = None
    season: int | None = None
    missing: Any = None  # a number or a list of numbers that mean "not observed"
    splits: Any = None  # shares, rows or dates of train, val and test
    holidays: Any = None  # a country or a list of countries, a table of days
    gaps: Gaps = Gaps.error
    scale: Scale = Scale.standard
    min_context: int | None = None
    sample: Sample = Sample.window
    weight: str | None = None
    context: int = MISSING
    horizon: int = MISSING
    stride: int = 1
    batch_size: int = 64
    workers: int = 0
    seed: int = MISSING


@dataclass
class Optim:
    """conf/optim/*.yaml: a torch.optim class, its arguments, and the schedule of its learning rate."""

    _target_: str = MISSING
    lr: float = MISSING
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.0
    schedule: Schedule = Schedule.cosine
    warmup: int = 0


@dataclass
class Trainer:
    """conf/trainer/*.yaml: how long, where and how exactly; lengths in epochs unless the name says steps."""

    max_epochs: int = 10
    max_steps: int = -1
    max_time: str | None = None
    patience: int | None = 3
    accelerator: Accelerator = Accelerator["auto"]
    devices: int | str = 1
    nodes: int = 1
    strategy: str = "auto"
    precision: Precision = Precision["32-true"]
    accumulate: int = 1
    clip: float | None = 1.0
    compile: bool = False
    deterministic: bool = True
    val_every: float = 1.0
    save_every: int | None = 500
    limit_train_batches: int | float = 1.0
    threads: int | None = None


@dataclass
class Train:
    """conf/train.yaml."""

    task: Any = MISSING
    model: dict[str, Any] = MISSING
    head: dict[str, Any] = MISSING
    embed: dict[str, Any] = MISSING
    data: Any = MISSING
    optim: Any = MISSING
    trainer: Trainer = field(default_factory=Trainer)  # not MISSING: omegaconf cannot expand a union later
    track: dict[str, Any] = MISSING
    norm: Norm = Norm.none
    half_life: float | None = None
    seed: int = 1
    name: str | None = None
    budget: str | None = None
    resume: str | None = None
    runs: str = RUNS
    predictions: bool = True
    insight: bool = True
    baseline: Any = None  # a name or a list of names
    baseline_windows: int | None = None
    quiet: bool = False
