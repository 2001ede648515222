"""Windows of the table as batches: indexing calls for whole batches, never an item.

A window of consecutive rows is one contiguous piece of a row-major table, so a view in which every row starts a
window (they overlap; nothing is copied) lets `index_select` copy whole windows. What is gathered for several batches
at once and then cut costs a batch little more than its bytes; how many is bounded by CHUNK.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.data.known import Known
from forecast.data.scale import Scaler
from forecast.data.table import Floats, Series, stamp
from forecast.data.window import Windows
from forecast.errors import DataError
from forecast.types import SeriesBatch

CHUNK: Final = 2 << 20  # bytes gathered in one go: they stay in a core's cache
LARGEST: Final = 1e15  # scaled: a squared error of such a value is still far from the end of float32


class Gather:
    """Rows of scaled values, what was observed, calendar counts and, where gaps were filled, the unfilled targets."""

    def __init__(
        self,
        values: Floats,
        clock: NDArray[np.float32],
        *,
        targets: int,
        context: int,
        horizon: int,
        truth: Floats | None = None,
        known: Known | None = None,
        weight: Floats | None = None,
    ) -> None:
        """`values` (N, C) scaled, NaN = missing, targets first; `truth` (N, T): what is scored, if other; `known`:
        covariates beside the same rows; `weight` (S,): of each series in the loss."""
        self.known, self.weight = known, None if weight is None else torch.from_numpy(weight.astype(np.float32))
        self.targets, self.context, self.horizon = targets, context, horizon
        self.values = torch.from_numpy(values.astype(np.float32))  # (N, C), NaN = missing
        scored = self.values[:, :targets] if truth is None else torch.from_numpy(truth.astype(np.float32))
        self.clock = torch.from_numpy(np.ascontiguousarray(clock, dtype=np.float32))  # (N, F)
        self.past, self.past_mask = _Parts.of(self.values, context), _Parts.seen(self.values, context)
        self.future, self.future_mask = _Parts.of(scored, horizon), _Parts.seen(scored, horizon)
        self.past_clock, self.future_clock = _Parts(self.clock, context), _Parts(self.clock, horizon)
        self.last = len(self.values) - horizon  # the last origin

    @classmethod
    def of(
        cls,
        series: Series,
        scaler: Scaler,
        *,
        context: int,
        horizon: int,
        observed: NDArray[np.bool_] | None = None,
        known: Known | None = None,
        weight: Floats | None = None,
    ) -> "Gather":
        """From a table and its scaler; `observed` (N, C) as `apply_gaps` gives it, `weight` (S,) of each series."""
        scaled = scaler.apply(series.values, series.number)
        _bounded(series, scaled)
        truth = None
        if observed is not None:
            unseen = ~observed[:, : series.targets]
            if (unseen & ~np.isnan(scaled[:, : series.targets])).any():
                truth = np.where(unseen, np.nan, scaled[:, : series.targets])
        sizes = {"targets": series.targets, "context": context, "horizon": horizon}
        return cls(scaled, series.clock, **sizes, truth=truth, known=known, weight=weight)

    def __call__(self, origin: Tensor, series: Tensor) -> SeriesBatch:
        """(B,) int64 origin rows and numbers of their series → a batch."""
        if len(origin) and not self.context <= int(origin.min()) <= int(origin.max()) <= self.last:
            raise IndexError(f"origins are {self.context} … {self.last}")
        first = origin - self.context
        return SeriesBatch(
            self.past(first), self.past_mask(first), self.past_clock(first),
            self.future(origin), self.future_mask(origin), self.future_clock(origin), origin, series,
            *((None, None, None) if self.known is None else self.known(origin, series)),
            None if self.weight is None else self.weight[series],
        )  # fmt: skip

    @property
    def row_bytes(self) -> int:
        """Bytes of one window in a batch."""
        parts = (self.past, self.past_mask, self.past_clock, self.future, self.future_mask, self.future_clock)
        return sum(part.row_bytes for part in parts) + (self.known.row_bytes if self.known else 0)


class _Parts:
    """Pieces of `length` rows of a table (N, W), gathered as (B, length, W)."""

    def __init__(self, table: Tensor, length: int) -> None:
        rows, width = table.shape
        self.shape, self.row_bytes = (length, width), length * width * table.element_size()
        # The view ends where a piece would leave the table.
        self.view = table.as_strided((max(rows - length + 1, 0), length * width), (width, 1))

    def __call__(self, first: Tensor) -> Tensor:
        return self.view.index_select(0, first).view(len(first), *self.shape)  # a step of a year has no calendar

    @classmethod
    def of(cls, values: Tensor, length: int) -> "_Parts":
        """Values with 0 for NaN."""
        return cls(values.nan_to_num(0.0).contiguous(), length)

    @classmethod
    def seen(cls, values: Tensor, length: int) -> "_Parts":
        """True where a value was measured."""
        seen = ~values.isnan()
        return _All(seen, length) if seen.all() else cls(seen.contiguous(), length)


class _All(_Parts):
    """The mask of a table without gaps: nothing is copied."""

    def __init__(self, table: Tensor, length: int) -> None:
        self.shape, self.row_bytes = (length, table.shape[1]), 0
        self.one = torch.ones(1, *self.shape, dtype=torch.bool)

    def __call__(self, first: Tensor) -> Tensor:
        return self.one.expand(len(first), -1, -1)


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
        reason="non_finite",
    )


def batches(gather: Gather, windows: Windows, batch_size: int) -> Iterator[SeriesBatch]:
    """All windows in order; the last batch may be smaller."""
    starts = range(0, len(windows), batch_size)
    numbers = (np.arange(first, min(first + batch_size, len(windows)), dtype=np.int64) for first in starts)
    return chunked(gather, windows, numbers, batch_size)


def chunked(
    gather: Gather, windows: Windows, numbers: Iterable[NDArray[np.int64]], batch_size: int
) -> Iterator[SeriesBatch]:
    """A batch for each array of window numbers (at most `batch_size` of them), several gathered at once."""
    at_once = max(1, CHUNK // max(1, gather.row_bytes * batch_size))
    pinned = torch.cuda.is_available()
    waiting: list[NDArray[np.int64]] = []
    for k in numbers:
        waiting.append(k)
        if len(waiting) == at_once:
            yield from _cut(gather, windows, waiting, pinned)
            waiting = []
    if waiting:
        yield from _cut(gather, windows, waiting, pinned)


def _cut(gather: Gather, windows: Windows, numbers: list[NDArray[np.int64]], pinned: bool) -> Iterator[SeriesBatch]:
    whole = take(gather, windows, np.concatenate(numbers))
    sizes = [len(k) for k in numbers]
    columns = [
        [None] * len(sizes) if part is None else _pieces(_pinned(part) if pinned else part, sizes) for part in whole
    ]
    return map(SeriesBatch._make, zip(*columns, strict=True))


def _pinned(part: Tensor) -> Tensor:
    """In page-locked memory, but for a mask whose rows are all one: CUDA refuses to write into what overlaps."""
    return part.pin_memory() if part.stride(0) else part


def _pieces(part: Tensor | None, sizes: list[int]) -> Sequence[Tensor | None]:
    """The part of each batch; views. Of a mask that is the same everywhere one piece serves all batches of a size."""
    if part is None:
        return [None] * len(sizes)
    if part.stride(0) or len(part) == 1:
        return part.split(sizes)
    of = {size: part[:size] for size in set(sizes)}
    return [of[size] for size in sizes]


def take(gather: Gather, windows: Windows, k: NDArray[np.int64]) -> SeriesBatch:
    """The windows numbered `k` (B,)."""
    origin, series = windows.at(k)
    return gather(torch.from_numpy(origin), torch.from_numpy(series))
