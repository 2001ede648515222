"""Readings into states: which are taken, what is done about steps between them, one step of many series.

A stream is a fold over readings. Whatever a reading holds, it moves its series by whole steps or leaves the state bit
for bit as it was; nothing of one series reaches another. Shapes: B series, C channels, H steps ahead, T targets.
"""

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.data.scale import Scaler
from forecast.inference.correct import Corrector
from forecast.streaming.calendar import Calendar
from forecast.streaming.outlook import Numbers, Outlook, Scaled
from forecast.streaming.rewind import Rewind
from forecast.streaming.states import NEVER, States
from forecast.streaming.stepping import Floats, Stepper

FARTHEST: Final = 1e6  # standard deviations: a reading beyond them is no reading
STATUSES: Final = (
    "ok", "warming", "restarted", "revised", "first", "unknown mark",  # the last two are of events,
    "ended",  # and this one of labelled series, as the last two below
    "duplicate", "late", "off the grid", "gap", "implausible", "too long", "not begun",
)  # fmt: skip
OK, WARMING, RESTARTED, REVISED, FIRST, UNKNOWN, ENDED = range(7)
DUPLICATE, LATE, OFF_GRID, GAP, IMPLAUSIBLE, TOO_LONG, NOT_BEGUN = range(7, len(STATUSES))
ACCEPTED: Final = ENDED  # and all before it: they have changed a state
Gaps = Literal["error", "fill", "mask"]
Status = NDArray[np.int8]


class Made(NamedTuple):
    """The forecasts of B series after a step, in scaled units, and how likely the reading was before it came."""

    scaled: Scaled
    tail: Floats  # (B, T) the probability of a reading as far out, NaN where unknown
    alarm: NDArray[np.bool_]  # (B, T)


