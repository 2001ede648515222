"""A server of a small chain in this process, and readings for it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from forecast.streaming.feeds.http import Http
from forecast.streaming.live import Live
from forecast.streaming.store import Store
from forecast.streaming.streamer import Streamer


@dataclass
class Served:
    """A server that answers; `fault` is what its stream ended with."""

    feed: Http
    streamer: Streamer
    client: httpx.Client
    stop: threading.Event = field(default_factory=threading.Event)
    fault: BaseException | None = None
    thread: threading.Thread | None = None

    def run(self) -> None:
        try:
            self.feed.run(self.streamer, self.stop)
        except BaseException as error:
            self.fault = error

    def post(self, readings: Any, **options: Any) -> httpx.Response:
        return self.client.post("/v1/update", json=readings, **options)

    def end(self) -> None:
        """As SIGTERM ends it."""
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()

    @contextmanager
    def held(self) -> Iterator[None]:
        """The stream does nothing inside; what is asked waits."""
        gate, reached = threading.Event(), threading.Event()
        busy = self.feed.desk.call(lambda: (reached.set(), gate.wait(20)))
        asyncio.run_coroutine_threadsafe(busy, self.feed.desk.loop)
        assert reached.wait(5)
        try:
            yield
        finally:
            gate.set()


def serving(predictor, state=None, live=(), **options) -> AbstractContextManager[Served]:
    """`live` are options of Live, the others those of the feed."""
    return serving_of(Live(predictor, "w", engine="torch", **dict(live)), state, **options)


@contextmanager
def serving_of(streamed, state=None, at=0, **options) -> Iterator[Served]:
    """Of series or events; `at` is its port; `options` are those of the feed."""
    feed = Http(port=at, **options)
    store = None
    if state is not None:
        store = Store(state, streamed.stamp, sync="normal")
        streamed.states.fetch = store.fetch
    streamer = Streamer(streamed, store=store, keep=feed.keep, run="r")
    feed.open()
    token = options.get("token")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=feed.address, headers=headers, timeout=20) as client:
        served = Served(feed, streamer, client)
        assert client.get("/readyz").status_code == 503
        served.thread = threading.Thread(target=served.run)
        served.thread.start()
        try:
            until(lambda: served.fault is not None or client.get("/readyz").status_code == 200)
            yield served
        finally:
            client.close()
            served.end()
            if store is not None:
                store.close()


def reading(name: str, hour: int, value: float | None = None, **more: Any) -> dict[str, Any]:
    """A reading of the small chain; its value is made up of the two where it is not given."""
    made = (hash((len(name), hour)) % 1000) / 500 if value is None else value
    return {"unique_id": name, "ds": f"2024-02-{1 + hour // 24:02}T{hour % 24:02}:00:00", "y": made, **more}


def events(lines: Iterator[str], count: int) -> list[dict[str, Any]]:
    """The next events of a text/event-stream: `event`, `id`, `data`; heartbeats are none. Fewer where it ends."""
    found: list[dict[str, Any]] = []
    now: dict[str, Any] = {}
    for line in lines:
        key, _, value = line.partition(": ")
        if key in ("event", "id", "data"):
            now[key] = int(value) if key == "id" else orjson.loads(value) if key == "data" else value
        elif not line:
            if "data" in now:
                found.append(now)
            now = {}
            if len(found) >= count:
                break
    return found


def until(reached: Callable[[], Any], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.002)
