"""Where windows lie, as arithmetic: memory for the series, not for the windows; none is dropped.

A window is its origin, the row of its first target step: inputs are rows [origin - L, origin), targets
[origin, origin + H).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.data.table import Series
from forecast.errors import DataError, UsageError


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """All windows of a part, numbered 0 … len - 1 by series and time."""

    first: Ints  # (S,) first origin of each series
    until: Ints  # (S+1,) windows before each series, then all
    stride: int
    context: int
    horizon: int

    def __len__(self) -> int:
        return int(self.until[-1])

    def at(self, k: NDArray[np.int64]) -> tuple[Ints, Ints]:
        """(B,) numbers of windows → (B,) origin rows and (B,) numbers of their series."""
        number = np.searchsorted(self.until, k, side="right") - 1
        return self.first[number] + (k - self.until[number]) * self.stride, number


@dataclass(frozen=True, slots=True, eq=False)
class Chosen(Windows):
    """Some of the windows of a part, in their order."""

    origin: Ints  # (K,) origin rows
    series: Ints  # (K,) numbers of their series

    def __len__(self) -> int:
        return len(self.origin)

    def at(self, k: NDArray[np.int64]) -> tuple[Ints, Ints]:
        return self.origin[k], self.series[k]


def chosen(windows: Windows, k: NDArray[np.int64]) -> Chosen:
    """The windows numbered `k` (K,)."""
    return Chosen(windows.first, windows.until, windows.stride, windows.context, windows.horizon, *windows.at(k))


def windows(series: Series, ranges: Ints, context: int, horizon: int, stride: int = 1, part: str = "") -> Windows:
    """Every window whose H targets lie in rows [first, last) of `ranges` (S, 2) and whose L inputs exist.

    Inputs may lie before the range, not before the series. A series may have no window; DataError when none has one.
    """
    for name, value in (("task.context", context), ("task.horizon", horizon), ("data.stride", stride)):
        if value < 1:
            raise UsageError(f"{name} is {value}", "expected at least 1", f"set {name}")
    first = np.maximum(ranges[:, 0], series.start[:-1] + context)
    count = (ranges[:, 1] - horizon - first) // stride + 1
    if (count < 1).all():
        _refuse(series, ranges, first, count, context, horizon, part)
    return Windows(first, np.concatenate([[0], np.cumsum(np.maximum(count, 0))]), stride, context, horizon)


def last_windows(series: Series, context: int, horizon: int) -> Windows:
    """One window per series: its last `horizon` rows are the targets. For forecasts, after `extend`."""
    ends = series.start[1:]
    return windows(series, np.stack([ends - horizon, ends], axis=1), context, horizon)


def _refuse(series: Series, ranges: Ints, first: Ints, count: Ints, context: int, horizon: int, part: str) -> None:
    """Name the series, what it has and what it needs."""
    short = np.flatnonzero(count < 1)
    s = int(short[0])
    what = f"the {part} part of series" if part else "series"
    more = f" (and {len(short) - 1} more of {len(series.ids)} series)" if len(short) > 1 else ""
    rows, back = int(ranges[s, 1] - ranges[s, 0]), int(ranges[s, 0] - series.start[s])
    need = horizon + max(context - back, 0)
    raise DataError(
        f"{what} '{series.ids[s]}' has {rows:,} rows{f' after {back:,} earlier ones' if back else ''}{more}",
        f"a window needs {need:,} (context {context:,}, horizon {horizon:,})",
        "lower task.context or task.horizon, or change data.splits",
    )
