"""What a config may hold: one dataclass per verb, registered with Hydra, and what is checked after composing.

The spine is typed, so a wrong key or a value of the wrong kind is refused while composing. `model`, `head`,
`embed` and `track` are open dictionaries: what they may hold is the signature of the class they name (see
build.py). Once composed they are closed too, so a mistyped key on the command line is refused as well.
`task`, `data` and `optim` name their schema in the first line of their files: a new kind brings its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from forecast.errors import UsageError, nearest
from forecast.where import RUNS, new_run_name


class Norm(StrEnum):
    none = "none"
    instance = "instance"
    rolling = "rolling"


class Loss(StrEnum):
    mse = "mse"
    mae = "mae"
    huber = "huber"


class Out(StrEnum):
    point = "point"
    quantiles = "quantiles"
    normal = "normal"
    student_t = "student_t"
    negative_binomial = "negative_binomial"
    zero_inflated = "zero_inflated"


class Gaps(StrEnum):
    error = "error"
    fill = "fill"
    mask = "mask"


class Scale(StrEnum):
    standard = "standard"
    mean = "mean"
    none = "none"


class Sample(StrEnum):
    window = "window"
    series = "series"


class Short(StrEnum):
    error = "error"
    mask = "mask"


class Reconcile(StrEnum):
    bottom_up = "bottom_up"
    ols = "ols"
    wls = "wls"
    mint = "mint"


class Twice(StrEnum):
    keep = "keep"
    drop = "drop"


class Balance(StrEnum):
    none = "none"
    sqrt = "sqrt"
    inverse = "inverse"


class Format(StrEnum):
    onnx = "onnx"
    torch = "torch"


class GraphOf(StrEnum):
    step = "step"
    window = "window"


class Policy(StrEnum):
    window = "window"
    start = "start"
    both = "both"


class Sync(StrEnum):
    full = "full"
    normal = "normal"


class Engine(StrEnum):
    auto = "auto"
    onnx = "onnx"
    torch = "torch"


class Layout(StrEnum):
    long = "long"
    wide = "wide"


class Columns(StrEnum):
    forecast = "forecast"
    nixtla = "nixtla"


class OnBad(StrEnum):
    quarantine = "quarantine"
    fallback = "fallback"
    error = "error"


class Progress(StrEnum):
    text = "text"
    json = "json"
    none = "none"


class Workers(StrEnum):
    local = "local"
    ray = "ray"


class Schedule(StrEnum):
    constant = "constant"
    halve = "halve"
    cosine = "cosine"
    plateau = "plateau"


class Part(StrEnum):
    train = "train"
    val = "val"
    test = "test"


# These have dashes in their names, so they cannot be written as class bodies.
Precision = StrEnum("Precision", ["32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed", "16-true"])
Accelerator = StrEnum("Accelerator", ["auto", "cpu", "gpu", "cuda", "mps", "tpu"])


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
    baseline: Any = None  # a name or a list of names
    baseline_windows: int | None = None
    quiet: bool = False


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
class Stdin:
    """conf/feed/stdin.yaml."""

    kind: str = "stdin"
    batch: int = 1000
    wait_ms: float = 5.0


@dataclass
class File:
    """conf/feed/file.yaml."""

    kind: str = "file"
    path: str = MISSING
    batch: int = 1000
    follow: bool = False


@dataclass
class Http:
    """conf/feed/http.yaml."""

    kind: str = "http"
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    hosts: Any = None  # a name or a list of names
    batch: int = 1000
    queue: int = 256
    max_body: int = 8 << 20
    max_series: int = 1_000_000
    keep: int = 1000
    listeners: int = 100


@dataclass
class Replay:
    """conf/feed/replay.yaml."""

    kind: str = "replay"
    path: str = MISSING
    batch: int = 1000
    windowed: bool | None = None
    scores: str | None = None


@dataclass
class Mqtt:
    """conf/feed/mqtt.yaml."""

    kind: str = "mqtt"
    host: str = "127.0.0.1"
    port: int = 1883
    topic: str = "readings/#"
    qos: int = 1
    client: str = "forecast"
    publish: str | None = "forecasts"
    username: str | None = None
    password_env: str | None = None
    tls: bool = False
    version: str = "5"
    batch: int = 1000
    wait_ms: float = 5.0
    queue: int = 10_000
    timeout_s: float = 30.0


@dataclass
class Kafka:
    """conf/feed/kafka.yaml."""

    kind: str = "kafka"
    servers: str = "127.0.0.1:9092"
    topic: str = MISSING
    group: str = "forecast"
    publish: str | None = None
    batch: int = 1000
    wait_ms: float = 5.0
    timeout_s: float = 30.0
    settings: Any = None  # of librdkafka, by name


@dataclass
class State:
    """conf/state/store.yaml."""

    path: str | None = None
    sync: Sync = Sync.full
    most: int = 1_000_000


@dataclass
class Stream:
    """conf/stream.yaml."""

    run: str = MISSING
    feed: Any = MISSING
    output: str | None = None
    rejects: str | None = None
    every: bool = True
    levels: Any = None  # a number or a list of numbers
    gaps: Gaps | None = None
    longest: float | None = None
    rewind: int = 0
    correct: bool = False
    alarms: float = 0.001
    engine: Engine = Engine.auto
    threads: int | None = None
    state: State = field(default_factory=State)
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


VERBS = ("train", "evaluate", "predict", "backtest", "stream", "serve", "export")

# What to say about a key that has no default and was not given.
NEEDED = {
    "run": "run=latest, the id of a run or the path of its folder",
    "input": "input=FILE, a csv or parquet file",
    "output": "output=FILE, the file to write",
    "data.path": "data.path=FILE, a csv or parquet file",
    "feed.path": "feed.path=FILE, a file of JSON lines",
    "feed.topic": "feed.topic=NAME, a topic of readings",
}


def sweep_folder(runs: str) -> str:
    """A new folder for the jobs of a sweep."""
    return f"{runs}/sweep/{new_run_name()}"


def register(sweep: Callable[[str], str] = sweep_folder) -> None:
    """Make the schemas known to Hydra, and `${sweep_folder:RUNS}`; it may be called again."""
    store = ConfigStore.instance()
    store.store(name="schema_train", node=Train)
    store.store(name="schema_evaluate", node=Evaluate)
    store.store(name="schema_predict", node=Predict)
    store.store(name="schema_backtest", node=Backtest)
    store.store(name="schema_stream", node=Stream)
    store.store(group="state", name="schema_state", node=State)
    for feed in (Stdin, File, Replay, Http, Mqtt, Kafka):
        store.store(group="feed", name=f"schema_{feed.kind}", node=feed)
    store.store(name="schema_serve", node=Serve)
    store.store(name="schema_export", node=Export)
    store.store(group="task", name="schema_forecast", node=Forecast)
    store.store(group="task", name="schema_event", node=Event)
    store.store(group="task", name="schema_classify", node=Classify)
    store.store(group="data", name="schema_series", node=Series)
    store.store(group="data", name="schema_folder", node=Folder)
    store.store(group="data", name="schema_events", node=Events)
    store.store(group="data", name="schema_labelled", node=Labelled)
    store.store(group="optim", name="schema_optim", node=Optim)
    # Cached, so that all jobs of a sweep see the same name.
    OmegaConf.register_new_resolver("sweep_folder", sweep, use_cache=True, replace=True)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The config with its interpolations resolved, as JSON types only."""
    made = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True, throw_on_missing=True)
    if not isinstance(made, dict):
        raise TypeError(f"a config is a mapping, not {type(made).__name__}")
    return {str(key): value for key, value in made.items()}


