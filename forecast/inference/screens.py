"""A table of series before it is forecast: what is in it, and which series cannot be forecast and why.

A series is judged by its own rows alone. Rows of one are put in the order of time; rows written twice are used once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from forecast.data.beside import Beside
from forecast.data.card import Card
from forecast.data.clock import to_utc
from forecast.data.covariates import AHEAD
from forecast.data.freq import Ints, Stamps, parse_freq
from forecast.data.holidays import Holidays
from forecast.data.recipe import Recipe
from forecast.data.stamps import NOTHING, parse_names
from forecast.data.table import SPARSE, Floats, Series, grid, regular, stamp
from forecast.errors import DataError, nearest
from forecast.inference.reading import Flags, Numbers, firsts, numbers, stamps
from forecast.inference.reasons import Faults


@dataclass(frozen=True, slots=True)
class History:
    """N rows of S series, series after series, each in the order of time."""

    ids: pl.Series  # (S,) names in the order of their first rows; null: rows without a name
    start: Ints  # (S+1,) first row of each series, then N
    time: Stamps  # (N,) datetime64[us], UTC
    values: Floats  # (N, C) NaN where nothing was measured
    row: Ints  # (N,) where each stands in the table

    @property
    def number(self) -> Ints:
        """(N,) the series of each row."""
        return np.repeat(np.arange(len(self.ids)), np.diff(self.start))

    def kept(self, rows: Flags) -> "History":
        """Some rows (N,) only; a series may lose all it has."""
        if rows.all():
            return self
        start = np.concatenate([[0], np.cumsum(rows)])[self.start]
        return replace(self, start=start, time=self.time[rows], values=self.values[rows], row=self.row[rows])

    def take(self, series: Ints) -> "History":
        """The series of these rising numbers."""
        if len(series) == len(self.ids):
            return self
        wanted = np.zeros(len(self.ids), np.bool_)
        wanted[series] = True
        found = self.kept(wanted[self.number])
        start = found.start[:-1][wanted]
        return replace(found, ids=self.ids.gather(series), start=np.append(start, len(found.time)))


def names(column: pl.Series | None, alone: str, rows: int, where: str) -> tuple[pl.Series, Ints]:
    """The names of the series (S,) in the order of their first rows, null for rows without one; whose each of the rows
    is. Without a column there is one series, `alone`."""
    if column is None:
        return pl.Series([alone] if rows else [], dtype=pl.String), np.zeros(rows, np.int64)
    if column.dtype != pl.String:
        parse_names(column.head(0), where)  # its DataError
    runs = pl.DataFrame([column.alias("value")]).select(pl.col("value").rle().struct.unnest())
    name = pl.col("value").cast(pl.String).str.strip_chars().fill_null("")
    lost = name.str.to_lowercase().is_in(NOTHING)  # all of these are one series without a name
    runs = runs.select("len", pl.when(lost).then(pl.lit("")).otherwise(name).alias("value"))
    lengths, each = runs["len"].to_numpy(), runs["value"]
    if each.n_unique() == len(each):
        names, number = each, np.repeat(np.arange(len(each)), lengths)
    else:
        names = each.unique(maintain_order=True)
        number = np.repeat(each.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64), lengths)
    return names.replace("", None) if names.min() == "" else names, number


def columns(frame: pl.DataFrame, wanted: Iterable[str | None], where: str) -> None:
    """DataError where the table lacks one of the columns."""
    for name in wanted:
        if name is not None and name not in frame.columns:
            raise DataError(
                f"{where} has no column '{name}'", f"found {', '.join(frame.columns[:12])}",
                nearest(name, frame.columns),
            )  # fmt: skip


def history(frame: pl.DataFrame, recipe: Recipe, where: str) -> tuple[History, pl.DataFrame, Faults]:
    """The rows of a table in order, the table with its covariates made alike, what is wrong with cells and stamps."""
    card = recipe.card
    channels = recipe.spec.channels
    ids, number = names(None if card.id is None else frame[card.id], card.name, frame.height, where)
    faults = Faults.of_names(ids)
    time, why = _utc(frame, card, number, len(ids), where)
    faults.add("parse_error", why.keys(), why.values())
    sources = {c.name: c.source for c in card.channels}
    made = [numbers(frame[sources[name]], card.missing, where) for name in channels]
    for name, found in zip(channels, made, strict=True):
        wrong(frame[sources[name]], found, number, faults)
    frame = covariates(frame, recipe, number, faults, where)
    values = np.column_stack([found.values for found in made])
    row = np.arange(len(number))
    ahead = number[1:] - number[:-1]
    if not ((ahead > 0) | (ahead == 0) & (time[1:] >= time[:-1])).all():
        row = np.lexsort((time, number))
        number, time, values = number[row], time[row], values[row]
    start = np.searchsorted(number, np.arange(len(ids) + 1)).astype(np.int64)
    return History(ids, start, time, values, row), frame, faults


def covariates(frame: pl.DataFrame, recipe: Recipe, number: Ints, faults: Faults, where: str) -> pl.DataFrame:
    """The columns of covariates cell by cell: numbers, or the words of a category as training spells them."""
    made = []
    for column in recipe.coding.columns if recipe.coding else ():
        source = next(c.source for c in recipe.card.channels if c.name == column.name)
        if source not in frame.columns:
            continue
        cells = frame[source]
        if column.words is None:
            found = numbers(cells, recipe.card.missing, where)
            wrong(cells, found, number, faults)
            made.append(pl.Series(source, found.values))
        else:
            made.append(words(cells).alias(source))
    return frame.with_columns(made)


def words(cells: pl.Series) -> pl.Series:
    """(N,) names as text, each cell for itself: 1 in a csv is 1.0 in a parquet file with gaps."""
    if not cells.dtype.is_float():
        return cells.cast(pl.String)
    whole = ((cells % 1 == 0) & (cells.abs() < 1e18)).fill_null(False)
    return cells.set(~whole, None).cast(pl.Int64).cast(pl.String).zip_with(whole, cells.fill_nan(None).cast(pl.String))


def wrong(column: pl.Series, found: Numbers, number: Ints, faults: Faults) -> None:
    """Cells that are no number, and those that are too large for one."""
    for code, flags, words in (("parse_error", found.text, "no number"), ("non_finite", found.huge, "not finite")):
        if flags is not None:
            series, rows = firsts(number, flags)
            faults.add(code, series, (f"'{column[row]}' in '{column.name}' is {words}" for row in rows))


def _utc(frame: pl.DataFrame, card: Card, number: Ints, count: int, where: str) -> tuple[Stamps, dict[int, str]]:
    """(N,) stamps in UTC, NaT where there is none, and what is wrong with those of a series."""
    found = stamps(frame[card.time.column], number, count, where)
    if card.time.zone is None or found.aware.all():
        return found.time, found.why
    order = np.lexsort((found.time, number))
    order = order[~found.aware[number[order]]]
    wall = found.time[order]
    utc = to_utc(wall, card.time.zone, number[order], shift=parse_freq(card.time.freq).wall)
    why = dict(found.why)
    for s, at in zip(*firsts(number[order], np.isnat(utc) & ~np.isnat(wall)), strict=True):
        why.setdefault(s, f"{stamp(wall[at])} was never shown by a clock in {card.time.zone}")
    time = found.time.copy()
    time[order] = utc
    return time, why


def screen(past: History, faults: Faults, recipe: Recipe, frame: pl.DataFrame, masked: bool) -> History:
    """What else is wrong, and the rows that are of use: each stamp once. `masked`: short contexts are masked."""
    past = _once(past.kept(~np.isnat(past.time)), faults, recipe, frame)
    good = np.flatnonzero(~faults.bad)
    if not len(good):
        return past
    some = past.take(good)
    _regular(some, good, faults, recipe)
    if len(left := np.flatnonzero(~faults.bad)):
        _whole(past.take(left), left, faults, recipe, masked)
    return past


def _once(past: History, faults: Faults, recipe: Recipe, frame: pl.DataFrame) -> History:
    """Each stamp once; different values at one stamp are a fault."""
    number, card = past.number, recipe.card
    again = np.zeros(len(number), np.bool_)
    again[1:] = (number[1:] == number[:-1]) & (past.time[1:] == past.time[:-1])
    if not again.any():
        return past
    rows = np.flatnonzero(again)
    now, before = past.values[rows], past.values[rows - 1]
    same = ((now == before) | np.isnan(now) & np.isnan(before)).all(axis=1)
    for channel in card.channels:
        if channel.name not in recipe.spec.channels and channel.source in frame.columns:
            cells = frame[channel.source]
            same &= cells.gather(past.row[rows]).eq_missing(cells.gather(past.row[rows - 1])).to_numpy()
    differ = np.zeros(len(number), np.bool_)
    differ[rows[~same]] = True
    series, at = firsts(number, differ)
    faults.add("duplicate_ds", series, (f"{stamp(past.time[row])} stands twice with different values" for row in at))
    return past.kept(~again | differ)


def _regular(past: History, series: Ints, faults: Faults, recipe: Recipe) -> None:
    """Stamps on the grid of each series, and not too few for it."""
    card, first = recipe.card, past.start[:-1]
    on = grid(past.time, past.start, card.time.freq, card.time.zone)
    found, at = firsts(past.number, ~on.fits)
    faults.add(
        "bad_freq", series[found].tolist(),
        (f"{stamp(past.time[row])} is not a whole number of steps ({card.time.freq}) after "
         f"{stamp(past.time[first[s]])}" for s, row in zip(found, at, strict=True)),
    )  # fmt: skip
    span, rows = on.position[past.start[1:] - 1] + 1, np.diff(past.start)
    wide = np.flatnonzero(span > SPARSE * rows + 10_000)
    faults.add(
        "bad_freq",
        series[wide].tolist(),
        (f"{span[s]:,} steps of {card.time.freq} from first to last stamp, and {rows[s]:,} rows" for s in wide),
    )


def _whole(past: History, series: Ints, faults: Faults, recipe: Recipe, masked: bool) -> None:
    """Enough rows, and values where they are needed."""
    spec, context = recipe.spec, recipe.spec.context
    seen = ~np.isnan(past.values)
    first = past.start[:-1]
    some = np.logical_or.reduceat(seen, first)  # (S, C)
    lacks = ~(some.all(axis=1) if recipe.gaps == "fill" else some[:, : spec.targets].any(axis=1))
    empty = np.flatnonzero(lacks)
    none = [np.flatnonzero(~some[s])[0] for s in empty]
    faults.add("no_value", series[empty].tolist(), (f"'{spec.channels[c]}' has no value in any row" for c in none))
    if AHEAD in {c.role for c in recipe.card.channels}:  # what comes after the last value is the future
        whole, rows = seen.any(axis=1), np.arange(len(seen))
        last = np.maximum.reduceat(np.where(whole, rows, -1), first)
        past = past.kept(rows <= np.where(last < 0, past.start[1:] - 1, last)[past.number])
        seen = ~np.isnan(past.values)
    at = grid(past.time, past.start, recipe.card.time.freq, recipe.card.time.zone).position
    end = at[past.start[1:] - 1]
    if not masked:
        short = np.flatnonzero(end + 1 < context)
        faults.add(
            "short", series[short].tolist(), (f"{end[s] + 1:,} of the {context:,} steps it takes" for s in short)
        )
    if recipe.gaps == "error":
        recent = (at > np.repeat(end - context, np.diff(past.start))) & seen.all(axis=1)
        full = np.add.reduceat(recent.astype(np.int64), past.start[:-1])
        holes = np.flatnonzero(full < context)
        faults.add(
            "gap",
            series[holes].tolist(),
            (f"{context - full[s]:,} of the last {context:,} steps have no value" for s in holes),
        )


def sound(past: History, frame: pl.DataFrame, recipe: Recipe, where: str) -> Series:
    """The regular series of what the screens let pass, as `from_frame` makes them; `frame` has the covariates."""
    card, spec, ids = recipe.card, recipe.spec, tuple(past.ids.to_list())
    covariates = None
    if recipe.coding is not None:
        card = replace(card, covariates=recipe.beside(None))
        some = [c.source for c in card.channels if c.source in frame.columns and c.name not in spec.channels]
        beside = Beside.of(card, frame.select(some)[past.row], where, recipe.coding, None)
        everything = np.arange(len(past.time))
        covariates, rows = beside.read(ids, past.number, past.start, past.time, everything, past.values)
        past = past.kept(rows) if isinstance(rows, np.ndarray) else past
    none = np.empty((len(past.time), 0), np.float32)
    days = (recipe.holidays or Holidays(card.holidays)) if card.holidays else None
    facts = (spec.channels, spec.targets, spec.units, card.time.freq, card.season, card.time.zone)
    return regular(Series(ids, past.start, past.time, past.values, none, (), *facts, days, covariates), where)
