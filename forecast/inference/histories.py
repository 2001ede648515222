"""What a local model sees: the rows of its series before an origin, in original units, gaps bridged from before
them."""

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.data.module import SeriesModule
from forecast.types import SeriesBatch

Values = NDArray[np.float64]
SEASONS, FEWEST = 5, 50  # the default history: at least so many seasons, and rows


def usual(context: int, season: int) -> int:
    """Rows before an origin that a local model is fitted on where nothing else is asked for."""
    return max(context, SEASONS * season, FEWEST)


class Histories:
    """The targets of a data set by rows of its table. A gap is bridged by the last seen value of its phase of the
    season, where there is none by the last seen value: never by a later one. A history begins at the first value
    seen."""

    def __init__(self, data: SeriesModule) -> None:
        self.data, t = data, data.spec.targets
        self.season, self.horizon, self.targets = data.spec.season, data.spec.horizon, t
        self.start = data.series.start  # (S + 1,)
        self.mean, self.std = (np.asarray(part[:, :t], np.float64) for part in (data.scaler.mean, data.scaler.std))

    @cached_property
    def seen(self) -> Values:
        """(N, T) original units, NaN for a gap."""
        number = np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))
        scaled = self.data.gather.values[:, : self.targets].double().numpy()
        values: Values = scaled * self.std[number] + self.mean[number]
        return values

    @cached_property
    def bridged(self) -> Values:
        """(N, T) without gaps but for those before the first value of a series."""
        if not np.isnan(self.seen).any():
            return self.seen
        return np.concatenate(
            [bridge(self.seen[a:b], self.season) for a, b in zip(self.start, self.start[1:], strict=False)]
        )

    @cached_property
    def gaps(self) -> NDArray[np.int64]:
        """(N + 1, T) bridged values of the rows before each row."""
        unseen = np.isnan(self.seen) & ~np.isnan(self.bridged)
        return np.concatenate([np.zeros((1, self.targets), np.int64), unseen.cumsum(0)])

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """(S, T) the first row with a value of each series; its end where there is none."""
        known = ~np.isnan(self.bridged)
        return np.stack([
            np.where(known[a:b].any(0), a + known[a:b].argmax(0), b)
            for a, b in zip(self.start.tolist(), self.start[1:].tolist(), strict=False)
        ])  # fmt: skip

    def before(self, origin: NDArray[np.int64], series: NDArray[np.int64], rows: int) -> tuple[list[Values], int]:
        """B·T pieces, a channel after the other for each window, of at most `rows` values up to the origin; how many
        are bridged."""
        begin = np.minimum(np.maximum(self.first[series], (origin - rows)[:, None]), origin[:, None])  # (B, T)
        count = int(sum((self.gaps[origin, t] - self.gaps[begin[:, t], t]).sum() for t in range(self.targets)))
        pieces = [
            self.bridged[a:o, t]
            for o, row in zip(origin.tolist(), begin.tolist(), strict=True)
            for t, a in enumerate(row)
        ]
        return pieces, count

    def scaled(self, made: Values, batch: SeriesBatch) -> torch.Tensor:
        """Forecasts (B·T, H) in original units → (B, H, T) scaled."""
        number = batch.series.numpy()
        values = made.reshape(len(number), self.targets, self.horizon).transpose(0, 2, 1)
        return torch.from_numpy(((values - self.mean[number][:, None]) / self.std[number][:, None]).astype(np.float32))


def bridge(values: Values, season: int) -> Values:
    """(n, T), NaN for a gap → the same with each gap filled from before it, as far as something was seen before it."""
    n, t = values.shape
    rows = -(-n // season)
    padded = np.full((rows * season, t), np.nan)
    padded[:n] = values
    by_phase = _forward(padded.reshape(rows, season * t)).reshape(rows * season, t)[:n]
    return np.where(np.isnan(by_phase), _forward(values), by_phase)


def _forward(values: Values) -> Values:
    """The last seen value of each column at each row."""
    row = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    carried: Values = np.take_along_axis(values, np.maximum.accumulate(row, axis=0), axis=0)
    return carried
