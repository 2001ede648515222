"""The leaderboard of event runs: those over the same test events, in the same unit of time, stand in one table.

Lines are in the order of the validation score, by which one chooses. The difference of a line is that of nats per event
to the model `none` of the same embedding and head, which knows the event before alone; else to the best `none`; else,
where there is none, to the first line.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from forecast.dashboards import event_paired, paired
from forecast.dashboards.event_paired import Nats
from forecast.dashboards.event_scores import EventRow, event_rows
from forecast.dashboards.lines import CONTROL, Interval, Line, apart, at, budgets, gather, left_out, mean
from forecast.dashboards.load import Run


class EventSetting(NamedTuple):
    """What a group of runs was asked to forecast; `facts` are what must be equal within it."""

    dataset: str
    unit: str
    facts: dict[str, str]

    @property
    def title(self) -> str:
        return f"{self.dataset}, the next event"


class EventGroup(NamedTuple):
    """A table: the lines of a setting by validation, and the floors."""

    setting: EventSetting
    lines: list[Line]
    floors: list[EventRow]
    events: int
    sequences: int
    notes: list[str]


def groups(runs: Iterable[Run]) -> list[EventGroup]:
    """Every setting found among the runs, by name."""
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        setting = _setting(run)
        found.setdefault((*setting[:2], json.dumps(setting.facts)), []).append(run)
    made = [_group(found[key]) for key in sorted(found)]
    known = [(group.setting.title, group.setting.facts) for group in made]
    return [group._replace(notes=[*apart(*mine, known), *group.notes]) for group, mine in zip(made, known, strict=True)]


def _setting(run: Run) -> EventSetting:
    files = [at(each, "sha256") for each in run.card.get("files") or []]
    facts = {
        "file": json.dumps([files, at(run.data, "source")]),
        "marks": json.dumps(run.metrics.get("marks")),
        "unit": json.dumps([run.metrics.get("unit"), run.metrics.get("grid"), run.spec.get("floor")]),
        "splits": json.dumps([run.card.get("splits"), at(run.config, "data", "splits")]),
        "events": json.dumps([run.metrics.get("events"), run.metrics.get("sequences")]),
    }
    short = {key: hashlib.sha256(value.encode()).hexdigest()[:12] for key, value in facts.items()}
    return EventSetting(run.dataset, str(run.metrics.get("unit") or ""), short)


def _group(runs: Sequence[Run]) -> EventGroup:
    lines, repeated = gather(runs)
    lines, notes = _compared(lines)
    first = runs[0]
    floors = [row for row in event_rows(first) if row.kind != "model"]
    events, sequences = (int(first.part(part).get("test") or 0) for part in ("events", "sequences"))
    notes = [*left_out(repeated), *budgets(lines), *notes]
    return EventGroup(_setting(first), lines, floors, events, sequences, notes)


def _compared(lines: list[Line]) -> tuple[list[Line], list[str]]:
    """The lines with their differences to the control, and what is to be said about it."""
    controls = [line for line in lines if line.parts[0] == CONTROL] or lines[:1]
    known: dict[str, Nats | None] = {}
    made, lacking, others = [], 0, 0
    for line in lines:
        if line in controls:
            made.append(line)
            continue
        control = next((each for each in controls if each.parts[1:] == line.parts[1:]), controls[0])
        others += control.parts[1:] != line.parts[1:]
        delta = _delta(line, control, known)
        lacking += delta["total"].low is None
        several = len(line.runs) > 1 or len(control.runs) > 1
        basis = "" if delta["total"].low is None else "sequences and seeds" if several else "sequences"
        made.append(line._replace(delta=delta, against=" · ".join(control.parts), basis=basis))
    best = " · ".join((*controls[0].parts, controls[0].variant)).removesuffix(" · ")
    notes = []
    if len(lines) > 1 and controls[0].parts[0] != CONTROL:
        notes.append(f"No run of model=none is among them: differences are to {best}.")
    elif others:
        notes.append(f"{others} without a none of the same embedding, norm and head: compared to {best}.")
    few = f"it needs predictions=true and {paired.FEWEST} sequences of the same events"
    return made, [*notes, *([f"{lacking} without an interval: {few}."] if lacking else [])]


def _delta(line: Line, control: Line, known: dict[str, Nats | None]) -> dict[str, Interval]:
    """The differences of a line to its control, with intervals where both wrote their predictions."""
    ours, theirs = ([_nats(run, known) for run in each.runs] for each in (line, control))
    usable = [each for each in (*ours, *theirs) if each is not None]
    whole = len(usable) == len(ours) + len(theirs) and event_paired.same(usable)
    delta, split = {}, len(ours)
    for key in event_paired.KEYS:
        value = mean(line.values(key)) - mean(control.values(key))
        found = event_paired.interval(usable[:split], usable[split:], key) if whole else None
        delta[key] = Interval(value, *(found or (None, None)))
    return delta


def _nats(run: Run, known: dict[str, Nats | None]) -> Nats | None:
    """Nats by sequence, read once; None where the run wrote no predictions."""
    key = str(run.path)
    if key not in known:
        known[key] = event_paired.read(run.predictions) if run.predictions is not None else None
    return known[key]
