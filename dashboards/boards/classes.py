"""The leaderboard of classification runs: those over the same series of the same classes stand in one table, and over
several data sets every model by its line of the best validation on each.

Lines are in the order of the validation score, by which one chooses. The difference of a line is that of accuracy to
the model `none` of the same embedding and head, as compared.py has it. Rivals and floors were measured in the runs
themselves, once for each seed.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from forecast.dashboards.boards import classes_paired as class_paired
from forecast.dashboards.boards.compared import Ruler, compared
from forecast.dashboards.boards.lines import CONTROL, Interval, Line, apart, at, budgets, gather, left_out, mean
from forecast.dashboards.classes.scores import COLUMNS, class_names, class_rows
from forecast.dashboards.load import Run

RULER = Ruler(
    class_paired.KEYS, "series", "the same test part", class_paired.read, class_paired.same, class_paired.interval
)
RIVAL = "rival"


class ClassSetting(NamedTuple):
    """What a group of runs was asked to tell; `facts` are what must be equal within it."""

    dataset: str
    facts: dict[str, str]

    @property
    def title(self) -> str:
        return self.dataset


class Other(NamedTuple):
    """A rival or a floor, with its scores in each of the runs that measured it anew."""

    name: str
    kind: str
    values: dict[str, list[float]]


class ClassGroup(NamedTuple):
    """A table: the lines of a setting by validation, and what was measured beside them."""

    setting: ClassSetting
    lines: list[Line]
    others: list[Other]
    series: int
    classes: int
    notes: list[str]


class Across(NamedTuple):
    """A model, a rival or a floor over all data sets; what it lacks on one of them it has no mean of."""

    name: str
    kind: str
    values: list[list[float]]  # accuracies on each data set, one for each seed; empty where there are none
    rank: float  # the mean over data sets, 1 the best of models and rivals; nan where it has none
    delta: Interval | None  # of the mean accuracy, to none
    runs: int


def groups(runs: Iterable[Run]) -> list[ClassGroup]:
    """Every setting found among the runs, by name."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        mine = setting(run)
        found.setdefault((mine.dataset, json.dumps(mine.facts)), []).append(run)
    made = [_group(found[key]) for key in sorted(found)]
    known = [(group.setting.title, group.setting.facts) for group in made]
    return [group._replace(notes=[*apart(*mine, known), *group.notes]) for group, mine in zip(made, known, strict=True)]


def setting(run: Run) -> ClassSetting:
    """What must be equal for two runs to stand in one table."""
    files = [at(each, "sha256") for each in run.card.get("files") or []]
    facts = {
        "file": json.dumps([files, at(run.data, "source")]),
        "channels": json.dumps(run.spec.get("channels")),
        "classes": json.dumps(class_names(run)),
        "splits": json.dumps([run.card.get("splits"), at(run.config, "data", "splits"), at(run.config, "data", "val")]),
        "series": json.dumps([run.metrics.get("series"), run.metrics.get("counts")]),
    }
    short = {key: hashlib.sha256(value.encode()).hexdigest()[:12] for key, value in facts.items()}
    return ClassSetting(run.dataset, short)


def _group(runs: Sequence[Run]) -> ClassGroup:
    lines, repeated = gather(runs)
    lines, notes = compared(lines, RULER)
    first = runs[0]
    series = int(first.part("series").get("test") or 0)
    notes = [*left_out(repeated), *budgets(lines), *notes]
    return ClassGroup(setting(first), lines, _others(lines), series, len(class_names(first)), notes)


def _others(lines: Sequence[Line]) -> list[Other]:
    """Rivals and floors; what runs of one seed say of one is the same measurement, and counts once."""
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    for line in lines:
        for seed, run in zip(line.seeds, line.runs, strict=True):
            for row in class_rows(run):
                if row.kind != "model":
                    found.setdefault((row.kind, row.name), {}).setdefault(seed, row.values)
    made = []
    for (kind, name), by_seed in found.items():
        each = list({json.dumps(values): values for values in by_seed.values()}.values())  # equal: no seed in it
        kept = {column.key: [values[column.key] for values in each if column.key in values] for column in COLUMNS}
        made.append(Other(name, kind, {key: values for key, values in kept.items() if values}))
    return sorted(made, key=lambda row: (row.kind != RIVAL, -mean(row.values.get("accuracy", []))))


def ahead(line: Line) -> list[float]:
    """How far the accuracy of each run is over the best rival that it measured; empty where one has none."""
    made = []
    for run in line.runs:
        known = [row.values["accuracy"] for row in class_rows(run) if row.kind == RIVAL and "accuracy" in row.values]
        if not known:
            return []
        made.append(run.score("accuracy") - max(known))
    return made


def across(groups: Sequence[ClassGroup]) -> list[Across]:
    """Over all data sets: every model by its chosen lines, then rivals and floors, the best mean rank first."""
    names: dict[tuple[str, str], None] = {}
    for group in groups:
        names |= {("model", line.parts[0]): None for line in group.lines}
    for group in groups:
        names |= {(other.kind, other.name): None for other in group.others}
    made = []
    for kind, name in names:
        lines = [next((each for each in group.lines if each.chosen and kind == "model" and each.parts[0] == name), None)
                 for group in groups]  # fmt: skip
        values = [_accuracies(group, kind, name, line) for group, line in zip(groups, lines, strict=True)]
        runs = sum(len(line.runs) for line in lines if line is not None)
        delta = _pooled([line.delta.get("accuracy") if line else None for line in lines]) if name != CONTROL else None
        made.append(Across(name, kind, values, math.nan, delta, runs))
    ranks = _ranks([row for row in made if row.kind in ("model", RIVAL) and all(row.values)])
    made = [row._replace(rank=ranks.get((row.kind, row.name), math.nan)) for row in made]
    order = {"model": 0, RIVAL: 1}
    return sorted(made, key=lambda row: (order.get(row.kind, 2), not row.rank >= 1, row.rank if row.rank >= 1 else 0.0))


def _accuracies(group: ClassGroup, kind: str, name: str, line: Line | None) -> list[float]:
    if line is not None:
        return line.values("accuracy")
    return next((row.values.get("accuracy", []) for row in group.others if (row.kind, row.name) == (kind, name)), [])


def _pooled(found: Sequence[Interval | None]) -> Interval | None:
    """The mean of differences on data sets that know nothing of each other: the distances to the ends of their
    intervals add as squares do (Zou and Donner, Stat. Med. 2008)."""
    if not found or any(each is None for each in found):
        return None
    each = [one for one in found if one is not None]
    value, n = mean([one.value for one in each]), len(each)
    lows = [one.value - one.low for one in each if one.low is not None]
    highs = [one.high - one.value for one in each if one.high is not None]
    if len(lows) < n or len(highs) < n:
        return Interval(value, None, None)
    return Interval(value, value - math.hypot(*lows) / n, value + math.hypot(*highs) / n)


def _ranks(rows: Sequence[Across]) -> dict[tuple[str, str], float]:
    """The mean rank over data sets by mean accuracy, 1 the best; equal ones share a rank."""
    found: dict[tuple[str, str], list[float]] = {(row.kind, row.name): [] for row in rows}
    for k in range(len(rows[0].values) if rows else 0):
        scores = [mean(row.values[k]) for row in rows]
        for row, score in zip(rows, scores, strict=True):
            above, level = sum(other > score for other in scores), sum(other == score for other in scores)
            found[row.kind, row.name].append(above + (level + 1) / 2)
    return {name: mean(ranks) for name, ranks in found.items()}
