"""From configuration to objects. A `_target_` is looked up in the table below and never imported by its path, so a
configuration, one saved with a foreign run included, can build nothing but what stands here."""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import torch

from forecast import heads, models
from forecast.errors import UsageError, nearest
from forecast.heads import Chain, Output
from forecast.heads.event_chain import EventChain
from forecast.heads.label_chain import LabelChain
from forecast.types import EventSpec, LabelSpec, Spec

if TYPE_CHECKING:
    from forecast.data.event_module import EventModule
    from forecast.data.label_module import LabelModule
    from forecast.data.module import SeriesModule

Config = Mapping[str, Any]

TARGETS: dict[str, Callable[..., Any]] = {
    **{f"forecast.models.{name}": getattr(models, name) for name in models.__all__},
    **{f"forecast.heads.{name}": getattr(heads, name) for name in heads.__all__},
    "torch.optim.Adam": torch.optim.Adam,
    "torch.optim.AdamW": torch.optim.AdamW,
}
OUTPUTS: dict[str, type[Output]] = {
    "point": heads.Point, "quantiles": heads.Quantiles, "normal": heads.Normal, "student_t": heads.StudentT,
    "negative_binomial": heads.NegativeBinomial, "zero_inflated": heads.ZeroInflated,
}  # fmt: skip
NORMS = {"none": models.NoNorm, "instance": models.InstanceNorm, "rolling": models.RollingNorm}

# What build hands over, no key of a config.
GIVEN = (
    "spec", "d_memory", "length", "bare", "layout", "width", "seed", "params", "fused", "marks", "log_mean", "log_std",
    "grid", "extra", "labels", "most", "levels", "nominal", "channels", "missing", "classes", "longest",
)  # fmt: skip


def check(node: Config, where: str) -> Callable[..., Any]:
    """The class that `node` names, once its keys and the kinds of their values are found to fit its constructor."""
    name = node.get("_target_")
    if name not in TARGETS:
        expected = "expected a name this project exports"
        raise UsageError(f"{where}._target_ is {name!r}", expected, nearest(str(name), TARGETS))
    target = TARGETS[name]
    free = [key for key in inspect.signature(target).parameters if key not in GIVEN]
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for key, value in node.items():
        if key == "_target_":
            continue
        if key not in free:
            raise UsageError(f"{where}.{key} is no key of {target.__name__}", do=nearest(key, free))
        if not _fits(value, hints.get(key, Any)):
            raise UsageError(f"{where}.{key} is {value!r}", f"expected {_words(hints[key])}")
    return target


def make(node: Config, where: str, **given: Any) -> Any:
    """Build what `node` names with its keys and, of `given`, those its constructor asks for."""
    target = check(node, where)
    known = inspect.signature(target).parameters
    wanted = {key: value for key, value in given.items() if key in known and key not in node}
    try:
        return target(**wanted, **{key: value for key, value in node.items() if key != "_target_"})
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
        raise UsageError(f"{where}: {error}", "expected sizes that fit each other", f"see {where}.*") from error


def _fits(value: Any, kind: Any) -> bool:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any or isinstance(kind, str):
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is Literal:
        return value in args
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and all(_fits(item, args[0]) for item in value)
    if kind is type(None):
        return value is None
    return not inspect.isclass(kind) or isinstance(value, kind)


