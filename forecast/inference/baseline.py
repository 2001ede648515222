"""The rows that stand in every table: last value, seasonal naive, and ridge, the honest linear rival."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from forecast.data.batch import Gather, take
from forecast.data.window import Windows
from forecast.heads.base import Head
from forecast.ops.naive import last_value, seasonal_naive
from forecast.types import SeriesBatch, Spec

Forecaster = Callable[[SeriesBatch], Tensor]  # -> (B, H, T), scaled
ROWS_AT_MOST = 400_000  # training rows of the ridge fit; beyond it windows are drawn at random
PENALTY = 1e-4  # of the mean diagonal: enough to make the system solvable, too little to shrink


def naive_rows(spec: Spec, gather: Gather, start: Tensor) -> dict[str, Forecaster]:
    """Name -> forecast of a batch; `start` (S,) is the first row of each series in the table of `gather`."""
    t = spec.targets

    def last(batch: SeriesBatch) -> Tensor:
        return last_value(batch.past[..., :t], batch.past_mask[..., :t], spec.horizon)

    return (
        {"seasonal naive": Seasonal(spec, gather, start), "last value": last}
        if spec.season > 1
        else {"last value": last}
    )


class Seasonal:
    """The value one season before, from the table: a season may be longer than the window.

    A missing value is bridged by the last seen value of its phase within the window, then by the last seen value;
    `bridged` counts them.
    """

    def __init__(self, spec: Spec, gather: Gather, start: Tensor) -> None:
        self.spec, self.values, self.start, self.bridged = spec, gather.values, start, 0
        step = torch.arange(spec.horizon)
        self.back = (step // spec.season + 1) * spec.season - step  # rows before the origin, (H,)

    def __call__(self, batch: SeriesBatch) -> Tensor:
        t = self.spec.targets
        rows = batch.origin[:, None] - self.back  # (B, H)
        known = rows >= self.start[batch.series][:, None]
        values = self.values[rows.clamp(min=0)][..., :t]
        seen = known[..., None] & ~values.isnan()
        past, mask = batch.past[..., :t], batch.past_mask[..., :t]
        bridge = seasonal_naive(past, mask, self.spec.horizon, self.spec.season)
        self.bridged += int((~seen).sum())
        return torch.where(seen, values, bridge)


class Ridge:
    """One linear map from the last L values, less the last one, to the horizon; shared by all target channels.

    Solved exactly from the normal equations in float64 over training windows without a gap. Gaps in the input of a
    forecast are bridged by the last value seen.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight  # (L + 1, H), the last row is the intercept

    @classmethod
    def fit(cls, gather: Gather, windows: Windows, *, intercept: bool = True, batch_size: int = 512) -> "Ridge":
        length, horizon, targets = gather.context, gather.horizon, gather.targets
        square = torch.zeros(length + 1, length + 1, dtype=torch.float64)
        cross = torch.zeros(length + 1, horizon, dtype=torch.float64)
        if len(windows) * targets > ROWS_AT_MOST:  # at random: every n-th window would see some hours of the day only
            drawn = np.random.default_rng(0).integers(0, len(windows), max(1, ROWS_AT_MOST // targets))
            numbers = np.unique(drawn)
        else:
            numbers = np.arange(len(windows), dtype=np.int64)
        for first in range(0, len(numbers), batch_size):
            batch = take(gather, windows, numbers[first : first + batch_size])
            whole = (batch.past_mask[..., :targets].all(1) & batch.future_mask.all(1)).flatten()  # (B·T,)
            x, level = cls._inputs(batch, targets)
            y = batch.future.transpose(1, 2).flatten(0, 1).double() - level
            square += x[whole].T @ x[whole]
            cross += x[whole].T @ y[whole]
        if not intercept:
            square[-1], square[:, -1], cross[-1] = 0.0, 0.0, 0.0
            square[-1, -1] = 1.0
        size = square.diagonal()[:-1].mean().clamp(min=1e-12)
        square.diagonal().add_(PENALTY * size)
        return cls(torch.linalg.solve(square, cross))

    def matrix(self) -> Tensor:
        """(L, H): the same map on plain values, without the intercept. Its columns sum to 1, so that it follows any
        shift and scale of a window, a normalised window included."""
        matrix = self.weight[:-1].clone()
        matrix[-1] += 1.0 - matrix.sum(0)
        return matrix.float()

    def __call__(self, batch: SeriesBatch) -> Tensor:
        targets = batch.future.shape[-1]
        x, level = self._inputs(batch, targets)
        return (x @ self.weight + level).unflatten(0, (-1, targets)).transpose(1, 2).float()

    @staticmethod
    def _inputs(batch: SeriesBatch, targets: int) -> tuple[Tensor, Tensor]:
        """(B·T, L + 1) inputs with a constant, (B·T, 1) last values."""
        past, mask = batch.past[..., :targets].double(), batch.past_mask[..., :targets]
        level = last_value(past, mask, 1)
        x = torch.where(mask, past - level, 0.0).transpose(1, 2).flatten(0, 1)
        return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1), level.transpose(1, 2).flatten(0, 1)


def warm_start(head: Head, gather: Gather, windows: Windows) -> None:
    """Start a head's linear residual at the least-squares fit on the training windows."""
    if head.residual == "linear":
        head.start_from(Ridge.fit(gather, windows, intercept=False).matrix())
