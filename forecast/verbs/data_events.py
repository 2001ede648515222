"""forecast data show | check of events: what a card says, what its files hold."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from forecast.data.card import EVENTS
from forecast.data.event_card import (
    EventCard,
    describe_events,
    infer_event_card,
    load_event_card,
    only_described,
    read_event_frames,
)
from forecast.data.event_facts import EventFacts, event_facts
from forecast.data.events import Events, read_events
from forecast.data.read import absolute, read_file
from forecast.data.table import stamp
from forecast.errors import UsageError
from forecast.verbs.data_kind import described as of_one
from forecast.verbs.data_kind import options_of
from forecast.verbs.data_table import show_table

NUMBERS: Final = ("grid", "floor")
LISTS: Final = ("covariates", "periods")
OPTIONS: Final = ("kind", "id", "time", "mark", "unit", "labels", *NUMBERS, "twice", *LISTS, "val", "test", "save")
HEAD: Final = 5  # events shown
MARKS: Final = 20  # marks shown


def show_events(name: str, words: Sequence[str]) -> int:
    """Print what a card says or what is inferred, facts of each file, the marks, the first events."""
    card, path, folder = described(name, words)
    print(describe_events(card))
    if path is None and not card.files:
        print(f"\n{only_described(card)}")
        return 0
    notes: list[str] = []
    frames, _ = read_event_frames(card, path=path, folder=folder, notes=notes)
    tables = [(title(card, where), read_events(frame, card.columns, where, notes=notes)) for where, frame in frames]
    facts = [(part, event_facts(events, card), events) for part, events in tables]
    print()
    columns = [_rows(f, events) for _, f, events in facts]
    lines = [(row[0][0], *(value for _, value in row)) for row in zip(*columns, strict=True)]
    show_table(("", *(part for part, _, _ in facts)), lines, right=tuple(range(1, len(facts) + 1)))
    for note in (*notes, *(_hints(card, frames[0][1].columns, facts[0][1], tables[0][1]) if path else ())):
        print(f"note: {note}")
    if card.mark is not None:
        _marks([(part, f) for part, f, _ in facts])
    print()
    _first(card, tables[0][1])
    return 0


def described(name: str, words: Sequence[str]) -> tuple[EventCard, Path | None, Path | None]:
    """A known card of events, one from a YAML file (then its folder), or one inferred from a file (then its path)."""
    options = _options(words)
    facts = {key: value for key, value in options.items() if key != "save"}

    def infer(path: Path) -> EventCard:
        return infer_event_card(read_file(absolute(path)), path.name, name=path.stem, **facts)

    card, path, folder = of_one(name, options, EVENTS, load_event_card, infer)
    return card, path and absolute(path), folder


def _options(words: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE words as arguments of infer_event_card, and `save`."""
    options: dict[str, Any] = {}
    for key, value in options_of(words, OPTIONS, "events").items():
        options[key] = [_maybe(v) for v in value.split(",")] if key in LISTS else value
        if key in NUMBERS and not isinstance(number := _maybe(value), float):
            raise UsageError(f"{key} is '{value}'", "expected a number", f"write {key}=0.001")
        if key in NUMBERS:
            options[key] = number
    options["covariates"] = [str(name) for name in options.get("covariates", ())]
    cuts = {part: _maybe(options.pop(part)) for part in ("val", "test") if part in options}
    if len(cuts) == 1:
        raise UsageError(f"{next(iter(cuts))} is set alone", "expected val and test", "write val=DATE test=DATE")
    if cuts:
        options["splits"] = cuts
    return {key: value for key, value in options.items() if value}


def _maybe(value: str) -> float | str:
    """A number where it is one."""
    try:
        return float(value)
    except ValueError:
        return value


def title(card: EventCard, where: str) -> str:
    """What a file is called in a table: its part, where each part is a file."""
    return next((part for part, path in card.splits.items() if card.by_files and path == where), where)


