"""Sequences of events: a table of (id, time, mark) → `Events`, checked.

Times are float64 in one unit. Stamps are counted from the first one of the table (`origin`, the same for all
sequences, so that dates can cut them), exact to the microsecond over 80 years; numbers stay as they are.
What is defined here:

- rows out of order are sorted, rows of one time stay in their order, and a note tells how many;
- rows written twice (same id, time and mark) are kept, or dropped with `twice="drop"`; a note counts them;
- events of one time are kept: their gap is 0, which `gaps` floors at the recording grid before logs are taken;
- marks are coded by their names' order. Where names are given (those of a training), another mark is an error, or,
  with `unknown="code"`, has the code M = len(marks): it is context, and no target of the mark;
- a sequence of one event is kept; it has no gap, so it gives no target;
- without a column of marks all events have the one mark "event".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.freq import Ints, Stamps
from forecast.data.stamps import NOTHING, epoch, is_stamps, parse_names, parse_numbers, parse_stamps
from forecast.errors import DataError, nearest

Floats = NDArray[np.float64]

UNITS: Final = {"microsecond": 1, "second": 10**6, "minute": 60 * 10**6, "hour": 3600 * 10**6, "day": 86400 * 10**6}
ONE_MARK: Final = "event"
TWICE: Final = ("keep", "drop")
UNKNOWN: Final = ("error", "code")


class Events(NamedTuple):
    """S sequences of events below each other, N events. Each has at least one, and its times never fall."""

    ids: tuple[str, ...]  # S
    start: Ints  # (S+1,) first event of each sequence, then N
    time: Floats  # (N,) in `unit`, since `origin` where the table had stamps
    mark: Ints  # (N,) codes 0 … M-1, and M for a mark that is not among the names
    marks: tuple[str, ...]  # M names, in the order of their codes
    unit: str  # of time: day, hour, … ; numbers may have any
    grid: float  # the step in which times were recorded, in that unit; 0: none
    origin: np.datetime64 | None = None  # datetime64[us], UTC: time 0; None where times are numbers
    beside: Floats | None = None  # (N, E) what else is known of each event, NaN where missing; None where E is 0

    @property
    def counts(self) -> Ints:
        """(S,) events of each sequence."""
        return np.diff(self.start)

    @property
    def number(self) -> Ints:
        """(N,) the number of the sequence of each event."""
        return np.repeat(np.arange(len(self.ids)), self.counts)

    @property
    def first(self) -> NDArray[np.bool_]:
        """(N,) True for the first event of a sequence, which has no gap before it."""
        first = np.zeros(len(self.time), dtype=np.bool_)
        first[self.start[:-1]] = True
        return first

    @property
    def stamps(self) -> Stamps:
        """(N,) datetime64[us] in UTC, exact within 80 years of the origin; ValueError where the times are numbers."""
        if self.origin is None:
            raise ValueError("these events have no stamps")
        return self.origin + np.rint(self.time * UNITS[self.unit]).astype("timedelta64[us]")

    def gaps(self, floor: float | None = None) -> Floats:
        """(N,) time since the event before in the sequence, at least `floor` (None: the grid); 0 for a first event.

        Events of one time have the gap 0: with neither a grid nor a floor it stays 0, and has no log.
        """
        if self.origin is None:
            gaps = np.diff(self.time, prepend=0.0)
        else:  # of whole microseconds, so that a gap has the same bits wherever the origin is
            gaps = np.diff(np.rint(self.time * UNITS[self.unit]), prepend=0.0) / UNITS[self.unit]
        gaps = np.maximum(gaps, self.grid if floor is None else floor)
        gaps[self.first] = 0.0
        return gaps

    def take(self, numbers: Ints) -> "Events":
        """The sequences of these numbers (K,), in that order."""
        start = np.concatenate([[0], np.cumsum(self.counts[numbers])]).astype(np.int64)
        rows = self.rows(numbers)
        ids = tuple(self.ids[int(i)] for i in numbers)
        return self.at(rows)._replace(ids=ids, start=start)

    def at(self, rows: Ints) -> "Events":
        """What is said of these rows; whose they are is to be said anew."""
        beside = None if self.beside is None else self.beside[rows]
        return self._replace(time=self.time[rows], mark=self.mark[rows], beside=beside)

    def rows(self, numbers: Ints) -> Ints:
        """The rows of the sequences of these numbers, one sequence after the other."""
        counts = self.counts[numbers]
        before = np.cumsum(counts) - counts
        return np.arange(counts.sum()) + np.repeat(self.start[:-1][numbers] - before, counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventColumns:
    """What a card says of a table of events: its columns, the unit of time and the grid of the recording.

    `unit` is what numbers count, or what stamps are to be counted in; stamps without an offset are UTC. `grid` None: of
    stamps the greatest step that all gaps share, of numbers none. `id` None: one sequence; `mark` None: one mark.
    `beside`: columns of numbers that are known of each event.
    """

    id: str | None = "id"
    time: str = "time"
    mark: str | None = "mark"
    unit: str = "day"
    grid: float | None = None
    twice: str = "keep"
    beside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.twice not in TWICE:
            raise DataError(f"events: twice is '{self.twice}'", "expected keep or drop", nearest(self.twice, TWICE))
        if self.grid is not None and not 0 <= self.grid < np.inf:
            raise DataError(f"events: grid is {self.grid}", f"expected a step in {self.unit}s", "0 means none")


def read_events(
    frame: pl.DataFrame,
    columns: EventColumns,
    where: str,
    *,
    marks: Sequence[str] | None = None,
    unknown: str = "error",
    notes: list[str] | None = None,
    origin: np.datetime64 | None = None,
) -> Events:
    """The events of a table; `marks` are the names that are known already, `unknown` what to do with others, `origin`
    (datetime64[us]) the time 0 of stamps, None: the first of them.

    DataError for a table without rows or columns, empty ids or marks, and times that are no stamps or finite numbers.
    """
    notes = [] if notes is None else notes
    if not frame.height:
        raise DataError(f"{where} has no rows", "expected a table of events", "give at least one row")
    for name in (columns.id, columns.time, columns.mark, *columns.beside):
        if name is not None and name not in frame.columns:
            raise DataError(
                f"{where} has no column '{name}'",
                f"found {', '.join(frame.columns[:12])}",
                nearest(name, frame.columns),
            )
    ids, number = coded(frame, columns.id, "events", where)
    ticks, origin, grid = _times(frame[columns.time], columns, where, origin)
    names, mark = coded(frame, columns.mark, ONE_MARK, where)
    order = np.lexsort((ticks, number))  # stable: rows of one time stay in their order
    tell_sorted(number, ticks, where, notes)
    order = _once(order, number, ticks, mark, columns.twice, where, notes)
    number, ticks, mark = number[order], ticks[order], mark[order]
    if origin is not None and columns.grid is None:
        grid = _shared(number, ticks) / UNITS[columns.unit]
    time = ticks if origin is None else _exact(ticks, columns, where)
    if columns.grid is None and grid * UNITS.get(columns.unit, 1) > 1:  # a microsecond is that of the stamps themselves
        notes.append(f"{where}: its gaps are on a grid of {grid:.6g} {columns.unit}s")
    start = np.searchsorted(number, np.arange(len(ids) + 1)).astype(np.int64)
    found = _ranked(names)
    place = {name: code for code, name in enumerate(found)}
    mark = np.array([place[name] for name in names], dtype=np.int64)[mark]
    beside = _beside(frame, columns.beside, where, order)
    events = Events(ids, start, time, mark, found, columns.unit, grid, origin, beside)
    return events if marks is None else recode(events, marks, where, unknown=unknown, notes=notes)


def recode(
    events: Events, marks: Sequence[str], where: str, *, unknown: str = "error", notes: list[str] | None = None
) -> Events:
    """The events with the codes of other names; a mark without a name there is an error, or has the code M."""
    if unknown not in UNKNOWN:
        raise DataError(f"events: unknown is '{unknown}'", "expected error or code", nearest(unknown, UNKNOWN))
    place = {name: code for code, name in enumerate(marks)}
    codes = np.array([place.get(name, len(marks)) for name in (*events.marks, "")], dtype=np.int64)
    codes[-1] = len(marks)
    mark = codes[events.mark]
    if (new := mark == len(marks)).any():
        row = int(new.argmax())
        code = int(events.mark[row])
        name = events.marks[code] if code < len(events.marks) else "unknown"
        if unknown == "error":
            raise DataError(
                f"{where}: sequence '{events.ids[int(events.number[row])]}' has the mark '{name}'",
                f"expected {', '.join(marks[:12])}{', …' if len(marks) > 12 else ''}",
                "name it among the marks, or correct it",
            )
        if notes is not None:
            notes.append(f"{where}: {int(new.sum()):,} event(s) have a mark that training did not have ('{name}')")
    return events._replace(mark=mark, marks=tuple(marks))


def moment_of(events: Events, value: Any, key: str, how: str = "correct it") -> float:
    """A date (UTC where it has no offset), or a number where times are numbers, on the clock of the events.
    DataError for what is neither, with the name of its key."""
    if events.origin is None:
        if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
            return float(value)
        raise DataError(f"{key} is {value}", "expected a number: the times of the events are numbers", how)
    text = value.isoformat() if isinstance(value, date) else str(value)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(f"{key} is {value}", "expected a date like 2024-01-31", how) from None
    stamp = np.datetime64(moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment, "us")
    return float((stamp - events.origin).astype(np.int64)) / UNITS[events.unit]


def coded(frame: pl.DataFrame, name: str | None, alone: str, where: str) -> tuple[tuple[str, ...], Ints]:
    """Names of a column in order of appearance, and the number of each row's name (N,)."""
    if name is None:
        return (alone,), np.zeros(frame.height, dtype=np.int64)
    column = frame[name]
    if column.dtype.is_float() and bool((column.drop_nulls() == column.drop_nulls().floor()).all()):
        column = column.cast(pl.Int64, strict=False)  # 1.0 and 1 are one name; pandas makes floats of whole numbers
    text = parse_names(column, where)
    if (empty := text.is_null() | text.str.to_lowercase().is_in(NOTHING)).any():
        row = int(empty.arg_max() or 0) + 1
        raise DataError(f"{where}: row {row}, column '{name}' is empty", "expected a name in every row", "fill it")
    names = text.unique(maintain_order=True)
    number = text.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    return tuple(names.to_list()), number


