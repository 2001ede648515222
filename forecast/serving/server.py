"""The server itself: a socket, the loop of HTTP in a thread of its own, the models in the one that calls `run`."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

import uvicorn

from forecast.errors import UsageError
from forecast.serving.app import App
from forecast.serving.desk import Desk
from forecast.serving.metrics import Metrics
from forecast.serving.rate import Rate
from forecast.serving.reading import Limits
from forecast.serving.source import Source, Watch, described
from forecast.streaming.serving.address import bound, guarded, known, url
from forecast.streaming.serving.body import Bodies
from forecast.streaming.serving.guard import Guard
from forecast.streaming.serving.loop import begun

GRACE_S: Final = 5  # for replies that are under way when all is answered
CONNECTIONS: Final = 1000
LEAST: Final = {
    "max_batch": 1, "max_wait_ms": 0, "queue": 1, "max_body": 1, "max_series": 1, "max_steps": 1, "rate": 0,
    "timeout_s": 0.001,
}  # fmt: skip


def say(line: str) -> None:
    """To a person, on stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Server:
    """Listens from `open` on, and answers while `run` runs."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 8000, token: str | None = None, hosts: Any = None,
        max_batch: int = 256, max_wait_ms: float = 2.0, queue: int = 4096, max_body: int = 8 << 20,
        max_series: int = 1000, max_steps: int = 100_000, rate: float = 2000.0, timeout_s: float = 10.0,
    ) -> None:  # fmt: skip
        """Options as in conf/serve.yaml. UsageError for one that is wrong, for an address that others can reach without
        a token, and for a port that is taken."""
        given = {
            "max_batch": max_batch, "max_wait_ms": max_wait_ms, "queue": queue, "max_body": max_body,
            "max_series": max_series, "max_steps": max_steps, "rate": rate, "timeout_s": timeout_s,
        }  # fmt: skip
        for key, least in LEAST.items():
            if not given[key] >= least:
                raise UsageError(f"{key} is {given[key]}", f"expected at least {least}")
        if queue < max_series:
            raise UsageError(f"queue is {queue}", f"expected at least max_series, {max_series}")
        names = known(host, hosts, "")
        guarded(host, token, "")
        self.socket = bound(host, port, "")
        self.address = url(host, self.socket.getsockname()[1])
        self.metrics = Metrics()
        self.desk = Desk(self.metrics, batch=max_batch, wait_s=max_wait_ms / 1000, most=queue, timeout_s=timeout_s)
        self.watch: Watch | None = None
        self.limits, self.rate, self.bodies = Limits(max_series, max_steps), Rate(rate), Bodies(max_body, max_series)
        self.app = App(self.desk, self.metrics, self.bodies, self.limits, self.rate, closed=token is not None)
        guard = Guard(self.app.made(), self.metrics, names, token, key="hosts")
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # each bad request would be a line
        self.server = uvicorn.Server(uvicorn.Config(
            guard, http="httptools", ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE_S, limit_concurrency=CONNECTIONS,
        ))  # fmt: skip
        self.thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to answer: that there is no model yet."""
        self.thread = begun(self.server, self.socket, self.desk, _loop_factory())

    def run(
        self, source: Source, stop: threading.Event, *, poll_s: float = 0.0, tell: Callable[[str], object] = say
    ) -> None:
        """Until `stop` is set: then what waits is answered, and the server ends. poll_s: from look to look for another
        model, 0: never; `tell` is called with what a person should know."""
        if self.thread is None:
            self.open()
        self.watch = self.app.watch = Watch(source, self.metrics, tell)
        try:
            model = self.watch.first()
            self.metrics.gauge("forecast_queue_series", "Series that wait", lambda: self.desk.waiting)
            if poll_s:
                self.watch.begin(poll_s)
            tell(f"serving {described(model)}")
            tell(f"listening on {self.address}")
            self.desk.serve(stop)
        finally:
            self.close()

    def close(self) -> None:
        """End the server; replies under way are sent."""
        if self.thread is not None:
            self.server.should_exit = True
            self.thread.join()
            self.thread = None
        self.socket.close()
        if self.watch is not None:
            self.watch.end()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop
