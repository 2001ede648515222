"""Cells of a table that nobody has checked: what can be read of each, and which could not; nothing here refuses.

A column of text is read series by series: how one is written says nothing about another.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.freq import Ints, Stamps
from forecast.data.stamps import HUGE, NOTHING, OFFSET, TWINS, YEARS, formats, parse_numbers, parse_stamps, plain, read
from forecast.data.table import Floats

Flags = NDArray[np.bool_]
NEVER = np.datetime64("NaT", "us")


class Stamped(NamedTuple):
    """A column of stamps of N rows of S series."""

    time: Stamps  # (N,) datetime64[us], UTC in an aware series, else what the clock showed; NaT where there is none
    aware: Flags  # (S,) whether the stamps of a series carry an offset
    why: dict[int, str]  # series → what is wrong with its stamps


class Numbers(NamedTuple):
    """A column of numbers of N rows."""

    values: Floats  # (N,) NaN where the cell is empty, or is wrong
    text: Flags | None  # (N,) cells that are no number; None: there are none
    huge: Flags | None  # (N,) cells that are infinite, or more than HUGE


def numbers(column: pl.Series, missing: tuple[float, ...], where: str) -> Numbers:
    """The cells as `parse_numbers` reads them; DataError for a column whose type is not that of numbers."""
    text = None
    if column.dtype == pl.String:
        cell = column.str.strip_chars()
        cell = cell.set(cell.str.to_lowercase().is_in(NOTHING), None)
        column = cell.cast(pl.Float64, strict=False).alias(column.name)
        wrong = (column.is_null() & cell.is_not_null()).to_numpy()
        text = wrong if wrong.any() else None
    elif not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        parse_numbers(column, missing, where)  # its DataError
    if column.dtype != pl.Float64:
        column = column.cast(pl.Float64)
    if column.null_count():
        column = column.fill_null(float("nan"))
    values = column.to_numpy()
    if missing:
        values = np.where(np.isin(values, missing), np.nan, values)
    if not len(values) or np.fmax.reduce(values) <= HUGE and np.fmin.reduce(values) >= -HUGE:
        return Numbers(values, text, None)
    huge = np.abs(values) > HUGE
    return Numbers(np.where(huge, np.nan, values), text, huge if huge.any() else None)


def stamps(column: pl.Series, number: Ints, count: int, where: str) -> Stamped:
    """The stamps of `count` series; `number` (N,) says whose each is. DataError for a column whose type is not that of
    stamps."""
    if column.dtype == pl.String:
        time, aware, why = _from_text(column, number, count)
    elif column.dtype == pl.Date or isinstance(column.dtype, pl.Datetime):
        zone = getattr(column.dtype, "time_zone", None)
        unit = "D" if column.dtype == pl.Date else column.dtype.time_unit  # type: ignore[attr-defined]
        if zone is None and not column.null_count():
            time = column.to_numpy()
        else:
            ticks = column.to_physical().cast(pl.Int64).fill_null(np.iinfo(np.int64).min)  # UTC where there is a zone
            time = ticks.to_numpy().view(f"datetime64[{unit}]")
        aware, why = np.full(count, zone is not None), {}
    else:
        parse_stamps(column, where)  # its DataError
        raise TypeError(f"{column.dtype} as stamps")
    if (empty := np.isnat(time)).any():
        for s in np.unique(number[empty]).tolist():
            why.setdefault(s, "a stamp is empty")
    first, after = (np.datetime64(f"{year}-01-01", "us") for year in (YEARS[0], YEARS[1] + 1))
    if (odd := (time < first) | (time >= after)).any():
        for s, row in zip(*firsts(number, odd), strict=True):
            year = np.datetime_as_string(time[row], "Y")
            why.setdefault(s, f"a stamp is of the year {year}; expected {YEARS[0]} to {YEARS[1]}")
        time = np.where(odd, NEVER, time)
    return Stamped(time.astype("datetime64[us]"), aware, why)


def _from_text(column: pl.Series, number: Ints, count: int) -> tuple[Stamps, Flags, dict[int, str]]:
    """As `Stamped` has them; a cell that fits no format has no time, and one that is empty neither."""
    text = column.str.strip_chars()
    text = text.set(text.str.to_lowercase().is_in(NOTHING), None)
    there = text.is_not_null().to_numpy()
    offset = (text.str.contains(OFFSET) & text.str.contains(r"\d:\d")).fill_null(False).to_numpy()
    some, lacks = (np.bincount(number[flags], minlength=count) > 0 for flags in (offset, there & ~offset))
    time = np.full(len(number), NEVER)
    left = np.ones(count, np.bool_)  # series whose format is not known yet
    why: dict[int, str] = {}
    spelled = plain(text)
    for aware in (False, True):
        for form in formats():
            rows = np.flatnonzero((left & (some == aware))[number])
            if not len(rows):
                break
            at = number[rows]
            made, good = _fitting(spelled, form, rows, there, at, count, aware)
            if (twin := TWINS.get(form.split(" ")[0])) is not None:
                other, both = _fitting(spelled, form.replace(form.split(" ")[0], twin), rows, there, at, count, aware)
                differ = np.bincount(at[(made != other) & there[rows]], minlength=count) > 0
                for s in np.flatnonzero(good & both & differ & left & (some == aware)).tolist():
                    why[s] = (
                        f"'{text[int(rows[at == s][0])]}' may start with the day or the month: both fit every stamp"
                    )
            time[rows] = np.where(good[at], made, time[rows])
            left &= ~(good & (some == aware))
    rows = np.flatnonzero(left[number] & there)
    rows = rows[np.argsort(number[rows], kind="stable")]
    for mine in np.split(rows, np.flatnonzero(np.diff(number[rows])) + 1) if len(rows) else ():
        s = int(number[mine[0]])
        why[s] = _unread(text, mine, offset, bool(lacks[s]))
    return time, some, why


def firsts(number: Ints, flags: Flags) -> tuple[list[int], list[int]]:
    """The series with a flagged row, and the first such row of each, of flags (N,)."""
    rows = np.flatnonzero(flags)
    found, at = np.unique(number[rows], return_index=True)
    return found.tolist(), rows[at].tolist()


def _fitting(
    text: pl.Series, form: str, rows: Ints, there: Flags, at: Ints, count: int, aware: bool
) -> tuple[Stamps, Flags]:
    """The stamps of some rows in one format, NaT where it does not fit, and the series (S,) in which it always does."""
    made = read(text if len(rows) == len(text) else text.gather(rows), form, aware).to_numpy()
    return made, np.bincount(at[np.isnat(made) & there[rows]], minlength=count) == 0


def _unread(text: pl.Series, rows: Ints, offset: Flags, lacks: bool) -> str:
    """Why no format fits the rows of a series."""
    if offset[rows].any() and lacks:
        with_one, without = (int(rows[offset[rows] == flag][0]) for flag in (True, False))
        return f"the stamp '{text[with_one]}' has an offset, '{text[without]}' has none"
    some = plain(text.gather(rows))
    aware = bool(offset[rows].any())
    reads = [read(some, form, aware).is_null() for form in formats()]
    worst = min(reads, key=lambda nulls: int(nulls.sum()))
    return f"'{text[int(rows[int(worst.arg_max() or 0)])]}' is not a stamp" + (
        "" if worst.all() else " like the others of the series"
    )
