"""Theta (Assimakopoulos & Nikolopoulos 2000) for many short series at once, in closed form but for one number.

It is simple exponential smoothing with half the slope of a regression on time as drift (Hyndman & Billah 2003):
    ŷ(n+h) = level + slope/2 · (h + (1 − (1−α)ⁿ)/α)
of values with their season taken out, as in the M3 competition: multiplicative where all are above 0, else additive;
only where the autocorrelation at the season is significant at 90 % and three seasons are there. For a given α the
best first level
is a regression, so only α is searched: on a grid, then finer around its best.
"""

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
GRID = np.concatenate([[1e-4, 0.01], np.linspace(0.04, 1.0, 25)])
FINER = 3  # times a ninth of the distance between two points


def theta(values: Values, season: int, horizon: int, *, test: bool = True) -> Values:
    """values (M, n) without a gap → forecasts (M, H). `test=False` takes out a season without a test, from two
    seasons on."""
    m, n = values.shape
    if n < 3:
        return np.repeat(values[:, -1:], horizon, axis=1)
    pattern, times = _seasons(values, season, test)  # (M, p) of the phases, which of them are factors
    p = pattern.shape[1]
    inside, after = pattern[:, np.arange(n) % p], pattern[:, (n + np.arange(horizon)) % p]
    plain = np.where(times[:, None], values / np.where(times[:, None], inside, 1.0), values - inside)
    alpha, level = smooth(plain)
    clock = np.arange(n) - (n - 1) / 2
    half = plain @ clock / (clock @ clock) / 2
    lead = np.arange(1, horizon + 1) + ((1 - (1 - alpha) ** n) / alpha)[:, None]
    made = level[:, None] + half[:, None] * lead
    return np.where(times[:, None], made * after, made + after)


def smooth(values: Values) -> tuple[Values, Values]:
    """(M, n) → α (M,) of the least sum of squared one-step errors, and the level after the last value (M,)."""
    first = values[:, :1]
    shifted = values - first  # smoothing follows a shift; sums of squares lose no digits to a high level
    grid = np.broadcast_to(GRID, (len(values), len(GRID)))
    for finer in range(FINER + 1):
        squares, level = _errors(shifted, grid)
        best = squares.argmin(1)[:, None]
        alpha, last = np.take_along_axis(grid, best, 1), np.take_along_axis(level, best, 1)
        if finer == FINER:
            break
        low = np.take_along_axis(grid, np.maximum(best - 1, 0), 1)
        high = np.take_along_axis(grid, np.minimum(best + 1, grid.shape[1] - 1), 1)
        part = np.linspace(0.0, 1.0, 5)
        grid = np.concatenate([low + (alpha - low) * part, alpha + (high - alpha) * part[1:]], 1)
    return alpha[:, 0], (last + first)[:, 0]


def _errors(values: Values, alpha: Values) -> tuple[Values, Values]:
    """Sums of squared errors and last levels (M, A) of smoothing with each α (M, A), from the best first level of each.

    The error after t values is uₜ − l₀dₜ with u that of smoothing from 0 and dₜ = (1 − α)ᵗ, so l₀ = Σud/Σd²."""
    base, d = np.zeros_like(alpha), np.ones_like(alpha)
    uu, ud, dd = np.zeros_like(alpha), np.zeros_like(alpha), np.zeros_like(alpha)
    for y in values.T:
        u = y[:, None] - base
        uu += u * u
        ud += u * d
        dd += d * d
        base += alpha * u
        d *= 1 - alpha
    level = ud / dd
    return uu - ud * level, base + d * level


def _seasons(values: Values, season: int, test: bool) -> tuple[Values, NDArray[np.bool_]]:
    """The pattern of each series (M, p), phase 0 that of the first value, and whether it is of factors; p = 1: none."""
    m, n = values.shape
    if season < 2 or n < (3 if test else 2) * season:
        return np.zeros((m, 1)), np.zeros(m, dtype=bool)
    times = values.min(1) > 0
    trend = _moving(values, season)
    half = season // 2
    middle, within = slice(half, half + trend.shape[1]), np.arange(half, half + trend.shape[1]) % season
    safe = np.where(times[:, None], trend, 1.0)
    left = np.where(times[:, None], values[:, middle] / safe, values[:, middle] - trend)
    of = (within[:, None] == np.arange(season)).astype(np.float64)  # (n', p)
    pattern = left @ of / of.sum(0)
    mean = pattern.mean(1, keepdims=True)
    pattern = np.where(times[:, None], pattern / np.where(times[:, None], mean, 1.0), pattern - mean)
    if test:
        none = np.where(times, 1.0, 0.0)[:, None]
        pattern = np.where(_seasonal(values, season)[:, None], pattern, none)
    return pattern, times


def _moving(values: Values, season: int) -> Values:
    """The centred mean over a season; of an even one the two ends count half."""
    ends = np.full(season + 1 - season % 2, 1.0 / season)
    if season % 2 == 0:
        ends[[0, -1]] /= 2
    return np.lib.stride_tricks.sliding_window_view(values, len(ends), axis=1) @ ends


def _seasonal(values: Values, season: int) -> NDArray[np.bool_]:
    """Whether the autocorrelation at the season is above what 90 % of series without one show (Bartlett's bound)."""
    centred = values - values.mean(1, keepdims=True)
    n, size = values.shape[1], np.maximum((centred**2).sum(1), 1e-300)
    lags = [(centred[:, k:] * centred[:, :-k]).sum(1) / size for k in range(1, season + 1)]
    bound = 1.645 * np.sqrt((1 + 2 * sum(each**2 for each in lags[:-1])) / n)
    found: NDArray[np.bool_] = np.abs(lags[-1]) > bound
    return found
