"""Windows of the table as batches: one indexing call, never an item.

A window of consecutive rows is one contiguous piece of a row-major table, so a view in which every row
starts a window (they overlap; nothing is copied) lets `index_select` copy whole windows.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.data.scale import Scaler
from forecast.data.table import Floats, Series, stamp
from forecast.data.window import Windows
from forecast.errors import DataError
from forecast.types import SeriesBatch

LARGEST: Final = 1e15  # scaled: a squared error of such a value is still far from the end of float32


class Gather:
    """Rows of scaled values, calendar counts and, where gaps were filled, the unfilled targets; float32."""

    def __init__(
        self,
        values: Floats,
        clock: NDArray[np.float32],
        *,
        targets: int,
        context: int,
        horizon: int,
        truth: Floats | None = None,
    ) -> None:
        """`values` (N, C) scaled, NaN = missing, targets first; `truth` (N, T): what is scored, if other."""
        self.channels, self.targets = values.shape[1], targets
        self.context, self.horizon = context, horizon
        columns: list[NDArray[Any]] = [values, clock] if truth is None else [values, clock, truth]
        table = np.concatenate([part.astype(np.float32) for part in columns], axis=1)
        self.table = torch.from_numpy(table)
        self.fields = clock.shape[1]
        self.scored_apart = truth is not None
        self.whole = bool(np.isfinite(values).all()) and (truth is None or bool(np.isfinite(truth).all()))

    @classmethod
    def of(
        cls,
        series: Series,
        scaler: Scaler,
        *,
        context: int,
        horizon: int,
        observed: NDArray[np.bool_] | None = None,
    ) -> "Gather":
        """From a table and its scaler; `observed` (N, C) as `apply_gaps` gives it."""
        scaled = scaler.apply(series.values, series.number)
        _bounded(series, scaled)
        truth = None
        if observed is not None:
            unseen = ~observed[:, : series.targets]
            if (unseen & ~np.isnan(scaled[:, : series.targets])).any():
                truth = np.where(unseen, np.nan, scaled[:, : series.targets])
        return cls(scaled, series.clock, targets=series.targets, context=context, horizon=horizon, truth=truth)

    def __call__(self, origin: Tensor, series: Tensor) -> SeriesBatch:
        """(B,) int64 origin rows and numbers of their series → a batch."""
        rows, width = self.table.shape
        span = self.context + self.horizon
        # The view ends where a window would leave the table; index_select refuses what is outside.
        view = self.table.as_strided((max(rows - span + 1, 0), span * width), (width, 1))
        block = torch.index_select(view, 0, origin - self.context).view(len(origin), span, width)
        past, future = block[:, : self.context], block[:, self.context :]
        c, f = self.channels, self.channels + self.fields
        inputs = past[..., :c]
        targets = future[..., f:] if self.scored_apart else future[..., : self.targets]
        inputs, input_mask = self._seen(inputs)
        targets, target_mask = self._seen(targets)
        return SeriesBatch(inputs, input_mask, past[..., c:f], targets, target_mask, future[..., c:f], origin, series)

    def _seen(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Values with 0 for NaN, contiguous, and where they were measured."""
        if self.whole:
            return values.contiguous(), torch.ones(values.shape, dtype=torch.bool)
        values = values.contiguous()
        mask = values == values  # False for NaN, in one pass
        return values.nan_to_num_(0.0), mask


def _bounded(series: Series, scaled: Floats) -> None:
    """Refuse what float32 cannot train on; a finite value far from those that the scaler was fitted on."""
    wild = np.abs(scaled) > LARGEST
    if not wild.any():
        return
    row, channel = (int(i) for i in np.argwhere(wild)[0])
    raise DataError(
        f"channel '{series.channels[channel]}' of series '{series.ids[int(series.number[row])]}' has "
        f"{series.values[row, channel]:g} at {stamp(series.time[row])}, {scaled[row, channel]:.1e} when scaled",
        f"expected at most {LARGEST:.0e}",
        "correct the value, or set data.missing to it if it means that nothing was measured",
    )


def batches(gather: Gather, windows: Windows, batch_size: int) -> Iterator[SeriesBatch]:
    """All windows in order; the last batch may be smaller."""
    for first in range(0, len(windows), batch_size):
        k = np.arange(first, min(first + batch_size, len(windows)), dtype=np.int64)
        yield take(gather, windows, k)


def take(gather: Gather, windows: Windows, k: NDArray[np.int64]) -> SeriesBatch:
    """The windows numbered `k` (B,)."""
    origin, series = windows.at(k)
    return gather(torch.from_numpy(origin), torch.from_numpy(series))
