"""Forecasts beside what came, one window at a time: found by series, by error, by pointer or by arrow keys.

A move of the cutoff draws the window and its scores anew and nothing else, so that the slider keeps the focus and a
key that is held down is followed; the browser writes the address itself (assets/explorer.js).
"""

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from dash import ClientsideFunction, Input, Output, Patch, State, dcc, html
from dash.exceptions import PreventUpdate

from forecast.dashboards.app import kit
from forecast.dashboards.app.page import Node, Page, View, address, read_query
from forecast.dashboards.app.pages import explorer_parts as parts
from forecast.dashboards.app.pages.explorer_look import Asked, Look, asked, look, strip
from forecast.dashboards.app.plot import plots
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.charts.chart import Chart
from forecast.dashboards.series.index import nearest
from forecast.dashboards.series.window import here, strip_chart, window_chart

PATH: Final = "/explorer"
TICK_MS: Final = 500


def render(view: View) -> Node:
    """What stands below the heading; its body is drawn again by itself while indices are made."""
    return html.Div(body(view), id="explorer-body")


def body(view: View) -> Node:
    """Controls, the window, its scores, the whole test span; or what is missing for them."""
    found = asked(view)
    if not found.ids:
        return kit.empty(
            "No forecasts yet",
            "Forecasts of series are looked at here; a run writes them as predictions.parquet.",
            "forecast train",
        )
    chooser = parts.runs(view, found.cards, found.ids)
    if found.shares:
        return [kit.controls(chooser), *_notes(found.notes), kit.reading(min(found.shares), "explorer-tick", TICK_MS)]
    if not found.opened:
        return [kit.controls(chooser), *_notes(found.notes)]
    return _browsed(view, chooser, found)


def _browsed(view: View, chooser: Node, found: Asked) -> list[Node]:
    first, seen = found.opened[0], look(view, found.opened)
    index, most = first.held, first.held.horizon
    ahead = view.number("ahead", 1, 1, most)
    whole = strip_chart(
        strip(index, seen.id, seen.channel, ahead), first.name, seen.label, seen.zone, seen.cutoff, seen.end
    )
    banded = parts.banded(view, [(each.id, each.name) for each in found.opened])
    return [
        kit.controls(chooser, *parts.series(view, index, seen.id), parts.channel(view, index, seen.channel), banded),
        html.Div(_notes([*found.notes, *seen.notes]), id="explorer-notes"),
        parts.jumps(view, index, seen.id, seen.channel, random.Random()),
        parts.place(seen.windows, seen.place),
        _figure(_window(seen), view),
        html.Div(_scores(seen, found, view), id="explorer-scores"),
        kit.controls(parts.ahead(view, most, ahead)),
        kit.graph(whole, view, "explorer-strip"),
        parts.told(index, seen.windows),
        dcc.Store(id="explorer-search"),
    ]


def _figure(chart: Chart, view: View) -> Node:
    """The window, with names for what changes when the cutoff moves."""
    made = kit.graph(chart, view, "explorer-window")
    made.children[1].id, made.children[2].id = "explorer-alt", "explorer-caption"
    return made


def _window(seen: Look) -> Chart:
    return window_chart(seen.shown, seen.label, seen.zone, seen.of)


def _scores(seen: Look, found: Asked, view: View) -> Node:
    first = found.opened[0]
    return parts.scores(seen.shown, first.run, first.held.channels[seen.channel], view)


def _notes(notes: Sequence[str]) -> list[Node]:
    return [kit.note(words) for words in notes]


def register(app: Any, sources: Sources) -> None:
    """The body again while indices are made; the window where the slider stands; the slider where the strip was
    clicked or a button pressed."""
    where = State("address", "search"), State("theme", "data")

    @app.callback(
        Output("explorer-body", "children"), Input("explorer-tick", "n_intervals"), *where, prevent_initial_call=True
    )
    def again(_: int | None, search: str | None, theme: str | None) -> Node:
        return body(_view(sources, search, theme))

    @app.callback(
        Output("explorer-window", "figure"), Output("explorer-alt", "aria-label"),
        Output("explorer-caption", "children"), Output("explorer-scores", "children"),
        Output("explorer-notes", "children"), Output("explorer-said", "children"),
        Output("explorer-strip", "figure"), Output("explorer-search", "data"),
        Input("explorer-place", "value"), *where, prevent_initial_call=True,
    )  # fmt: skip
    def moved(place: int | None, search: str | None, theme: str | None) -> tuple[Any, ...]:
        return move(_view(sources, search, theme), place)

    @app.callback(
        Output("explorer-place", "value"), Input("explorer-strip", "clickData"), *where, prevent_initial_call=True
    )
    def clicked(click: dict[str, Any] | None, search: str | None, theme: str | None) -> int:
        points = (click or {}).get("points") or [{}]
        return chosen(_view(sources, search, theme), points[0].get("x"))

    def does(name: str, *wires: Any) -> None:
        app.clientside_callback(ClientsideFunction("explorer", name), *wires, prevent_initial_call=True)

    does("write", Input("explorer-search", "data"))
    does(
        "step", Output("explorer-place", "value", allow_duplicate=True), Input("explorer-back", "n_clicks"),
        Input("explorer-on", "n_clicks"), State("explorer-place", "value"), State("explorer-place", "max"),
    )  # fmt: skip
    does(
        "settle", Output("address", "search", allow_duplicate=True), Input("theme", "data"), State("address", "search")
    )


def move(view: View, place: int | None) -> tuple[Any, ...]:
    """What changes when the cutoff moves to a place: figure, its words, scores, notes, the mark on the strip, the
    address."""
    found = asked(view)
    if place is None or not found.opened or found.shares:
        raise PreventUpdate
    seen = look(view, found.opened, int(place))
    chart = _window(seen)
    mark = Patch()
    mark["layout"]["shapes"] = plots(here(chart, seen.cutoff, seen.end), view.theme)[0]["layout"]["shapes"]
    return (
        plots(chart, view.theme)[0], chart.alt, chart.caption, _scores(seen, found, view),
        _notes([*found.notes, *seen.notes]), parts.said(seen.windows, seen.place), mark,
        address("", **{**view.query, "cutoff": seen.cutoff.isoformat()}),
    )  # fmt: skip


def chosen(view: View, at: object) -> int:
    """The place of the window whose cutoff is next to a time on the strip."""
    found = asked(view)
    try:
        time = datetime.fromisoformat(str(at))
    except ValueError as fault:  # the page is new: nothing was clicked
        raise PreventUpdate from fault
    if not found.opened:
        raise PreventUpdate
    return nearest(look(view, found.opened[:1]).windows, time)


def _view(sources: Sources, search: str | None, theme: str | None) -> View:
    return View(sources, read_query(search), "dark" if theme == "dark" else "light")


PAGE = Page(PATH, "Forecasts", "Forecasts beside what came, series by series.", render, register)
