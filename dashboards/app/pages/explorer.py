"""Forecasts beside what came, one window at a time: found by series, by error, by pointer or by arrow keys."""

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from dash import Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate

from forecast.dashboards import browse
from forecast.dashboards.app import kit
from forecast.dashboards.app.indices import Indices
from forecast.dashboards.app.page import Node, Page, View, address, read_query
from forecast.dashboards.app.pages import explorer_parts as parts
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.canvas import moment, with_unit
from forecast.dashboards.index import Index, nearest
from forecast.dashboards.load import Run
from forecast.dashboards.window_figures import MODELS, Shown, strip_chart, window_chart

PATH: Final = "/explorer"
TICK_MS: Final = 500
indices = Indices()


class Opened(NamedTuple):
    """A run with its index."""

    id: str
    run: Run
    held: Index
    name: str


class Spot(NamedTuple):
    """What is looked at: a column and one of its windows."""

    id: int
    channel: int
    place: int


def render(view: View) -> Node:
    """What stands below the heading; its body is drawn again by itself while indices are made."""
    return html.Div(body(view), id="explorer-body", **kit.aria(live="off"))


def body(view: View) -> Node:
    cards = parts.cards(view)
    if not cards:
        return kit.empty(
            "No forecasts yet",
            "Forecasts of series are browsed here; runs write them as predictions.parquet.",
            "forecast train",
        )
    asked = [id for id in dict.fromkeys(view.query.get("run", ())) if id] or [cards[0].id]
    opened, notes, shares = _open(view, asked[:MODELS], parts.names(view, asked))
    if len(asked) > MODELS:
        notes.append(f"{len(asked)} runs are chosen; the first {MODELS} are drawn.")
    chooser = parts.runs(view, cards, asked)
    if shares:
        return [kit.controls(chooser), *_notes(notes), _progress(min(shares))]
    if not opened:
        return [kit.controls(chooser), *_notes(notes)]
    return [*_browsed(view, chooser, opened, notes)]


def _open(view: View, ids: Sequence[str], names: dict[str, str]) -> tuple[list[Opened], list[str], list[float]]:
    """The runs that can be drawn together, why others cannot, and how far unfinished indices are."""
    opened: list[Opened] = []
    notes: list[str] = []
    shares: list[float] = []
    for id in ids:
        run = view.sources.run(id)
        if run.kind != "series":
            notes.append(f"{names[id]} is a run of {run.kind}, not of forecasts of series; it is left out.")
            continue
        index = indices.get(run)
        if isinstance(index, float):
            shares.append(index)
        elif index is None:
            notes.append(f"{names[id]} has no predictions: it was trained with predictions=false.")
        else:
            opened.append(Opened(id, run, index, names[id]))
    return opened, notes, shares


def _browsed(view: View, chooser: Node, opened: list[Opened], notes: list[str]) -> list[Node]:
    first = opened[0]
    spot = _spot(view, first.held)
    windows = first.held.of(spot.id, spot.channel)
    channel, id = first.held.channels[spot.channel], first.held.ids[spot.id]
    shown = _shown(opened, spot, view, notes)
    label, zone = with_unit(first.run, channel, 40), bool(first.run.zone)
    of = id if len(first.held.ids) > 1 else ""
    current = shown[0].window
    most = first.held.horizon
    ahead = view.number("ahead", 1, 1, most)
    strip = browse.strip(first.held, spot.id, spot.channel, ahead)
    end = current.future["ds"][-1] if current.future.height else current.cutoff
    banded = parts.banded(view, [(each.id, each.name) for each in opened])
    return [
        kit.controls(
            chooser, *parts.series(view, first.held, spot.id), parts.channel(view, first.held, spot.channel), banded
        ),
        *_notes(notes),
        *parts.jumps(view, first.held, spot.id, spot.channel, random.Random()),
        parts.place(view, windows, spot.place),
        kit.graph(window_chart(shown, label, zone, of), view, "explorer-window"),
        parts.scores(shown, first.run, channel, view),
        kit.controls(parts.ahead(view, most, ahead)),
        kit.graph(strip_chart(strip, first.name, label, zone, current.cutoff, end), view, "explorer-strip"),
        parts.told(first.held, windows, len(first.held.ids)),
    ]


