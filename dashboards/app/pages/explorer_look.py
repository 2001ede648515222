"""What an address of the explorer names: runs with their indices, a column, a window, and what is drawn of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import polars as pl

from forecast.dashboards.app.indices import Indices
from forecast.dashboards.app.page import View
from forecast.dashboards.app.pages import explorer_parts as parts
from forecast.dashboards.app.sources import Card, Kept
from forecast.dashboards.charts.shared import moment, with_unit
from forecast.dashboards.load import Run
from forecast.dashboards.series import browse
from forecast.dashboards.series.index import Index, nearest
from forecast.dashboards.series.window import MODELS, Drawn
from forecast.errors import ForecastError

indices: Final = Indices()
strips: Final = Kept[browse.Strip](16)  # of a series of ten million rows one takes a tenth of a second to read


class Opened(NamedTuple):
    """A run with its index."""

    id: str
    run: Run
    held: Index
    name: str


class Asked(NamedTuple):
    """The runs of an address: those that can be drawn, why others cannot, and how far unfinished indices are."""

    cards: list[Card]
    ids: list[str]
    opened: list[Opened]
    notes: list[str]
    shares: list[float]


class Look(NamedTuple):
    """A column of the first run, one of its windows, and the models' forecasts of it."""

    id: int
    channel: int
    place: int
    windows: pl.DataFrame  # of the column
    shown: list[Drawn]
    notes: list[str]
    label: str  # the channel with its unit
    zone: bool
    of: str  # the series, where there are several

    @property
    def cutoff(self) -> datetime:
        found: datetime = self.windows["cutoff"][self.place]
        return found

    @property
    def end(self) -> datetime:
        """The last stamp of the forecast."""
        future = self.shown[0].window.future
        found: datetime = future["ds"][-1] if future.height else self.cutoff
        return found


def asked(view: View) -> Asked:
    """The runs that the address names, the newest one where it names none."""
    cards = parts.cards(view)
    ids = [id for id in dict.fromkeys(view.query.get("run", ())) if id] or [card.id for card in cards[:1]]
    found = Asked(cards, ids, [], [], [])
    names = parts.names(view, ids)
    for id in ids[:MODELS]:
        try:
            run = view.sources.run(id)
            index = indices.get(run) if run.kind == "series" else None
        except ForecastError as error:
            found.notes.append(f"{names[id]}: {error}")
            continue
        if run.kind != "series":
            found.notes.append(f"{names[id]} is a run of {run.kind}, not of forecasts of series; it is left out.")
        elif isinstance(index, float):
            found.shares.append(index)
        elif index is None:
            found.notes.append(f"{names[id]} has no predictions: train it with predictions=true.")
        else:
            found.opened.append(Opened(id, run, index, names[id]))
    if len(ids) > MODELS:
        found.notes.append(f"{len(ids)} runs are chosen; the first {MODELS} are drawn.")
    return found


def look(view: View, opened: Sequence[Opened], place: int | None = None) -> Look:
    """What the address names; else the first series and channel, and the window with the median error. `place` comes
    before the address's cutoff."""
    run, index = opened[0].run, opened[0].held
    id = index.ids.index(name) if (name := view.one("series")) in index.ids else 0
    there = [k for k in range(len(index.channels)) if index.of(id, k).height]
    channel = index.channels.index(name) if (name := view.one("channel")) in index.channels else there[0]
    channel = channel if channel in there else there[0]
    windows = index.of(id, channel)
    if place is None:
        try:
            place = nearest(windows, datetime.fromisoformat(view.one("cutoff")).replace(tzinfo=None))
        except ValueError:
            place = browse.place_of(windows, "typical")
    place = min(max(place, 0), windows.height - 1)
    notes: list[str] = []
    shown = _shown(opened, (index.ids[id], index.channels[channel], windows["cutoff"][place]), view, notes)
    label, of = with_unit(run, index.channels[channel], 40), index.ids[id] if len(index.ids) > 1 else ""
    return Look(id, channel, place, windows, shown, notes, label, bool(run.zone), of)


def _shown(opened: Sequence[Opened], where: tuple[str, str, datetime], view: View, notes: list[str]) -> list[Drawn]:
    """The window of each run that has one of the same data; of others a sentence in `notes`."""
    id, channel, cutoff = where
    chosen = view.one("bands")
    if chosen not in [each.id for each in opened]:
        chosen = opened[0].id
    shown = []
    for each in opened:
        reason = "" if each is opened[0] else parts.unlike(opened[0].run, each.run)
        if not reason and not (id in each.held.ids and channel in each.held.channels):
            reason = f"it has no forecasts of {id}, {channel}"
        if not reason:
            own = each.held.ids.index(id), each.held.channels.index(channel)
            windows = each.held.of(*own)
            at = nearest(windows, cutoff) if windows.height else 0
            if windows.height and windows["cutoff"][at] == cutoff:
                window = browse.window(each.run, each.held, *own, at)
                shown.append(Drawn(each.name, window, each.run.naive, each.id == chosen))
                continue
            reason = f"it has no forecast from {moment(cutoff)}"
        notes.append(f"{each.name} is not drawn: {reason}.")
    return shown


def strip(index: Index, id: int, channel: int, ahead: int) -> browse.Strip:
    """The test span of a column, kept for the next page of it."""
    key = f"{index.file.path} {id} {channel} {ahead}"
    return strips.get(key, (index.file.changed,), lambda: browse.strip(index, id, channel, ahead))
