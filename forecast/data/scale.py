"""Zero mean, unit deviation, per series and channel, from observed training rows: z = (x - mean) / std."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.data.table import Floats, Series
from forecast.errors import ArtifactError, DataError


class Scaler(NamedTuple):
    """Statistics of S series; `kind` is standard, or none for mean 0 and deviation 1."""

    ids: tuple[str, ...]  # S
    mean: Floats  # (S, C)
    std: Floats  # (S, C), never 0
    kind: str = "standard"

    @classmethod
    def fit(cls, series: Series, ranges: Ints) -> "Scaler":
        """From the observed values of rows [first, last) of each series, `ranges` (S, 2)."""
        count, mean, std = _moments(series, ranges)
        if (empty := count == 0).any():
            s, c = (int(i) for i in np.argwhere(empty)[0])
            raise DataError(
                f"channel '{series.channels[c]}' of series '{series.ids[s]}' has no value in the "
                f"{ranges[s, 1] - ranges[s, 0]:,} training rows",
                "expected at least one",
                "change data.splits, or leave the channel or series out",
            )
        return cls(series.ids, mean, std)

    @classmethod
    def none(cls, series: Series) -> "Scaler":
        """Leaves values as they are."""
        shape = (len(series.ids), len(series.channels))
        return cls(series.ids, np.zeros(shape), np.ones(shape), "none")

    def apply(self, values: Floats, number: Ints) -> Floats:
        """(N, C) values of series `number` (N,) → scaled."""
        mean, std = (self.mean[0], self.std[0]) if len(self.ids) == 1 else (self.mean[number], self.std[number])
        return np.asarray((values - mean) / std)

    def undo(self, values: NDArray[Any], number: NDArray[Any], targets: int | None = None) -> Floats:
        """Scaled (B, H, T) or (B, T) of series `number` (B,) → original units, float64."""
        wide = values.shape[-1] if targets is None else targets
        axes = (slice(None), *([None] * (np.ndim(values) - 2)), slice(None, wide))
        number = np.asarray(number)
        return np.asarray(np.asarray(values, np.float64) * self.std[number][axes] + self.mean[number][axes])

    def for_ids(self, series: Series) -> tuple["Scaler", list[str]]:
        """The statistics in the order of another table; unknown series are measured on their own rows."""
        known = {name: i for i, name in enumerate(self.ids)}
        at = np.array([known.get(name, -1) for name in series.ids])
        unknown = [name for name in series.ids if name not in known]
        mean, std = self.mean[at], self.std[at]  # a copy; the rows of unknown series are replaced
        if unknown and self.kind == "none":
            mean[at < 0], std[at < 0] = 0.0, 1.0
        elif unknown:
            own = _moments(series, np.stack([series.start[:-1], series.start[1:]], axis=1))
            mean[at < 0], std[at < 0] = own[1][at < 0], own[2][at < 0]
        return Scaler(series.ids, mean, std, self.kind), unknown

    def to_dict(self) -> dict[str, Any]:
        """Plain lists; JSON keeps every bit of a float64."""
        return {
            "kind": self.kind,
            "ids": list(self.ids),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Scaler":
        """The inverse of `to_dict`; ArtifactError for anything that is no scaler."""
        try:
            ids = tuple(str(i) for i in plain["ids"])
            mean, std = (np.array(plain[key], dtype=np.float64) for key in ("mean", "std"))
            kind = str(plain["kind"])
        except (KeyError, TypeError, ValueError) as fault:
            raise ArtifactError(
                "the saved scaler is damaged", "expected kind, ids, mean and std", "train again"
            ) from fault
        sound = mean.ndim == 2 and mean.shape == std.shape and len(mean) == len(ids)
        if not (sound and np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ArtifactError("the saved scaler is damaged", "expected finite numbers for each series", "train again")
        return cls(ids, mean, std, kind)


def fit(kind: str, series: Series, ranges: Ints) -> Scaler:
    """The scaler of that kind."""
    if kind == "standard":
        return Scaler.fit(series, ranges)
    if kind == "none":
        return Scaler.none(series)
    raise DataError(f"data.scale is '{kind}'", "expected standard or none", "set data.scale=standard")


def constant(series: Series, ranges: Ints) -> list[str]:
    """Lines for people: channels that never change in the observed rows [first, last) of `ranges` (S, 2)."""
    rows = ranges[:, 1] - ranges[:, 0]
    some = np.flatnonzero(rows > 0)
    if not len(some):
        return []
    values = series.values[_inside(series, ranges)]
    first = np.concatenate([[0], np.cumsum(rows[some])])[:-1]
    low, high = np.fmin.reduceat(values, first, axis=0), np.fmax.reduceat(values, first, axis=0)
    lines = []
    for c, name in enumerate(series.channels):
        flat = np.flatnonzero(low[:, c] == high[:, c])
        if len(flat):
            role = "target" if c < series.targets else "channel"
            where = f" of series '{series.ids[some[flat[0]]]}'" if len(series.ids) > 1 else ""
            more = f" (and in {len(flat) - 1:,} more series)" if len(flat) > 1 else ""
            lines.append(f"{role} '{name}'{where} is {low[flat[0], c]:g} in every training row{more}: nothing to learn")
    return lines


def _moments(series: Series, ranges: Ints) -> tuple[Ints, Floats, Floats]:
    """(S, C) each: observed values, their mean and deviation (0 and 1 without any, 1 if constant)."""
    inside = _inside(series, ranges)
    values = series.values[inside]
    rows = ranges[:, 1] - ranges[:, 0]
    some = np.flatnonzero(rows > 0)  # reduceat cannot sum over nothing
    first = np.concatenate([[0], np.cumsum(rows[some])])[:-1]
    shape = (len(rows), values.shape[1])
    count, mean, std = np.zeros(shape, np.int64), np.zeros(shape), np.ones(shape)
    if not len(some):
        return count, mean, std
    seen = ~np.isnan(values)
    count[some] = np.add.reduceat(seen.astype(np.int64), first, axis=0)
    mean[some] = np.add.reduceat(np.where(seen, values, 0.0), first, axis=0) / np.maximum(count[some], 1)
    number = np.repeat(some, rows[some])
    off = np.where(seen, values - mean[number], 0.0)
    spread = np.sqrt(np.add.reduceat(off * off, first, axis=0) / np.maximum(count[some], 1))
    # Rounding leaves a constant channel a deviation of a few ulp of its mean.
    constant = spread <= 1e-12 * np.maximum(np.abs(mean[some]), np.finfo(float).tiny)
    std[some] = np.where(constant, 1.0, spread)
    return count, mean, std


def _inside(series: Series, ranges: Ints) -> Ints | slice:
    """Rows of all ranges in order; a plain slice when they are one piece."""
    if (ranges[1:, 0] == ranges[:-1, 1]).all():
        return slice(int(ranges[0, 0]), int(ranges[-1, 1]))
    rows = ranges[:, 1] - ranges[:, 0]
    before = np.concatenate([[0], np.cumsum(rows)])[:-1]
    within: Ints = np.arange(rows.sum()) + np.repeat(ranges[:, 0] - before, rows)
    return within