def _ranked(names: Sequence[str]) -> tuple[str, ...]:
    """The names in their order: whole numbers by value, text as text."""
    whole = all(name.removeprefix("-").isdecimal() for name in names)
    return tuple(sorted(names, key=int if whole else None))


def _times(
    column: pl.Series, columns: EventColumns, where: str, origin: np.datetime64 | None
) -> tuple[Floats, np.datetime64 | None, float]:
    """(N,) numbers, or microseconds since the origin, or the first stamp; that stamp; the card's grid, 0 where it has
    none."""
    if not is_stamps(column) and (numbers := _numbers(column, columns, where)) is not None:
        return numbers, None, columns.grid or 0.0
    stamps, _ = parse_stamps(column, where)
    if columns.unit not in UNITS:
        raise DataError(
            f"{where}: the unit of time is '{columns.unit}'",
            f"stamps can be counted in {', '.join(UNITS)}",
            nearest(columns.unit, UNITS),
        )
    zero: np.datetime64 = stamps.min() if origin is None else origin
    return (stamps - zero).astype(np.int64), zero, columns.grid or 0.0


def _shared(number: Ints, ticks: Any) -> int:
    """The greatest step, in microseconds, that all gaps of sorted events share: of gaps, since those are scored, and
    each sequence may have been recorded from a moment of its own. Without gaps that of the stamps."""
    gaps = np.diff(ticks)[np.diff(number) == 0]
    return int(np.gcd.reduce(gaps if gaps.any() else ticks))


