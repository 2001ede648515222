"""A distribution in narrow bins, counted as rows stream by: its share below a value, its quantiles, its histogram.

A value x lies in bin floor(FINE · asinh(x)): about 1 / FINE wide near zero, and 1 / FINE of its own size far from it.
So a quantile is right to a part in FINE, whatever the scale, and thousands of bins stand for any number of values.
"""

from typing import Final, NamedTuple

import numpy as np
import polars as pl

FINE: Final = 500
MOST: Final = 30_000  # asinh(1e25) · FINE is less


def number(column: str) -> pl.Expr:
    """The bin of each value; null for none."""
    return (pl.col(column).arcsinh() * FINE).floor().clip(-MOST, MOST - 1).cast(pl.Int32).alias("bin")


def value(place: np.ndarray) -> np.ndarray:
    """The values at places along the bins; `place` 3.5 is the middle of bin 3."""
    return np.asarray(np.sinh(place / FINE), np.float64)


class Bins(NamedTuple):
    """Counts of neighbouring bins: counts (k,) in the bins first … first + k − 1."""

    first: int
    counts: np.ndarray

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    def below(self, x: np.ndarray) -> np.ndarray:
        """The share of values below each x."""
        place = np.arcsinh(x) * FINE
        edges = self.first + np.arange(len(self.counts) + 1)
        return np.interp(place, edges, np.concatenate([[0], np.cumsum(self.counts)])) / max(self.n, 1)

    def quantiles(self, p: np.ndarray) -> np.ndarray:
        """The values below which the shares p lie."""
        full = np.flatnonzero(self.counts)
        total = np.cumsum(self.counts[full])
        at = np.searchsorted(total, np.asarray(p) * self.n, side="left").clip(0, len(full) - 1)
        within = (np.asarray(p) * self.n - (total[at] - self.counts[full[at]])) / self.counts[full[at]]
        return value(self.first + full[at] + within.clip(0, 1))


def bins(frame: pl.DataFrame) -> Bins | None:
    """Of a table of (bin, n); None where nothing was counted."""
    held = frame.drop_nulls("bin")
    if not held.height:
        return None
    first = int(held["bin"].min())  # type: ignore[arg-type]
    count = np.bincount(held["bin"].to_numpy() - first, held["n"].to_numpy())
    return Bins(first, count)
