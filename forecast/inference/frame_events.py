"""`forecast_frame` of a run of events: the next event of each sequence."""

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from forecast.data.freq import Ints
from forecast.data.stamps import NOTHING
from forecast.errors import UsageError
from forecast.inference.aside import WHERE, by_halves, joined, quarantined, rows_of, silent
from forecast.inference.event_predictor import NAMED, EventPredictor
from forecast.inference.predictor import column
from forecast.inference.reading import firsts, numbers, stamps
from forecast.inference.reasons import Faults
from forecast.inference.screens import columns, names, words, wrong

if TYPE_CHECKING:
    from forecast.inference.frame import Asked


def event_frame(table: pl.DataFrame, predictor: EventPredictor, asked: "Asked") -> pl.DataFrame:
    """What `EventPredictor.predict` gives, and status, reason, detail: a row for each sequence, in the order in which
    they first appear. There is nothing to fall back on."""
    for key in ("short", "horizon"):
        if getattr(asked, key) is not None:
            raise UsageError(f"{key} is about series", "this run forecasts events", "leave it out")
    if asked.now == "latest":
        raise UsageError("now=latest", "expected a time: what is said of a sequence depends on it alone", "give a date")
    levels = [0.05, 0.95] if asked.levels is None else list(asked.levels)
    frame, ids, number, faults = _screened(table, predictor)

    def told(some: Ints) -> pl.DataFrame:
        return predictor.predict(rows_of(frame, number, some), levels=levels, now=asked.now, tell=silent, apart=True)

    made = by_halves(faults, told, 1)
    if asked.on_bad == "error":
        faults.refuse(ids)
    return joined([*made, *quarantined(faults, ids, set())], schema(predictor, levels))


def schema(predictor: EventPredictor, levels: list[float]) -> dict[str, Any]:
    """The columns of forecasts of events, and their types."""
    spec = predictor.recipe.spec
    time: Any = pl.Datetime("us") if predictor.recipe.stamps else pl.Float64
    some = len(spec.marks) > 1
    marked = {"mark": pl.String} if some and not spec.labels else {}
    chances = {"p_mark": pl.Float32} if some and not spec.labels else {}
    if spec.labels or 1 < len(spec.marks) <= NAMED:
        chances |= {f"p_{name}": pl.Float32 for name in spec.marks}
    numbers_of = dict.fromkeys(("mean", "median", *map(column, levels)), pl.Float64)
    return {"unique_id": pl.String, "last": time, "cutoff": time, **numbers_of, "ds": time, **marked, **chances}


def _screened(table: pl.DataFrame, predictor: EventPredictor) -> tuple[pl.DataFrame, pl.Series, Ints, Faults]:
    """The columns of the training, cell by cell; the sequences, whose each row is, and what is wrong with them."""
    recipe = predictor.recipe
    card = recipe.card.columns
    columns(table, (card.id, card.time, card.mark, *card.beside), WHERE)
    ids, number = names(None if card.id is None else words(table[card.id]), "events", table.height, WHERE)
    faults = Faults.of_names(ids)
    made = [] if card.id is None else [pl.Series(card.id, ids.fill_null("")).gather(number)]
    if recipe.stamps:
        found = stamps(table[card.time], number, len(ids), WHERE)
        faults.add("parse_error", found.why.keys(), found.why.values())
        made.append(pl.Series(card.time, found.time))
    else:
        cells = numbers(table[card.time], (), WHERE)
        wrong(table[card.time], cells, number, faults)
        series, _ = firsts(number, np.isnan(cells.values))
        faults.add("parse_error", series, ("a time is empty" for _ in series))
        made.append(pl.Series(card.time, cells.values))
    if card.mark is not None:
        text = words(table[card.mark]).str.strip_chars()
        empty = (text.is_null() | text.str.to_lowercase().is_in(NOTHING)).to_numpy()
        series, _ = firsts(number, empty)
        faults.add("parse_error", series, ("a mark is empty" for _ in series))
        made.append(text.alias(card.mark))
    for name in card.beside:
        cells = numbers(table[name], (), WHERE)
        wrong(table[name], cells, number, faults)
        made.append(pl.Series(name, cells.values))
    return pl.DataFrame(made), ids, number, faults
