"""The second table of covariates, and what of a table was known when: the newest row of a stamp that was there.

A forecast is made at its cutoff, the stamp of the last row it sees, and reads of each stamp the row with the latest
`available_at` that is not after it. A cell left empty in that row is as it was in the one before.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.data.card import Card, Channel
from forecast.data.clock import to_utc
from forecast.data.coding import Coding
from forecast.data.covariates import AVAILABLE, Table, cells
from forecast.data.freq import Ints, Stamps
from forecast.data.stamps import parse_names, parse_stamps
from forecast.data.table import Series, stamp
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


class Vintages:
    """A table of covariates beside the rows of series: its rows in one order, found by halving."""

    def __init__(self, table: Table, series: Series, values: NDArray[np.float64] | None = None) -> None:
        """`values` (M, K) in place of those of the table: as they are coded."""
        place = Place(table, series)
        values = (table.values if values is None else values)[place.kept]
        stamps = place.group * len(place.grid) + place.at
        since = np.zeros(len(stamps)) if table.available is None else table.available[place.kept].astype(np.int64)
        order = np.lexsort((since, stamps))
        stamps, values, visible = stamps[order], values[order], place.visible[order]
        first = np.searchsorted(stamps, stamps)
        for k in range(values.shape[1]):  # what a newer row leaves empty is as it was
            last = np.maximum.accumulate(np.where(np.isnan(values[:, k]), -1, np.arange(len(values))))
            values[:, k] = np.where(last >= first, values[np.maximum(last, 0), k], np.nan)
        self.wide = len(place.grid) + 1
        self.keys = torch.from_numpy(stamps * self.wide + visible)
        blank = np.full((1, values.shape[1]), np.nan)
        self.values = torch.from_numpy(np.concatenate([values, blank]).astype(np.float32))
        self.code, self.grid = torch.from_numpy(place.code), len(place.grid)
        self.shared = table.ids is None

    def __call__(self, rows: Tensor, cutoff: Tensor, number: Tensor) -> Tensor:
        """(B, l) rows of the series, (B,) the last row that is seen, (B,) numbers of the series → (B, l, K)."""
        group = torch.zeros_like(number) if self.shared else number
        stamps = group[:, None] * self.grid + self.code[rows]
        asked = stamps * self.wide + self.code[cutoff][:, None]
        at = torch.searchsorted(self.keys, asked, right=True) - 1
        if not len(self.keys):
            return self.values[at + 1]
        of = torch.div(self.keys[at.clamp(min=0)], self.wide, rounding_mode="floor")
        return self.values[torch.where((of == stamps) & (at >= 0), at, len(self.keys))]


class Place:
    """Where the rows of a table lie beside series: those of stamps and series that there are."""

    def __init__(self, table: Table, series: Series) -> None:
        self.grid = np.unique(series.time)  # every stamp of every series
        self.code = np.searchsorted(self.grid, series.time)  # (N,)
        known = {name: i for i, name in enumerate(series.ids)}
        group = np.zeros(1, np.int64) if table.ids is None else np.array([known.get(name, -1) for name in table.ids])
        at = np.searchsorted(self.grid, table.time)
        on = (at < len(self.grid)) & (self.grid[np.minimum(at, len(self.grid) - 1)] == table.time)
        self.kept = np.flatnonzero(on & (group[table.number] >= 0))  # rows of the table, M' of them
        self.group, self.at = group[table.number][self.kept], at[self.kept]  # (M',) series, and stamp in the grid
        self.visible = np.zeros(len(self.kept), np.int64)  # (M',) the first stamp of the grid at which it was known
        if table.available is not None:
            self.visible = np.searchsorted(self.grid, table.available[self.kept])


def within(table: Table, series: Series, ranges: Ints) -> NDArray[np.int64]:
    """Rows of a table whose stamp lies in rows [first, last) of `ranges` (S, 2), known by their end: what may be
    learned from."""
    place, shared = Place(table, series), table.ids is None
    rows = ranges[:, 1] - ranges[:, 0]
    mine = np.repeat(np.arange(len(rows)), rows)
    inside = np.arange(rows.sum()) + np.repeat(ranges[:, 0] - (np.cumsum(rows) - rows), rows)
    wide = len(place.grid)
    keys = np.unique((0 if shared else mine) * wide + place.code[inside])
    ends = np.where(rows > 0, place.code[np.maximum(ranges[:, 1] - 1, 0)], -1)
    end = np.full(len(place.kept), ends.max()) if shared else ends[place.group]
    good = np.isin(place.group * wide + place.at, keys) & (place.visible <= end)
    return place.kept[good]