def _spot(view: View, index: Index) -> Spot:
    """What the address names; else the first series and channel, and the window with the median error."""
    id = index.ids.index(name) if (name := view.one("series")) in index.ids else 0
    channel = index.channels.index(name) if (name := view.one("channel")) in index.channels else 0
    windows = index.of(id, channel)
    try:
        place = nearest(windows, datetime.fromisoformat(view.one("cutoff")).replace(tzinfo=None))
    except ValueError:
        place = browse.place_of(windows, "typical")
    return Spot(id, channel, place)


def _shown(opened: list[Opened], spot: Spot, view: View, notes: list[str]) -> list[Shown]:
    """The window of each run that has one of the same data; of others a sentence."""
    first = opened[0]
    channel, id = first.held.channels[spot.channel], first.held.ids[spot.id]
    cutoff = first.held.of(spot.id, spot.channel)["cutoff"][spot.place]
    chosen = view.one("bands", first.id)
    if chosen not in [each.id for each in opened]:
        chosen = first.id
    shown = []
    for each in opened:
        reason = "" if each is first else parts.unlike(first.run, each.run)
        if not reason and not (id in each.held.ids and channel in each.held.channels):
            reason = f"it has no forecasts of {id}, {channel}"
        if not reason:
            own = each.held.ids.index(id), each.held.channels.index(channel)
            windows = each.held.of(*own)
            place = nearest(windows, cutoff)
            if windows["cutoff"][place] == cutoff:
                window = browse.window(each.run, each.held, *own, place)
                shown.append(Shown(each.name, window, each.run.naive, each.id == chosen))
                continue
            reason = f"it has no forecast from {moment(cutoff)}"
        notes.append(f"{each.name} is not drawn: {reason}.")
    return shown


def _notes(notes: Sequence[str]) -> list[Node]:
    return [kit.note(words) for words in notes]


def _progress(share: float) -> Node:
    words = f"Reading the predictions for the first time: {100 * share:.0f} % of their rows are done."
    return html.Div(
        [
            html.P(words, role="status"),
            html.Progress(value=f"{share:.3f}", max="1", **kit.aria(label="Predictions read")),
            dcc.Interval(id="explorer-tick", interval=TICK_MS),
        ],
        className="box",
    )


def register(app: Any, sources: Sources) -> None:
    """While indices are made the body is drawn again; the slider and a click on the test span write the cutoff."""

    @app.callback(
        Output("explorer-body", "children"), Input("explorer-tick", "n_intervals"), State("address", "search"),
        State("theme", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def again(_: int | None, search: str | None, theme: str | None) -> Node:
        return body(View(sources, read_query(search), "dark" if theme == "dark" else "light"))

    @app.callback(
        Output("address", "search", allow_duplicate=True), Input("explorer-place", "value"),
        State("address", "search"), prevent_initial_call=True,
    )  # fmt: skip
    def slid(place: int | None, search: str | None) -> str:
        return moved(sources, search, place=place)

    @app.callback(
        Output("address", "search", allow_duplicate=True), Input("explorer-strip", "clickData"),
        State("address", "search"), prevent_initial_call=True,
    )  # fmt: skip
    def clicked(click: dict[str, Any] | None, search: str | None) -> str:
        points = (click or {}).get("points") or [{}]
        return moved(sources, search, at=points[0].get("x"))


def moved(sources: Sources, search: str | None, *, place: int | None = None, at: object = None) -> str:
    """The address with the cutoff of a place, or next to a time; PreventUpdate where it is there already."""
    view = View(sources, read_query(search), "light")
    asked = view.one("run") or next((card.id for card in parts.cards(view)), "")
    index = indices.get(sources.run(asked)) if asked else None
    if not isinstance(index, Index):
        raise PreventUpdate
    spot = _spot(view, index)
    windows = index.of(spot.id, spot.channel)
    if place is None:
        try:
            place = nearest(windows, datetime.fromisoformat(str(at)))
        except ValueError as fault:
            raise PreventUpdate from fault
    place = min(max(int(place), 0), windows.height - 1)
    if place == spot.place:
        raise PreventUpdate
    return address("", **{**view.query, "cutoff": windows["cutoff"][place].isoformat()})


PAGE = Page(PATH, "Forecasts", "Forecasts beside what came, series by series.", render, register)