def _numbers(column: pl.Series, columns: EventColumns, where: str) -> Floats | None:
    """(N,) float64 where the column holds numbers, as text or not; None where it does not."""
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        number = text.cast(pl.Float64, strict=False)
        if number.null_count() * 2 > len(number):
            return None
        wrong, shown = number.is_null() | ~number.is_finite(), text
    elif column.dtype.is_numeric():
        number = column.cast(pl.Float64)
        wrong, shown = number.is_null() | ~number.is_finite(), column.cast(pl.String)
    else:
        return None
    if (wrong := wrong.fill_null(True)).any():
        row = int(wrong.arg_max() or 0)
        raise DataError(
            f"{where}: row {row + 1}, column '{column.name}': the time is {shown[row] or 'empty'}",
            "expected a finite number",
            "correct it or drop the row",
        )
    if (count := epoch(number)) and (count[0] != "seconds" or columns.unit != "second"):
        raise DataError(
            f"{where}: column '{column.name}' holds numbers such as {number[0]:.15g}, in {columns.unit}s",
            f"they look like {count[0]} since 1970",
            "write stamps like 2024-01-31 13:00, or correct the unit",
        )
    return number.to_numpy().astype(np.float64)


def _beside(frame: pl.DataFrame, names: Sequence[str], where: str, order: Ints) -> Floats | None:
    """(N, E) numbers in the order of the events, NaN where a cell is empty."""
    if not names:
        return None
    return np.column_stack([parse_numbers(frame[name], (), where) for name in names])[order]


