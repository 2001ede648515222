"""Lag-feature gradient boosting: one model of trees for all series, channels and steps, direct (no forecast is fed
back).

A row is a window, a channel and a step ahead. Its features: the last `lags` values, the values one, two and three
seasons before the step, the mean and deviation of the last season and the change of the mean to the one before, the
calendar at the
step, the step, the channel. All values are taken relative to the mean of the last season, and so is what is forecast:
trees cannot
leave the range of what they have seen, a level can. Rows of the train part are drawn at random; the number of trees
is chosen on the val
part. A gap stays a gap: trees have a branch for it.
"""

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.data.module import SeriesModule
from forecast.data.window import Windows
from forecast.types import SeriesBatch

Floats = NDArray[np.float32]
LAGS, SEASONS, SHORT = 24, 3, 12  # SHORT: rows of the level where there is no season
ROWS, TREES, PATIENCE = 200_000, 400, 15
AT_ONCE = 1 << 19  # rows of a prediction


class Boosting:
    """Fitted on train windows, stopped on val windows, frozen from then on. `values` are scaled."""

    def __init__(self, data: SeriesModule, *, lags: int | None = None, season: int | None = None, rows: int = ROWS,
                 trees: int = TREES) -> None:  # fmt: skip
        self.data, spec = data, data.spec
        self.targets, self.horizon, self.season = spec.targets, spec.horizon, season or spec.season
        self.lags = lags or min(LAGS, spec.context)
        self.values = data.gather.values[:, : self.targets].numpy()
        self.clock = data.gather.clock.numpy()
        self.start = np.asarray(data.series.start[:-1])
        self.count = self.failed = self.bridged = 0
        self.reason = ""
        self.model = self._fit(rows, trees)
        self.fitted = f"once, on {self.drawn:,} rows of train windows; {self.model.n_iter_} trees, chosen on val"

    def _fit(self, rows: int, trees: int) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from sklearn.ensemble import HistGradientBoostingRegressor

            x, y = self._drawn(self.data.windows("train"), rows, 0)
            x_val, y_val = self._drawn(self.data.windows("val"), max(1, rows // 4), 1)
            self.drawn, self.some = len(x), ~np.isnan(x).all(0)  # scikit-learn cannot bin a column of nothing
            model = HistGradientBoostingRegressor(
                max_iter=trees, learning_rate=0.08, max_leaf_nodes=31, min_samples_leaf=20, l2_regularization=1.0,
                early_stopping=True, n_iter_no_change=PATIENCE, random_state=0,
            )  # fmt: skip
            return model.fit(x[:, self.some], y, X_val=x_val[:, self.some], y_val=y_val)

    def _drawn(self, windows: Windows, rows: int, seed: int) -> tuple[Floats, Floats]:
        """Features and what is to be forecast of at most `rows` rows whose target was observed."""
        many = len(windows) * self.targets * self.horizon
        random = np.random.default_rng(seed)
        row = np.arange(many) if many <= rows else np.unique(random.integers(0, many, rows))
        k, rest = np.divmod(row, self.targets * self.horizon)
        channel, step = np.divmod(rest, self.horizon)
        origin, series = windows.at(k)
        truth, seen = self._truth(origin + step, channel)
        features, level = self._features(origin, series, channel, step)
        known = seen & ~np.isnan(level)
        return features[known], (truth - level)[known]

    def _truth(self, row: NDArray[np.int64], channel: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
        """What is scored at a row: filled values do not count as observed."""
        gather, truth, seen = self.data.gather, [], []
        for a in range(0, len(row), AT_ONCE // self.horizon + 1):
            some = row[a : a + AT_ONCE // self.horizon + 1]
            first = np.minimum(some, gather.last)  # of a window of targets that holds the row
            at, pick = torch.from_numpy(first), (np.arange(len(some)), some - first, channel[a : a + len(some)])
            truth.append(gather.future(at).numpy()[pick])
            seen.append(gather.future_mask(at).numpy()[pick])
        return np.concatenate(truth), np.concatenate(seen)

    def _features(self, origin: NDArray[np.int64], series: NDArray[np.int64], channel: NDArray[np.int64],
                  step: NDArray[np.int64]) -> tuple[Floats, Floats]:  # fmt: skip
        """(K, F) float32 and the level (K,); nothing at or after the origin is read but the calendar."""
        season = self.season if self.season > 1 else SHORT
        first = self.start[series]
        recent = self._past(origin[:, None] - np.arange(1, 2 * season + 1), first, channel)  # (K, 2m)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mean of nothing is NaN
            level, before = np.nanmean(recent[:, :season], 1), np.nanmean(recent[:, season:], 1)
            spread = np.nanstd(recent[:, :season], 1)
        last = self._past(origin[:, None] - np.arange(1, self.lags + 1), first, channel)
        parts = [last - level[:, None], spread[:, None], (level - before)[:, None]]
        if self.season > 1:
            back = (step // season + np.arange(1, SEASONS + 1)[:, None]).T * season  # (K, 3)
            parts.append(self._past((origin + step)[:, None] - back, first, channel) - level[:, None])
        parts += [self.clock[origin + step], step[:, None], channel[:, None]]
        return np.concatenate(parts, 1, dtype=np.float32), level

    def _past(self, rows: NDArray[np.int64], first: NDArray[np.int64], channel: NDArray[np.int64]) -> Floats:
        """Values at rows (K, n); NaN before the first row of a series."""
        found: Floats = self.values[np.maximum(rows, 0), channel[:, None]]
        return np.where(rows >= first[:, None], found, np.float32("nan"))

    def __call__(self, batch: SeriesBatch) -> Tensor:
        origin, series = batch.origin.numpy(), batch.series.numpy()
        b, t, h = len(origin), self.targets, self.horizon
        made = np.empty((b, t, h), np.float32)
        at_once = max(1, AT_ONCE // (t * h))
        for a in range(0, b, at_once):
            n = min(at_once, b - a)
            index = np.indices((n, t, h)).reshape(3, -1)
            features, level = self._features(origin[a + index[0]], series[a + index[0]], index[1], index[2])
            level = np.nan_to_num(level)  # no value in the last season: the mean of the training rows
            made[a : a + n] = (self.model.predict(features[:, self.some]) + level).reshape(n, t, h)
        self.count += b * t
        return torch.from_numpy(made).transpose(1, 2)
