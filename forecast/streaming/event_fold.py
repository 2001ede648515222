"""Events into states: which are taken, and one event of many sequences at once.

What is defined here:

- a first event has no gap and is not scored; nor is one after a gap of more than `longest`: its sequence begins anew;
- events of one time are taken in the order they come, with the gap 0, floored as in training;
- one earlier than the last of its sequence is late; one with the time and the mark of the last is that one, come twice;
- a mark that training did not have is taken as unknown, as training takes it.

Whatever an event holds, it moves its own sequence by one or leaves the state bit for bit as it was.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.data.event_recipe import EventRecipe
from forecast.data.events import Floats
from forecast.data.freq import Ints
from forecast.heads.event_step import EventStep
from forecast.streaming.event_marks import Coded
from forecast.streaming.event_time import EventTime
from forecast.streaming.fold import (
    ACCEPTED,
    DUPLICATE,
    FARTHEST,
    FIRST,
    IMPLAUSIBLE,
    LATE,
    OK,
    RESTARTED,
    UNKNOWN,
    Status,
)  # fmt: skip
from forecast.streaming.states import NEVER, States

Rows = NDArray[np.float32]


class Moved(NamedTuple):
    """Sequences that went on by an event."""

    before: Rows  # (B, D) the memory that forecast it
    after: Rows  # (B, D)
    gap: Rows  # (B,) floored
    scored: NDArray[np.bool_]  # (B,) whether it was forecast at all
    ticks: Ints  # (B,)

    def at(self, rows: Ints) -> "Moved":
        return Moved(self.before[rows], self.after[rows], self.gap[rows], self.scored[rows], self.ticks[rows])


def joined(parts: Sequence[Moved]) -> Moved:
    """Those of several rounds."""
    columns: list[Any] = [np.concatenate(part) for part in zip(*parts, strict=True)]
    return Moved(*columns)


class EventFold:
    """One chain, the states of its sequences, and the rules for events."""

    def __init__(
        self, states: States, step: EventStep, recipe: EventRecipe, time: EventTime, *, longest: float | None
    ) -> None:
        self.states, self.step, self.time = states, step, time
        self.floor, self.extra, self.labels = recipe.spec.floor, recipe.extra, recipe.spec.labels
        self.longest = np.inf if longest is None else longest
        self.mean, self.std = np.array(self.extra.mean), np.array(self.extra.std)

    def round(self, slots: Ints, ticks: Ints, coded: Coded, beside: Floats) -> tuple[Status, Moved | None]:
        """One event of each of B sequences, with what else is known of it (B, E) -> what became of each, and where
        those went that were taken."""
        new = self.states.step[slots] == NEVER
        gap = np.where(new, 0.0, self.time.gap(ticks, np.where(new, ticks, self.states.step[slots])))
        status = self._status(slots, gap, new, coded, beside)
        taken = status <= ACCEPTED
        if not taken.any():
            return status, None
        if not taken.all():
            slots, ticks, coded, beside = slots[taken], ticks[taken], coded.at(np.flatnonzero(taken)), beside[taken]
            gap, new = gap[taken], new[taken]
        fresh = new | (gap > self.longest)
        if fresh.any():
            self.states.clear(slots[fresh])
        gap = np.where(fresh, 0.0, np.maximum(gap, self.floor)).astype(np.float32)
        before, after = self._advance(slots, ticks, gap, coded, beside)
        return status, Moved(before, after, gap, ~fresh, ticks)

    def _status(self, slots: Ints, gap: Floats, new: NDArray[np.bool_], coded: Coded, beside: Floats) -> Status:
        """By the last rule that applies."""
        status = np.full(len(slots), OK, np.int8)
        status[new] = FIRST
        status[gap > self.longest] = RESTARTED
        status[coded.unknown] = UNKNOWN
        status[~new & (gap == 0) & (coded.key == self.states.rest[slots])] = DUPLICATE
        status[gap < 0] = LATE
        if beside.shape[1]:
            with np.errstate(over="ignore"):
                far = ~np.isnan(beside) & ~(np.abs(beside - self.mean) <= FARTHEST * self.std)
            status[far.any(axis=1)] = IMPLAUSIBLE
        return status

    def memory(self, slots: Ints) -> Rows:
        """(B, D) after the last events of sequences."""
        return self.step.memory(tuple(torch.from_numpy(part[slots]) for part in self.states.rows)).numpy()

    @torch.inference_mode()
    def _advance(self, slots: Ints, ticks: Ints, gap: Rows, coded: Coded, beside: Floats) -> tuple[Rows, Rows]:
        """One event on; the memories before and after it."""
        states = self.states
        one: Any = slice(int(slots[0]), int(slots[0]) + 1) if len(slots) == 1 else slots  # a view: nothing is copied
        rows = tuple(torch.from_numpy(part[one]) for part in states.rows)
        extra = None
        if self.extra.names:
            times = self.time.absolute(ticks)
            extra = torch.from_numpy(self.extra(times, beside, None, self.time.unit))
        before = self.step.memory(rows).numpy().copy()
        after = self.step(torch.from_numpy(gap), torch.from_numpy(coded.mark), extra, *rows)
        for part, made in zip(states.rows, after, strict=True):
            part[one] = made.numpy()
        states.step[slots], states.rest[slots] = ticks, coded.key
        states.count[slots] += 1
        return before, self.step.memory(after).numpy()
