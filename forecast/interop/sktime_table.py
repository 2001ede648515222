"""pandas containers of sktime as one long table of ours, and forecasts as the containers that sktime expects."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import polars as pl

from forecast.data.freq import Ints
from forecast.errors import DataError, UsageError
from forecast.interop.sktime_time import Clock

TIME: Final = "ds"  # names of columns where pandas has none
ID: Final = "unique_id"
SEPARATOR: Final = "/"  # between the levels of a hierarchy in the name of a series


class Layout:
    """Which column of our table is which of pandas', and how labels become stamps. It grows with new series."""

    def __init__(
        self, clock: Clock, names: Sequence[Any], targets: Sequence[Any], known: Sequence[Any], single: bool
    ) -> None:
        """`names` of the levels of the index, the time last; `targets` and `known` as pandas calls them."""
        self.clock, self.names, self.single = clock, list(names), single
        taken: list[str] = []
        self.time = _new(names[-1], TIME, taken)
        above = [str(name) for name in names[:-1] if name is not None]
        self.id = None if single else _new(SEPARATOR.join(above) or None, ID, taken)
        self.labels = list(targets)
        self.targets = [_new(name, "y", taken) for name in targets]
        self.covariates = list(known)
        self.known = [_new(name, "x", taken) for name in known]
        self.instances: dict[str, Any] = {}  # name of a series -> its label in pandas, in order
        self.last: dict[str, Any] = {}  # name -> its last label in time

    @classmethod
    def of(cls, y: pd.DataFrame, X: pd.DataFrame | None) -> "Layout":
        """From the containers of a fit."""
        single = y.index.nlevels == 1
        time = y.index if single else y.index.get_level_values(-1)
        start = _starts(y.index)
        known = [] if X is None else list(X.columns)
        return cls(Clock.of(time, start), list(y.index.names), list(y.columns), known, single)

    def to_state(self) -> dict[str, Any]:
        """Plain but for labels; the inverse of `from_state`."""
        return {
            "clock": self.clock.to_state(), "names": self.names, "targets": self.labels, "known": self.covariates,
            "single": self.single, "instances": list(self.instances.items()), "last": list(self.last.items()),
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Layout":
        parts = {key: state[key] for key in ("names", "targets", "known", "single")}
        made = cls(Clock(**state["clock"]), **parts)
        made.instances, made.last = dict(state["instances"]), dict(state["last"])
        return made

    def table(self, y: pd.DataFrame, X: pd.DataFrame | None) -> pl.DataFrame:
        """The rows of y with what is known beside them; series and their last labels are remembered."""
        self._same(y.columns, self.labels, "y")
        frame = self._stamped(y.index, remember=True)
        values = {name: _numbers(y.iloc[:, i]) for i, name in enumerate(self.targets)}
        return frame.with_columns(**values, **self._beside(X, y.index))

    def future(self, X: pd.DataFrame | None) -> pl.DataFrame | None:
        """The rows of X, without targets; None where nothing is known ahead."""
        if not self.known:
            return None
        if X is None:
            raise UsageError("X is not given", "the forecaster was fitted with X", "give X for the steps to forecast")
        empty = {name: pl.Series([None] * len(X), dtype=pl.Float64) for name in self.targets}
        return self._stamped(X.index, remember=False).with_columns(**empty, **self._beside(X, None))

    def ordered(self, frame: pl.DataFrame) -> pl.DataFrame:
        """By series, in their order, then by time."""
        if self.id is None:
            return frame.sort(self.time)
        order = pl.col(self.id).cast(pl.Enum(list(self.instances)))
        return frame.sort(order, self.time)

    def _stamped(self, index: pd.Index, *, remember: bool) -> pl.DataFrame:
        time = index if self.single else index.get_level_values(-1)
        columns = {} if self.id is None else {self.id: _ids(index)}
        if remember:
            self._remember(index, columns.get(self.id or ""))
        return pl.DataFrame({**columns, self.time: self.clock.stamps(time)})

    def _remember(self, index: pd.Index, ids: "list[str] | None") -> None:
        if ids is None:
            self.instances, self.last = {"y": None}, {"y": index[-1]}
            return
        first = _starts(index)
        for a, b in zip(first[:-1].tolist(), first[1:].tolist(), strict=True):
            self.instances[ids[a]] = index[a][:-1]
            self.last[ids[a]] = index[b - 1][-1]

    def _beside(self, X: pd.DataFrame | None, index: pd.Index | None) -> dict[str, pl.Series]:
        """The covariates, at the rows of an index or as they are."""
        if not self.known:
            return {}
        if X is None:
            raise UsageError("X is not given", "the forecaster was fitted with X", "give it with y")
        self._same(X.columns, self.covariates, "X")
        rows = X if index is None or X.index.equals(index) else X.reindex(index)
        return {name: _cells(rows.iloc[:, i]) for i, name in enumerate(self.known)}

    @staticmethod
    def _same(found: pd.Index, expected: list[Any], what: str) -> None:
        if list(found) != expected:
            raise DataError(
                f"{what} has the columns {', '.join(map(str, found))}",
                f"expected {', '.join(map(str, expected))}, as in fit", f"give {what} with the same columns",
            )  # fmt: skip

    # Forecasts --------------------------------------------------------------------------------------------------

    def lengths(self, index: pd.Index) -> Ints:
        """(S,) steps of each series of a container."""
        time = index if self.single else index.get_level_values(-1)
        return self.clock.lengths(time, _starts(index))

    def ends(self) -> list[Any]:
        """The last label of each series, or one for all where they are the same."""
        last = list(self.last.values())
        return last[:1] if all(label == last[0] for label in last) else last

    def cutoff(self) -> pd.Index:
        """The latest last label, as sktime keeps it."""
        return self.clock.cutoff(max(self.last.values()))

    def index(self, times: Sequence[pd.Index]) -> pd.Index:
        """The index of forecasts at these labels for each series, or at one list of labels for all."""
        if self.single:
            return times[0].rename(self.names[-1])
        every = list(self.instances.values())
        many = len(times[0])
        whole = times[0][np.tile(np.arange(many), len(every))] if len(times) == 1 else times[0].append(list(times[1:]))
        levels = [
            pd.Index([label[k] for label in every])[np.repeat(np.arange(len(every)), many)]
            for k in range(len(self.names) - 1)
        ]
        return pd.MultiIndex.from_arrays([*levels, whole], names=self.names)


def _starts(index: pd.Index) -> Ints:
    """(S+1,) first row of each series of a sorted index, then the number of rows."""
    if index.nlevels == 1:
        return np.array([0, len(index)], np.int64)
    codes = pd.factorize(_above(index))[0]
    return np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]]).astype(np.int64)


def _above(index: pd.Index) -> pd.Index:
    """The labels of series, without the time."""
    assert isinstance(index, pd.MultiIndex)
    return index.droplevel(-1)


def _ids(index: pd.Index) -> list[str]:
    """The name of the series of each row."""
    codes, labels = pd.factorize(_above(index))
    names = [SEPARATOR.join(map(str, label)) if isinstance(label, tuple) else str(label) for label in labels]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two series are called '{twice}'", "expected labels that differ as text", "rename one")
    return np.array(names, dtype=object)[codes].tolist()


def _new(name: Any, otherwise: str, taken: list[str]) -> str:
    """A name that is not taken, and is from now on."""
    plain = otherwise if name is None or str(name) == "" else str(name)
    free = plain
    while free in taken:
        free = f"{otherwise}_{plain}" if free == plain else f"{free}_"
    taken.append(free)
    return free


def _numbers(column: "pd.Series[Any]") -> pl.Series:
    return pl.Series(column.to_numpy(np.float64, na_value=np.nan)).fill_nan(None)


def _cells(column: "pd.Series[Any]") -> pl.Series:
    """Numbers, or words where the column holds something else."""
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return _numbers(column)
    return pl.from_pandas(column.astype("string")).cast(pl.String)
