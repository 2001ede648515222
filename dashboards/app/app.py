"""The application: a menu, one page at a time, the theme.

The address holds the state. One callback draws the page that it names; controls write into the address
(assets/page.js), so that links, the back button and a reload show the same thing.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.exceptions import PreventUpdate
from fastapi import FastAPI

from forecast.dashboards.app import kit
from forecast.dashboards.app.page import Node, Page, Theme, View, read_query
from forecast.dashboards.app.pages import (
    classification,
    errors,
    events,
    explorer,
    insight,
    jobs,
    leaderboard,
    live,
    run,
)
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.charts.style import palette
from forecast.errors import ForecastError

PAGES: tuple[Page, ...] = tuple(
    module.PAGE for module in (leaderboard, run, explorer, errors, insight, events, classification, live, jobs)
)

INDEX = """<!doctype html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
<link rel="icon" href="data:,">
<style>PALETTE</style>
<script src="assets/theme.js"></script>
{%css%}
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""

log = logging.getLogger(__name__)


def make(sources: Sources) -> Dash:
    """The application over `sources`; `.server` is its FastAPI."""
    app = Dash(
        "forecast",
        server=FastAPI(openapi_url=None),  # type: ignore[arg-type]  # without pages of its own, from another host
        backend="fastapi",
        assets_folder=str(Path(__file__).parent / "assets"),
        assets_ignore=r"theme\.js",
        title="forecast",
        update_title="",
        suppress_callback_exceptions=True,
        index_string=INDEX.replace("PALETTE", palette()),
        meta_tags=[
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "color-scheme", "content": "light dark"},
        ],
        add_log_handler=False,
        use_pages=False,
        enable_mcp=False,
    )
    app.layout = _shell()

    async def draw(path: str | None, search: str | None, theme: str | None) -> tuple[Node, Node]:
        return await asyncio.to_thread(shown, sources, path, search, theme)  # a slow page stops no other

    app.callback(
        Output("menu", "children"),
        Output("content", "children"),
        Input("address", "pathname"),
        Input("address", "search"),
        Input("theme", "data"),
    )(draw)
    _bind(app)
    for page in PAGES:
        if page.register is not None:
            page.register(app, sources)
    # Dash 4.4 finds its assets at the first request for "/": an earlier one for another page would come without them.
    app._setup_server()
    return app


def shown(sources: Sources, path: str | None, search: str | None, theme: str | None) -> tuple[Node, Node]:
    """The menu and the page of an address; what goes wrong is said in its place."""
    if theme not in ("light", "dark"):  # not known yet: assets/page.js tells in a moment
        raise PreventUpdate
    page = next((page for page in PAGES if page.path == (path or "/").rstrip("/") or page.path == path), None)
    query = read_query(search)
    menu = [_item(each, each is page, query) for each in PAGES]
    if page is None:
        words = kit.empty("There is no such page", f"Nothing is at {(path or '')[:80]}. The menu names what there is.")
        return menu, [_head("Not found", ""), words]
    below = drawn(page, View(sources, query, _theme(theme)))
    return menu, [_head(page.title, page.about), *(below if isinstance(below, list) else [below])]


def drawn(page: Page, view: View) -> Node:
    """What the page shows; our own errors in their one line, others as the name of a fault that the log explains."""
    try:
        return page.render(view)
    except ForecastError as error:
        return kit.alarm(str(error))
    except Exception as fault:  # one page's fault must not take the others with it
        log.exception("page %s could not be drawn", page.path)
        return kit.alarm(
            f"This page could not be drawn ({type(fault).__name__}). "
            "Where forecast ui was started, its output says more; please report it."
        )


def _theme(given: str) -> Theme:
    return "dark" if given == "dark" else "light"


def _shell() -> Node:
    return html.Div(
        [
            dcc.Location(id="address", refresh=False),
            dcc.Store(id="theme"),
            html.A("Skip to the page", href="#content", className="skip"),
            html.Header(
                [
                    html.Span("forecast", className="brand"),
                    html.Nav(id="menu", **kit.aria(label="Pages")),
                    html.Button("Dark", id="theme-button", type="button", n_clicks=0),
                ]
            ),
            html.Main(id="content", tabIndex=-1, children=html.P("Loading …", className="note")),
            html.Div(id="nowhere", hidden=True),
        ],
        id="page",
    )


def _head(title: str, about: str) -> Node:
    return html.Div([html.H1(title), html.P(about) if about else None], className="head")


def _item(page: Page, here: bool, query: Mapping[str, tuple[str, ...]]) -> Node:
    """A link of the menu; a run that is looked at stays chosen from page to page."""
    kept = {"run": query["run"][:1]} if "run" in query and page.path not in ("/", "/live", "/jobs") else {}
    state = kit.aria(current="page") if here else {}
    return html.Span(kit.link(page.title, page.path, **kept), className="here" if here else "", **state)


def _bind(app: Dash) -> None:
    """What the browser does by itself: assets/page.js."""

    def does(name: str, *wires: Any) -> None:
        app.clientside_callback(ClientsideFunction("page", name), *wires)

    bound = {"type": "bound", "key": ALL, "many": ALL, "other": ALL, "drops": ALL}
    does(
        "write",
        Output("address", "search"),
        Input(bound, "value"),
        Input({"type": "slide", "key": ALL}, "value"),
        State(bound, "id"),
        State("address", "search"),
        State({"type": "slide", "key": ALL}, "id"),
        State({"type": "slide-values", "key": ALL}, "data"),
    )
    does("theme", Output("theme", "data"), Output("theme-button", "children"), Input("theme-button", "n_clicks"))
    does("arrive", Output("nowhere", "title"), Input("content", "children"), State("address", "pathname"))
