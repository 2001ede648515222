"""Tables into readings: names, times and values, checked as the training data were."""

from typing import Any

import numpy as np
import polars as pl

from forecast.data.clock import to_utc
from forecast.data.freq import Ints
from forecast.data.recipe import Recipe
from forecast.data.stamps import parse_names, parse_numbers, parse_stamps
from forecast.errors import DataError
from forecast.streaming.outlook import Numbers


def read(frame: Any, recipe: Recipe, where: str = "the rows") -> tuple[list[str], Ints, Numbers]:
    """Rows, of polars or pandas, with the columns of the training data -> names (N), times (N,) in microseconds UTC,
    values (N, C), in the order of time. DataError says what is wrong with the table."""
    frame = frame if isinstance(frame, pl.DataFrame) else pl.from_pandas(frame)
    card, channels = recipe.card, recipe.spec.channels
    sources = {c.name: c.source for c in card.channels}
    wanted = [card.time.column, *([card.id] if card.id else []), *(sources[c] for c in channels)]
    if not frame.height:
        raise DataError("there are no rows", "expected at least one")
    if lost := [name for name in wanted if name not in frame.columns]:
        raise DataError(f"{where} have no column '{lost[0]}'", f"expected {', '.join(wanted)}")
    if card.id:
        names = parse_names(frame[card.id], where)
    else:
        names = pl.repeat(recipe.scaler.ids[0], frame.height, dtype=pl.String, eager=True)
    number = names.rank("dense").to_numpy().astype(np.int64)
    wall, aware = parse_stamps(frame[card.time.column], where)
    stamps = wall if aware else to_utc(wall, card.time.zone, number)
    if np.isnat(stamps).any():
        at = int(np.isnat(stamps).argmax())
        raise DataError(
            f"{where}: row {at + 1}: {wall[at]} was never shown on a clock of {card.time.zone}",
            "expected a time there is",
        )
    values = np.column_stack([parse_numbers(frame[sources[c]], card.missing, where) for c in channels])
    order = np.argsort(stamps, kind="stable")
    return names.gather(order).to_list(), stamps[order].astype("datetime64[us]").astype(np.int64), values[order]
