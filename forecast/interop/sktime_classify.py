"""Our models as classifiers of sktime."""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sktime.classification.base import BaseClassifier
from sktime.utils.warnings import warn

from forecast.artifacts import Run
from forecast.errors import UsageError
from forecast.interop.sktime_class_fit import TrainedClasses, labelled, train_classes
from forecast.interop.sktime_config import seed_of, settings
from forecast.interop.sktime_plain import restored
from forecast.interop.sktime_runs import opened, shared
from forecast.interop.sktime_saved import Saved
from forecast.interop.sktime_store import STATE
from forecast.where import RUNS

UNSEEN = ("data=labelled", "data.path=X", "task.rival=false")


class Classifier(Saved, BaseClassifier):  # type: ignore[misc]
    """What the four have in common; `MODEL` is the name in conf/model."""

    MODEL: ClassVar = ""
    KEPT: ClassVar = ("classes_", "n_classes_", "fit_time_", "_is_vectorized", "_y_inner_mtype")
    PARTLY: ClassVar = ("_X_metadata", "_y_metadata", "_converter_store_y")
    _tags = {
        "authors": ["the forecast project"],
        "maintainers": ["the forecast project"],
        "python_dependencies": ["torch", "pytorch_lightning", "polars"],
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:missing_values": True,
        "capability:predict_proba": True,
        "capability:categorical_in_X": False,
        "capability:random_state": True,
        "property:randomness": "derandomized",
        "X_inner_mtype": ["pd-multiindex", "numpy3D"],  # the first: for series of unequal length, too
        "y_inner_mtype": "numpy1D",
    }

    def __init__(
        self,
        d_model: int | None = None,
        layers: int | None = None,
        dropout: float | None = None,
        max_epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        validation: float = 0.2,
        random_state: Any = None,
        overrides: Any = None,
    ) -> None:
        self.d_model = d_model
        self.layers = layers
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.validation = validation
        self.random_state = random_state
        self.overrides = overrides
        super().__init__()

    @classmethod
    def from_run(cls, run: "str | Path" = "latest", *, runs: "str | Path" = RUNS) -> Self:
        """A finished run, trained by the command line or written by `to_run`, as a fitted classifier, whose classes
        are the names in the run. UsageError for a run of another model."""
        found, config = opened(run, runs, "classify", cls.MODEL)
        if (found.path / STATE).is_file():
            state = restored(found.read(STATE))
            return cls._restored(state, cls._read(found, state))
        words = {"batch_size": config["data"]["batch_size"], "validation": config["data"]["val"]}
        made = cls(**words, **shared(found, config))
        metrics = found.read("metrics.json")
        facts = {"best": metrics["best"].get("val/nll"), "epochs": metrics.get("epochs"), "held_out": True}
        made._keep(TrainedClasses.read(found, facts))
        made.classes_ = np.array(made._trained.predictor.recipe.spec.classes)
        made.n_classes_ = len(made.classes_)
        made._class_dictionary = {name: code for code, name in enumerate(made.classes_)}
        made._y_metadata, made._y_inner_mtype, made._is_fitted = {"is_univariate": True}, "numpy1D", True
        return made

    # What sktime calls -------------------------------------------------------------------------------------------

    def _fit(self, X: Any, y: "np.ndarray[Any, Any]") -> "Classifier":
        label = np.searchsorted(self.classes_, y)
        self._keep(train_classes(self._settings(), labelled(X, [str(name) for name in self.classes_], label)))
        if self.validation > 0 and not self._trained.facts["held_out"]:
            said = "no class has two series, so that none can be held back for validation"
            warn(f"{said}: the weights are chosen on the training series", obj=self)
        return self

    def _predict_proba(self, X: Any) -> "np.ndarray[Any, Any]":
        predictor = self._trained.predictor
        spec = predictor.recipe.spec
        read = labelled(X, spec.classes, channels=spec.channels)
        return np.asarray(predictor.chances(predictor.recipe.gather(read)))

    def _predict(self, X: Any) -> "np.ndarray[Any, Any]":
        return np.asarray(self.classes_[self._predict_proba(X).argmax(1)])

    # How ---------------------------------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        keys = {
            "model.d_model": self.d_model, "model.layers": self._layers(), "model.dropout": self.dropout,
            "optim.lr": self.learning_rate, "trainer.max_epochs": self.max_epochs, "seed": seed_of(self.random_state),
            "data.batch_size": self.batch_size, "data.val": self.validation,
        }  # fmt: skip
        return settings(self.MODEL, "classify", tuple(self.overrides or ()), keys, usual=UNSEEN)

    def _layers(self) -> Any:
        return self.layers

    def _keep(self, trained: TrainedClasses) -> None:
        """What `get_fitted_params` shows ends with an underscore."""
        self._trained = trained
        self.best_score_, self.epochs_ = trained.facts.get("best"), trained.facts.get("epochs")

    def _own_state(self) -> dict[str, Any]:
        if not hasattr(self, "_trained"):
            why = "it tells several outputs" if self._is_vectorized else "it has seen one class only"
            raise UsageError(f"this {type(self).__name__} cannot be saved: {why}", do="pickle it, or fit another one")
        return {"facts": self._trained.facts}

    def _write(self, run: Run) -> None:
        self._trained.write(run)

    def _document(self, run: Run) -> tuple[dict[str, Any], Any]:
        return self._trained.document(run), self._trained.data

    @classmethod
    def _read(cls, run: Run, state: dict[str, Any]) -> TrainedClasses:
        return TrainedClasses.read(run, state["facts"])

    def _take(self, state: dict[str, Any], trained: TrainedClasses) -> None:
        self._class_dictionary = {name: code for code, name in enumerate(self.classes_)}
        self._keep(trained)
