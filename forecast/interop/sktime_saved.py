"""How our estimators are saved and loaded: sktime's interface around a run folder."""

import os
from pathlib import Path
from typing import Any, ClassVar, Self

from forecast import provenance
from forecast.artifacts import Run
from forecast.dashboards.report import write_report
from forecast.errors import ArtifactError, UsageError
from forecast.interop.sktime_plain import plain
from forecast.interop.sktime_store import STATE, archive, packed, unpacked
from forecast.track import make_tracker
from forecast.where import RUNS

CONFIG = "_config_dynamic"  # what set_config has set


class Saved:
    """A mixin in front of a base class of sktime. A subclass says what that remembers: KEPT, and PARTLY, as far as it
    is plain; and gives the methods at the end."""

    KEPT: ClassVar[tuple[str, ...]] = ()
    PARTLY: ClassVar[tuple[str, ...]] = ()
    _trained: Any

    def save(self, path: "str | Path | None" = None, serialization_format: str = "pickle") -> Any:
        """PATH.zip with a run folder in it, or (class, bytes of such a zip) where no path is given.

        Weights are safetensors, the rest JSON and parquet. `serialization_format` is of sktime's interface and has no
        effect. What `set_config(remember_data=True)` makes sktime remember is not saved.
        """
        if path is not None and not isinstance(path, str | Path):
            raise TypeError(
                f"`path` is expected to either be a string or a Path object but found of type:{type(path)}."
            )
        fitted = bool(self.is_fitted)  # type: ignore[attr-defined]
        data = packed(self._kept_state(), self._write if fitted else None)
        return (type(self), data) if path is None else archive(Path(path), type(self), data)

    def to_run(self, folder: "str | Path") -> Path:
        """Write the fit as a finished run into a new folder, for `forecast predict run=FOLDER` and `from_run`; its
        scores are those of the validation."""
        self.check_is_fitted()  # type: ignore[attr-defined]
        return self._documented(Run(Path(folder).expanduser().resolve()))[0].path

    def log(
        self, tracking_uri: str | None = None, experiment: str | None = None, *, runs: "str | Path" = RUNS,
        wait_s: float = 60.0,
    ) -> Path:  # fmt: skip
        """Log the fit to MLflow as `forecast train` logs its runs: parameters, history, scores and the run folder,
        which is written below `runs` and returned. Without an address that of MLFLOW_TRACKING_URI, or
        sqlite:///mlflow.db. What a store has not taken in `wait_s` seconds is told; `forecast sync` sends it later."""
        self.check_is_fitted()  # type: ignore[attr-defined]
        run, metrics, data = self._documented(Run.plan(runs, "train"))
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
        words = {"experiment": experiment, "register": None, "alias": None, "system": False, "wait": wait_s}
        tracker = make_tracker({"uri": uri, **words})
        tracker.start(run, self._trained.config, data)
        tracker.log(self._trained.history)
        tracker.finish(run, metrics)
        return run.path

    def _documented(self, run: Run) -> tuple[Run, dict[str, Any], Any]:
        """A finished run of the fit, what metrics.json holds, and the data module."""
        if run.path.is_dir() and any(run.path.iterdir()):
            raise UsageError(f"{run.path} is not empty", "expected a new folder", "name another one")
        state = self._kept_state()
        metrics, data = self._document(run)
        run.write("overrides.json", [])
        run.write("env.json", provenance.environment(f"{type(self).__name__}.fit"))
        run.write_metrics(metrics)
        run.write(STATE, plain(state))
        write_report(run.path)
        run.seal()
        return run, metrics, data

    def _kept_state(self) -> dict[str, Any]:
        """What is kept beside the run."""
        state: dict[str, Any] = {"class": type(self).__name__, "params": self.get_params(deep=False)}  # type: ignore[attr-defined]
        if self.is_fitted:  # type: ignore[attr-defined]
            state |= {"kept": {name: getattr(self, name, None) for name in self.KEPT}, **self._own_state()}
            state["partly"] = {name: _plain_part(getattr(self, name, None) or {}) for name in (*self.PARTLY, CONFIG)}
        return state

    @classmethod
    def load_from_serial(cls, serial: bytes) -> Self:
        """From the bytes that `save()` gives; ArtifactError for anything else."""
        return cls._restored(*unpacked(serial, cls._read))

    @classmethod
    def load_from_path(cls, serial: "str | Path") -> Self:
        """From the zip that `save(path)` wrote."""
        try:
            return cls.load_from_serial(Path(serial).read_bytes())
        except OSError as error:
            raise ArtifactError(f"{serial} cannot be read: {error}", "expected a saved estimator") from error

    @classmethod
    def _restored(cls, state: dict[str, Any], trained: Any) -> Self:
        if state["class"] != cls.__name__:
            raise UsageError(f"a saved {state['class']} is no {cls.__name__}", do=f"load it with {state['class']}")
        made = cls(**state["params"])
        if trained is not None:
            for name, value in (state["kept"] | state["partly"]).items():
                setattr(made, name, value)
            made._take(state, trained)
            made._is_fitted = True  # type: ignore[attr-defined]
        return made

    def _own_state(self) -> dict[str, Any]:
        """What else is kept beside the run."""
        raise NotImplementedError

    def _take(self, state: dict[str, Any], trained: Any) -> None:
        """The inverse, with what `_read` gave."""
        raise NotImplementedError

    def _write(self, run: Run) -> None:
        """Write the run."""
        raise NotImplementedError

    def _document(self, run: Run) -> tuple[dict[str, Any], Any]:
        """Write it with what a report needs; what metrics.json is to hold, and the data module."""
        raise NotImplementedError

    @classmethod
    def _read(cls, run: Run, state: dict[str, Any]) -> Any:
        """Read it again."""
        raise NotImplementedError


def _plain_part(held: dict[str, Any]) -> dict[str, Any]:
    """What of a dictionary can be saved; an index of rows is not needed."""
    kept = {}
    for key, value in held.items():
        try:
            plain(value)
        except UsageError:
            continue  # facts that sktime finds again when it meets data
        if key != "index":
            kept[key] = value
    return kept
