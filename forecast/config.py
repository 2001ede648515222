"""The dataclasses of forecast.schemas, made known to Hydra, and what is checked once a config is composed.

The spine is typed, so a wrong key or a value of the wrong kind is refused while composing. `model`, `head`,
`embed` and `track` are open dictionaries: what they may hold is the signature of the class they name (see
build.py). Once composed they are closed too, so a mistyped key on the command line is refused as well.
`task`, `data` and `optim` name their schema in the first line of their files: a new kind brings its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from forecast.errors import UsageError, nearest
from forecast.schemas import (
    Backtest,
    Classify,
    Evaluate,
    Event,
    Events,
    Export,
    File,
    Folder,
    Forecast,
    Http,
    Kafka,
    Labelled,
    Mqtt,
    Optim,
    Predict,
    Replay,
    Series,
    Serve,
    State,
    Stdin,
    Stream,
    Train,
)
from forecast.where import new_run_name

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
