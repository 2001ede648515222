"""A server on HTTP: readings are sent to it, each request is answered with its forecasts; docs/streaming-http.md.

Three threads at most: the server's loop, the one that owns the stream, and what runs the model. The thread that calls
`run` owns the stream, so that signals reach it and its faults end the process.
"""

import asyncio
import ipaddress
import logging
import os
import socket
import sys
import threading
from typing import Any, Final

import uvicorn

from forecast.errors import UsageError
from forecast.streaming.feeds import Answering
from forecast.streaming.serving.admission import Admission
from forecast.streaming.serving.app import App
from forecast.streaming.serving.body import Bodies
from forecast.streaming.serving.desk import Desk
from forecast.streaming.serving.guard import LOOPBACK, Guard
from forecast.streaming.serving.hub import Hub
from forecast.streaming.serving.metrics import Metrics
from forecast.streaming.streamer import Streamer

GRACE_S: Final = 5  # for replies that are under way when the stream has ended
CONNECTIONS: Final = 1000  # beside those of listeners
BACKLOG: Final = 1024
WILD: Final = ("0.0.0.0", "::", "")  # every address, and the name of none
SHORTEST: Final = 16  # signs of a token
LEAST: Final = {"batch": 1, "queue": 1, "max_body": 1, "max_series": 1, "keep": 0, "listeners": 0}


class Http(Answering):
    """Listens from `open` on, and takes readings while `run` runs."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 8000, token: str | None = None, hosts: Any = None,
        batch: int = 1000, queue: int = 256, max_body: int = 8 << 20, max_series: int = 1_000_000, keep: int = 1000,
        listeners: int = 100,
    ) -> None:  # fmt: skip
        """Options as in conf/feed/http.yaml. UsageError for one that is wrong, for an address that others can reach
        without a token, and for a port that is taken."""
        given = {
            "batch": batch, "queue": queue, "max_body": max_body, "max_series": max_series, "keep": keep,
            "listeners": listeners,
        }  # fmt: skip
        for key, least in LEAST.items():
            if given[key] < least:
                raise UsageError(f"feed.{key} is {given[key]}", f"expected at least {least}")
        self.keep, self.max_series = keep, max_series
        known = [*LOOPBACK, *([] if host in WILD else [host]), *_names(hosts)]
        _guarded(host, token)
        self.socket = _bound(host, port)
        self.address = _url(host, self.socket.getsockname()[1])
        self.desk, self.metrics = Desk(batch=batch, most=queue), Metrics()
        self.hub = Hub(max(keep, 4 * batch), listeners)
        app = App(self.desk, self.hub, self.metrics, Bodies(max_body, batch))
        guard = Guard(app.made(), self.metrics, known, token)
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # each bad request would be a line
        self.server = uvicorn.Server(uvicorn.Config(
            guard, http="h11", ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE_S,
            limit_concurrency=CONNECTIONS + listeners,
        ))  # fmt: skip
        self.thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to answer: that nothing can be taken yet."""
        up = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(up,), name="http", daemon=True)
        self.thread.start()
        up.wait()

    def _serve(self, up: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self.desk.loop = runner.get_loop()
            up.set()
            try:
                runner.run(self.server.serve([self.socket]))
            finally:
                self.desk.loop = None

    def run(self, streamer: Streamer, stop: threading.Event) -> None:
        """Until `stop` is set: then what is waiting is processed, listeners are told, and the server ends."""
        if self.thread is None:
            self.open()
        self._begin(streamer)
        sys.stderr.write(f"listening on {self.address}\n")
        sys.stderr.flush()
        try:
            self.desk.serve(stop)
        finally:
            self.close()

    def _begin(self, streamer: Streamer) -> None:
        admission = Admission(streamer.reader, streamer.live.states, streamer.store, self.max_series)
        streamer.reader = admission
        gauge = self.metrics.gauge
        gauge("forecast_series", "Series that are known", lambda: admission.series)
        gauge("forecast_queue_length", "Requests that wait", self.desk.jobs.qsize)
        gauge("forecast_listeners", "Readers of /v1/stream", lambda: len(self.hub.listeners))
        self.hub.last = streamer.seq
        self.desk.open(streamer, admission, self.hub, self.metrics)

    def close(self) -> None:
        """End the server; replies under way are sent."""
        if self.thread is not None:
            if (loop := self.desk.loop) is not None:
                loop.call_soon_threadsafe(self.hub.end)
            self.server.should_exit = True
            self.thread.join()
            self.thread = None
        self.socket.close()


def _names(hosts: Any) -> list[str]:
    names = [] if hosts is None else hosts if isinstance(hosts, list) else [hosts]
    if not all(isinstance(name, str) and name and set("/:* ").isdisjoint(name) for name in names):
        raise UsageError(f"feed.hosts is {hosts!r}", "expected names without ports, e.g. [forecast.example.org]")
    return names


def _guarded(host: str, token: str | None) -> None:
    """UsageError where others could reach what asks for no token."""
    plain = token is None or (token.isascii() and token.isprintable() and " " not in token)
    if token is not None and (len(token) < SHORTEST or not plain):
        raise UsageError(
            f"feed.token has {len(token)} signs", f"expected at least {SHORTEST}, printable ones of ASCII, no blanks",
            "e.g. what `openssl rand -hex 32` prints",
        )  # fmt: skip
    try:
        alone = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        alone = False
    if not alone and token is None:
        raise UsageError(
            f"feed.host={host} can be reached from other machines and feed.token is not set", "expected a token",
            "set feed.token='${oc.env:FORECAST_TOKEN}', or listen on 127.0.0.1",
        )  # fmt: skip


def _bound(host: str, port: int) -> socket.socket:
    """A socket at the address."""
    if not 0 <= port < 65536:
        raise UsageError(f"feed.port is {port}", "expected 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"feed.host {host!r} is not known here ({error.strerror})", do="e.g. 127.0.0.1") from error
    # the protocol is named, or asyncio would not know that it is TCP and leave Nagle's algorithm on: 40 ms a reply
    found = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # as servers do: a port in TIME_WAIT is free
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)  # else another that was bound before it listens would share the port
    except OSError as error:
        found.close()
        why = (error.strerror or str(error)).lower()
        raise UsageError(
            f"port {port} of {host} cannot be used ({why})", "expected a free port", "set feed.port; 0 takes a free one"
        ) from error
    return found


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
