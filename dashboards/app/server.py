"""The dashboard's server: one process, one address, FastAPI behind a guard."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import uvicorn
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from forecast.dashboards.app.app import make
from forecast.dashboards.app.guard import REPORT, Guard
from forecast.dashboards.app.sources import Sources

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
CONNECTIONS: Final = 200
GRACE_S: Final = 3  # for replies that are under way
MESSAGE: Final = 1 << 20  # bytes that come over a WebSocket at once


def guarded(sources: Sources, hosts: Sequence[str], port: int, token: str | None = None) -> Guard:
    """The dashboard over `sources` as an ASGI application that answers to `hosts` and those of loopback."""
    app = make(sources)
    app.enable_dev_tools(debug=False)
    app.server.router.routes.insert(0, _reports(sources))
    return Guard(app.server, [*LOOPBACK, *hosts], port, token, app.csp_hashes())


def serve(
    sources: Sources, host: str = "127.0.0.1", port: int = 8050, hosts: Sequence[str] = (), token: str | None = None
) -> None:
    """Answer at http://host:port until SIGTERM or Ctrl-C."""
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # each bad request would be a line
    made(guarded(sources, hosts, port, token), host, port).run()


def made(app: Guard, host: str, port: int) -> uvicorn.Server:
    """The server of HTTP and WebSocket before an app, with its limits."""
    return uvicorn.Server(uvicorn.Config(
        app, host=host, port=port, http="httptools", interface="asgi3", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, ws_max_size=MESSAGE, limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
    ))  # fmt: skip


def _reports(sources: Sources) -> Any:
    """/report/ID: the report.html that a run wrote, which loads and runs nothing."""
    from starlette.routing import Route

    async def report(request: Request) -> Response:
        known = await run_in_threadpool(sources.card, request.path_params["id"])
        path = None if known is None or known.path is None else known.path / "report.html"
        if path is None or not path.is_file():
            return PlainTextResponse("this run has no report; forecast train writes one", 404)
        return FileResponse(path, media_type="text/html; charset=utf-8")

    return Route(f"{REPORT}{{id}}", report, methods=["GET"])
