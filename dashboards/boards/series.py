"""The leaderboard: finished runs, grouped by what they were asked to forecast, a line for each model and its settings.

Only runs over the same test windows of the same data, scaled alike, stand in one table. Lines are in the order of the
validation score, by which one chooses; a line's difference is to the model `none` of the same embedding, norm and head
where there is one, else to the `none` of the best validation.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from forecast.dashboards.boards import series_paired as paired
from forecast.dashboards.boards.lines import CONTROL, Interval, Line, apart, at, budgets, gather, left_out, mean
from forecast.dashboards.load import Run


class Setting(NamedTuple):
    """What a group of runs was asked to forecast; `facts` are what must be equal within it."""

    dataset: str
    context: int
    horizon: int
    facts: dict[str, str]

    @property
    def title(self) -> str:
        return f"{self.dataset} {self.context} → {self.horizon}"


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
        mine = setting(run)
        found.setdefault((*mine[:3], json.dumps(mine.facts)), []).append(run)
    made = [_group(found[key]) for key in sorted(found)]
    known = [(group.setting.title, group.setting.facts) for group in made]
    return [group._replace(notes=[*apart(*mine, known), *group.notes]) for group, mine in zip(made, known, strict=True)]


def setting(run: Run) -> Setting:
    """What must be equal for two runs to stand in one table."""
    data, spec = run.data, run.spec
    splits = [run.card.get("splits"), at(run.config, "data", "splits")]
    facts = {
        "file": str(at(data, "source", "sha256")),
        "targets": json.dumps(run.targets),
        "inputs": json.dumps([spec.get("channels"), data.get("holidays") or run.card.get("holidays")]),
        "splits": json.dumps(splits),
        "windows": json.dumps(run.metrics.get("windows")),
        "gaps": str(data.get("gaps")),
        "stride": str(at(run.config, "data", "stride")),
        "scale": json.dumps(data.get("scaler")),
    }
    short = {key: hashlib.sha256(value.encode()).hexdigest()[:12] for key, value in facts.items()}
    context, horizon = (int(run.metrics.get(key) or spec.get(key) or 0) for key in ("context", "horizon"))
    return Setting(run.dataset, context, horizon, short)


def _group(runs: Sequence[Run]) -> Group:
    lines, repeated = gather(runs)
    first = runs[0]
    stride = int(at(first.config, "data", "stride") or 1)
    notes = left_out(repeated)
    naive = [(row.name, row.scaled.get("mse", math.nan), row.scaled.get("mae", math.nan))
             for row in first.naive_rows]  # fmt: skip
    named = {row.name: row for run in runs for row in run.baseline_rows}
    beside = [(name, row.scaled.get("mse", math.nan), row.scaled.get("mae", math.nan)) for name, row in named.items()]
    windows = int(first.part("windows").get("test") or 0)
    block = paired.block_length(windows, int(first.metrics.get("horizon") or 1), first.season, stride)
    lines, more = _compared(lines, block)
    notes += budgets(lines)
    return Group(
        setting(first),
        lines,
        sorted(naive, key=lambda row: row[1]),
        sorted(beside, key=lambda row: row[1]),
        windows,
        block,
        [*notes, *more],
    )


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
            value = mean(line.values(error)) - mean(control.values(error))
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
