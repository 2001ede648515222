"""What became of readings, and why some were not taken."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.streaming.outlook import Forecasts, Numbers
from forecast.streaming.stepping import Floats

WHY: Final = {
    "duplicate": ("was taken before", "expected the step after the last one"),
    "late": ("is late", "expected a step after the last one, or within rewind= of it"),
    "off the grid": ("is off the grid", "expected whole steps after the first reading of the series"),
    "gap": ("leaves a gap", "expected a value at every step; set gaps=fill, or train with data.gaps=mask"),
    "implausible": ("is implausible", "expected a value within a million standard deviations of the training data"),
}


class Taken(NamedTuple):
    """What became of N readings."""

    status: NDArray[np.int8]  # (N,) places in STATUSES
    at: Ints  # (M,) the readings that have a forecast, rising
    forecasts: Forecasts  # M of them, in the order of `at`
    tail: Floats  # (M, T) how likely values as far out were, before they came; NaN where unknown
    alarm: NDArray[np.bool_]  # (M, T)
    seen: Numbers | None = None  # (M, T) the readings themselves, NaN where nothing was observed; None: of no reading
