"""The leaderboard: finished runs, grouped by what they were asked to forecast, a line for each model and its settings.

Only runs over the same test windows of the same data, scaled alike, stand in one table. Lines are in the order of the
validation score, by which one chooses; a line's difference is to the model `none` of the same embedding, norm and head
where there is one, else to the `none` of the best validation.
"""

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from forecast.dashboards import paired
from forecast.dashboards.load import Run

CONTROL = "none"
PARTS = ("model", "embed", "norm", "head")
# What may differ between runs of one line: which run it is, where it ran, what was written.
NOT_OF_THE_LINE = (
    "seed",
    "data.seed",
    "name",
    "resume",
    "runs",
    "quiet",
    "predictions",
    "data.path",
    "data.card",
    "baseline",
    "baseline_windows",
)
BUDGET = ("budget", "trainer.max_epochs", "trainer.max_steps", "trainer.max_time", "trainer.limit_train_batches")
NOT_OF_THE_LINE_GROUPS = ("track.", "trainer.threads", "trainer.devices", "trainer.save_every", "data.workers")


class Setting(NamedTuple):
    """What a group of runs was asked to forecast; `facts` are what must be equal within it."""

    dataset: str
    context: int
    horizon: int
    facts: dict[str, str]

    @property
    def title(self) -> str:
        return f"{self.dataset} {self.context} → {self.horizon}"


class Interval(NamedTuple):
    """A difference to the control; `low` and `high` are None where there is no interval."""

    value: float
    low: float | None
    high: float | None


class Line(NamedTuple):
    """The runs of one model with one set of settings, a run for each seed."""

    parts: tuple[str, str, str, str]  # model, embed, norm, head
    variant: str  # settings in which lines of equal parts differ
    runs: list[Run]
    chosen: bool  # the best validation of its model
    delta: dict[str, Interval]  # mse, mae; empty for the control and without one
    against: str  # the control's embed, norm and head
    basis: str  # what the interval is of

    @property
    def seeds(self) -> list[int]:
        return [int(run.metrics.get("seed") or 0) for run in self.runs]

    def values(self, key: str) -> list[float]:
        """A test score (mse, mae: scaled) or the validation MSE (val) of each run."""
        if key == "val":
            return [_number(run.part("best").get("val/mse")) for run in self.runs]
        return [next((row.scaled.get(key, math.nan) for row in run.rows if row.kind == "model"), math.nan)
                for run in self.runs]  # fmt: skip

    def fact(self, *path: str) -> float | None:
        """The mean of a number in metrics.json, where all runs recorded it."""
        found = []
        for run in self.runs:
            value: Any = run.metrics
            for key in path:
                value = value.get(key) if isinstance(value, Mapping) else None
            found.append(value)
        return statistics.fmean(found) if all(isinstance(value, int | float) for value in found) else None


class Group(NamedTuple):
    """A table: the lines of a setting by validation, and the naive forecasts that every run recorded."""

    setting: Setting
    lines: list[Line]
    naive: list[tuple[str, float, float]]  # name, mse, mae (scaled)
    beside: list[tuple[str, float, float]]  # the models named beside them, of all runs that had them
    windows: int
    block: int  # cutoffs in a block of the bootstrap
    notes: list[str]


