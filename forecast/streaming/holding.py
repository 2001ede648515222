"""What a stream of events and one of labelled series do alike: forget, keep, come back, refuse what means nothing."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.errors import DataError, UsageError
from forecast.streaming.fold import ACCEPTED, LATE, STATUSES
from forecast.streaming.snapshot import load, save
from forecast.streaming.states import NEVER, States

NAMES: Final = {"budget": "alarms"}  # of options on the command line
Meaningless = Mapping[str, tuple[Any, str]]  # option -> the value that asks for nothing, why it means nothing


class Folds(Protocol):
    """Rules that have states."""

    states: States


class Holding:
    """States of any number of series under one trained chain."""

    fold: Folds
    stamp: str  # what a state means: weights and settings
    why: Mapping[str, tuple[str, str]]  # status -> what was found, what was expected
    of: str  # "a run of events"

    @property
    def states(self) -> States:
        return self.fold.states

    def reset(self, id: str) -> None:
        """Forget a series; it begins anew with the next that comes of it."""
        self.states.forget([id])

    def snapshot(self, path: str | Path) -> None:
        """All states into a file, whole or not at all."""
        save(self.states, self.stamp, Path(path))

    def restore(self, path: str | Path) -> None:
        """The states of a snapshot in place of all there are. ArtifactError unless it is of the same weights."""
        own = self.states
        self.fold.states = load(States(own.blank, own.most, own.fetch), self.stamp, Path(path))

    def begun(self, names: Sequence[str]) -> Ints:
        """The rows (N,) of series. KeyError for one that has not begun."""
        if missing := [name for name in names if name not in self.states]:
            raise KeyError(missing[0])
        slots = self.states.take(names)
        if (never := self.states.step[slots] == NEVER).any():
            raise KeyError(names[int(never.argmax())])
        return slots

    def row(self, values: Mapping[str, float | None], columns: Sequence[str], what: str) -> NDArray[np.float64]:
        """Values of columns as (1, C), NaN for what is left out; `what` a column is, for a person. DataError for one
        that there is not, and for what is no number."""
        if wrong := set(values) - set(columns):
            raise DataError(f"there is no {what} '{min(wrong)}'", f"expected {', '.join(columns) or 'none'}")
        try:
            return np.array([[values.get(name) for name in columns]], np.float64).reshape(1, len(columns))
        except (TypeError, ValueError):
            raise DataError(f"the values are {dict(values)!r}", "expected numbers, or None") from None

    def refused(self, what: Callable[[int], str], status: NDArray[np.int8]) -> DataError:
        """The first of N that could not be taken, in words; `what` the i-th is, for a person."""
        at = int((status > LATE).argmax() if (status > LATE).any() else (status > ACCEPTED).argmax())
        found, expected = self.why[STATUSES[status[at]]]
        return DataError(f"{what(at)} {found}", expected)

    def refuse(self, options: Mapping[str, Any], meaningless: Meaningless) -> None:
        """UsageError for an option that means nothing here, where it is set."""
        for key, value in options.items():
            if key not in meaningless:
                raise TypeError(f"{type(self).__name__} has no option {key}")
            nothing, why = meaningless[key]
            if value != nothing:
                given = str(value).lower() if isinstance(value, bool) else value
                raise UsageError(f"{NAMES.get(key, key)}={given} with {self.of}", why, "leave it out")


def replayable(of: str, *, windowed: bool | None, every: bool) -> None:
    """UsageError for what is not asked of a replay."""
    if windowed:
        raise UsageError(f"feed.windowed=true with {of}", "it has no windows", "leave it out")
    if not every:
        raise UsageError(
            f"every=false with feed=replay and {of}", "expected a line after each step or event, to score it",
            "leave it out",
        )  # fmt: skip
