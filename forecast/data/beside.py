"""A main file parted into channels and covariates, and the second table read with it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.card import Card, Channel
from forecast.data.coding import Coding
from forecast.data.covariates import (
    AHEAD,
    STATIC,
    Cells,
    Covariates,
    Table,
    cells,
    columns_beside,
    gathered,
    history,
    parted,
)
from forecast.data.freq import Ints, Stamps
from forecast.data.second import read_table


class Beside(NamedTuple):
    """What `from_frame` leaves aside."""

    channels: list[Channel]  # those of the series, targets first
    wanted: list[Channel]  # the covariates
    own: Cells  # those in the main file, in its order of rows
    table: Table | None  # those in the second
    columns: dict[str, list[str]]  # of each file

    @classmethod
    def of(
        cls, card: Card, frame: pl.DataFrame, where: str, coding: Coding | None, notes: list[str] | None
    ) -> "Beside":
        """`coding` are the covariates of a run that reads another table: a second one then also fills what the main
        file lacks. In training it comes before the main file: what stands there was known too late."""
        from forecast.data.read import read_file

        second = read_file(Path(card.covariates), notes) if card.covariates else None
        there = [] if second is None else columns_beside(second, card)
        channels, wanted = parted(card, frame, there, coding)

        def moved(c: Channel) -> bool:
            known = coding.get(c.name) if coding else None
            return c.role != STATIC and c.source in there and (known is None or known.beside)

        own = cells([c for c in wanted if not moved(c)], frame, card.missing, where, coding)
        table, columns = None, {where: frame.columns}
        if second is not None and card.covariates:
            name = Path(card.covariates).name
            columns[name] = second.columns
            both = [c for c in wanted if c.role != STATIC and c.source in there]
            table = read_table(card, second, name, both, coding) if both else None
        return cls(channels, wanted, own, table, columns)

    def read(
        self, ids: tuple[str, ...], number: Ints, start: Ints, time: Stamps, order: Ints, values: NDArray[np.float64]
    ) -> tuple[Covariates | None, NDArray[np.bool_] | slice]:
        """The covariates, and which of the sorted rows are history: those after it hold nothing else.

        `number`, `time`, `values` are of the rows in order, `order` where each stands in the file.
        """
        if not self.wanted:
            return None, slice(None)
        own = self.own._replace(values=self.own.values[order])
        roles = {c.name: c.role for c in self.wanted}
        at = [i for i, name in enumerate(own.names) if roles[name] != STATIC]
        tables = [] if self.table is None else [self.table]
        if at:
            names, words = tuple(own.names[i] for i in at), tuple(own.words[i] for i in at)
            tables.insert(0, Table(names, words, ids, number, time, None, own.values[:, at], False))
        past = history(start, values) if AHEAD in roles.values() else slice(None)
        return gathered(self.wanted, tables, own, start, ids, self.columns), past
