"""Times as whole numbers that a state can hold: microseconds in UTC, or the bits of a float64.

A table of events, or of the steps of labelled series, has stamps, counted in its unit, or numbers, which are in it
already. Both are kept exactly.
"""

from datetime import datetime
from typing import Any, Final

import numpy as np

from forecast.data.events import UNITS, Floats
from forecast.data.freq import Ints
from forecast.errors import DataError
from forecast.streaming.parsing import EPOCH, MICRO, shown
from forecast.streaming.stamps import micros

LARGEST: Final = 1e15  # of times that are numbers: float64 tells eighths apart there
PARTS: Final = 1000  # of a unit that `at` counts where times are numbers: the largest fits in 64 bits


class EventTime:
    """Ticks (…) int64 of one run. They are compared by `gap`, not by themselves."""

    def __init__(self, unit: str, *, stamps: bool) -> None:
        self.unit, self.stamps = unit, stamps
        self.size = UNITS[unit] if stamps else 0  # microseconds

    def of(self, times: Any) -> Ints:
        """datetime64 or numbers (…) -> ticks."""
        if self.stamps:
            return np.asarray(times).astype("datetime64[us]").astype(np.int64)
        return (np.asarray(times, np.float64) + 0.0).view(np.int64)  # -0.0 becomes 0.0: its bits mean never

    def one(self, time: Any) -> Ints:
        """What a person gives -> (1,) ticks. DataError for what is no stamp, or no number."""
        if self.stamps:
            return micros(time, None)
        if type(time) not in (int, float) or not abs(time) <= LARGEST:
            raise DataError(f"{time!r} is no time", f"expected a number, in {self.unit}s")
        return self.of([float(time)])

    def told(self, key: str, value: Any) -> tuple[int, bool]:
        """A number that a line holds -> its tick, as Parser._time gives it; ValueError for what is none."""
        if type(value) not in (int, float) or not abs(value) <= LARGEST:
            raise ValueError(f"'{key}' is {shown(value)}; expected a number, in {self.unit}s, of at most {LARGEST:g}")
        return int(self.of([float(value)])[0]), True

    def gap(self, ticks: Ints, before: Ints) -> Floats:
        """How much later, in the unit."""
        if self.stamps:
            return (ticks - before) / self.size
        return ticks.view(np.float64) - before.view(np.float64)

    def absolute(self, ticks: Ints) -> Floats:
        """Since 1970 or since 0, in the unit."""
        return ticks / self.size if self.stamps else ticks.view(np.float64)

    def shown(self, ticks: Ints) -> Any:
        """datetime64[us] in UTC, or float64."""
        return ticks.astype("datetime64[us]") if self.stamps else ticks.view(np.float64)

    def at(self, ticks: Ints) -> Ints:
        """Microseconds, or PARTS of the unit: what a store sorts by."""
        return ticks if self.stamps else np.rint(ticks.view(np.float64) * PARTS).astype(np.int64)

    def span(self, gap: float) -> int:
        """A gap, in what `at` counts."""
        return int(min(gap * (self.size or PARTS), 2.0**60))

    def written(self, tick: int) -> str | float:
        """For a line."""
        if self.stamps:
            return (EPOCH + tick * MICRO).isoformat()
        return float(np.int64(tick).view(np.float64))

    def ahead(self, tick: int, gap: float) -> str | float | None:
        """The time so much later; None where no calendar reaches."""
        if not self.stamps:
            return self.written(tick) + gap  # type: ignore[operator]
        try:
            found: datetime = EPOCH + (tick + round(gap * self.size)) * MICRO
        except OverflowError:
            return None
        return found.isoformat()