def groups(runs: Iterable[Run]) -> list[Group]:
    """Every setting found among the runs, by name, context and horizon."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        setting = _setting(run)
        found.setdefault((*setting[:3], json.dumps(setting.facts)), []).append(run)
    made = [_group(found[key]) for key in sorted(found)]
    return [group._replace(notes=[*_apart(group, made), *group.notes]) for group in made]


def _setting(run: Run) -> Setting:
    data, spec = run.data, run.spec
    splits = [run.card.get("splits"), _at(run.config, "data", "splits")]
    facts = {
        "file": str(_at(data, "source", "sha256")),
        "targets": json.dumps(run.targets),
        "inputs": json.dumps([spec.get("channels"), data.get("holidays") or run.card.get("holidays")]),
        "splits": json.dumps(splits),
        "windows": json.dumps(run.metrics.get("windows")),
        "gaps": str(data.get("gaps")),
        "stride": str(_at(run.config, "data", "stride")),
        "scale": json.dumps(data.get("scaler")),
    }
    short = {key: hashlib.sha256(value.encode()).hexdigest()[:12] for key, value in facts.items()}
    context, horizon = (int(run.metrics.get(key) or spec.get(key) or 0) for key in ("context", "horizon"))
    return Setting(run.dataset, context, horizon, short)


def _apart(group: Group, among: Sequence[Group]) -> list[str]:
    """Why this table is not one with another of the same title."""
    others = [each for each in among if each is not group and each.setting.title == group.setting.title]
    facts = group.setting.facts
    differ = sorted({key for each in others for key in facts if each.setting.facts[key] != facts[key]})
    return [f"Apart from another table of this title, for other {', '.join(differ)}."] if differ else []


def _group(runs: Sequence[Run]) -> Group:
    by_line: dict[str, dict[int, Run]] = {}
    repeated = 0
    for run in sorted(runs, key=lambda run: run.path.name):  # the newest of equal runs stays
        same = by_line.setdefault(json.dumps([_parts(run), _rest(run)]), {})
        seed = int(run.metrics.get("seed") or 0)
        repeated += seed in same
        same[seed] = run
    lines = [
        Line(_parts(next(iter(each.values()))), "", [each[seed] for seed in sorted(each)], False, {}, "", "")
        for each in by_line.values()
    ]
    lines = sorted(_named(lines), key=lambda line: (_mean(line.values("val")), line.parts, line.variant))
    best: dict[str, Line] = {}
    for line in lines:
        best.setdefault(line.parts[0], line)
    lines = [line._replace(chosen=best[line.parts[0]] is line) for line in lines]
    first = runs[0]
    stride = int(_at(first.config, "data", "stride") or 1)
    notes = [f"Of {repeated} more runs with a seed that stands here already the newest counts."] if repeated else []
    naive = [(row.name, row.scaled.get("mse", math.nan), row.scaled.get("mae", math.nan))
             for row in first.naive_rows]  # fmt: skip
    named = {row.name: row for run in runs for row in run.baseline_rows}
    beside = [(name, row.scaled.get("mse", math.nan), row.scaled.get("mae", math.nan)) for name, row in named.items()]
    windows = int(first.part("windows").get("test") or 0)
    block = paired.block_length(windows, int(first.metrics.get("horizon") or 1), first.season, stride)
    lines, more = _compared(lines, block)
    notes += _budgets(lines)
    return Group(
        _setting(first),
        lines,
        sorted(naive, key=lambda row: row[1]),
        sorted(beside, key=lambda row: row[1]),
        windows,
        block,
        [*notes, *more],
    )


def _budgets(lines: Sequence[Line]) -> list[str]:
    """What the lines were not given alike: time, epochs, batches."""
    flat = [_rest(line.runs[0]) for line in lines]
    values = {key: sorted({_shown(each.get(key)) for each in flat}) for key in BUDGET}
    unequal = [f"{key} ({', '.join(found)})" for key, found in values.items() if len(found) > 1]
    return [f"Unequal budgets: {'; '.join(unequal)}."] if unequal else []


def _compared(lines: list[Line], block: int) -> tuple[list[Line], list[str]]:
    """The lines with their differences to the control, and what is to be said about it."""
    controls = [line for line in lines if line.parts[0] == CONTROL]
    if not controls:
        return lines, ["No run of model=none is among them: no difference is shown."]
    known: dict[str, paired.Windows | None] = {}
    made, lacking, others = [], 0, 0
    for line in lines:
        if line.parts[0] == CONTROL:
            made.append(line)
            continue
        control = next((each for each in controls if each.parts[1:] == line.parts[1:]), controls[0])
        others += control.parts[1:] != line.parts[1:]
        ours, theirs = ([_windows(run, known) for run in each.runs] for each in (line, control))
        usable = [each for each in (*ours, *theirs) if each is not None]
        whole = len(usable) == len(ours) + len(theirs) and paired.same(usable)
        delta = {}
        for error in paired.ERRORS:
            value = _mean(line.values(error)) - _mean(control.values(error))
            split = len(ours)
            found = paired.interval(usable[:split], usable[split:], error, block) if whole else None
            delta[error] = Interval(value, *(found or (None, None)))
        lacking += delta["mse"].low is None
        several = len(line.runs) > 1 or len(control.runs) > 1
        basis = "" if delta["mse"].low is None else "windows and seeds" if several else "windows"
        made.append(line._replace(delta=delta, against=" · ".join(control.parts[1:]), basis=basis))
    note = f"{lacking} without an interval: it needs predictions=true and test windows over {paired.FEWEST} horizons."
    best = " · ".join((*controls[0].parts, controls[0].variant)).removesuffix(" · ")
    other = f"{others} without a none of the same embedding, norm and head: compared to {best}."
    return made, [*([other] if others else []), *([note] if lacking else [])]


def _windows(run: Run, known: dict[str, paired.Windows | None]) -> paired.Windows | None:
    """Errors by cutoff, read once; None where the run wrote no predictions."""
    key = str(run.path)
    if key not in known:
        scaler = run.data.get("scaler") or {}
        known[key] = None
        if run.predictions is not None and scaler.get("ids"):
            known[key] = paired.read(run.predictions, scaler["ids"], run.targets, scaler["std"])
    return known[key]


def _named(lines: Sequence[Line]) -> list[Line]:
    """Lines of equal parts told apart by the settings in which they differ."""
    made = []
    for line in lines:
        flat = [_rest(each.runs[0]) for each in lines if each.parts == line.parts]
        own = _rest(line.runs[0])
        keys = sorted({key for each in flat for key in {*each, *own} if each.get(key) != own.get(key)})
        keys = [key for key in keys if not _follows(key, flat)]
        off = {key: False for key in keys if any(each.get(key) is True for each in flat)}
        own = {**off, **own}
        made.append(line._replace(variant=", ".join(f"{key}={_shown(own.get(key))}" for key in keys)))
    return made


def _follows(key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an embedding or a head only takes over a size of the model, in all lines."""
    group, _, leaf = key.partition(".")
    return group in ("embed", "head") and all(each.get(key) == each.get(f"model.{leaf}") for each in flat)


def _parts(run: Run) -> tuple[str, str, str, str]:
    """model, embed, norm and head by the names of their choices."""

    def name(group: str, suffix: str = "") -> str:
        found = str(_at(run.config, group, "_target_") or "?").rpartition(".")[2].removesuffix(suffix).lower()
        return {"identity": CONTROL, "no": "none"}.get(found, found)

    return name("model"), name("embed", "Embedding"), str(run.config.get("norm")), name("head")


def _rest(run: Run) -> dict[str, Any]:
    """The settings of a run that make another line of it: all but those of the setting, the parts and the place. What
    is off is left out, so that runs of before an option stand with those that do not use it."""
    flat = dict(_flat(run.config))
    return {key: value for key, value in flat.items()
            if value is not None and value is not False and key not in NOT_OF_THE_LINE
            and not key.startswith(NOT_OF_THE_LINE_GROUPS) and not key.endswith("._target_")}  # fmt: skip


def _flat(value: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{above}{key}.")
        else:
            yield f"{above}{key}", item


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
