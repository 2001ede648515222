"""Zero mean, unit deviation, per series and channel, from observed training rows: z = (x - mean) / std.

A series of a panel that has few of them borrows from the others (Pool), so that its scale is no accident of a handful
of values, and is known where it has none at all.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.data.names import Names, column_of
from forecast.data.table import Floats, Series
from forecast.errors import ArtifactError, DataError

FEW: Final = 8  # observed values from which on a series is scaled by itself alone


class Pool(NamedTuple):
    """What is known of a series before anything of it was seen: the mean over series of their means and variances."""

    mean: Floats  # (C,)
    std: Floats  # (C,)

    @classmethod
    def of(cls, mean: Floats, std: Floats, known: NDArray[np.bool_] | None = None) -> "Pool":
        """From the (S, C) statistics of the `known` ones, of which each channel has at least one."""
        weight = np.ones_like(mean) if known is None else known.astype(np.float64)
        mean, variance = (np.average(part, axis=0, weights=weight) for part in (mean, std**2))
        return cls(mean, np.sqrt(variance))

    def settle(self, count: Ints, mean: Floats, std: Floats) -> tuple[Floats, Floats]:
        """(S, C) statistics of `count` values each, towards those of the pool where they are fewer than FEW; a
        deviation of 0 becomes 1."""
        share = np.minimum(count, FEW) / FEW
        mixed = np.sqrt(share * std**2 + (1 - share) * self.std**2)
        std = np.where(share < 1, mixed, std)
        return np.where(count > 0, mean, self.mean), np.where(std > 0, std, 1.0)


class Scaler(NamedTuple):
    """Statistics of S series; `kind` is standard, mean (mean 0, the mean of |x| as deviation), or none (0 and 1)."""

    ids: Sequence[str]  # S
    mean: Floats  # (S, C)
    std: Floats  # (S, C), never 0
    kind: str = "standard"

    @classmethod
    def fit(cls, series: Series, ranges: Ints, kind: str = "standard") -> "Scaler":
        """From the observed values of rows [first, last) of each series, `ranges` (S, 2)."""
        return cls.settled(series, ranges, *_measured(kind, series, ranges), kind)

    @classmethod
    def settled(
        cls, series: Series, ranges: Ints, count: Ints, mean: Floats, std: Floats, kind: str = "standard"
    ) -> "Scaler":
        """The same from (S, C) counts, means and deviations of each series alone, see `moments`."""
        if (empty := (count == 0).all(axis=0)).any():
            c, more = int(empty.argmax()), f" and {len(series.ids) - 1:,} more" if len(series.ids) > 1 else ""
            raise DataError(
                f"channel '{series.channels[c]}' of series '{series.ids[0]}'{more} has no value in the "
                f"{(ranges[:, 1] - ranges[:, 0]).sum():,} training rows",
                "expected at least one",
                "change data.splits, or leave the channel out",
            )
        if len(series.ids) == 1:
            return cls(series.ids, mean, np.where(std > 0, std, 1.0), kind)
        return cls(series.ids, *Pool.of(mean, std, count > 0).settle(count, mean, std), kind)

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
        known = self._numbers(series.ids)
        at = np.array([known.get(name, -1) for name in series.ids])
        unknown = [name for name in series.ids if name not in known]
        mean, std = self.mean[at], self.std[at]  # a copy; the rows of unknown series are replaced
        if unknown and self.kind == "none":
            mean[at < 0], std[at < 0] = 0.0, 1.0
        elif unknown:
            own = _measured(self.kind, series, np.stack([series.start[:-1], series.start[1:]], axis=1))
            mean[at < 0], std[at < 0] = (part[at < 0] for part in Pool.of(self.mean, self.std).settle(*own))
        return Scaler(series.ids, mean, std, self.kind), unknown

    def _numbers(self, wanted: Sequence[str]) -> dict[str, int]:
        """The numbers of known series by their names; of very many no more than those that are wanted."""
        if not isinstance(self.ids, Names):
            return {name: i for i, name in enumerate(self.ids)}
        found = self.ids.column.is_in(column_of(wanted).implode()).arg_true()
        return dict(zip(self.ids.column.gather(found).to_list(), found.to_list(), strict=True))

    def write(self, path: Path) -> None:
        """A parquet file for very many series, which JSON would make ten times as large: id, and mean and std of each
        channel as lists."""
        width = self.mean.shape[1]
        parts = {"mean": self.mean, "std": self.std}
        table = {
            "id": column_of(self.ids),
            **{key: pl.Series(part, dtype=pl.Array(pl.Float64, width)) for key, part in parts.items()},
        }
        pl.DataFrame(table).write_parquet(path)

    @classmethod
    def read(cls, path: Path, kind: str) -> "Scaler":
        """The inverse of `write`; ArtifactError for anything else."""
        try:
            table = pl.read_parquet(path)
            mean, std = (table[key].to_numpy() for key in ("mean", "std"))
            return cls._sound(Names(table["id"].cast(pl.String)), mean, std, kind)
        except (OSError, ValueError, pl.exceptions.PolarsError) as fault:
            raise ArtifactError(
                f"{path} cannot be read: {' '.join(str(fault).split())}", do="restore the run folder"
            ) from fault

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
        return cls._sound(ids, mean, std, kind)

    @classmethod
    def _sound(cls, ids: Sequence[str], mean: Floats, std: Floats, kind: str) -> "Scaler":
        sound = mean.ndim == 2 and mean.shape == std.shape and len(mean) == len(ids)
        if not (sound and np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
            raise ArtifactError("the saved scaler is damaged", "expected finite numbers for each series", "train again")
        return cls(ids, mean, std, kind)


def fit(kind: str, series: Series, ranges: Ints) -> Scaler:
    """The scaler of that kind."""
    if kind in ("standard", "mean"):
        return Scaler.fit(series, ranges, kind)
    if kind == "none":
        return Scaler.none(series)
    raise DataError(f"data.scale is '{kind}'", "expected standard, mean or none", "set data.scale=standard")


def few(series: Series, ranges: Ints, count: Ints | None = None) -> list[str]:
    """A line for people about series of a panel with few observed values in their training rows `ranges` (S, 2);
    `count` (S, C) of them, where it is known."""
    short = np.flatnonzero((_moments(series, ranges)[0] if count is None else count).min(axis=1) < FEW)
    if len(series.ids) == 1 or not len(short):
        return []
    who = f"{len(short):,} series {'has' if len(short) == 1 else 'have'} fewer than {FEW} observed training rows"
    return [f"{who} and borrow{'s' if len(short) == 1 else ''} scale from the others (first: '{series.ids[short[0]]}')"]


def _measured(kind: str, series: Series, ranges: Ints) -> tuple[Ints, Floats, Floats]:
    """(S, C) each: observed values, what is subtracted, what is divided by (0 where nothing varies)."""
    if kind != "mean":
        return _moments(series, ranges)
    count, size, _ = _moments(series._replace(values=np.abs(series.values)), ranges)
    return count, np.zeros_like(size), size


def moments(kind: str, series: Series, ranges: Ints) -> tuple[Ints, Floats, Floats]:
    """(S, C) each, of rows [first, last) of each series: observed values, what is subtracted, what is divided by."""
    if kind not in ("standard", "mean"):
        return _moments(series, ranges)[0], np.zeros(0), np.zeros(0)
    return _measured(kind, series, ranges)


def extremes(series: Series, ranges: Ints) -> tuple[Floats, Floats]:
    """(S, C) the least and the greatest value in rows [first, last) of each series; NaN where there is none."""
    rows = ranges[:, 1] - ranges[:, 0]
    some = np.flatnonzero(rows > 0)
    low, high = (np.full((len(rows), series.values.shape[1]), np.nan) for _ in range(2))
    if len(some):
        values = series.values[_inside(series, ranges)]
        first = np.concatenate([[0], np.cumsum(rows[some])])[:-1]
        low[some], high[some] = np.fmin.reduceat(values, first, axis=0), np.fmax.reduceat(values, first, axis=0)
    return low, high


def constant(series: Series, ranges: Ints, known: tuple[Floats, Floats] | None = None) -> list[str]:
    """Lines for people: channels that never change in the observed rows [first, last) of `ranges` (S, 2); `known` are
    their extremes, where these are known."""
    low, high = extremes(series, ranges) if known is None else known
    lines = []
    for c, name in enumerate(series.channels):
        flat = np.flatnonzero(low[:, c] == high[:, c])
        if len(flat):
            role = "target" if c < series.targets else "channel"
            where = f" of series '{series.ids[int(flat[0])]}'" if len(series.ids) > 1 else ""
            more = f" (and in {len(flat) - 1:,} more series)" if len(flat) > 1 else ""
            lines.append(f"{role} '{name}'{where} is {low[flat[0], c]:g} in every training row{more}: nothing to learn")
    return lines


def _moments(series: Series, ranges: Ints) -> tuple[Ints, Floats, Floats]:
    """(S, C) each: observed values, their mean and deviation (0 without any, or if constant)."""
    inside = _inside(series, ranges)
    values = series.values[inside]
    rows = ranges[:, 1] - ranges[:, 0]
    some = np.flatnonzero(rows > 0)  # reduceat cannot sum over nothing
    first = np.concatenate([[0], np.cumsum(rows[some])])[:-1]
    shape = (len(rows), values.shape[1])
    count, mean, std = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
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
    std[some] = np.where(constant, 0.0, spread)
    return count, mean, std


def _inside(series: Series, ranges: Ints) -> Ints | slice:
    """Rows of all ranges in order; a plain slice when they are one piece."""
    if (ranges[1:, 0] == ranges[:-1, 1]).all():
        return slice(int(ranges[0, 0]), int(ranges[-1, 1]))
    rows = ranges[:, 1] - ranges[:, 0]
    before = np.concatenate([[0], np.cumsum(rows)])[:-1]
    within: Ints = np.arange(rows.sum()) + np.repeat(ranges[:, 0] - before, rows)
    return within
