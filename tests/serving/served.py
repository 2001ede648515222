"""A server of a model in this process, and requests for it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from forecast.serving.model import Model
from forecast.serving.server import Server


@dataclass
class Given:
    """A source of models that are made already; `fault` is raised instead."""

    model: Model
    fault: Exception | None = None
    loads: int = 0

    def version(self) -> str:
        return self.model.version or self.model.run

    def load(self) -> Model:
        self.loads += 1
        if self.fault is not None:
            raise self.fault
        self.model.tried()
        return self.model


@dataclass
class Served:
    server: Server
    source: Any
    client: httpx.Client
    path: str = "/v1/forecast"
    said: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    fault: BaseException | None = None
    thread: threading.Thread | None = None

    def run(self, poll_s: float) -> None:
        try:
            self.server.run(self.source, self.stop, poll_s=poll_s, tell=self.said.append)
        except BaseException as error:
            self.fault = error

    def post(self, *series: Any, **asked: Any) -> httpx.Response:
        return self.client.post(self.path, json={"series": list(series), **asked})

    def end(self) -> None:
        """As SIGTERM ends it."""
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()

    @contextmanager
    def held(self) -> Iterator[None]:
        """The models do nothing inside; what is asked waits."""
        gate, reached = threading.Event(), threading.Event()
        own = self.server.desk._do

        def wait(jobs: Any) -> None:
            reached.set()
            gate.wait(20)
            own(jobs)

        self.server.desk._do = wait
        first = threading.Thread(target=self.post, args=(wave("held"),))
        first.start()
        assert reached.wait(5)
        self.server.desk._do = own
        try:
            yield
        finally:
            gate.set()
            first.join(20)


@contextmanager
def serving(predictor: Any, task: str = "forecast", source: Any = None, poll_s: float = 0.0, **options: Any):
    """`options` are those of the server."""
    source = source or Given(Model(predictor, task, "r"))
    server = Server(port=0, **{"rate": 0, **options})
    server.open()
    token = options.get("token")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=server.address, headers=headers, timeout=20) as client:
        served = Served(server, source, client)
        assert client.get("/readyz").status_code == 503
        served.thread = threading.Thread(target=served.run, args=(poll_s,))
        served.thread.start()
        try:
            until(lambda: served.fault is not None or client.get("/readyz").status_code == 200)
            if served.fault is None:
                served.path = client.get("/v1/model").json()["path"]
            yield served
        finally:
            client.close()
            served.end()


def wave(name: str = "a", steps: int = 20, **more: Any) -> dict[str, Any]:
    """A series of the small chain; its values are made up of its name and its length."""
    y = [round((7 * i + len(name) + steps) % 11 / 5, 3) for i in range(steps)]
    return {"unique_id": name, "start": "2024-02-01T00:00", "y": y, **more}


def until(reached: Any, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, "it does not come to that"
        time.sleep(0.002)