class Fold:
    """One chain, the states of its series, and the rules for readings."""

    def __init__(
        self, states: States, run: Stepper, calendar: Calendar, outlook: Outlook, scaler: Scaler, *, gaps: Gaps,
        longest: int, warm: int, rewind: Rewind | None, corrector: Corrector | None,
    ) -> None:  # fmt: skip
        self.states, self.run, self.calendar, self.outlook = states, run, calendar, outlook
        self.gaps, self.longest, self.warm = gaps, longest, warm
        self.rewind, self.corrector = rewind, corrector
        self.known = {name: i for i, name in enumerate(scaler.ids)}
        # the last row is of series that were not in training: the mean of all
        self.mean = np.concatenate([scaler.mean, scaler.mean.mean(axis=0, keepdims=True)])
        self.std = np.concatenate([scaler.std, scaler.std.mean(axis=0, keepdims=True)])

    def round(self, slots: Ints, step: Ints, rest: Ints, values: Numbers) -> tuple[Status, Made | None]:
        """One reading of each of B series -> what became of each, and the forecasts of those that were taken."""
        if self._usual(slots, step, rest, values):
            made = self.advance(slots, values)
            return np.where(self.states.count[slots] < self.warm, WARMING, OK).astype(np.int8), made
        status = self._status(slots, step, rest, values)
        taken = status <= ACCEPTED
        if not taken.any():
            return status, None
        if not taken.all():
            slots, step, rest, values = slots[taken], step[taken], rest[taken], values[taken]
        kind = status[taken]
        if (fresh := (self.states.step[slots] == NEVER) | (kind == RESTARTED)).any():
            self._begin(slots[fresh], step[fresh], rest[fresh])
        if (revised := kind == REVISED).any():
            made = self._again(slots, step, values, revised)
        else:
            self._skip(slots, step)
            made = self.advance(slots, values)
        warming = (kind == OK) & (self.states.count[slots] < self.warm)
        status[taken] = np.where(warming, WARMING, kind)
        return status, made

    def _usual(self, slots: Ints, step: Ints, rest: Ints, values: Numbers) -> bool:
        """Whether all series go on by one step, and all was observed: nothing is to be sorted out."""
        states = self.states
        if not ((step - states.step[slots] == 1).all() and (rest == states.rest[slots]).all()):
            return False
        which = states.scale[slots]
        with np.errstate(over="ignore"):
            return bool((np.abs(values - self.mean[which]) <= FARTHEST * self.std[which]).all())

    def _status(self, slots: Ints, step: Ints, rest: Ints, values: Numbers) -> Status:
        """By the first rule that applies; OK for a reading that goes on."""
        states = self.states
        begun, own, which = states.step[slots], states.rest[slots], states.scale[slots]
        new = begun == NEVER
        apart = np.where(new, 1, step - np.where(new, 0, begun))
        missing = np.isnan(values)
        which = self._scale(slots) if new.any() else which
        with np.errstate(over="ignore"):
            far = ~missing & ~(np.abs(values - self.mean[which]) <= FARTHEST * self.std[which])
        status = np.where(apart > self.longest + 1, RESTARTED, OK).astype(np.int8)
        if self.gaps == "error":
            status[missing.any(axis=1) | ((apart > 1) & (status == OK))] = GAP
        elif self.gaps == "fill":  # there is nothing to carry on
            status[(missing & np.isnan(states.value[slots])).any(axis=1) & (new | (status == RESTARTED))] = GAP
        if (late := apart <= 0).any():
            status[late] = self._late(slots[late], step[late], values[late])
        status[(rest < 0) | (~new & (rest != own) & (status != RESTARTED))] = OFF_GRID
        status[far.any(axis=1)] = IMPLAUSIBLE
        return status

    def _late(self, slots: Ints, step: Ints, values: Numbers) -> Status:
        states = self.states
        if self.rewind is None:
            before, reached = states.value[slots], np.zeros(len(slots), bool)
            at_hand = step == states.step[slots]
        else:
            at_hand = reached = self.rewind.reaches(states, slots, step)
            before = self.rewind.reading(states, slots, step)
        same = ((values == before) | np.isnan(values)).all(axis=1) & at_hand
        return np.where(same, DUPLICATE, np.where(reached, REVISED, LATE)).astype(np.int8)

    def _scale(self, slots: Ints) -> Ints:
        """By which row of the scaler: -1, the last, for series that were not in training."""
        return np.array([self.known.get(self.states.names[slot], -1) for slot in slots.tolist()], np.int64)

    def _begin(self, slots: Ints, step: Ints, rest: Ints) -> None:
        states = self.states
        states.clear(slots)
        states.step[slots], states.rest[slots], states.scale[slots] = step - 1, rest, self._scale(slots)
        if self.rewind is not None:
            self.rewind.begin(states, slots)

    def _skip(self, slots: Ints, step: Ints) -> None:
        """Steps for which nothing came, until the one before `step`."""
        while (lacks := self.states.step[slots] < step - 1).any():
            some = slots[lacks]
            self.advance(some, np.full((len(some), self.mean.shape[1]), np.nan), wanted=False)

    def _again(self, slots: Ints, step: Ints, values: Numbers, revised: NDArray[np.bool_]) -> Made:
        """Some readings correct earlier ones: those series go back and come to where they were; the others go on."""
        assert self.rewind is not None
        states, rewind = self.states, self.rewind
        until = step.copy()
        until[revised] = rewind.back(states, slots[revised], step[revised], values[revised])
        self._skip(slots[~revised], step[~revised])
        found: Made | None = None
        while (behind := states.step[slots] < until).any():
            some = np.flatnonzero(behind)
            last, back = states.step[slots[some]] + 1 == until[some], revised[some]
            now = values[some].copy()
            now[back] = rewind.reading(states, slots[some][back], states.step[slots[some][back]] + 1)
            made = self.advance(slots[some], now, wanted=bool(last.any()))
            if made is not None:
                found = _put(found, made, some, last, len(slots))
        assert found is not None
        return found

    def advance(self, slots: Ints, values: Numbers, *, wanted: bool = True) -> Made | None:
        """One step on of series (B,) with values (B, C), NaN where nothing was observed. The forecasts are made if they
        are wanted, or if the stream corrects itself by them."""
        states = self.states
        step, which = states.step[slots] + 1, states.scale[slots]
        filled = values
        if self.gaps == "fill" and (lost := np.isnan(values)).any():
            filled = np.where(lost, states.value[slots], values)
        scaled = ((filled - self.mean[which]) / self.std[which]).astype(np.float32)
        seen = ~np.isnan(scaled)
        clock = self.calendar.rows(step, states.rest[slots])
        one = slice(int(slots[0]), int(slots[0]) + 1) if len(slots) == 1 else slots  # a view: nothing is copied
        whole = bool(seen.all())
        inputs = scaled if whole else np.where(seen, scaled, np.float32(0))
        made, after = self.run(inputs, seen, clock, [part[one] for part in states.rows])
        for part, new in zip(states.rows, after, strict=True):
            part[one] = new
        states.step[slots] = step
        states.count[slots] += 1
        states.value[slots] = filled if whole else np.where(seen, filled, states.value[slots])
        found = None
        if self.corrector is not None:
            truth = np.where(np.isnan(values), np.float32(np.nan), scaled)[:, : self.outlook.targets]
            found = self._corrected(self.corrector, slots, step, truth, made)
        elif wanted:
            shape = len(slots), self.outlook.targets
            found = Made(self.outlook.scaled(made, step), np.full(shape, np.nan, np.float32), np.zeros(shape, bool))
        if self.rewind is not None:
            self.rewind.told(states, slots, values)
        return found

    def _corrected(self, corrector: Corrector, slots: Ints, step: Ints, truth: Floats, made: Floats) -> Made:
        """What came is learned from before the next forecast is corrected, and not earlier."""
        learned = self.states.learned[slots]
        tail, alarm = corrector.anomaly(learned, step, truth)
        learned = corrector.see(learned, step, truth)
        scaled = self.outlook.scaled(made, step, corrector.shift(learned), corrector.stretch(learned))
        low, high = (scaled.quantiles[..., end] for end in self.outlook.ends) if self.outlook.ends else (None, None)
        self.states.learned[slots] = corrector.issue(learned, step, self.outlook.point(made), low, high)
        return Made(scaled, tail.astype(np.float32), alarm)

    def looked(self, learned: Floats, step: Ints, made: Floats) -> Scaled:
        """What a chain gives, read with what has been learned and nothing new."""
        if self.corrector is None:
            return self.outlook.scaled(made, step)
        return self.outlook.scaled(made, step, self.corrector.shift(learned), self.corrector.stretch(learned))


def _put(found: Made | None, made: Made, some: Ints, last: NDArray[np.bool_], count: int) -> Made:
    """Those of `made` that are `last`, at their places `some` among `count`."""
    if found is None:
        blank = [np.empty((count, *part.shape[1:]), part.dtype) for part in (*made.scaled, *made[1:])]
        found = Made(Scaled(*blank[:2]), *blank[2:])
    at = some[last]
    for whole, part in zip((*found.scaled, *found[1:]), (*made.scaled, *made[1:]), strict=True):
        whole[at] = part[last]
    return found
