"""What of a table of covariates was known when: the newest row of a stamp that was there.

A forecast is made at its cutoff, the stamp of the last row it sees, and reads of each stamp the row with the latest
`available_at` that is not after it. A cell left empty in that row is as it was in the one before.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.data.covariates import Table
from forecast.data.freq import Ints
from forecast.data.table import Series


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