def check(cfg: DictConfig) -> None:
    """Refuse a composed config in which something is still to be said, refers to nothing, or was added.

    Raises UsageError for a key without a value, an interpolation that cannot be resolved, and for what
    `+key=value` or `~key` did to the spine.
    """
    spine(cfg, "")
    fitting(cfg)
    try:
        missing = OmegaConf.missing_keys(cfg)
        OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as fault:
        said = (fault.msg or str(fault)).split("\n")[0]
        raise UsageError(f"{fault.full_key} cannot be resolved", said, "set it to a value") from fault
    data = OmegaConf.select(cfg, "data")
    if data is not None and not any(data.get(key) for key in ("card", "path", "hawkes")):
        missing |= {"data.path"}
    if OmegaConf.get_type(cfg) is Evaluate and cfg.run is None and cfg.compare is None and cfg.ensemble is None:
        missing |= {"run"}
    if missing:
        key = next((name for name in NEEDED if name in missing), min(missing))
        raise UsageError(f"{key} is not set", "it has no default", f"set {NEEDED.get(key, f'{key}=…')}")


# Of each task: the schema of its data, what they are called, and an example.
FITTING: dict[type, tuple[type, str, str]] = {
    Forecast: (Series, "series", "electricity"),
    Event: (Events, "events", "retail"),
    Classify: (Labelled, "labelled series", "japanese_vowels"),
}


def fitting(cfg: DictConfig) -> None:
    """UsageError where the data are not of the kind that the task is about."""
    task, data = (OmegaConf.get_type(cfg, key) if key in cfg else None for key in ("task", "data"))
    data = Series if data is Folder else data
    if task not in FITTING or data is None or data is FITTING[task][0]:
        return
    for other, (schema, called, _) in FITTING.items():
        if data is schema:
            raise UsageError(
                f"task={cfg.task.name} with {cfg.data.get('card') or 'these data'}, which are {called}",
                f"expected {FITTING[task][1]}",
                f"set task={other.__name__.lower()}, or data, e.g. data={FITTING[task][2]}",
            )


def spine(node: Any, above: str) -> None:
    """Raise UsageError where a typed part of the config has other keys than its dataclass."""
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return
    schema = OmegaConf.get_type(node)
    if is_dataclass(schema):
        valid = {each.name for each in fields(schema)}
        for key in node:
            if key not in valid:
                raise UsageError(f"{above}{key!s} was added", "expected no new key", nearest(str(key), valid))
        for name in sorted(valid - set(node)):
            raise UsageError(f"{above}{name} was removed", "expected a value", "set it, or leave it as it is")
    for key in node:
        spine(node._get_node(key), f"{above}{key!s}.")


def dotted(cfg: Any, above: str = "") -> Iterator[str]:
    """Every key of a config by its full name, `trainer.max_epochs`; Hydra's own settings are left out."""
    if not isinstance(cfg, DictConfig) or cfg._is_none() or cfg._is_missing():
        return
    for key in cfg:
        if above or key != "hydra":
            name = f"{above}.{key!s}" if above else str(key)
            yield name
            yield from dotted(cfg._get_node(key), name)
