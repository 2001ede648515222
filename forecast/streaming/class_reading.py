"""Tables of labelled series into the steps of a stream, checked as the training data were."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from forecast.data.events import Floats, coded
from forecast.data.freq import Ints
from forecast.data.label_recipe import LabelRecipe
from forecast.data.labelled import Labelled
from forecast.data.stamps import is_stamps, parse_numbers, parse_stamps
from forecast.errors import DataError
from forecast.streaming.event_time import EventTime


class Rows(NamedTuple):
    """N steps in the order of a stream."""

    of: Labelled  # n series
    number: Ints  # (N,) of their series
    step: Ints  # (N,) 1 for the first of each series
    ticks: Ints  # (N,) 0 where nothing says when
    values: Floats  # (N, C)

    @property
    def names(self) -> list[str]:
        return [self.of.ids[number] for number in self.number.tolist()]


def read(frame: Any, recipe: LabelRecipe, time: EventTime | None, where: str = "the rows") -> Rows:
    """Rows, of polars or pandas, with the columns of the training data, labels or none. They come in the order of time,
    or without times the first step of each series, the second, …. DataError says what is wrong with the table."""
    frame = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
    found = recipe.read(frame, where)
    number = found.number
    step = np.arange(len(number)) - found.offsets[number] + 1
    ticks = np.zeros(len(number), np.int64)
    order = np.argsort(step, kind="stable")
    if time is not None:
        times = _times(frame[recipe.columns.time or ""], time, where)
        _, of = coded(frame, recipe.columns.id, "", where)
        times = times[np.lexsort((times, of))]  # as `found` has its steps
        ticks, order = time.of(times), np.argsort(times, kind="stable")
    return Rows(found, number[order], step[order], ticks[order], found.values[order])


def _times(column: pl.Series, time: EventTime, where: str) -> Any:
    """(N,) stamps or numbers; DataError where those of the training were the other."""
    if is_stamps(column) != time.stamps:
        expected = "stamps" if time.stamps else "numbers"
        raise DataError(f"{where}: column '{column.name}' holds no {expected}", f"expected {expected}")
    return parse_stamps(column, where)[0] if time.stamps else parse_numbers(column, (), where)
