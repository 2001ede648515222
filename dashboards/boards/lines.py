"""Lines of a leaderboard: the runs of one model with one set of settings, a run for each seed.

What the leaderboards of series and of events share: which runs are one line, how lines of equal parts are told apart,
and what they were not given alike.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

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


class Interval(NamedTuple):
    """A difference to the control; `low` and `high` are None where there is no interval."""

    value: float
    low: float | None
    high: float | None


Parts = tuple[str, str, str, str]  # model, embed, norm, head


class Line(NamedTuple):
    """The runs of one model with one set of settings, a run for each seed."""

    parts: Parts
    variant: str  # settings in which lines of equal parts differ
    runs: list[Run]
    chosen: bool  # the best validation of its model
    delta: dict[str, Interval]  # by the key of a score; empty for the control and without one
    against: str  # the control's embed, norm and head
    basis: str  # what the interval is of

    @property
    def seeds(self) -> list[int]:
        return [int(run.metrics.get("seed") or 0) for run in self.runs]

    def values(self, key: str) -> list[float]:
        """A test score of each run (mse, mae: scaled; of events: total, time, mark, rmse, …), or val, the validation
        score by which weights were chosen."""
        return [number(run.part("best").get(run.monitor)) if key == "val" else run.score(key) for run in self.runs]

    def fact(self, *path: str) -> float | None:
        """The mean of a number in metrics.json, where all runs recorded it."""
        found = []
        for run in self.runs:
            value: Any = run.metrics
            for key in path:
                value = value.get(key) if isinstance(value, Mapping) else None
            found.append(value)
        return statistics.fmean(found) if all(isinstance(value, int | float) for value in found) else None


def gather(runs: Sequence[Run]) -> tuple[list[Line], int]:
    """The lines among the runs in the order of the validation, the best of each model chosen, and how many runs were
    left out for a newer one with their seed."""
    by_line: dict[str, dict[int, Run]] = {}
    repeated = 0
    for run in sorted(runs, key=lambda run: run.path.name):  # the newest of equal runs stays
        same = by_line.setdefault(json.dumps([parts(run), rest(run)]), {})
        seed = int(run.metrics.get("seed") or 0)
        repeated += seed in same
        same[seed] = run
    lines = [
        Line(parts(next(iter(each.values()))), "", [each[seed] for seed in sorted(each)], False, {}, "", "")
        for each in by_line.values()
    ]
    lines = sorted(_named(lines), key=lambda line: (mean(line.values("val")), line.parts, line.variant))
    best: dict[str, Line] = {}
    for line in lines:
        best.setdefault(line.parts[0], line)
    return [line._replace(chosen=best[line.parts[0]] is line) for line in lines], repeated


def left_out(repeated: int) -> list[str]:
    """What is to be said of runs that were repeated."""
    return [f"Of {repeated} more runs with a seed that stands here already the newest counts."] if repeated else []


def apart(title: str, facts: Mapping[str, str], others: Iterable[tuple[str, Mapping[str, str]]]) -> list[str]:
    """Why a table of this title and these facts is not one with another of the same title."""
    same = [each for name, each in others if name == title and each is not facts]
    differ = sorted({key for each in same for key in facts if each[key] != facts[key]})
    return [f"Apart from another table of this title, for other {', '.join(differ)}."] if differ else []


def budgets(lines: Sequence[Line]) -> list[str]:
    """What the lines were not given alike: time, epochs, batches."""
    flat = [rest(line.runs[0]) for line in lines]
    values = {key: sorted({shown(each.get(key)) for each in flat}) for key in BUDGET}
    unequal = [f"{key} ({', '.join(found)})" for key, found in values.items() if len(found) > 1]
    return [f"Unequal budgets: {'; '.join(unequal)}."] if unequal else []


def _named(lines: Sequence[Line]) -> list[Line]:
    """Lines of equal parts told apart by the settings in which they differ."""
    words = variants([(line.parts, rest(line.runs[0])) for line in lines])
    return [line._replace(variant=each) for line, each in zip(lines, words, strict=True)]


def variants(lines: Sequence[tuple[Parts, Mapping[str, Any]]]) -> list[str]:
    """Of each line (its parts, its other settings) the settings in which those of equal parts differ, in words."""
    alike: dict[Parts, list[Mapping[str, Any]]] = {}
    for mine, settings in lines:
        alike.setdefault(mine, []).append(settings)
    differ = {mine: _differing(each) for mine, each in alike.items()}
    made = []
    for mine, settings in lines:
        off = {key: False for key in differ[mine] if any(each.get(key) is True for each in alike[mine])}
        made.append(", ".join(f"{key}={shown({**off, **settings}.get(key))}" for key in differ[mine]))
    return made


def _differing(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that do not have one value in all of them: each of them then differs from another one there."""
    first, keys = flat[0], {key for each in flat for key in each}
    found = sorted(key for key in keys if any(each.get(key) != first.get(key) for each in flat))
    return [key for key in found if not _follows(key, flat)]


def _follows(key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an embedding or a head only takes over a size of the model, in all lines."""
    group, _, leaf = key.partition(".")
    return group in ("embed", "head") and all(each.get(key) == each.get(f"model.{leaf}") for each in flat)


def parts(run: Run) -> tuple[str, str, str, str]:
    """model, embed, norm and head by the names of their choices."""

    def name(group: str, suffix: str = "") -> str:
        found = str(at(run.config, group, "_target_") or "?").rpartition(".")[2].removesuffix(suffix).lower()
        return {"identity": CONTROL, "no": "none"}.get(found, found)

    return name("model"), name("embed", "Embedding"), str(run.config.get("norm")), name("head")


def rest(run: Run) -> dict[str, Any]:
    """The settings of a run that make another line of it: all but those of the setting, the parts and the place. What
    is off is left out, so that runs of before an option stand with those that do not use it."""
    return {key: value for key, value in flat(run.config)
            if value is not None and value is not False and key not in NOT_OF_THE_LINE
            and not key.startswith(NOT_OF_THE_LINE_GROUPS) and not key.endswith("._target_")}  # fmt: skip


def flat(value: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from flat(item, f"{above}{key}.")
        else:
            yield f"{above}{key}", item


def shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else math.nan


def number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