def _exact(micros: Floats, columns: EventColumns, where: str) -> Floats:
    """(N,) microseconds in the unit of the card; DataError where float64 cannot tell those stamps apart."""
    time = micros / UNITS[columns.unit]
    lost = np.abs(np.rint(time * UNITS[columns.unit]) - micros).max()
    if 2 * lost >= max(np.gcd.reduce(micros), 1):
        raise DataError(
            f"{where}: its stamps span {micros.max() / (365.25 * UNITS['day']):.0f} years, to the microsecond",
            f"as {columns.unit}s they would be {lost:.0f} microsecond(s) off",
            "set the unit to microsecond, or leave out the oldest",
        )
    return time


def tell_sorted(number: Ints, ticks: NDArray[Any], where: str, notes: list[str]) -> None:
    """A note on rows that come before, in the file, what happened earlier in their sequence."""
    by_id = np.argsort(number, kind="stable")
    back = (np.diff(number[by_id]) == 0) & (np.diff(ticks[by_id]) < 0)
    if back.any():
        row = int(by_id[1:][back].min()) + 1
        notes.append(
            f"{where}: {int(back.sum()):,} row(s) were not in order of time and were sorted (first: row {row:,})"
        )


def _once(order: Ints, number: Ints, ticks: Floats, mark: Ints, twice: str, where: str, notes: list[str]) -> Ints:
    """The sorted rows to keep: all, or each (id, time, mark) once; a note counts those that come again."""
    number, ticks = number[order], ticks[order]
    tie = np.concatenate([[False], (number[1:] == number[:-1]) & (ticks[1:] == ticks[:-1])])
    among = np.flatnonzero(tie | np.append(tie[1:], False))  # only what shares its time can be the same
    rows = pl.DataFrame({"number": number[among], "time": ticks[among], "mark": mark[order][among]})
    new = np.ones(len(order), dtype=np.bool_)
    new[among] = rows.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    if new.all():
        return order
    kept = "were dropped" if twice == "drop" else "are kept"
    notes.append(f"{where}: {int((~new).sum()):,} event(s) written twice (same id, time and mark) {kept}")
    return order[new] if twice == "drop" else order
