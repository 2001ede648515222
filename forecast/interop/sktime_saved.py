"""How our estimators are saved and loaded: sktime's interface around a run folder."""

from pathlib import Path
from typing import Any, ClassVar, Self

from forecast.artifacts import Run
from forecast.errors import ArtifactError, UsageError
from forecast.interop.sktime_plain import plain
from forecast.interop.sktime_store import archive, packed, unpacked

CONFIG = "_config_dynamic"  # what set_config has set


class Saved:
    """A mixin in front of a base class of sktime. A subclass says what that remembers: KEPT, and PARTLY, as far as it
    is plain; and gives the four methods at the end."""

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
