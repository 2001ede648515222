"""Going back: what a series needs so that a reading that comes late, or is corrected, can be put in its place.

Two records of the state, `depth` steps apart, and the readings since the older one. To correct a step the state goes
back to the newest record before it and takes the readings again: what comes out is what would have come out had the
reading come in time. Shapes: B series, C channels, D = 2 depth readings.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.streaming.states import NEVER, States


class Rewind:
    """Of all series in `states`, whose `past` parts it owns: records (2, R), their steps (2,), readings (D, C)."""

    def __init__(self, depth: int) -> None:
        self.depth, self.length = depth, 2 * depth

    def blank(self, size: int, channels: int) -> tuple[NDArray[Any], ...]:
        """The parts of one series; `size` is that of a record without them."""
        records, steps = np.zeros((1, 2, size), np.uint8), np.full((1, 2), NEVER)
        return records, steps, np.full((1, self.length, channels), np.nan)

    def begin(self, states: States, slots: Ints) -> None:
        """Series before their first step, whose states say which step comes first."""
        records, steps, _ = states.past
        records[slots] = states.records(slots, past=False)[:, None]
        steps[slots] = states.step[slots][:, None]

    def told(self, states: States, slots: Ints, values: NDArray[np.float64]) -> None:
        """The readings (B, C) of the steps the states have just taken."""
        records, steps, readings = states.past
        now = states.step[slots]
        readings[slots, now % self.length] = values
        due = now - steps[slots, 1] >= self.depth
        if due.any():
            some = slots[due]
            records[some, 0], steps[some, 0] = records[some, 1], steps[some, 1]
            records[some, 1], steps[some, 1] = states.records(some, past=False), now[due]

    def reaches(self, states: States, slots: Ints, step: Ints) -> NDArray[np.bool_]:
        """(B,) whether a step can be corrected."""
        return step > states.past[1][slots, 0]

    def back(self, states: States, slots: Ints, step: Ints, values: NDArray[np.float64]) -> Ints:
        """Put readings (B, C) at steps (B,) and take the states back before them: the last steps (B,) they were at.
        NaN is a channel that stays as it was."""
        records, steps, readings = states.past
        last, place = states.step[slots].copy(), step % self.length
        readings[slots, place] = np.where(np.isnan(values), readings[slots, place], values)
        older = step <= steps[slots, 1]
        some = slots[older]
        records[some, 1], steps[some, 1] = records[some, 0], steps[some, 0]
        states.put(slots, records[slots, 1], past=False)
        return last

    def reading(self, states: States, slots: Ints, step: Ints) -> NDArray[np.float64]:
        """The readings (B, C) at steps (B,)."""
        found: NDArray[np.float64] = states.past[2][slots, step % self.length]
        return found