def moment(events: Events, time: float) -> str:
    """A time as a stamp, or as a number."""
    if events.origin is None:
        return f"{time:,.10g}"
    micros = np.array([time]) - 0.0
    return str(stamp(events._replace(time=micros).stamps[0]))


def _rows(facts: EventFacts, events: Events) -> list[tuple[str, str]]:
    """Facts of a file, each with its name."""
    gaps = facts.events - facts.sequences
    low, middle, high = facts.gaps
    none = "no gaps" if not gaps else ""
    return [
        ("sequences", f"{facts.sequences:,}"),
        ("events", f"{facts.events:,}"),
        ("events of a sequence", "{:,} to {:,}, median {:,}".format(*facts.lengths[::2], facts.lengths[1])),
        ("sequences of one event", f"{facts.single:,}"),
        ("first event", moment(events, facts.first)),
        ("last event", moment(events, facts.last)),
        (f"gap, median ({events.unit}s)", none or f"{middle:.4g}"),
        ("gap, 5 % to 95 %", none or f"{low:.4g} to {high:.4g}"),
        ("gaps of 0", none or f"{facts.zero:,} ({facts.zero / gaps:.2%})"),
        ("of them with the same mark", f"{facts.twice:,}"),
        ("grid of the times", told_grid(facts)),
        ("marks", f"{len(facts.marks):,}"),
    ]


def told_grid(facts: EventFacts) -> str:
    """The step that the gaps lie on, and how many of them where some do not."""
    if not facts.grid.step:
        return "none seen"
    return f"{facts.grid.step:.6g}" + ("" if facts.grid.share > 0.9999 else f" ({facts.grid.share:.1%} of the gaps)")


def _hints(card: EventCard, columns: Sequence[str], facts: EventFacts, events: Events) -> Iterator[str]:
    """What somebody should look at who has no card yet."""
    rest = [name for name in columns if name not in (card.time, card.mark, *card.covariates)]
    if card.id is None and rest:
        few = f"{', '.join(rest[:5])}{', …' if len(rest) > 5 else ''}"
        yield f"all rows are taken as one sequence; set id=COLUMN if one tells sequences apart ({few})"
    if card.mark is None:
        yield "events are not told apart; set mark=COLUMN if a column does"
    if events.origin is None and card.grid is None and facts.grid.step:
        step = f"{facts.grid.step:.6g}"
        yield f"the times lie on a grid of {step}; set grid={step} if they were recorded so"
    if facts.zero and not events.grid and not card.floor:
        yield f"{facts.zero:,} gaps of 0 have no log; set grid= or floor= to the least gap that can be told"


def _marks(facts: Sequence[tuple[str, EventFacts]]) -> None:
    """Events and shares of each mark in each file, the most first."""
    names = list(dict.fromkeys(name for _, one in facts for name in one.marks))
    print()
    rows = []
    for name in names[:MARKS]:
        cells = [(one.marks.get(name, 0), one.events) for _, one in facts]
        rows.append((name, *(f"{count:,} ({count / whole:.1%})" for count, whole in cells)))
    show_table(("mark", *(part for part, _ in facts)), rows, right=tuple(range(1, len(facts) + 1)))
    if (more := len(names) - MARKS) > 0:
        print(f"and {more} more marks, to {names[-1]}")


def _first(card: EventCard, events: Events) -> None:
    """The first events of the first file."""
    rows = []
    gaps = events.gaps(0.0)
    for i in range(min(HEAD, len(events.time))):
        gap = "" if events.first[i] else f"{gaps[i]:.6g}"
        mark = events.marks[int(events.mark[i])]
        rows.append((events.ids[int(events.number[i])], moment(events, float(events.time[i])), gap, mark))
    clock = "time (UTC)" if events.origin is not None else "time"
    show_table((card.id or "sequence", clock, f"gap ({events.unit}s)", card.mark or "mark"), rows, right=(2,))
