"""What the functions that make charts share: numbers of a column, words for a moment and a unit, scales, pairs."""

from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import Dash, Line, Scale, Values
from forecast.dashboards.charts.style import role_of
from forecast.dashboards.load import Run

STEEP: Final = 20  # times the least value: from there on an axis is logarithmic
DASHES: Final[dict[str, Dash]] = {
    "model": "solid",
    "seasonal": "solid",
    "ridge": "dash",
    "last": "dot",
    "other": "dashdot",
}


def array(column: pl.Series) -> np.ndarray:
    """Floats, NaN where there is nothing."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def spread(*values: Values) -> Scale:
    """Logarithmic where the positive values span more than a factor of twenty, else linear."""
    every = np.concatenate([np.asarray(each, np.float64).ravel() for each in values] or [np.zeros(0)])
    good = every[np.isfinite(every) & (every > 0)]
    return "log" if good.size and good.max() > STEEP * good.min() else "linear"


def pair(place: Any, model: pl.Series, naive: pl.Series, run: Run, dots: bool) -> tuple[Line, ...]:
    """The model's error over the naive forecast's at each `place`; one that has no value is left out."""
    rows = ((naive, role_of(run.naive), run.naive, 1.1), (model, "model", run.model, 1.8))
    return tuple(
        Line(place, array(values), name, role, width=width, dots=dots)
        for values, role, name, width in rows
        if values.is_finite().any()
    )


def moment(at: datetime) -> str:
    """A date, and the time of day unless it is midnight."""
    return f"{at:%Y-%m-%d}" if at.hour == at.minute == at.second == 0 else f"{at:%Y-%m-%d %H:%M}"


def with_unit(run: Run, channel: str, most: int = 60) -> str:
    """`load (kWh)`, or what of it fits into `most` letters."""
    unit = run.units.get(channel, "")
    whole = f"{channel} ({unit})" if unit else channel
    return whole if len(whole) <= most else unit or f"{channel[: most - 1]}…"
