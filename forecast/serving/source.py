"""Where a model comes from, and how another one takes its place while requests come."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from forecast import store
from forecast.artifacts import Run, find
from forecast.errors import ForecastError
from forecast.serving.metrics import Metrics
from forecast.serving.model import Model

PATIENCE_S: Final = 5.0


class Source(Protocol):
    """One name that may stand for another model later."""

    def version(self) -> str:
        """Which model the name stands for now; quick, and loads nothing."""

    def load(self) -> Model:
        """That model, tried and ready."""


class Folder:
    """A run of a folder: an id, a path, or the latest one."""

    def __init__(self, wanted: str, runs: str | Path) -> None:
        self.wanted, self.runs = wanted, runs

    def find(self) -> Run:
        return find(self.wanted, self.runs)

    def version(self) -> str:
        return self.find().id

    def load(self) -> Model:
        return Model.load(self.find())


class Registry:
    """What MLflow calls a model: models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/model."""

    def __init__(self, uri: str, cache: Path, tracking: str | None = None) -> None:
        """cache: where fetched runs are kept; tracking: the store, None: that of MLFLOW_TRACKING_URI."""
        self.uri, self.cache, self.tracking = uri, cache, tracking

    def version(self) -> str:
        return store.version(self.uri, self.tracking)

    def load(self) -> Model:
        found = store.registered(self.uri, self.tracking, self.cache)
        return Model.load(found.run, name=found.name, version=found.version)


class Watch:
    """The model that is served. A thread looks for another one every so often, loads it beside the old one and tries
    it; from then on new requests are given the new one. One that cannot be loaded changes nothing."""

    def __init__(self, source: Source, metrics: Metrics, tell: Callable[[str], object]) -> None:
        """tell: is called with what a person should know."""
        self.source, self.metrics, self.tell = source, metrics, tell
        self.wanted: str | None = None  # the version that was tried last, whether it does or not
        self.unreachable = False
        self.model: Model | None = None
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None

    def first(self) -> Model:
        """The model to begin with; what is wrong with it is raised."""
        self.wanted = self.source.version()
        return self._serve(self.source.load())

    def begin(self, every_s: float) -> None:
        """Look for another one from now on."""
        self.thread = threading.Thread(target=self._run, args=(every_s,), name="watch", daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Look no more; a model that is being loaded is not waited for."""
        self.stop.set()
        if self.thread is not None:
            self.thread.join(PATIENCE_S)

    def _run(self, every_s: float) -> None:
        while not self.stop.wait(every_s):
            self.look()

    def look(self) -> bool:
        """Whether another model was taken up."""
        try:
            now = self.source.version()
        except Exception as error:  # a store that is away comes again
            self.metrics.swaps.labels("unreachable").inc()
            if not self.unreachable:
                self.tell(f"which model to serve cannot be looked up: {_line(error)}; the one that is loaded stays")
            self.unreachable = True
            return False
        self.unreachable = False
        if now == self.wanted:
            return False
        self.wanted = now
        try:
            model = self.source.load()
        except Exception as error:  # whatever it is, it must not end what works
            self.metrics.swaps.labels("refused").inc()
            self.tell(f"version {now} is not served: {_line(error)}; the one that is loaded stays")
            return False
        self.wanted = model.version or model.run  # the name may stand for yet another one by now
        self._serve(model)
        self.metrics.swaps.labels("swapped").inc()
        self.tell(f"serving {described(model)}")
        return True

    def _serve(self, model: Model) -> Model:
        self.model = model
        self.metrics.serves(model)
        return model


def described(model: Model) -> str:
    """A model in a few words."""
    name = f"{model.name} version {model.version}, " if model.name is not None else ""
    return f"{name}run {model.run}: {model.predictor.name}, task={model.task} at {model.path}"


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ForecastError) else f"{type(error).__name__}: {text}"
