"""What is known beside the channels: tables of covariates as they are read, and facts of each series.

The main file may hold them, also in rows after the end of the targets, whose target cells are empty. A second table may
too: the time, the id (left out: the same for all series), values, and `available_at`, when a row became known. Then a
stamp may have several rows, one for each vintage.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.card import Card, Channel
from forecast.data.coding import Coding, Words
from forecast.data.freq import Ints, Stamps
from forecast.data.stamps import NOTHING, is_text, parse_numbers
from forecast.errors import DataError, nearest

AVAILABLE: Final = "available_at"
AHEAD, BEHIND, STATIC = "known_future", "past_only", "static"


class Table(NamedTuple):
    """M rows of K covariates, in no order. A category's cells hold the numbers of its words."""

    names: tuple[str, ...]  # K
    words: tuple[Words, ...]  # K
    ids: tuple[str, ...] | None  # names of the series; None: rows hold for all of them
    number: Ints  # (M,) into ids, 0 where there are none
    time: Stamps  # (M,) UTC
    available: Stamps | None  # (M,) UTC; None: known before everything
    values: NDArray[np.float64]  # (M, K), NaN where empty
    beside: bool  # whether it is the second table


class Covariates(NamedTuple):
    """The covariates of a data set: those known ahead, those seen in the past only, facts of series."""

    ahead: tuple[str, ...]
    behind: tuple[str, ...]
    static: tuple[str, ...]
    tables: tuple[Table, ...]
    facts: NDArray[np.float64]  # (S, Q), NaN where empty
    words: tuple[Words, ...]  # Q

    @property
    def moving(self) -> tuple[str, ...]:
        """Those with a value for each step."""
        return (*self.ahead, *self.behind)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.moving, *self.static)


class Cells(NamedTuple):
    """Columns of the main file that are covariates, in its order of rows."""

    names: tuple[str, ...]
    words: tuple[Words, ...]
    values: NDArray[np.float64]  # (N, K)


def parted(
    card: Card, frame: pl.DataFrame, beside: Sequence[str], coding: Coding | None
) -> tuple[list[Channel], list[Channel]]:
    """The channels of a card, targets first, and its covariates; of what is seen in the past only, categories and
    columns of the second table are covariates, numbers are channels."""
    settled = {c.name for c in coding.columns} if coding else set()

    def apart(c: Channel) -> bool:
        if c.role != BEHIND or c.name in settled or c.kind:
            return c.role != "target"
        if coding is not None:
            return False
        return c.source in beside or (c.source in frame.columns and is_text(frame[c.source]))

    own = sorted((c for c in card.channels if not apart(c)), key=lambda c: c.role != "target")  # stable
    return own, [c for c in card.channels if apart(c)]


def cells(
    wanted: Sequence[Channel], frame: pl.DataFrame, missing: tuple[float, ...], where: str, coding: Coding | None
) -> Cells:
    """Those of the columns that the frame has, as numbers; text is a category, and what is declared to be one."""
    here = [c for c in wanted if c.source in frame.columns]
    made = [_column(frame[c.source], _is_category(c, frame, coding), missing, where) for c in here]
    values = np.column_stack([v for v, _ in made]) if made else np.empty((frame.height, 0))
    return Cells(tuple(c.name for c in here), tuple(w for _, w in made), values)


def _is_category(channel: Channel, frame: pl.DataFrame, coding: Coding | None) -> bool:
    if coding is not None and (known := coding.get(channel.name)):
        return known.words is not None
    return bool(channel.kind) or is_text(frame[channel.source])


