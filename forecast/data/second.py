"""The second table of covariates as it is read: times, ids, values, and when each row became known."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from forecast.data.card import Card, Channel
from forecast.data.clock import to_utc
from forecast.data.coding import Coding
from forecast.data.covariates import AVAILABLE, Table, cells
from forecast.data.freq import Ints, Stamps
from forecast.data.stamps import parse_names, parse_stamps
from forecast.data.table import stamp
from forecast.errors import DataError, nearest

ALWAYS = np.datetime64("0001-01-01", "us")


def read_table(
    card: Card, frame: pl.DataFrame, where: str, wanted: Sequence[Channel], coding: Coding | None = None
) -> Table:
    """Those of the covariates that the second table has: the time and maybe the id as in the main file, values, and
    maybe `available_at`. DataError for stamps or values that cannot be read, and for a row that stands twice."""
    if card.time.column not in frame.columns:
        raise DataError(
            f"{where} has no column '{card.time.column}'",
            f"found {', '.join(frame.columns[:12])}",
            f"{nearest(card.time.column, frame.columns)} name the time as in the main file",
        )
    found = cells(wanted, frame, card.missing, where, coding)
    ids, number = None, np.zeros(frame.height, np.int64)
    if card.id is not None and card.id in frame.columns:
        column = parse_names(frame[card.id], where).fill_null("")
        names = column.unique(maintain_order=True)
        ids, number = tuple(names.to_list()), column.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    available = _stamps(card, frame[AVAILABLE], where, np.arange(frame.height)) if AVAILABLE in frame.columns else None
    vintage = number
    if available is not None:
        each, which = np.unique(available, return_inverse=True)
        vintage = number * len(each) + which
    time = _stamps(card, frame[card.time.column], where, vintage)
    table = Table(found.names, found.words, ids, number, time, available, found.values, True)
    _once(table, where)
    return table


def _stamps(card: Card, column: pl.Series, where: str, number: Ints) -> Stamps:
    """(M,) UTC; each hour that a clock shows twice counts apart for each `number`."""
    wall, aware = parse_stamps(column, where)
    return wall if aware else to_utc(wall, card.time.zone, number, shift=True)


def _once(table: Table, where: str) -> None:
    """Refuse two rows of one stamp and one vintage that differ."""
    since = np.full(len(table.time), ALWAYS) if table.available is None else table.available
    order = np.lexsort((since, table.time, table.number))
    same = np.ones(len(order) - 1, bool)
    for part in (table.number, table.time, since):
        same &= part[order][1:] == part[order][:-1]
    values = table.values[order]
    differ = ((values[1:] != values[:-1]) & ~(np.isnan(values[1:]) & np.isnan(values[:-1]))).any(axis=1)
    if (twice := same & differ).any():
        at = int(twice.argmax())
        one, two = sorted((int(order[at]) + 1, int(order[at + 1]) + 1))
        raise DataError(
            f"{where}: rows {one} and {two} hold different values for {stamp(table.time[order[at]])}",
            "expected one row for each series and stamp, or one for each of its vintages",
            f"drop one, or say in a column {AVAILABLE} when each became known",
        )
