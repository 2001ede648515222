"""A run's own report.html, served so that nothing in it can act: no script, no request, an origin of its own."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from dash import html

from forecast.dashboards.app.page import Node
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.page import POLICY
from forecast.errors import ForecastError

ROUTE: Final = "/report/"
REPORT: Final = "report.html"
HEADERS: Final = {
    "Content-Security-Policy": f"sandbox; {POLICY}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def report_of(sources: Sources, id: str) -> Path | None:
    """The report of a run that is listed; the id is compared to those that are, and never made a path."""
    card = next((card for card in sources.cards() if card.id == id and card.path is not None), None)
    path = card.path / REPORT if card is not None and card.path is not None else None
    return path if path is not None and path.is_file() else None


def register(app: Any, sources: Sources) -> None:
    """GET /report/ID on the server of the application."""
    from fastapi import Response

    def report(id: str) -> Response:
        try:
            path = report_of(sources, id)
            body = path.read_bytes() if path is not None else None
        except (ForecastError, OSError):
            body = None
        if body is None:
            return Response("No such report.\n", 404, HEADERS, "text/plain; charset=utf-8")
        return Response(body, 200, HEADERS, "text/html; charset=utf-8")

    app.server.add_api_route(ROUTE + "{id}", report, methods=["GET"])


def outside(words: Node, url: str) -> Node:
    """A link that leaves the dashboard, in a window of its own; words alone where it is no address of the web or of
    this server."""
    if not url.startswith("/") and urlsplit(url).scheme not in ("http", "https"):
        return words
    return html.A(words, href=url, target="_blank", rel="noopener noreferrer")
