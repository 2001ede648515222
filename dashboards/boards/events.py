"""The leaderboard of event runs: those over the same test events, in the same unit of time, stand in one table.

Lines are in the order of the validation score, by which one chooses. The difference of a line is that of nats per event
to the model `none` of the same embedding and head, which knows the event before alone; else to the best `none`; else,
where there is none, to the first line.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from forecast.dashboards.boards import events_paired as event_paired
from forecast.dashboards.boards.compared import Ruler, compared
from forecast.dashboards.boards.lines import Line, apart, at, budgets, gather, left_out
from forecast.dashboards.events.scores import EventRow, event_rows
from forecast.dashboards.load import Run

RULER = Ruler(
    event_paired.KEYS, "sequences", "the same events", event_paired.read, event_paired.same, event_paired.interval
)


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
        mine = setting(run)
        found.setdefault((*mine[:2], json.dumps(mine.facts)), []).append(run)
    made = [_group(found[key]) for key in sorted(found)]
    known = [(group.setting.title, group.setting.facts) for group in made]
    return [group._replace(notes=[*apart(*mine, known), *group.notes]) for group, mine in zip(made, known, strict=True)]


def setting(run: Run) -> EventSetting:
    """What must be equal for two runs to stand in one table."""
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
    lines, notes = compared(lines, RULER)
    first = runs[0]
    floors = [row for row in event_rows(first) if row.kind != "model"]
    events, sequences = (int(first.part(part).get("test") or 0) for part in ("events", "sequences"))
    notes = [*left_out(repeated), *budgets(lines), *notes]
    return EventGroup(setting(first), lines, floors, events, sequences, notes)
