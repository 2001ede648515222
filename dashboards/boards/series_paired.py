"""How sure a difference between two models is, when both forecast the same windows.

Per cutoff t the squared (and absolute) scaled errors of all series, channels and steps are summed; the difference of
two models is sum_t (a_t - b_t) / sum_t n_t with n_t observed targets. Its 95 % interval is a bootstrap: blocks of
neighbouring cutoffs are drawn with replacement (circular moving blocks, Politis and Romano 1992), since windows overlap
and a hard week is hard for both models. Blocks are long, a sixteenth of the test part or two horizons, and few, so the
interval is widened as Student's t of that many blocks is: on simulated errors whose memory is up to 100 steps it holds
the true difference 87 to 96 times of 100 (tests/dashboards/test_paired.py), blocks of one horizon 53 to 88 times.
With several seeds the scores' deviations from their mean are drawn too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

REPEATS = 2000
MOST, FEWEST = 16, 6  # blocks
AT_ONCE = 1 << 22  # draws of units held at once
ERRORS = ("mse", "mae")


class Windows(NamedTuple):
    """Errors by cutoff, in order of time; all arrays (T,)."""

    cutoff: np.ndarray  # microseconds
    targets: np.ndarray  # how many were observed
    mse: np.ndarray  # sums over those targets, scaled
    mae: np.ndarray


def block_length(windows: int, horizon: int, season: int, stride: int) -> int:
    """Cutoffs in a block; 0 for fewer than FEWEST horizons: windows less than a horizon apart share targets."""
    shared = -(-horizon // max(stride, 1))
    if windows < FEWEST * shared:
        return 0
    return max(1, min(windows // FEWEST, max(windows // MOST, 2 * shared, season // max(stride, 1))))


def read(path: Path, ids: Sequence[str], channels: Sequence[str], std: Sequence[Sequence[float]]) -> Windows:
    """Sums by cutoff of a run's predictions.parquet; `std` (ids, channels) is its scaler's."""
    scale = pl.LazyFrame(
        [(name, channel, value) for name, row in zip(ids, std, strict=True)
         for channel, value in zip(channels, row, strict=False)],
        schema={"unique_id": pl.String, "channel": pl.String, "std": pl.Float64}, orient="row",
    )  # fmt: skip
    lazy = pl.scan_parquet(path).select(
        pl.col("unique_id", "channel").cast(pl.String), "cutoff", pl.col("y", "y_hat").cast(pl.Float64)
    )
    z = (pl.col("y_hat") - pl.col("y")) / pl.col("std")
    made = (
        lazy.filter(pl.col("y").is_finite())
        .join(scale, on=["unique_id", "channel"])
        .select("cutoff", z.alias("z"))
        .group_by("cutoff")
        .agg(pl.len().alias("n"), pl.col("z").pow(2).sum().alias("mse"), pl.col("z").abs().sum().alias("mae"))
        .sort("cutoff")
        .collect(engine="streaming")
    )
    cutoff = made["cutoff"].cast(pl.Datetime("us")).to_physical().to_numpy()
    return Windows(cutoff, made["n"].to_numpy(), made["mse"].to_numpy(), made["mae"].to_numpy())


def same(windows: Sequence[Windows]) -> bool:
    """Whether all are errors over the same targets."""
    first = windows[0]
    return all(
        np.array_equal(first.cutoff, each.cutoff) and np.array_equal(first.targets, each.targets) for each in windows
    )


def interval(
    ours: Sequence[Windows], theirs: Sequence[Windows], error: str, block: int, *, seed: int = 0
) -> tuple[float, float] | None:
    """The 95 % interval of (ours - theirs), one Windows for each seed; None where the windows are too few."""
    count = ours[0].targets.astype(np.float64)
    if block < 1 or len(count) < FEWEST * block:
        return None
    rng: Any = np.random.default_rng(seed)
    mine, other = (np.stack([getattr(each, error) for each in several]) for several in (ours, theirs))
    starts = rng.integers(0, len(count), (REPEATS, -(-len(count) // block)))
    total = _blocks(mine.mean(0) - other.mean(0), starts, block) / _blocks(count, starts, block)
    total += seeds(mine.sum(1) / count.sum(), rng) - seeds(other.sum(1) / count.sum(), rng)
    middle = float((mine.mean(0) - other.mean(0)).sum() / count.sum())
    low, high = middle + widened(len(count) / block) * (np.percentile(total, [2.5, 97.5]) - middle)
    return float(low), float(high)


def over_units(ours: np.ndarray, theirs: np.ndarray, count: np.ndarray, *, seed: int = 0) -> tuple[float, float] | None:
    """The 95 % interval of (ours - theirs) where units are drawn whole with replacement: sequences of events, series.
    Both (seeds, U) are sums of a unit's scores, `count` (U,) how many each has. None for too few units."""
    size = len(count)
    if size < FEWEST:
        return None
    rng: Any = np.random.default_rng(seed)
    off, total = ours.mean(0) - theirs.mean(0), np.empty(REPEATS)
    step = max(1, AT_ONCE // size)
    for first in range(0, REPEATS, step):
        drawn = rng.integers(0, size, (min(step, REPEATS - first), size))
        total[first : first + step] = off[drawn].sum(1) / count[drawn].sum(1)
    total += seeds(ours.sum(1) / count.sum(), rng) - seeds(theirs.sum(1) / count.sum(), rng)
    middle = float(off.sum() / count.sum())
    low, high = middle + widened(size) * (np.percentile(total, [2.5, 97.5]) - middle)
    return float(low), float(high)


def widened(blocks: float) -> float:
    """How much wider an interval of so few blocks must be: Student's quantile over the normal one, and n - 1 for n."""
    z, v = 1.959964, blocks - 1
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)  # Cornish and Fisher
    return float(t / z * (blocks / v) ** 0.5)


def _blocks(values: np.ndarray, starts: np.ndarray, block: int) -> np.ndarray:
    """(REPEATS,) sums of `values` (T,) over the drawn blocks; the end is followed by the beginning."""
    run = np.concatenate([[0.0], np.cumsum(np.concatenate([values, values[:block]]))])
    return (run[starts + block] - run[starts]).sum(1)


def seeds(scores: np.ndarray, rng: Any) -> Any:
    """(REPEATS,) how far the mean score of k seeds may be off: k deviations drawn, made as wide as k - 1 are."""
    k = len(scores)
    if k < 2:
        return 0.0
    off = (scores - scores.mean()) * np.sqrt(k / (k - 1))
    return off[rng.integers(0, k, (REPEATS, k))].mean(1)
