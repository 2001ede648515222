"""The model that is served: loaded, tried once, and described."""

from functools import cached_property
from typing import Any, Final

import numpy as np

from forecast import __version__
from forecast.artifacts import Run
from forecast.build import task_of
from forecast.data.table import steps_after
from forecast.errors import ArtifactError
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.event_predictor import EventPredictor
from forecast.inference.frame import load
from forecast.inference.predictor import Predictor
from forecast.serving.quick import Quick
from forecast.serving.shape import TASKS, Shape, shape_of

NAMED: Final = 1000  # classes or marks that are told
TRIED: Final = (1, 32)  # series at once: the sizes that most batches have
EVENTS: Final = 16  # of a made-up sequence
NUMBERS: Final = {"forecast": "y_hat", "classify": "p", "event": "median"}  # task -> what must be a number


class Model:
    """A predictor with the name and the version by which it was asked for."""

    def __init__(self, predictor: Any, task: str, run: str, *, name: str | None = None, version: str | None = None):
        """name and version: in a registry; None: it is a run of a folder."""
        self.predictor, self.task, self.run, self.name, self.version = predictor, task, run, name, version
        self.shape: Shape = shape_of(task, predictor.recipe)
        self.path = TASKS[task]

    @classmethod
    def load(cls, run: Run, *, name: str | None = None, version: str | None = None) -> "Model":
        """ArtifactError for a run that is damaged, or whose forecasts are no numbers."""
        model = cls(load(run), task_of(run.read("config.json")), run.id, name=name, version=version)
        model.tried()
        return model

    @cached_property
    def said(self) -> dict[str, Any]:
        """What each reply says of the model."""
        return {"run": self.run, "name": self.name, "version": self.version}

    @cached_property
    def levels(self) -> list[float]:
        """Of the quantiles that are forecast where a request names none."""
        if isinstance(self.predictor, Predictor):
            return self.predictor.asked(None)
        return [0.05, 0.95] if isinstance(self.predictor, EventPredictor) else []

    @cached_property
    def quick(self) -> Quick:
        """The short way of series."""
        return Quick(self.predictor, list(self.shape.numbers.values()))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What /v1/model says."""
        spec, shape = self.predictor.recipe.spec, self.shape
        found: dict[str, Any] = {
            **self.said, "model": self.predictor.name, "task": self.task, "path": self.path, "forecast": __version__,
            "channels": list(shape.numbers), "past": list(shape.others), "known": list(shape.known),
            "static": list(shape.static), "levels": self.levels, "context": None, "horizon": None, "freq": None,
            "season": None, "zone": shape.zone, "targets": [], "classes": [], "marks": [], "unit": None,
        }  # fmt: skip
        if isinstance(self.predictor, Predictor):
            found |= {
                "context": spec.context, "horizon": spec.horizon, "freq": spec.freq, "season": spec.season,
                "targets": list(spec.channels[: spec.targets]),
            }  # fmt: skip
        elif isinstance(self.predictor, ClassPredictor):
            found["classes"] = list(spec.classes[:NAMED])
        else:
            found |= {"marks": list(spec.marks[:NAMED]), "unit": spec.unit}
        return found

    def tried(self) -> None:
        """Made-up series through the model, so that the first request finds it warm. ArtifactError where that fails."""
        from forecast.serving.work import work

        for count in TRIED:
            (found,) = work(self, [self.made_up(count)])
            if isinstance(found, Exception):
                raise ArtifactError(f"run {self.run} cannot forecast: {found}", do="train again")
            for one in found:
                if one["status"] == "forecast" and not np.isfinite(one[NUMBERS[self.task]]).all():
                    raise ArtifactError(f"run {self.run} forecasts what is no number", do="train again")

    def made_up(self, count: int) -> Any:
        """Waves of the usual length, as a request of `count` series."""
        from forecast.serving.reading import Given, Query

        spec, shape = self.predictor.recipe.spec, self.shape
        rows = {"forecast": "context", "classify": "longest"}.get(self.task)
        length = EVENTS if rows is None else int(getattr(spec, rows))
        values: dict[str, Any] = {column: np.sin(np.arange(length) / 4.0) for column in shape.numbers.values()}
        if shape.mark is not None:
            values[shape.mark] = [spec.marks[0]] * length
        names = [f"made up {i}" for i in range(count)] if shape.id is not None else [shape.alone] * count
        return Query([Given(name, name, length, self._times(length), values, {}, {}) for name in names])

    def _times(self, length: int) -> Any:
        """(length,) times on the model's clock."""
        shape, first = self.shape, np.datetime64("2024-01-01T00:00", "us")
        if shape.clock == "none":
            return None
        if shape.clock == "numbers":
            return np.arange(length, dtype=np.float64)
        if shape.freq is None:
            return first + np.arange(length) * np.timedelta64(1, "h")
        return steps_after(np.repeat(first, length), np.arange(length), shape.freq, shape.zone)