def _column(
    column: pl.Series, category: bool, missing: tuple[float, ...], where: str
) -> tuple[NDArray[np.float64], Words]:
    """(N,) numbers, or the numbers of words and the words; NaN where empty."""
    if not category:
        return parse_numbers(column, missing, where), None
    if column.dtype.is_float() and bool((column.drop_nulls().drop_nans() % 1 == 0).all()):
        column = column.fill_nan(None).cast(pl.Int64)  # 1 in a csv is 1.0 in a parquet file with gaps
    text = column.cast(pl.String).str.strip_chars()
    text = text.set(text.str.to_lowercase().is_in(NOTHING), None)
    words = text.drop_nulls().unique().sort()
    number = text.cast(pl.Enum(words)).to_physical().cast(pl.Float64)
    return number.fill_null(float("nan")).to_numpy().astype(np.float64), tuple(words.to_list())


def gathered(
    wanted: Sequence[Channel],
    tables: Sequence[Table],
    own: Cells,
    start: Ints,
    ids: tuple[str, ...],
    columns: Mapping[str, Sequence[str]],
) -> Covariates:
    """All of them. `own` are the cells of the main file, series after series; `columns` those of each file, by name.

    DataError where a covariate is in no table, or a fact of a series changes within it.
    """
    roles = {role: tuple(c.name for c in wanted if c.role == role) for role in (AHEAD, BEHIND, STATIC)}
    have = {name for table in tables for name in table.names} | {n for n in own.names if n in roles[STATIC]}
    if lost := next((c for c in wanted if c.name not in have), None):
        some = list(columns.items())[: 1 if lost.role == STATIC else None]  # facts are read from the main file
        seen = [name for _, names in some for name in names]
        raise DataError(
            f"{' and '.join(file for file, _ in some)} has no column '{lost.source}', a covariate",
            f"found {', '.join(seen[:12])}",
            f"{nearest(lost.source, seen)} add it, or leave it out",
        )
    at = [own.names.index(name) for name in roles[STATIC]]
    facts = np.column_stack([_fact(own.values[:, i], start, ids, own.names[i]) for i in at]) if at else None
    return Covariates(
        roles[AHEAD], roles[BEHIND], roles[STATIC], tuple(tables),
        np.empty((len(ids), 0)) if facts is None else facts, tuple(own.words[i] for i in at),
    )  # fmt: skip


def _fact(values: NDArray[np.float64], start: Ints, ids: tuple[str, ...], name: str) -> NDArray[np.float64]:
    """(S,) the one value of each series in (N,) rows."""
    low, high = np.fmin.reduceat(values, start[:-1]), np.fmax.reduceat(values, start[:-1])
    if (odd := np.flatnonzero(low < high)).size:
        raise DataError(
            f"series '{ids[odd[0]]}' has several values in '{name}', which is static",
            "expected one value for each series",
            "name it in data.known, or correct it",
            reason="unknown_static",
        )
    if (empty := np.flatnonzero(np.isnan(low))).size:
        raise DataError(
            f"series '{ids[empty[0]]}' has no value in '{name}', which is static",
            "expected one value for each series",
            "give it, or leave the column out of data.static",
            reason="unknown_static",
        )
    return np.asarray(low)


def history(start: Ints, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) False for the rows after the last of a series that holds a value; a series without any keeps its rows."""
    rows = np.arange(len(values))
    last = np.maximum.reduceat(np.where(np.isnan(values).all(axis=1), -1, rows), start[:-1])
    last = np.where(last < start[:-1], start[1:] - 1, last)
    return np.asarray(rows <= np.repeat(last, np.diff(start)))


def columns_beside(frame: pl.DataFrame, card: Card) -> list[str]:
    """The columns of a second table that hold values."""
    return [c for c in frame.columns if c not in (card.time.column, card.id, AVAILABLE)]


def told(known: Covariates | None) -> str:
    """For people, behind the channels: what there is, and how many vintages."""
    if known is None:
        return ""
    parts = [("known ahead", known.ahead), ("past-only beside", known.behind), ("static", known.static)]
    line = "".join(f", {what}: {', '.join(names)}" for what, names in parts if names)
    vintages = [table for table in known.tables if table.available is not None]
    return line + "".join(f" ({len(t.time):,} rows with {AVAILABLE})" for t in vintages)
