"""forecast data check of events: claims of the card beside facts of its files, and its parts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from forecast.data.address import CardFile
from forecast.data.event_card import EventCard, only_described, told
from forecast.data.event_facts import EventFacts, event_facts, on_grid
from forecast.data.event_split import PARTS, EventSplit, split_events, split_files
from forecast.data.events import Events, read_events
from forecast.data.read import locate, read_file, sha256
from forecast.errors import DataError, ForecastError
from forecast.verbs.data_check import Row, differs, names, same
from forecast.verbs.data_events import described, moment, title, told_grid
from forecast.verbs.data_table import show_table


def check_events(name: str, words: Sequence[str]) -> int:
    """Print claims beside facts; a fact that contradicts the card is a DataError after the table."""
    card, path, folder = described(name, words)
    if not card.files:
        raise only_described(card)
    notes: list[str] = []
    rows: list[Row] = []
    frames: dict[str, pl.DataFrame] = {}
    tables: dict[str, Events] = {}
    fault: ForecastError | None = None
    for file in card.files:
        place = path or locate(card, file, folder)
        frame = read_file(place, notes)
        rows += _file(card, file, place, frame)
        frames[file.path] = frame
        try:
            tables[file.path] = read_events(frame, card.columns, file.path, notes=notes)
        except ForecastError as error:
            fault = fault or error
            rows.append(Row("readable", "yes", "no", False))
            continue
        rows += _contents(card, tables[file.path])
        rows += _covariates(card, tables[file.path])
    if fault is None:
        rows += _parts(card, tables if card.by_files else _whole(card, tables, frames))
    show_table(("fact", "card", "file", ""), [(*row[:3], row.verdict) for row in rows])
    for note in dict.fromkeys(notes):
        print(f"note: {note}")
    if fault:
        raise fault
    differs(card.name, rows)
    return 0


def _file(card: EventCard, file: CardFile, place: Path, frame: pl.DataFrame) -> list[Row]:
    """What can be said of a file without understanding it."""
    size, digest = place.stat().st_size, sha256(place)
    need = [name for name in (card.id, card.time, card.mark, *card.covariates) if name is not None]
    absent = [name for name in need if name not in frame.columns]
    extra = [name for name in frame.columns if name not in need]
    columns = f"{frame.width:,}" + names(", missing", absent) + names(", not used", extra)
    return [
        Row("file", title(card, file.path), str(place), True),
        same("bytes", file.bytes, size),
        Row("sha256", file.sha256[:16], digest[:16], digest == file.sha256 if file.sha256 else None),
        same("rows", file.rows, frame.height),
        Row("columns", f"{len(need):,}", columns, not absent),
    ]


def _contents(card: EventCard, events: Events) -> list[Row]:
    """Sequences, times, gaps, grid, marks; what a card leaves open that a training needs is to be looked at."""
    facts = event_facts(events, card)
    gaps = facts.events - facts.sequences
    share = f"{facts.zero:,} of {gaps:,}"
    bare = bool(facts.zero and not events.grid and not card.floor)
    look: tuple[bool | None, str] = (None, "look") if bare else (True, "")
    floor = f"count as {card.floor:g}" if card.floor else f"count as {events.grid:.6g}" if events.grid else ""
    low, middle, high = facts.gaps
    return [
        Row("sequences", "", f"{facts.sequences:,}" + (f", {facts.single:,} of one event" if facts.single else "")),
        Row("first event", "", moment(events, facts.first)),
        Row("last event", "", moment(events, facts.last)),
        Row("gaps", card.unit, f"median {middle:.4g}, 5 % to 95 % {low:.4g} to {high:.4g}" if gaps else "none"),
        Row("gaps of 0", floor, f"{share}{': they have no log, set floor or grid' if bare else ''}", *look),
        _grid(card, events, facts),
        Row("same time and mark", card.twice, f"{facts.twice:,}", True),
        Row("marks", "", _marks(facts)),
    ]


def _grid(card: EventCard, events: Events, facts: EventFacts) -> Row:
    """The card's grid beside the step that is seen: most gaps must lie on the one of the card."""
    seen = told_grid(facts)
    if card.grid is None:
        return Row("grid", "", seen)
    if not card.grid:
        return Row("grid", "none", f"{seen} is seen" if facts.grid.step else seen, None, "look")
    share = on_grid(events, card.grid)
    found = f"{share:.1%} of the gaps lie on it" + (f", {seen} is seen" if share < 0.99 else "")
    return Row("grid", f"{card.grid:.6g}", found, True if share >= 0.99 else None if share >= 0.5 else False, "look")


def _marks(facts: EventFacts) -> str:
    """How many there are, and the first few with their shares."""
    few = [f"{name} {count / facts.events:.1%}" for name, count in list(facts.marks.items())[:3]]
    return f"{len(facts.marks):,}: {', '.join(few)}{' …' if len(facts.marks) > 3 else ''}"


def _covariates(card: EventCard, events: Events) -> list[Row]:
    """The range of each covariate, and how many of its cells are empty."""
    rows = []
    for name, column in zip(card.covariates, () if events.beside is None else events.beside.T, strict=True):
        lost = int(np.isnan(column).sum())
        span = f"{np.nanmin(column):.6g} to {np.nanmax(column):.6g}" if lost < len(column) else "all empty"
        found = span + (f", {lost:,} of {len(column):,} empty" if lost else "")
        rows.append(Row(f"covariate {name}", "numbers", found, None if lost == len(column) else True, "look"))
    return rows


def _parts(card: EventCard, tables: dict[str, Events]) -> list[Row]:
    """Sequences and targets of each part, and the marks that the training does not have."""
    claim = " ".join(f"{key} {told(value)}" for key, value in card.splits.items())
    try:
        split = _split(card, tables)
    except DataError as fault:
        return [Row("splits", claim, fault.found, False)]
    rows = []
    known = set(split.train.events.marks)
    for name, part in zip(PARTS, split, strict=True):
        events, targets = part.events, part.target
        used = int((part.targets > 0).sum())
        times = events.time[targets]
        span = f", {moment(events, float(times.min()))} to {moment(events, float(times.max()))}" if len(times) else ""
        found = f"{int(targets.sum()):,} scored events of {used:,} sequences{span}"
        rows.append(Row(name, told(card.splits.get(name, "the rest")), found, True))
    for name, part in list(zip(PARTS, split, strict=True))[1:]:
        new = int((part.events.mark[part.target] == len(known)).sum())
        if new:
            rows.append(
                Row(f"marks new in {name}", "", f"{new:,} scored events have a mark that training lacks", None, "look")
            )
    return rows


def _whole(card: EventCard, tables: dict[str, Events], frames: dict[str, pl.DataFrame]) -> dict[str, Events]:
    """All files as one table, as they are read where the parts are no files."""
    if len(tables) == 1:
        return tables
    return {card.name: read_events(pl.concat(frames.values()), card.columns, card.name)}


def _split(card: EventCard, tables: dict[str, Events]) -> EventSplit:
    """The parts: files of their own, or cut from all tables below each other."""
    if card.by_files:
        train, val, test = (tables[card.splits[part]] for part in PARTS)
        return split_files(train, val, test)
    (events,) = tables.values()
    return split_events(events, card.splits)
