"""The endpoints of a server of a model."""

from collections.abc import Callable
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from forecast.serving.desk import ENDING, Desk
from forecast.serving.metrics import Metrics
from forecast.serving.model import Model
from forecast.serving.openapi import document
from forecast.serving.rate import Rate
from forecast.serving.reading import Limits, read
from forecast.serving.shape import TASKS
from forecast.serving.source import Watch
from forecast.streaming.serving.app import SAID
from forecast.streaming.serving.body import Bodies
from forecast.streaming.serving.desk import WORDS, Busy
from forecast.streaming.serving.guard import Refusal

ANSWERS: Final = {"forecast": "forecasts", "classify": "classes", "event": "events"}  # task -> the key of a reply
AS_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY


class Told(Route):
    """A plain route, without what FastAPI does for arguments, that tells the guard its path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return match, {**child, "route": self} if child else child


class App:
    """What is answered. Models are asked at the desk."""

    def __init__(
        self, desk: Desk, metrics: Metrics, bodies: Bodies, limits: Limits, rate: Rate, *, closed: bool
    ) -> None:
        """closed: whether a token is asked for."""
        self.desk, self.metrics, self.bodies = desk, metrics, bodies
        self.watch: Watch | None = None  # none while the first model is loaded
        self.limits, self.rate, self.closed = limits, rate, closed
        self.documents: tuple[Model, bytes] | None = None

    def made(self) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        for task, path in TASKS.items():
            app.router.routes.append(Told(path, self._asked(task), methods=["POST"]))
        for path, found in (
            ("/v1/model", self.model), ("/openapi.json", self.openapi), ("/healthz", self.healthz),
            ("/readyz", self.readyz), ("/metrics", self.told),
        ):  # fmt: skip
            app.router.routes.append(Told(path, found, methods=["GET"]))
        for kind, said in SAID.items():
            app.add_exception_handler(kind, said)
        return app

    def _asked(self, task: str) -> Callable[[Request], Any]:
        async def asked(request: Request) -> Response:
            client = request.scope.get("client")
            if wait := self.rate.wait(client[0] if client else ""):
                self.metrics.limited.inc()
                again = {"Retry-After": str(max(1, round(wait + 0.5)))}
                raise Refusal(429, f"expected at most {self.rate.rate:g} requests a second", again)
            model = self._model()
            if model.task != task:
                raise Refusal(404, f"the model is of task={model.task}; ask it at {model.path}")
            body = await self.bodies.read(request)
            try:
                query = read(bytes(body), model.shape, self.limits)
            finally:
                self.bodies.done(body)
            if query.levels and not model.levels:
                raise Refusal(422, "the model has no intervals; leave levels out")
            found = await self.desk.ask(model, query)
            return _json({**model.said, ANSWERS[task]: found})

        return asked

    def _model(self) -> Model:
        if self.desk.phase != "ready" or self.watch is None or self.watch.model is None:
            raise Busy(ENDING if self.desk.phase == "ending" else WORDS[self.desk.phase])
        return self.watch.model

    async def model(self, request: Request) -> Response:
        return _json(self._model().facts)

    async def openapi(self, request: Request) -> Response:
        model = self._model()
        if self.documents is None or self.documents[0] is not model:
            made = document(model, self.limits, self.bodies.most, closed=self.closed)
            self.documents = model, orjson.dumps(made)
        return Response(self.documents[1], media_type="application/json")

    async def healthz(self, request: Request) -> Response:
        return _json({"alive": True})

    async def readyz(self, request: Request) -> Response:
        self._model()
        return _json({"ready": True})

    async def told(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body, option=AS_NUMPY), media_type="application/json")
