"""Live: what a stream does now.

The page is drawn once; after that assets/live.js asks `/live/next` again and again. An answer waits until there is
news, so a browser gets a line within milliseconds, and one that is slow asks less often: nothing piles up for it.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from dash import ClientsideFunction, Dash, Input, Output, dcc, html
from fastapi import Request, Response

from forecast.dashboards.app import kit
from forecast.dashboards.app.page import Node, Page, View
from forecast.dashboards.app.plot import plots
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.app.stream.client import Client, shared
from forecast.dashboards.app.stream.figures import live_chart
from forecast.dashboards.app.stream.words import TILES, banner, figures

MOST: Final = 8  # series on a page
FIRST: Final = 2  # where the address names none
STEPS: Final = ("50", "100", "200", "500")
HOLD_S: Final = 1.0  # an answer without news comes after so long
LOOK_S: Final = 0.01  # between two looks for news
COMMAND: Final = "forecast stream run=latest feed=http\nforecast ui --stream http://127.0.0.1:8000"
SEND: Final = 'curl {url}/v1/update -d \'{{"unique_id": "meter 7", "ds": "2026-01-01T00:00", "y": 3.2}}\''


def render(view: View) -> Node:
    """The charts and figures as they are now."""
    url = view.sources.stream
    if url is None:
        words = "A stream takes readings over HTTP and forecasts after each. Start one, and name it to the dashboard:"
        return kit.empty("No stream is watched", words, COMMAND)
    client = shared(url)
    facts = client.learn()
    names = client.names(view.one("find"), 200) if facts else []
    keys = list(dict.fromkeys(view.query.get("key", ())))[:MOST] or names[:FIRST]
    client.watch(keys)
    steps = view.one("steps", "100") if view.one("steps") in STEPS else "100"
    channels = [str(name) for name in facts.get("channels") or []]
    channel = view.one("channel") if view.one("channel") in channels else next(iter(channels), "")
    asked = urlencode([*(("key", key) for key in keys), ("steps", steps), ("channel", channel), ("theme", view.theme)])
    return [
        _banner(client),
        dcc.Store(id="live-watch", data={"query": asked, "series": len(keys), "known": bool(facts)}),
        _controls(view, names, keys, channels, steps) if facts else None,
        _tiles(client, keys) if facts else None,
        _charts(client, view, keys, facts, steps, channel),
        kit.note(_about(facts, url)),
    ]


def _banner(client: Client) -> Node:
    words, tone = banner(client.told(), client.url)
    return html.P(words, id="live-banner", className=tone, hidden=not words, role="status")


def _controls(view: View, names: list[str], keys: list[str], channels: list[str], steps: str) -> Node:
    options = [(name, name) for name in dict.fromkeys([*keys, *names])]
    return kit.controls(
        kit.choose("key", f"Series (up to {MOST})", options, view, many=True, empty="those used last"),
        kit.search("find", "Find series", view, hint="a part of a name"),
        kit.choose("steps", "Readings shown", [(n, n) for n in STEPS], view, other="100"),
        kit.choose("channel", "Channel", [(name, name) for name in channels], view, other=channels[0])
        if len(channels) > 1 else None,
    )  # fmt: skip


def _tiles(client: Client, keys: Sequence[str]) -> Node:
    """As kit.tiles, each figure with an id that the browser writes to."""
    held = figures(client.told(), client.kept(keys))
    cards = [
        html.Div([html.Dt(label), html.Dd([html.Span(held.get(key, "0"), id=f"live-{key}"), " ", html.Small(unit)])])
        for key, label, unit in TILES
    ]
    return html.Dl(cards, className="tiles")


def _charts(
    client: Client, view: View, keys: Sequence[str], facts: dict[str, Any], steps: str, channel: str
) -> Node:  # fmt: skip
    if not facts:
        return kit.empty("The stream does not answer", "As soon as it does, this page shows it. Start it:", COMMAND)
    if not keys:
        words = "As soon as a reading comes, this page shows it. Send one, with the columns of the training data:"
        return kit.empty("The stream has no series yet", words, SEND.format(url=client.url))
    drawn = [
        kit.graph(live_chart(kept, facts, steps=int(steps), channel=channel), view, key=f"live-chart-{k}")
        for k, kept in enumerate(client.kept(keys))
    ]
    return html.Div(kit.grid(*drawn), id="live-charts")


def _about(facts: dict[str, Any], url: str) -> str:
    if not facts:
        return f"The stream is expected at {url}."
    run = f"of run {facts['run']} " if facts.get("run") else ""
    return (
        f"The stream {run}at {url}. Rates are of the last seconds, percentiles of the requests with readings of the "
        "last minute. Late, duplicate and bad readings (unreadable, implausible, off the grid, after a gap) are "
        "counted since the stream was first begun."
    )


# What the browser asks ---------------------------------------------------------------------------------------------


async def news(client: Client, keys: list[str], since: int, hold_s: float = HOLD_S) -> int:
    """Wait until something is told after version `since`, or for `hold_s`; the version then."""
    client.watch(keys)
    until = time.monotonic() + hold_s
    while client.version == since and time.monotonic() < until:
        await asyncio.sleep(LOOK_S)
    return client.version


def answer(client: Client, query: Any, version: int) -> dict[str, Any]:
    """What changed for a browser: `have` are the numbers of the lines that it has drawn last, chart by chart."""
    keys, have = query.getlist("key")[:MOST], query.get("have", "").split(",")
    steps = query.get("steps") if query.get("steps") in STEPS else "100"
    theme, channel = "dark" if query.get("theme") == "dark" else "light", query.get("channel", "")
    told, kept = client.told(), client.kept(keys)
    charts = {}
    for k, each in enumerate(kept):
        seq = each.latest["seq"] if each.latest is not None else -1
        if k >= len(have) or have[k] != str(seq):
            figure = plots(live_chart(each, told.facts, steps=int(steps), channel=channel), theme)[0]
            charts[str(k)] = {"seq": seq, "lines": each.lines, "figure": figure}
    words, tone = banner(told, client.url)
    return {
        "version": version, "charts": charts, "words": figures(told, kept), "banner": [words, tone],
        "series": told.facts.get("series", 0) if told.state == "live" or told.facts else 0, "known": bool(told.facts),
    }  # fmt: skip


def register(app: Dash, sources: Sources) -> None:
    """The route that browsers ask, and the script that asks it."""

    async def following(request: Request) -> Response:
        if sources.stream is None:
            return Response(b"{}", 404, media_type="application/json")
        client, query = shared(sources.stream), request.query_params
        since = query.get("since", "")
        version = await news(client, query.getlist("key")[:MOST], int(since) if since.isdecimal() else -1)
        body = orjson.dumps(answer(client, query, version))
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    app.server.add_api_route("/live/next", following, methods=["GET"], include_in_schema=False)
    watch = ClientsideFunction("live", "watch")
    app.clientside_callback(watch, Output("live-banner", "title"), Input("live-watch", "data"))


PAGE = Page("/live", "Live", "What a stream does now.", render, register)
