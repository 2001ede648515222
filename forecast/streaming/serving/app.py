"""The endpoints of a stream."""

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from forecast.streaming.serving.body import Bodies
from forecast.streaming.serving.desk import WORDS, Busy, Desk, Failed
from forecast.streaming.serving.events import Events
from forecast.streaming.serving.guard import Refusal
from forecast.streaming.serving.hub import Hub, Line, Listener
from forecast.streaming.serving.metrics import Metrics
from forecast.streaming.serving.replies import forecast

AGAIN: Final = {"Retry-After": "1"}
IDS: Final = 1000  # series that one listener names, at most
PAGE: Final = 500  # lines from the store at once
LOOKED: Final = 10_000  # series among which names are looked for


class App:
    """What is answered. The stream itself is asked at the desk."""

    def __init__(self, desk: Desk, hub: Hub, metrics: Metrics, bodies: Bodies) -> None:
        self.desk, self.hub, self.metrics, self.bodies = desk, hub, metrics, bodies
        self.began = time.monotonic()

    def made(self) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        app.add_api_route("/v1/update", self.update, methods=["POST"])
        app.add_api_route("/v1/forecast/{id:path}", self.forecast, methods=["GET"])
        app.add_api_route("/v1/stream", self.stream, methods=["GET"])
        app.add_api_route("/v1/reset/{id:path}", self.reset, methods=["POST"])
        app.add_api_route("/v1/state", self.state, methods=["GET"])
        app.add_api_route("/v1/series", self.series, methods=["GET"])
        app.add_api_route("/v1/snapshot", self.snapshot, methods=["POST"])
        app.add_api_route("/healthz", self.healthz, methods=["GET"])
        app.add_api_route("/readyz", self.readyz, methods=["GET"])
        app.add_api_route("/metrics", self.told, methods=["GET"])
        for kind, said in SAID.items():
            app.add_exception_handler(kind, said)
        return app

    # Readings and forecasts ----------------------------------------------------------------------------------

    async def update(self, request: Request) -> Response:
        body = await self.bodies.read(request)
        began = time.perf_counter()
        try:
            lines = self.bodies.split(bytes(body), request.headers.get("content-type", ""))
            found = await self.desk.take(lines)
            self.desk.recent.request(time.perf_counter() - began)
        finally:
            self.bodies.done(body)
        return _json(found.body, found.status)

    async def forecast(self, request: Request, id: str) -> Response:
        desk = self.desk
        found = await desk.call(lambda: forecast(desk.streamer.live, desk.streamer.writer, id))
        if found is None:
            raise _unknown(id)
        return _json(found)

    async def stream(self, request: Request) -> Response:
        names = frozenset(request.query_params.getlist("id"))
        if len(names) > IDS:
            raise Refusal(400, f"there are {len(names):,} series; expected at most {IDS:,}")
        last = request.headers.get("last-event-id", request.query_params.get("after"))
        if last is not None and not (last.isascii() and last.isdigit() and len(last) < 19):
            raise Refusal(400, "Last-Event-ID is no number of a line")
        if self.desk.phase != "ready":
            raise Busy(WORDS[self.desk.phase])
        if self.hub.full:
            raise Busy(f"there are {self.hub.most:,} listeners")
        kept = self.desk.streamer.store is not None
        listener = Listener(self.hub, names, None if last is None else int(last), self._older if kept else None)
        self.hub.listeners.add(listener)  # before another request asks whether there is room
        return Events(listener)

    async def _older(self, seq: int) -> list[Line]:
        """Lines that the store has kept, from one on."""
        store = self.desk.streamer.store
        assert store is not None
        given = await self.desk.call(lambda: store.given(seq - 1, PAGE))
        return [Line(number, orjson.loads(line)["unique_id"], line) for number, line in given]

    async def reset(self, request: Request, id: str) -> Response:
        if not await self.desk.call(lambda: self._forget(id)):
            raise _unknown(id)
        return _json({"unique_id": id, "reset": True})

    def _forget(self, name: str) -> bool:
        live, store = self.desk.streamer.live, self.desk.streamer.store
        found = name in live.states
        if store is not None:
            with store.transaction():
                kept = store.forget(name)
            if kept:
                found = True
                self.desk.admission.dropped(name)
        live.reset(name)
        return found

    # The whole of it -----------------------------------------------------------------------------------------

    async def state(self, request: Request) -> Response:
        return _json(await self.desk.call(self._facts))

    def _facts(self) -> dict[str, Any]:
        streamer = self.desk.streamer
        live, store = streamer.live, streamer.store
        return {
            "run": streamer.run, **live.facts(), "series": self.desk.admission.series,
            "series_in_memory": len(live.states), "bytes_per_series": live.states.size(),
            "state_bytes": live.states.held(), "store_bytes": None if store is None else store.path.stat().st_size,
            "seq": streamer.seq, "counts": dict(streamer.counts), "kept": store is not None,
            "uptime_s": round(time.monotonic() - self.began, 3), "queue": self.desk.jobs.qsize(),
            "listeners": len(self.hub.listeners), **self.desk.recent.facts(),
        }  # fmt: skip

    async def series(self, request: Request) -> Response:
        """Names of series, those that were used last first; `?find=` a part of them, `?most=` how many."""
        find, most = request.query_params.get("find", ""), request.query_params.get("most", "50")
        if not (most.isascii() and most.isdigit() and 0 < int(most[:9]) <= IDS):
            raise Refusal(400, f"most is {most[:20]!r}; expected 1 to {IDS:,}")
        states = self.desk.streamer.live
        found = await self.desk.call(lambda: states.states.recent(LOOKED))
        part = find.casefold()
        names = [name for name in found if part in name.casefold()]
        if find in found:  # a whole name stands before those of which it is a part
            names = [find, *(name for name in names if name != find)]
        return _json({"series": names[: int(most)]})

    async def snapshot(self, request: Request) -> Response:
        return _json(await self.desk.call(self._copied), 201)

    def _copied(self) -> dict[str, Any]:
        """A copy of the store beside it, under a name of ours."""
        streamer = self.desk.streamer
        store = streamer.store
        if store is None:
            raise Refusal(409, "the stream keeps nothing; start it with state.path")
        if shutil.disk_usage(store.path.parent).free < 2 * store.path.stat().st_size:
            raise Refusal(507, "the disk has no room for a copy")
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = store.path.with_name(f"{store.path.stem}-{now}-{streamer.seq}.db")
        try:
            store.backup(path)
        finally:
            path.with_name(f"{path.name}.part").unlink(missing_ok=True)
        return {"file": path.name, "bytes": path.stat().st_size, "seq": streamer.seq}

    # For those who watch -------------------------------------------------------------------------------------

    async def healthz(self, request: Request) -> Response:
        return _json({"alive": True})

    async def readyz(self, request: Request) -> Response:
        if self.desk.phase != "ready":
            raise Busy(WORDS[self.desk.phase])
        return _json({"ready": True})

    async def told(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _json(body: bytes | dict[str, Any], status: int = 200) -> Response:
    return Response(body if isinstance(body, bytes) else orjson.dumps(body), status, media_type="application/json")


def _unknown(id: str) -> Refusal:
    return Refusal(404, f"there is no series {id[:80]!r}")


def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response


def _busy(_: Request, error: Exception) -> Response:
    return Refusal(503, str(error), AGAIN).response


def _failed(_: Request, error: Exception) -> Response:
    return Refusal(500, str(error)).response


def _defect(_: Request, error: Exception) -> Response:
    return Refusal(500, "a defect of the server").response


def _other(_: Request, error: Exception) -> Response:
    """A path or a method that is not there."""
    assert isinstance(error, HTTPException)
    return Refusal(error.status_code, error.detail, dict(error.headers or {})).response


SAID: Final[dict[type[Exception], Callable[[Request, Exception], Response]]] = {
    Refusal: _refused, Busy: _busy, Failed: _failed, HTTPException: _other, Exception: _defect,
}  # fmt: skip
