"""Steps of labelled series into states: which are taken, and one step of many series at once.

What is defined here:

- a line is the next step of its series; where the training had times, one at or before the last is refused;
- after a gap of more than `longest` a series begins anew;
- a line that ends a series takes its step first, if it has one that is new; then the series is forgotten;
- a value that is missing is masked, as in training.

Whatever a line holds, it moves its own series by one step, ends it, or leaves the state bit for bit as it was.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.data.events import Floats
from forecast.data.freq import Ints
from forecast.data.label_recipe import LabelRecipe
from forecast.heads.label_step import LabelStep
from forecast.streaming.class_lines import Steps
from forecast.streaming.event_time import EventTime
from forecast.streaming.fold import (
    ACCEPTED,
    DUPLICATE,
    ENDED,
    FARTHEST,
    FIRST,
    IMPLAUSIBLE,
    LATE,
    NOT_BEGUN,
    OK,
    RESTARTED,
    TOO_LONG,
    Status,
)  # fmt: skip
from forecast.streaming.states import NEVER, States

UNSCALED: Final = 1e12  # the largest value where nothing says how values of the training spread


class Reached(NamedTuple):
    """Where series came to by a line each."""

    logits: NDArray[np.float32]  # (B, K)
    step: Ints  # (B,) how many there were
    ticks: Ints  # (B,)

    def at(self, rows: Ints) -> "Reached":
        return Reached(self.logits[rows], self.step[rows], self.ticks[rows])


def joined(parts: Sequence[Reached]) -> Reached:
    """Those of several rounds."""
    columns: list[Any] = [np.concatenate(part) for part in zip(*parts, strict=True)]
    return Reached(*columns)


class ClassFold:
    """One chain, the states of its series, and the rules for steps."""

    def __init__(
        self, states: States, step: LabelStep, recipe: LabelRecipe, time: EventTime | None, *, longest: float | None
    ) -> None:
        self.states, self.step, self.time = states, step, time
        self.mean, self.std = np.array(recipe.scale.mean), np.array(recipe.scale.std)
        self.raw = bool((self.mean == 0).all() and (self.std == 1).all())
        self.farthest = np.full_like(self.std, UNSCALED) if self.raw else FARTHEST * self.std
        self.longest = np.inf if longest is None else longest
        self.most = np.iinfo(np.int64).max if step.longest is None else step.longest

    def round(self, slots: Ints, ticks: Ints, steps: Steps) -> tuple[Status, Reached | None]:
        """A line of each of B series -> what became of each, and where those came to that were taken."""
        new = self.states.step[slots] == NEVER
        gap = np.ones(len(slots))
        if self.time is not None:
            timed = ~new & ~steps.bare
            gap[timed] = self.time.gap(ticks[timed], self.states.step[slots[timed]])
        again = (gap == 0) & steps.ends  # a last step that was taken already: what is new is that it was the last
        bare = (steps.bare | again) & ~new
        status = self._status(slots, gap, new, bare, steps)
        if not (taken := status <= ACCEPTED).any():
            return status, None
        fresh = taken & ~bare & (new | (gap > self.longest))
        if fresh.any():
            self.states.clear(slots[fresh])
        if (moves := taken & ~bare).any():
            self._advance(slots[moves], ticks[moves], steps.values[moves])
        found = self.reached(slots[taken])
        if (ended := taken & steps.ends).any():
            self.states.clear(slots[ended])
        return status, found

    def _status(
        self, slots: Ints, gap: Floats, new: NDArray[np.bool_], bare: NDArray[np.bool_], steps: Steps
    ) -> Status:
        """By the last rule that applies."""
        status = np.full(len(slots), OK, np.int8)
        status[new] = FIRST
        status[gap > self.longest] = RESTARTED
        status[steps.ends] = ENDED
        status[(self.states.count[slots] >= self.most) & ~(gap > self.longest)] = TOO_LONG
        status[gap == 0] = DUPLICATE
        status[gap < 0] = LATE
        with np.errstate(over="ignore"):
            far = ~np.isnan(steps.values) & ~(np.abs(steps.values - self.mean) <= self.farthest)
        status[far.any(axis=1)] = IMPLAUSIBLE
        status[bare] = ENDED
        status[steps.bare & new] = NOT_BEGUN
        return status

    def reached(self, slots: Ints) -> Reached:
        """Where series are."""
        states = self.states
        logits = self.step.logits(tuple(torch.from_numpy(part[slots]) for part in states.rows)).numpy()
        ticks = states.step[slots] if self.time is not None else np.zeros(len(slots), np.int64)
        return Reached(logits, states.count[slots], ticks)

    @torch.inference_mode()
    def _advance(self, slots: Ints, ticks: Ints, values: Floats) -> None:
        """One step on."""
        states = self.states
        one: Any = slice(int(slots[0]), int(slots[0]) + 1) if len(slots) == 1 else slots  # a view: nothing is copied
        scaled = (values - self.mean) / self.std
        seen = ~np.isnan(scaled)
        given = np.where(seen, scaled, 0.0).astype(np.float32)
        rows = tuple(torch.from_numpy(part[one]) for part in states.rows)
        after = self.step(torch.from_numpy(given), torch.from_numpy(seen), *rows)
        for part, made in zip(states.rows, after, strict=True):
            part[one] = made.numpy()
        states.count[slots] += 1
        states.step[slots] = ticks if self.time is not None else states.count[slots]
