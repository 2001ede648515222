"""What became of events, and why some were not taken."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.events import Floats
from forecast.data.freq import Ints
from forecast.streaming.event_outlook import EventForecasts

WHY: Final = {
    "duplicate": ("was taken before", "expected another time or mark than those of the last event"),
    "late": ("is late", "expected one no earlier than the last of its sequence"),
    "implausible": ("is implausible", "expected covariates within a million standard deviations of the training data"),
}


class EventTaken(NamedTuple):
    """What became of N events."""

    status: NDArray[np.int8]  # (N,) places in STATUSES
    at: Ints  # (M,) the events that have a forecast, rising
    forecasts: EventForecasts  # M of them, in the order of `at`
    ticks: Ints  # (M,) when they were (event_time.py)
    gap: Floats  # (M,) since the event before, floored; NaN for a first event
    nats: Floats  # (M, 2) log-likelihoods of their times and marks, given what came before; NaN for a first event
    tail: Floats  # (M,) the probability of no event for as long as was waited for them; NaN for a first event

    @property
    def alarm(self) -> NDArray[np.bool_]:
        """(M, 0): events raise none, `tail` says how unlikely they were."""
        return np.empty((len(self.at), 0), bool)
