"""A server on HTTP: readings are sent to it, each request is answered with its forecasts; docs/streaming-http.md.

Three threads at most: the server's loop, the one that owns the stream, and what runs the model. The thread that calls
`run` owns the stream, so that signals reach it and its faults end the process.
"""

import logging
import math
import sys
import threading
from typing import Any, Final

import uvicorn

from forecast.errors import UsageError
from forecast.streaming.feeds import Answering
from forecast.streaming.serving.address import bound, guarded, known, url
from forecast.streaming.serving.admission import Admission
from forecast.streaming.serving.app import App
from forecast.streaming.serving.body import Bodies
from forecast.streaming.serving.desk import Desk
from forecast.streaming.serving.guard import Guard
from forecast.streaming.serving.hub import Hub
from forecast.streaming.serving.loop import begun
from forecast.streaming.serving.metrics import Metrics
from forecast.streaming.streamer import Streamer

GRACE_S: Final = 5  # for replies that are under way when the stream has ended
CONNECTIONS: Final = 1000  # beside those of listeners
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
        names = known(host, hosts, "feed.")
        guarded(host, token, "feed.")
        self.socket = bound(host, port, "feed.")
        self.address = url(host, self.socket.getsockname()[1])
        self.desk, self.metrics = Desk(batch=batch, most=queue), Metrics()
        self.hub = Hub(max(keep, 4 * batch), listeners)
        app = App(self.desk, self.hub, self.metrics, Bodies(max_body, batch))
        guard = Guard(app.made(), self.metrics, names, token, key="feed.hosts", untimed=("/v1/stream",))
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # each bad request would be a line
        self.server = uvicorn.Server(uvicorn.Config(
            guard, http="h11", ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE_S,
            limit_concurrency=CONNECTIONS + listeners,
        ))  # fmt: skip
        self.thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to answer: that nothing can be taken yet."""
        self.thread = begun(self.server, self.socket, self.desk)

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
        states, recent = streamer.live.states, self.desk.recent
        gauge("forecast_state_bytes", "Memory of the states of series", lambda: states.held())
        gauge("forecast_lag_seconds", "From the time of the latest reading to now; NaN where there is none",
              lambda: math.nan if recent.lag_s is None else recent.lag_s)  # fmt: skip
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
