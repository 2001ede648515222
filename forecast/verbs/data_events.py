"""forecast data show | check of events: what a card says, what its files hold."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from forecast.data.card import EVENTS, card_file, card_kind, card_names, save_card
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
from forecast.errors import UsageError, nearest
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
    save, own = options.pop("save", None), card_file(name)
    if name in card_names() or own:
        if options or save:
            raise UsageError(
                f"'{name}' has a card, which takes no '{next(iter(options), 'save')}'",
                do="leave it out, or give the file of the data",
            )
        return load_event_card(name), None, own and own.parent
    path = absolute(name)
    if not Path(name).exists():
        raise UsageError(
            f"'{name}' is neither a data set nor a file", nearest(name, card_names(EVENTS)), "see `forecast data list`"
        )
    card = infer_event_card(read_file(path), Path(name).name, name=Path(name).stem, **options)
    if save:
        _save(card, path, save)
    return card, path, None


def is_events(name: str, words: Sequence[str]) -> bool:
    """Whether a data set, a card or a file is of events: by its card, or by kind=events."""
    kinds = [word.partition("=")[2] for word in words if word.startswith("kind=")]
    if kinds and kinds[-1] not in ("series", EVENTS):
        raise UsageError(f"kind is '{kinds[-1]}'", nearest(kinds[-1], ("series", EVENTS)), "write kind=events")
    known = card_kind(name) if name in card_names() or (own := card_file(name)) and own.is_file() else None
    if kinds and known not in (None, kinds[-1]):
        raise UsageError(f"'{name}' is a data set of {known}", do=f"leave out kind={kinds[-1]}")
    return (known or (kinds or ["series"])[-1]) == EVENTS


def _options(words: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE words as arguments of infer_event_card, and `save`."""
    options: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in OPTIONS:
            raise UsageError(f"'{key}' is not an option of `forecast data` for events", nearest(key, OPTIONS))
        if not value:
            raise UsageError(f"{key} has no value", f"expected {key}=VALUE", "see `forecast data --help`")
        options[key] = [_maybe(v) for v in value.split(",")] if key in LISTS else value
        if key in NUMBERS and not isinstance(number := _maybe(value), float):
            raise UsageError(f"{key} is '{value}'", "expected a number", f"write {key}=0.001")
        if key in NUMBERS:
            options[key] = number
    options.pop("kind", None)
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


def _save(card: EventCard, path: Path, save: str) -> None:
    """Write a card that names its file from the card's folder, or else from the start directory."""
    target = card_file(save)
    if target is None:
        raise UsageError(f"save is '{save}'", "expected a name ending in .yaml", "write save=card.yaml")
    below = next((folder for folder in (target.parent, Path.cwd()) if path.is_relative_to(folder)), None)
    file = replace(card.files[0], path=path.relative_to(below).as_posix() if below else path.name)
    save_card(replace(card, files=(file,)), target)
    print(f"saved: {save}{'' if below else f' (train with data.card={save} data.path={path})'}")


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
