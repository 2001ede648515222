"""How our estimators are saved and loaded: sktime's interface around a run folder."""

from pathlib import Path
from typing import Any, Self

from forecast.errors import ArtifactError, UsageError
from forecast.interop.sktime_fit import Trained
from forecast.interop.sktime_plain import plain
from forecast.interop.sktime_store import archive, packed, unpacked

KEPT = ("_fh", "_cutoff", "_y_mtype_last_seen", "_is_vectorized")  # what sktime's base class remembers
PARTLY = ("_y_metadata", "_converter_store_y", "_config_dynamic")  # as far as it is plain


class Saved:
    """A mixin in front of a base class of sktime. A subclass gives `_own_state` and `_take`."""

    _trained: Trained

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
        data = packed(self._kept_state(), self._trained if fitted else None)
        return (type(self), data) if path is None else archive(Path(path), type(self), data)

    def _kept_state(self) -> dict[str, Any]:
        """What is kept beside the run."""
        state: dict[str, Any] = {"class": type(self).__name__, "params": self.get_params(deep=False)}  # type: ignore[attr-defined]
        if self.is_fitted:  # type: ignore[attr-defined]
            state |= {"kept": {name: getattr(self, name, None) for name in KEPT}, "own": self._own_state()}
            state["partly"] = {name: _plain_part(getattr(self, name, None) or {}) for name in PARTLY}
        return state

    @classmethod
    def load_from_serial(cls, serial: bytes) -> Self:
        """From the bytes that `save()` gives; ArtifactError for anything else."""
        state, trained = unpacked(serial)
        return cls._restored(state, trained)

    @classmethod
    def load_from_path(cls, serial: "str | Path") -> Self:
        """From the zip that `save(path)` wrote."""
        try:
            return cls.load_from_serial(Path(serial).read_bytes())
        except OSError as error:
            raise ArtifactError(f"{serial} cannot be read: {error}", "expected a saved estimator") from error

    @classmethod
    def _restored(cls, state: dict[str, Any], trained: Trained | None) -> Self:
        if state["class"] != cls.__name__:
            raise UsageError(f"a saved {state['class']} is no {cls.__name__}", do=f"load it with {state['class']}")
        made = cls(**state["params"])
        if trained is not None:
            for name, value in (state["kept"] | state["partly"]).items():
                setattr(made, name, value)
            made._take(state["own"], trained)
            made._state = "fitted"  # type: ignore[attr-defined]
        return made

    def _own_state(self) -> dict[str, Any]:
        """What the estimator knows beside the run, for `plain`."""
        raise NotImplementedError

    def _take(self, state: dict[str, Any], trained: Trained) -> None:
        """The inverse."""
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
