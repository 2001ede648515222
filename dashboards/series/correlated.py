"""Are errors one step ahead what white noise would be? Their autocorrelation, series by series.

With x the errors less their mean, 0 where none was observed, and n the number observed,

    c(k) = Σ_t x(t) x(t + k) / n,   r(k) = c(k) / c(0)

Of white noise 95 of 100 r(k), k > 0, lie within ± 1.96 / √n (Bartlett). All lags at once by the Fourier transform of
the errors padded with zeros (Wiener and Khinchin).
"""

import re
from datetime import timedelta
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.dashboards.load import Run

SERIES: Final = 200  # looked at, evenly from all
FEWEST: Final = 20  # errors of a series
VALUES: Final = 1 << 20  # errors read at most
CELLS: Final = 1 << 22  # of the grid at most
LAGS: Final = 400
NORMAL_95: Final = 1.959964
Floats = NDArray[np.float64]


class Correlation(NamedTuple):
    """`r` (lags + 1,) is the mean over series, `low` and `high` leave a tenth of them below and above."""

    r: Floats
    low: Floats
    high: Floats
    n: int  # errors of a series, the median
    series: int
    of: int  # series and channels that had any
    each: int  # steps between the errors of windows that follow each other: one lag

    @property
    def noise(self) -> float:
        """95 % of lags of one series of white noise lie within ± this."""
        return NORMAL_95 / self.n**0.5

    @property
    def outside(self) -> int:
        """How many lags from 1 on lie outside."""
        return int((np.abs(self.r[1:]) > self.noise).sum())


def pick(pairs: pl.DataFrame) -> pl.DataFrame:
    """(unique_id, channel) whose errors are looked at: at most SERIES, and VALUES errors; `pairs` has `ones`, how many
    each has."""
    held = pairs.filter(pl.col("ones") >= FEWEST)
    longest = int(held["ones"].max() or 1)  # type: ignore[arg-type]
    most = max(1, min(SERIES, VALUES // longest, held.height))
    places = np.unique(np.linspace(0, max(held.height - 1, 0), most).round().astype(np.int64))
    return held.select("unique_id", "channel")[places if held.height else []]


def correlation(one: pl.DataFrame, interval: timedelta, run: Run, of: int) -> Correlation | None:
    """Of errors one step ahead (unique_id, channel, ds, z) of those picked from `of`; None where none has enough."""
    one = one.filter(pl.col("z").is_finite()).sort("unique_id", "channel", "ds")
    one = one.unique(["unique_id", "channel", "ds"], keep="last", maintain_order=True)
    counts = one.group_by("unique_id", "channel", maintain_order=True).len()
    if not counts.height or int(counts["len"].max()) < FEWEST:  # type: ignore[arg-type]
        return None
    longest = int(counts["len"].max())  # type: ignore[arg-type]
    grid, stride = _grid(one, interval, run, longest)
    lags = min(LAGS, longest // 4, max(40, 2 * round(run.season / stride) + 2))
    seen = np.isfinite(grid).sum(1)
    grid = grid[seen > 2 * lags]
    r = autocorrelation(grid, lags)
    r = r[np.isfinite(r).all(1)]
    if not len(r):
        return None
    low, high = np.quantile(r, [0.1, 0.9], axis=0)
    n = int(np.median(np.isfinite(grid).sum(1)))
    return Correlation(r.mean(0), low, high, n, len(r), of, stride)


def autocorrelation(x: Floats, lags: int) -> Floats:
    """(S, lags + 1) of (S, T), NaN where nothing was observed; a row of NaN where errors do not vary."""
    seen = np.isfinite(x)
    n = seen.sum(1, keepdims=True)
    mean = np.where(seen, x, 0).sum(1, keepdims=True) / np.maximum(n, 1)
    centred = np.where(seen, x - mean, 0.0)
    size = 1 << int(x.shape[1] + lags).bit_length()
    found = np.empty((len(x), lags + 1))
    rows = max(1, CELLS // size)
    for k in range(0, len(x), rows):
        spectrum = np.fft.rfft(centred[k : k + rows], size)
        found[k : k + rows] = np.fft.irfft(np.abs(spectrum) ** 2, size)[:, : lags + 1]
    scale = np.abs(np.where(seen, x, 0)).max(1, initial=0.0, keepdims=True)
    varies = found[:, :1] > n * (1e-12 * scale) ** 2
    return np.divide(found, found[:, :1], out=np.full_like(found, np.nan), where=varies)


def _grid(one: pl.DataFrame, interval: timedelta, run: Run, longest: int) -> tuple[Floats, int]:
    """Errors (S, T) on even steps, NaN where there is none, and how many steps lie between two of them.

    Steps of the calendar (months, business days) are not even: there the stamps that occur are counted instead.
    """
    keys = ["unique_id", "channel"]
    row = one.select(pl.struct(keys).rle_id())[:, 0].to_numpy()
    ds = one["ds"].dt.epoch("us").to_numpy()
    inner = np.diff(ds)[np.diff(row) == 0]
    stride = int(np.gcd.reduce(inner)) if len(inner) else 1
    firsts = ds[np.searchsorted(row, row)]
    place = (ds - firsts) // max(stride, 1)
    if not _even(run.freq) or int(place.max()) >= 8 * longest:
        place = np.searchsorted(np.unique(ds), ds)
        stride = int(np.median(inner)) if len(inner) else 1
        kept = row < max(1, CELLS * 4 // (int(place.max()) + 1))
        row, place, one = row[kept], place[kept], one.filter(pl.Series(kept))
    grid = np.full((int(row[-1]) + 1, int(place.max()) + 1), np.nan)
    grid[row, place] = one["z"].to_numpy()
    return grid, max(1, round(stride / (interval / timedelta(microseconds=1))))


def _even(freq: str) -> bool:
    """Whether steps are equally long: seconds, minutes, hours, days, weeks."""
    return re.fullmatch(r"\d*(us|ms|s|min|m|h|H|D|d|W|w)(-\w+)?", freq or "h") is not None
