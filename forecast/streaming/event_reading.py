"""Tables into events: names, times and marks, checked as the training data were."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from forecast.data.event_recipe import EventRecipe
from forecast.data.events import read_events
from forecast.data.freq import Ints
from forecast.errors import DataError
from forecast.streaming.event_lines import Held
from forecast.streaming.event_time import EventTime


def read(
    frame: Any, recipe: EventRecipe, time: EventTime, where: str = "the rows", notes: list[str] | None = None
) -> tuple[list[str], Ints, Held]:
    """Rows, of polars or pandas, with the columns of the training data -> names (N), ticks (N,) and what else they
    hold, in the order of time, rows of one time as they stand. DataError says what is wrong with the table."""
    frame = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
    card = replace(recipe.card, grid=recipe.spec.grid)
    events = read_events(frame, card.columns, where, notes=notes)
    if (events.origin is not None) != time.stamps:
        expected = "stamps" if time.stamps else f"numbers, in {time.unit}s"
        raise DataError(f"{where}: column '{card.time}' holds no {expected.split(',')[0]}", f"expected {expected}")
    ticks = time.of(events.stamps if time.stamps else events.time)
    order = np.argsort(events.time, kind="stable")
    names = [events.ids[number] for number in events.number[order].tolist()]
    marks = [events.marks[code] for code in events.mark[order].tolist()]
    beside = np.empty((len(order), 0)) if events.beside is None else events.beside[order]
    return names, ticks[order], Held(marks, beside)
