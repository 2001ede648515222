"""Our models as forecasters of sktime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sktime.forecasting.base import BaseForecaster, ForecastingHorizon
from sktime.utils.warnings import warn

from forecast.artifacts import Run
from forecast.data.freq import parse_freq
from forecast.data.settings import whole
from forecast.data.table import Floats
from forecast.errors import DataError, UsageError
from forecast.inference.predictor import column
from forecast.interop.sktime_config import seed_of, settings
from forecast.interop.sktime_fit import Plan, Trained, train
from forecast.interop.sktime_plain import restored
from forecast.interop.sktime_runs import document, opened, parameters, trained_by
from forecast.interop.sktime_saved import Saved
from forecast.interop.sktime_store import STATE, read_run, write_run
from forecast.interop.sktime_table import Layout
from forecast.where import RUNS

# The head starts from least squares (Informer's does anyway): on a few hundred steps that is most of what there is.
UNSEEN = ("data=series", "data.path=y", "data.gaps=mask", "head.residual=linear")


class Forecaster(Saved, BaseForecaster):  # type: ignore[misc]
    """What the four have in common; `MODEL` is the name in conf/model."""

    MODEL: ClassVar = ""
    KEPT: ClassVar = ("_fh", "_cutoff", "_y_mtype_last_seen", "_is_vectorized")
    PARTLY: ClassVar = ("_y_metadata", "_converter_store_y")
    _tags = {
        "authors": ["the forecast project"],
        "maintainers": ["the forecast project"],
        "python_dependencies": ["torch", "pytorch_lightning", "polars"],
        "capability:multivariate": True,
        "capability:exogenous": True,
        "capability:categorical_in_X": True,
        "capability:non_contiguous_X": True,
        "capability:insample": False,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:missing_values": True,
        "capability:update": True,
        "capability:unequal_length": True,
        "capability:random_state": True,
        "property:randomness": "derandomized",
        "y_inner_mtype": ["pd.DataFrame", "pd-multiindex", "pd_multiindex_hier"],
        "X_inner_mtype": ["pd.DataFrame", "pd-multiindex", "pd_multiindex_hier"],
        "requires-fh-in-fit": True,
        "X-y-must-have-same-index": False,
    }
    _config = {"remember_data": False}  # the history is a table of our own

    def __init__(
        self,
        context: int | None = None,
        d_model: int | None = None,
        layers: int | None = None,
        dropout: float | None = None,
        output: str = "point",
        max_epochs: int | None = None,
        learning_rate: float = 1e-3,
        batch_size: int = 32,
        validation: float = 0.2,
        sp: int | None = None,
        update_epochs: int = 1,
        random_state: Any = None,
        overrides: Any = None,
    ) -> None:
        self.context = context
        self.d_model = d_model
        self.layers = layers
        self.dropout = dropout
        self.output = output
        self.max_epochs = max_epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.validation = validation
        self.sp = sp
        self.update_epochs = update_epochs
        self.random_state = random_state
        self.overrides = overrides
        super().__init__()
        self._y = self._X = None

    # Runs ---------------------------------------------------------------------------------------------------------

    @classmethod
    def from_run(cls, run: "str | Path" = "latest", *, runs: "str | Path" = RUNS) -> Self:
        """A finished run, trained by the command line or written by `to_run`, as a fitted forecaster.

        Its cutoff is the end of the data that it was trained and validated on, where the test part begins: `update`
        moves it on. UsageError for a run of another model, or one that looks at what sktime has no place for.
        """
        found, config = opened(run, runs, "forecast", cls.MODEL)
        if (found.path / STATE).is_file():
            state = restored(found.read(STATE))
            return cls._restored(state, read_run(found, state))
        made = cls(**parameters(found, config))
        trained, made._layout = trained_by(found, config)
        made._keep(trained)
        made._adopted()
        return made

    def _adopted(self) -> None:
        """What `fit` of sktime's base class leaves behind."""
        layout = self._layout
        mtype, scitype = ("pd.DataFrame", "Series") if layout.single else ("pd-multiindex", "Panel")
        names = layout.labels
        self._y_metadata = {"mtype": mtype, "scitype": scitype, "feature_names": names, "n_features": len(names)}
        self._y_mtype_last_seen, self._is_vectorized, self._state = mtype, False, "fitted"
        self._cutoff = layout.cutoff()
        self._fh = ForecastingHorizon(list(range(1, self.horizon_ + 1)), is_relative=True)

    # What sktime calls -------------------------------------------------------------------------------------------

    def _fit(self, y: pd.DataFrame, X: pd.DataFrame | None, fh: ForecastingHorizon) -> "Forecaster":
        self._layout = Layout.of(y, X)
        table = self._layout.table(y, X)
        horizon = int(self._steps(fh)[0].max())
        plan = self._plan(y, horizon)
        self._keep(train(self._settings(plan, horizon), table, held_out=plan.held_out))
        if not plan.held_out and self.validation > 0:
            said = f"{len(y)} rows are too few to hold any back for validation with a horizon of {horizon} steps"
            warn(f"{said}: the weights are chosen on training windows, and intervals are too narrow", obj=self)
        return self

    def _predict(self, fh: ForecastingHorizon, X: pd.DataFrame | None) -> pd.DataFrame:
        rows, index = self._asked(fh)
        values = self._trained.arrays(self._layout.future(X))["y_hat"]
        return pd.DataFrame(_pick(values, rows), index=index, columns=self._layout.labels)

    def _predict_quantiles(
        self, fh: ForecastingHorizon, X: pd.DataFrame | None, alpha: Sequence[float]
    ) -> pd.DataFrame:
        rows, index = self._asked(fh)
        self._resolves(alpha)
        found = self._trained.arrays(self._layout.future(X), [float(a) for a in alpha])
        picked = [_pick(found[column(float(a))], rows) for a in alpha]  # (rows, T) each
        values = np.stack(picked, axis=2).reshape(len(index), -1)
        names = pd.MultiIndex.from_product([self._get_varnames(), alpha])
        return pd.DataFrame(values, index=index, columns=names)

    def _update(self, y: pd.DataFrame, X: pd.DataFrame | None = None, update_params: bool = True) -> "Forecaster":
        table = self._layout.table(y, X)
        time, id = self._layout.time, self._layout.id
        if id is None:
            until: dict[str | None, Any] = {None: table[time].max()}
        else:
            ends = table.group_by(id, maintain_order=True).agg(table[time].name)
            until = {name: stamps.max() for name, stamps in zip(ends[id], ends[time], strict=True)}
        self._trained.add(table, until)
        self._trained.table = self._layout.ordered(self._trained.table)
        if update_params and self.update_epochs > 0:
            was = self._trained
            config = {**was.config, "trainer": {**was.config["trainer"], "max_epochs": self.update_epochs}}
            self._keep(train(config, was.table, held_out=was.held_out, after=was))
        return self

    # How -----------------------------------------------------------------------------------------------------

    def _plan(self, y: pd.DataFrame, horizon: int) -> Plan:
        season = _whole("sp", self.sp) or parse_freq(self._layout.clock.freq).season
        context = _whole("context", self.context)
        if not 0 <= self.validation < 1:
            raise UsageError(f"validation is {self.validation}", "expected a share of each series, 0 or more, below 1")
        return Plan.of(self._layout.lengths(y.index), horizon, season, context, self.validation)

    def _settings(self, plan: Plan, horizon: int) -> dict[str, Any]:
        layout = self._layout
        epochs = _whole("max_epochs", self.max_epochs) or plan.epochs(_whole("batch_size", self.batch_size) or 1)
        keys = {
            **plan.keys(), "task.horizon": horizon, "task.output": self.output, "model.d_model": self.d_model,
            "model.layers": self._layers(), "model.dropout": self.dropout, "optim.lr": self.learning_rate,
            "trainer.max_epochs": epochs, "trainer.patience": max(5, epochs // 5), "seed": seed_of(self.random_state),
            "data.batch_size": self.batch_size, "data.time": layout.time, "data.id": layout.id,
            "data.target": layout.targets, "data.known": layout.known, "data.freq": layout.clock.freq,
            "data.zone": layout.clock.zone, "data.season": self.sp,
        }  # fmt: skip
        return settings(self.MODEL, "forecast", tuple(self.overrides or ()), keys, usual=UNSEEN)

    def _layers(self) -> Any:
        return self.layers

    def _keep(self, trained: Trained) -> None:
        """What `get_fitted_params` shows ends with an underscore."""
        self._trained = trained
        self.context_, self.horizon_ = trained.context, trained.horizon
        self.best_score_, self.epochs_ = trained.facts.get("best"), trained.facts.get("epochs")

    def _own_state(self) -> dict[str, Any]:
        trained = self._trained
        return {"layout": self._layout.to_state(), "facts": trained.facts, "held_out": trained.held_out}

    def _write(self, run: Run) -> None:
        write_run(self._trained, run)

    def _document(self, run: Run) -> tuple[dict[str, Any], Any]:
        data = self._trained.data()
        return document(self._trained, data, run), data

    @classmethod
    def _read(cls, run: Run, state: dict[str, Any]) -> Trained:
        return read_run(run, state)

    def _take(self, state: dict[str, Any], trained: Trained) -> None:
        self._layout = Layout.from_state(state["layout"])
        self._keep(trained)

    def _steps(self, fh: ForecastingHorizon) -> tuple["np.ndarray[Any, Any]", list[pd.Index]]:
        """Steps ahead (S or 1, n) of the horizon for each series, or for all where they end together; their labels."""
        clock, ends, asked = self._layout.clock, self._layout.ends(), fh.to_pandas()
        if fh.is_relative and not isinstance(asked, pd.TimedeltaIndex):
            steps = np.tile(np.asarray(asked, np.int64), (len(ends), 1))
        else:
            at = [pd.Index([end + ahead for ahead in asked]) if fh.is_relative else asked for end in ends]
            steps = np.stack([clock.steps(end, labels) for end, labels in zip(ends, at, strict=True)])
        return steps, [clock.labels(end, ahead) for end, ahead in zip(ends, steps, strict=True)]

    def _asked(self, fh: ForecastingHorizon) -> tuple["np.ndarray[Any, Any]", pd.Index]:
        """Which steps of the horizon are asked for, counted from 0, and the index of the answer."""
        steps, labels = self._steps(fh)
        most = self._trained.horizon
        if steps.min() < 1 or steps.max() > most:
            far = int(steps.min() if steps.min() < 1 else steps.max())
            raise DataError(f"fh asks for step {far}", f"the model was fitted for steps 1 … {most}", "fit it anew")
        return steps - 1, self._layout.index(labels)

    def _resolves(self, alpha: Sequence[float]) -> None:
        """Say where there are too few errors to tell such a quantile."""
        if self._trained.predictor.calibration is None:
            return
        count = self._trained.facts.get("windows", 0)
        least = 1 / (count + 1)
        if count and (min(alpha) < least or max(alpha) > 1 - least):
            said = f"quantiles are learned from {count} validation window{'s' if count > 1 else ''}"
            warn(f"{said}: those beyond {least:.2g} and {1 - least:.2g} are drawn from their extremes", obj=self)


def _pick(values: Floats, rows: "np.ndarray[Any, Any]") -> Floats:
    """(S, H, T) at steps (S or 1, n) -> (S·n, T)."""
    every = np.broadcast_to(rows, (len(values), rows.shape[1]))
    return np.take_along_axis(values, every[..., None], axis=1).reshape(-1, values.shape[2])


def _whole(name: str, value: Any) -> int | None:
    """A number of steps, or None."""
    return None if value is None else whole(name, int(value) if isinstance(value, np.integer) else value, 1, 12)
