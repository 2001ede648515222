"""What a stream of lines asks of what it drives: readings of series (live.py), events (event_live.py) or steps of
labelled series (class_live.py)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.streaming.parsing import Parsed
from forecast.streaming.states import States

Reads = Callable[[Sequence[bytes]], Parsed]
Writes = Callable[[Any, Sequence[Any], int], list[bytes]]  # what was taken, ids of messages, number of the first line


class Made(Protocol):
    """Forecasts of M series."""

    @property
    def ids(self) -> list[str]: ...


class Took(Protocol):
    """What became of N readings; M of them have a forecast."""

    @property
    def status(self) -> NDArray[np.int8]: ...  # (N,) places in STATUSES
    @property
    def at(self) -> Ints: ...  # (M,) the readings that have a forecast, rising
    @property
    def forecasts(self) -> Made: ...
    @property
    def alarm(self) -> NDArray[np.bool_]: ...  # (M, T), T may be 0


class Kind(Protocol):
    """States of any number of series, and how lines are read and written for them."""

    stamp: str  # what a state means: weights and settings

    @property
    def states(self) -> States: ...

    @property
    def why(self) -> Mapping[str, tuple[str, str]]: ...  # status -> what was found, what was expected

    @property
    def span(self) -> int | None: ...  # after which a series begins anew, in what `at` gives; None: never

    def facts(self) -> dict[str, Any]:
        """What its lines are about: `kind`, `stamps` (whether times are stamps), `columns` of quantiles, units, …"""
        ...

    def reader(self) -> Reads: ...

    def writer(self) -> Writes: ...

    def take(self, names: Sequence[str], time: Ints, values: Any, *, every: bool = True) -> Took: ...

    def at(self, slots: Ints) -> Ints:
        """(N,) microseconds of the last readings of series."""
        ...

    def now(self, names: Sequence[str]) -> Took:
        """The forecasts of series as they are. KeyError for one that has none."""
        ...

    def reset(self, id: str) -> None: ...