def _words(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " | ".join(map(str, args))
    if origin in (Union, types.UnionType):
        return " or ".join(_words(arg) for arg in args)
    if origin in (list, tuple, Sequence):
        return f"a list of {_words(args[0])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", type(None): "null"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def chain(config: Config, spec: Spec, *, masked: bool) -> Chain:
    """The whole model of a run: normalisation, embedding, encoder, head. Weights come from torch's generator.

    An encoder whose config names no width takes that of its embedding.
    """
    if config["norm"] not in NORMS:
        raise UsageError(f"norm is {config['norm']!r}", do=nearest(str(config["norm"]), NORMS))
    seed = int(config["seed"])
    for group in ("model", "embed", "head"):  # all keys first: what is set once may be handed on to other groups
        check(config[group], group)
    _of_kind(config, "forecast")
    embed = make(config["embed"], "embed", spec=spec)
    encoder = make(config["model"], "model", d_model=embed.d_model, seed=seed)
    if encoder.d_model != embed.d_model:
        raise UsageError(
            f"the embedding gives tokens of width {embed.d_model}, the encoder takes {encoder.d_model}",
            do="set embed=value, or embed.d_model to the width of the model",
        )
    length = encoder.out_len(embed.length(spec.context))
    if embed.layout != "steps" and "layout" not in inspect.signature(check(config["head"], "head")).parameters:
        name = config["head"]["_target_"].rpartition(".")[2]
        raise UsageError(f"the embedding gives {embed.layout}, the head {name} reads time steps", do="set head=flat")
    made = output(config)
    given = {"d_memory": encoder.d_model, "length": length, "bare": embed.bare, "layout": embed.layout}
    head = make(config["head"], "head", spec=spec, **given, width=made.width, seed=seed)
    beside: dict[str, Any] = {}
    if spec.known or spec.behind or spec.static:
        tokens = None if embed.bare else models.CovariateTokens(spec, embed.d_model)  # channels take nothing beside
        beside = {"covariates": tokens, "effect": heads.Effect(spec)}
    parts = {"norm": norm(config, spec), "embed": embed, "encoder": encoder, "head": head, "output": made}
    return Chain(**parts, masked=masked, **beside)


def event_chain(config: Config, spec: EventSpec) -> EventChain:
    """The whole model of a run of events: embedding, encoder, head. Every encoder that is causal and gives one token
    for each event will do. Weights come from torch's generator."""
    for group in ("model", "embed", "head"):
        check(config[group], group)
    _of_kind(config, "event")
    if config["norm"] != "none":
        raise UsageError(f"norm is {config['norm']}", "their embedding scales gaps", "leave it out")
    facts = {"marks": len(spec.marks), "log_mean": spec.log_mean, "log_std": spec.log_std, "labels": spec.labels,
             "levels": spec.levels}  # fmt: skip
    embed = make(config["embed"], "embed", **facts, extra=len(spec.extra))
    encoder = make(config["model"], "model", d_model=embed.d_model, seed=int(config["seed"]), nominal=spec.longest)
    _same_width(embed, encoder)
    require(encoder, "event")
    head = make(config["head"], "head", d_memory=encoder.d_model, **facts, grid=spec.grid, most=spec.most)
    return EventChain(embed=embed, encoder=encoder, head=head, spec=spec)


def label_chain(config: Config, spec: LabelSpec) -> LabelChain:
    """The whole model of a run of classification: embedding, encoder, head. Every encoder that gives one token for each
    will do, where the result of a series does not depend on what it is padded to. Weights come from torch's generator.
    """
    for group in ("model", "embed", "head"):
        check(config[group], group)
    _of_kind(config, "classify")
    if config["norm"] != "none":
        raise UsageError(f"norm is {config['norm']}", "data.scale scales labelled series", "leave it out")
    embed = make(config["embed"], "embed", channels=len(spec.channels), missing=spec.missing, longest=spec.longest)
    tokens = embed.length(spec.longest)
    encoder = make(config["model"], "model", d_model=embed.d_model, seed=int(config["seed"]), nominal=tokens)
    _same_width(embed, encoder)
    require(encoder, "classify")
    given = {"d_memory": encoder.d_model, "classes": len(spec.classes), "length": tokens}
    head = make(config["head"], "head", **given)
    return LabelChain(embed=embed, encoder=encoder, head=head, spec=spec, skip=bool(config["task"].get("skip", True)))


def _same_width(embed: Any, encoder: models.Encoder) -> None:
    if encoder.d_model != embed.d_model:
        raise UsageError(
            f"the embedding gives tokens of width {embed.d_model}, the encoder takes {encoder.d_model}",
            do="set embed.d_model to the width of the model",
        )


# What is for a task of its own: its embeddings and heads, the first of each group being the usual one.
OF_TASK: dict[str, tuple[str, dict[str, dict[str, type]]]] = {
    "event": ("events", {"embed": {"event": models.EventEmbedding}, "head": {"next_event": heads.NextEvent}}),
    "classify": ("labelled series", {
        "embed": {"series": models.SeriesEmbedding, "flat_series": models.FlatSeries},
        "head": {"pool": heads.Pool, "flat_label": heads.FlatLabel},
    }),
}  # fmt: skip
USUAL = {"embed": "value", "head": "direct"}  # of series


def _of_kind(config: Config, task: str) -> None:
    """UsageError where the embedding or the head is for another kind of data."""
    for group in ("embed", "head"):
        target = check(config[group], group)
        owner = next((name for name, (_, own) in OF_TASK.items() if target in own[group].values()), "forecast")
        if owner != task:
            called = {name: called for name, (called, _) in OF_TASK.items()}
            fits = next(iter(OF_TASK[task][1][group])) if task in OF_TASK else USUAL[group]
            raise UsageError(
                f"{target.__name__} is for {called.get(owner, 'series')}",
                f"the task is about {called.get(task, 'series')}", f"set {group}={fits}",
            )  # fmt: skip


def require(encoder: models.Encoder, task: str) -> None:
    """UsageError unless there is a token for each that comes in, and it is made of what the task lets it see: an event
    of those before it; what a series is padded with must not matter."""
    name = type(encoder).__name__
    if encoder.out_len(64) > 64:
        raise UsageError(
            f"{name} gives more tokens than it takes", f"task={task} has one for each step", "set model.decompose=0"
            + ("; as a model of its own: experiment=linear_classes" if task == "classify" else ""),
        )  # fmt: skip
    if any(encoder.out_len(length) != length for length in (1, 2, 7, 64)):
        asks = "forecasts after every step" if task == "event" else "takes series of any length"
        raise UsageError(
            f"{name} gives fewer tokens than it takes", f"task={task} {asks}",
            "set model.distil=false and one replica, e.g. model.layers=[2]",
        )  # fmt: skip
    if encoder.causal:
        return
    if task == "event":
        raise UsageError(
            f"{name} looks ahead", f"task={task} needs a model that does not: its forecasts would be of what it saw",
            "set model.causal=true where it has that, or model=aaren",
        )  # fmt: skip
    if isinstance(encoder, models.Informer):
        raise UsageError(
            f"{name} that looks ahead gives a padded series another result", "expected one that does not depend on it",
            "set model.causal=true",
        )  # fmt: skip


def norm(config: Config, spec: Spec) -> models.NoNorm:
    """The normalisation named in the config; a rolling one forgets half within config.half_life steps, by default a
    context."""
    kind = NORMS[config["norm"]]
    if kind is not models.RollingNorm:
        return kind()
    try:
        return kind(config.get("half_life") or spec.context)
    except ValueError as error:
        raise UsageError(str(error)) from error


def output(config: Config) -> Output:
    """What a forecast is made of, `task.output`; what an older run does not say is what there was then."""
    task = config.get("task") or {}
    name, frequency = task.get("output", "point"), task.get("frequency", 0.0)
    if name not in OUTPUTS:
        raise UsageError(f"task.output is {name!r}", do=nearest(str(name), OUTPUTS))
    try:
        if name == "point":
            return heads.Point(task.get("loss", "mse"), frequency=frequency)
        if name == "quantiles":
            return heads.Quantiles(task["levels"], frequency=frequency)
        return OUTPUTS[name](frequency=frequency)
    except (ValueError, TypeError) as error:
        raise UsageError(" ".join(str(error).split())) from error


def task_of(config: Config) -> str:
    """forecast, event or classify; a record that does not say is of an older run, and those were forecasts."""
    return str((config.get("task") or {}).get("name", "forecast"))


def event_data(config: Config) -> "EventModule":
    """The data module of a run of events, not yet prepared."""
    from forecast.data.event_module import EventModule

    settings = {key: value for key, value in config["data"].items() if value is not None}
    return EventModule(**settings, survival=config["task"].get("survival", True))


def label_data(config: Config) -> "LabelModule":
    """The data module of a run of classification, not yet prepared."""
    from forecast.data.label_module import LabelModule

    return LabelModule(**{key: value for key, value in config["data"].items() if value is not None})


def data(config: Config) -> "SeriesModule":
    """The data module of a run, not yet prepared."""
    from forecast.data.folder_module import FolderModule  # Lightning: only training and scoring pay for its import
    from forecast.data.module import SeriesModule

    settings = {key: value for key, value in config["data"].items() if value is not None}
    if isinstance(settings.get("missing"), int | float):
        settings["missing"] = [settings["missing"]]
    # Which of the two a config is for, its keys say: the schema of a folder alone has a cache.
    return FolderModule(**settings) if "cache" in config["data"] else SeriesModule(**settings)


def data_of(config: Config) -> "SeriesModule | EventModule | LabelModule":
    """The data module of a run of any task, not yet prepared."""
    kinds: dict[str, Callable[[Config], Any]] = {"event": event_data, "classify": label_data}
    made: SeriesModule | EventModule | LabelModule = kinds.get(task_of(config), data)(config)
    return made


def optimiser(config: Config) -> Callable[[Any], torch.optim.Optimizer]:
    """parameters -> optimiser, from the group `optim` less its schedule."""
    node = {key: value for key, value in config["optim"].items() if key not in ("schedule", "warmup")}
    if "betas" in node:
        node["betas"] = tuple(node["betas"])
    trainer = config["trainer"]  # Lightning clips no gradients of a fused optimiser in mixed precision
    fused = trainer["clip"] is None or not trainer["precision"].endswith("-mixed")
    return lambda params: make(node, "optim", params=params, fused=fused)


def parameters(module: torch.nn.Module) -> int:
    """Count of trained numbers."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
