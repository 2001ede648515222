"""`forecast_frame` of a run of classification: the class of each series."""

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.errors import UsageError
from forecast.inference.aside import WHERE, by_halves, joined, quarantined, rows_of, silent
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.reading import firsts, numbers, stamps
from forecast.inference.reasons import Faults
from forecast.inference.screens import columns, names, words, wrong

if TYPE_CHECKING:
    from forecast.inference.frame import Asked


def class_frame(table: pl.DataFrame, predictor: ClassPredictor, asked: "Asked") -> pl.DataFrame:
    """unique_id, label, p, p_NAME of each class, status, reason, detail: a row for each series, in the order in which
    they first appear. Labels in the table are not looked at. There is nothing to fall back on."""
    for key in ("levels", "short", "horizon", "now"):
        if getattr(asked, key) is not None:
            raise UsageError(f"{key} is about forecasts", "this run tells classes", "leave it out")
    recipe = predictor.recipe
    card = recipe.columns
    columns(table, (card.id, card.time, *card.channels), WHERE)
    ids, number = names(words(table[card.id]), "", table.height, WHERE)
    faults = Faults.of_names(ids)
    made = [pl.Series(card.id, ids.fill_null("")).gather(number)]
    if card.time is not None:
        made.append(_clock(table[card.time], number, faults, recipe.stamps))
    for name in card.channels:
        found = numbers(table[name], card.missing, WHERE)
        wrong(table[name], found, number, faults)
        made.append(pl.Series(name, found.values))
    frame = pl.DataFrame(made)

    def told(some: Ints) -> pl.DataFrame:
        return predictor.predict(rows_of(frame, number, some), tell=silent, apart=True)

    parts = by_halves(faults, told, 1)
    if asked.on_bad == "error":
        faults.refuse(ids)
    schema = {"unique_id": pl.String, "label": pl.String, "p": pl.Float32}
    schema |= {f"p_{name}": pl.Float32 for name in recipe.spec.classes}
    return joined([*parts, *quarantined(faults, ids, set())], schema)


def _clock(column: pl.Series, number: Ints, faults: Faults, stamped: bool) -> pl.Series:
    """Times that order the steps; a step that stands twice is a fault."""
    if stamped:
        found = stamps(column, number, len(faults.bad), WHERE)
        faults.add("parse_error", found.why.keys(), found.why.values())
        time: NDArray[Any] = found.time.astype(np.int64)
    else:
        cells = numbers(column, (), WHERE)
        wrong(column, cells, number, faults)
        series, _ = firsts(number, np.isnan(cells.values))
        faults.add("parse_error", series, (f"a cell of '{column.name}' is empty" for _ in series))
        time = cells.values
    order = np.lexsort((time, number))
    twice = (np.diff(number[order]) == 0) & (np.diff(time[order]) == 0)
    series, rows = firsts(number[order][1:], twice)
    faults.add("duplicate_ds", series, (f"two rows of the time {column[int(order[row + 1])]}" for row in rows))
    return pl.Series(column.name, time)
