"""Regular series in one table, and what is missing in it."""

from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from forecast.data.clock import clock, fields_for, night_of_change, to_utc, to_wall
from forecast.data.covariates import Covariates
from forecast.data.freq import Ints, Stamps, parse_freq
from forecast.data.holidays import FIELDS as HOLIDAY_FIELDS
from forecast.data.holidays import Holidays, describe
from forecast.errors import DataError, UsageError, nearest

GAP_MODES: Final = ("error", "fill", "mask")
SPARSE: Final = 100  # a grid this many times longer than its rows is a wrong stamp or step, not data with gaps

Floats: TypeAlias = NDArray[np.float64]


class Series(NamedTuple):
    """S regular series below each other: N rows, C channels (the targets first), F calendar fields."""

    ids: tuple[str, ...]  # S
    start: Ints  # (S+1,) first row of each series, then N
    time: Stamps  # (N,) datetime64[us], UTC without a zone
    values: Floats  # (N, C), NaN where nothing was measured
    clock: NDArray[np.float32]  # (N, F) calendar counts
    fields: tuple[str, ...]  # F
    channels: tuple[str, ...]  # C
    targets: int
    units: tuple[str, ...]  # C
    freq: str
    season: int
    zone: str | None
    holidays: Holidays | None = None  # covers the days of the table
    covariates: Covariates | None = None  # what is known beside the channels, the future included

    @property
    def rows(self) -> Ints:
        """(S,) rows of each series."""
        return np.diff(self.start)

    @property
    def number(self) -> Ints:
        """(N,) the number of the series each row belongs to."""
        return np.repeat(np.arange(len(self.ids)), self.rows)

    def steps(self, rows: Ints) -> Ints:
        """The time of rows as a count of steps since 1970; days and longer on the wall clock."""
        step, time = parse_freq(self.freq), self.time[rows.reshape(-1)]
        ordinal = step.ordinals(to_wall(time, self.zone) if step.wall else time)[0]
        return (ordinal // step.step).reshape(rows.shape)


class Gap(NamedTuple):
    """A run of missing steps; `channel` is None where every channel is missing."""

    id: str
    channel: str | None
    first: np.datetime64
    last: np.datetime64
    steps: int


class Grid(NamedTuple):
    """Where rows stand on a regular grid, per series from its first row."""

    position: Ints  # (N,) steps since the first row of the series
    fits: NDArray[np.bool_]  # (N,) False for a stamp off the grid


def grid(time: Stamps, start: Ints, freq: str, zone: str | None) -> Grid:
    """Positions of sorted UTC stamps, series after series."""
    step = parse_freq(freq)
    wall = to_wall(time, zone) if step.wall else time
    ordinal, rest = step.ordinals(wall)
    rows = np.diff(start)
    ahead = ordinal - np.repeat(ordinal[start[:-1]], rows)
    first = np.repeat(rest[start[:-1]], rows)
    same = rest == first
    if step.wall and zone is not None and not same.all():  # midnight may be the hour that a clock leaves out
        same |= to_utc(step.stamps(ordinal, first), zone, shift=True) == time
    fits = same & (rest >= 0) & (ahead % step.step == 0)
    return Grid(ahead // step.step, fits & np.repeat(step.anchored(wall[start[:-1]]), rows))


def steps_after(first: Stamps, position: Ints, freq: str, zone: str | None) -> Stamps:
    """(K,) the UTC stamps `position` steps after UTC stamps `first`, both (K,)."""
    step = parse_freq(freq)
    ordinal, rest = step.ordinals(to_wall(first, zone) if step.wall else first)
    stamps = step.stamps(ordinal + position * step.step, rest)
    return to_utc(stamps, zone, shift=True) if step.wall else stamps


def regular(series: Series, where: str) -> Series:
    """Give every missing step a row of NaN, and make the clock; the rows of `series` must fit the grid."""
    at = grid(series.time, series.start, series.freq, series.zone).position
    rows: Ints = at[series.start[1:] - 1] + 1
    if rows.sum() > SPARSE * len(at) + 10_000:
        worst = int(np.argmax(rows / series.rows))
        raise DataError(
            f"{where}: series '{series.ids[worst]}' spans {rows[worst]:,} steps of {series.freq} but has "
            f"{series.rows[worst]:,} rows",
            "expected nearly one row per step",
            "correct the first or last stamp, or set data.freq to the real step",
        )
    start: Ints = np.concatenate([[0], np.cumsum(rows)])
    time, values = series.time, series.values
    if start[-1] != len(at):
        number = np.repeat(np.arange(len(rows)), rows)
        within = np.arange(start[-1]) - start[number]
        # A copy: stamps that come from a wall clock are polars' own and cannot be written to.
        time = steps_after(series.time[series.start[:-1]][number], within, series.freq, series.zone).copy()
        values = np.full((int(start[-1]), series.values.shape[1]), np.nan)
        values[start[series.number] + at] = series.values
        # Stamps that exist are kept as they are, to the microsecond.
        time[start[series.number] + at] = series.time
    fields = (*fields_for(series.freq), *(HOLIDAY_FIELDS if series.holidays else ()))
    known = covering(series, time)
    calendar = clock(time, fields, series.zone, known)
    return series._replace(start=start, time=time, values=values, fields=fields, clock=calendar, holidays=known)


def covering(series: Series, time: Stamps) -> Holidays | None:
    """The holidays of the series, looked up for the local days of UTC stamps where they are not known yet."""
    if series.holidays is None:
        return None
    return series.holidays.covering(*_span(time, series.zone))


def _span(time: Stamps, zone: str | None) -> tuple[np.datetime64, np.datetime64]:
    """The first and the last local day of UTC stamps."""
    first, last = to_wall(np.array([time.min(), time.max()]), zone).astype("datetime64[D]")
    return first, last


def holidays_of(series: Series) -> str:
    """One line: the days off of the table."""
    if series.holidays is None:
        return "none"
    return describe(series.holidays, *_span(series.time, series.zone))


def select(series: Series, target: list[str] | None, past: list[str] | None) -> Series:
    """The named channels only, targets first; None for both keeps everything."""
    if target is None and past is None:
        return series
    behind = list(past or ())
    wanted = list(target) if target is not None else [c for c in series.channels[: series.targets] if c not in behind]
    behind = [name for name in behind if name not in wanted]
    for option, names in (("target", wanted), ("past", behind)):
        for name in names:
            if name not in series.channels:
                raise UsageError(f"data.{option} names '{name}', which is no channel", nearest(name, series.channels))
    if not wanted:
        raise UsageError("data.target is empty", "expected at least one channel", nearest("", series.channels))
    pick = [series.channels.index(name) for name in (*wanted, *behind)]
    return series._replace(
        values=np.ascontiguousarray(series.values[:, pick]),
        targets=len(wanted),
        channels=(*wanted, *behind),
        units=tuple(series.units[i] for i in pick),
    )


class Runs(NamedTuple):
    """G runs of missing steps as rows of the table: those of all channels, then those of single ones."""

    channel: Ints  # (G,) number of the channel, -1 where every channel is missing
    first: Ints  # (G,) first row
    last: Ints  # (G,) last row

    @property
    def steps(self) -> Ints:
        """(G,) rows of each."""
        return self.last - self.first + 1


def runs(series: Series) -> Runs:
    """Every run of missing steps, by channel, then series and time."""
    missing = np.isnan(series.values)
    whole = np.asarray(missing.all(axis=1))
    found = [_runs(series, whole, -1)]
    alone = missing & ~whole[:, None]
    found += [_runs(series, alone[:, i], i) for i in np.flatnonzero(alone.any(axis=0)).tolist()]
    return Runs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def gaps(series: Series, found: Runs | None = None) -> list[Gap]:
    """Every run of missing steps by series and time: those of all channels, then those of single ones."""
    at = runs(series) if found is None else found
    number = np.searchsorted(series.start, at.first, side="right") - 1
    names = (*series.channels, None)  # -1 is the last
    columns = (number.tolist(), at.channel.tolist(), series.time[at.first], series.time[at.last], at.steps.tolist())
    return [Gap(series.ids[s], names[c], a, b, n) for s, c, a, b, n in zip(*columns, strict=True)]


def gap_list(series: Series, found: Runs, most: int) -> list[dict[str, Any]]:
    """The longest `most` gaps as plain data for JSON, in the order of `gaps`; stamps are UTC in ISO form."""
    if len(found.first) > most:
        kept = np.sort(np.argsort(-found.steps, kind="stable")[:most])
        found = Runs(*(part[kept] for part in found))
    whole = (series.time.astype(np.int64) % 1_000_000 == 0).all()
    return [
        {"id": gap.id, "channel": gap.channel, "first": a, "last": b, "steps": gap.steps}
        for gap, a, b in zip(
            gaps(series, found),
            *(_iso(series.time[rows], "s" if whole else "us") for rows in (found.first, found.last)),
            strict=True,
        )
    ]


def _iso(time: Stamps, unit: Literal["s", "us"]) -> list[str]:
    """UTC stamps as text with a Z."""
    text: list[str] = np.datetime_as_string(time, unit=unit, timezone="UTC").tolist()
    return text


def _runs(series: Series, missing: NDArray[np.bool_], channel: int) -> Runs:
    """Runs of True that do not cross series."""
    begins, ends = missing.copy(), missing.copy()
    begins[1:] &= ~missing[:-1]
    begins[series.start[:-1]] |= missing[series.start[:-1]]
    ends[:-1] &= ~missing[1:]
    ends[series.start[1:] - 1] |= missing[series.start[1:] - 1]
    first, last = np.flatnonzero(begins), np.flatnonzero(ends)
    return Runs(np.full(len(first), channel, np.int64), first, last)


def summary(series: Series, found: Runs | None = None) -> str:
    """One line: how many gaps, how long the longest, what share of the values."""
    found = runs(series) if found is None else found
    count = len(found.first)
    if not count:
        return "no gaps"
    at = int(found.steps.argmax())
    longest = gaps(series, Runs(*(part[at : at + 1] for part in found)))[0]
    share = float(np.isnan(series.values).mean())
    which = f" in '{longest.channel}'" if longest.channel else ""
    return (
        f"{count:,} gap{'s' if count > 1 else ''}, {share:.2%} of the values; the longest is "
        f"{longest.steps:,} step{'s' if longest.steps > 1 else ''}{which} from {stamp(longest.first)}"
    )


def stamp(time: np.datetime64) -> str:
    """A stamp for reading: minutes unless there are seconds."""
    text = str(time.astype("datetime64[s]")).replace("T", " ")
    return text.removesuffix(":00")


def apply_gaps(series: Series, mode: str) -> tuple[Series, NDArray[np.bool_]]:
    """Inputs after the chosen treatment of gaps, and (N, C) where something was really measured.

    error: refuse a gap. mask: leave NaN. fill: carry the last value of the series forward (causal, so a gap
    at the start stays NaN); what is scored is still only what was measured.
    """
    if mode not in GAP_MODES:
        raise UsageError(f"data.gaps is '{mode}'", nearest(mode, GAP_MODES))
    observed = ~np.isnan(series.values)
    if mode == "error" and not observed.all():
        found = runs(series)
        first = gaps(series, Runs(*(part[:1] for part in found)))[0]
        which = f" of '{first.channel}'" if first.channel else ""
        clocks = series.zone is None and first.channel is None and night_of_change(first.first)
        raise DataError(
            f"series '{first.id}' has a gap{which} of {first.steps:,} step{'s' if first.steps > 1 else ''} "
            f"from {stamp(first.first)} "
            f"({summary(series, found)})",
            "expected a value at every step",
            f"set data.gaps=fill or data.gaps=mask{', or, if clocks went forward there, data.zone' if clocks else ''}",
        )
    if mode != "fill" or observed.all():
        return series, observed
    rows = np.arange(len(series.values))[:, None]
    last = np.maximum.accumulate(np.where(observed, rows, -1), axis=0)
    filled = np.where(
        last >= series.start[series.number][:, None],
        np.take_along_axis(series.values, np.maximum(last, 0), axis=0),
        np.nan,
    )
    return series._replace(values=filled), observed


def tail(series: Series, rows: int) -> Series:
    """The last `rows` of each series, or all it has."""
    kept = np.minimum(series.rows, rows)
    start: Ints = np.concatenate([[0], np.cumsum(kept)])
    number = np.repeat(np.arange(len(kept)), kept)
    pick = np.arange(start[-1]) - start[number] + (series.start[1:] - kept)[number]
    return series._replace(start=start, time=series.time[pick], values=series.values[pick], clock=series.clock[pick])


def extend(series: Series, context: int, horizon: int, help: str = "give a longer history") -> Series:
    """Append the `horizon` future steps to each series: NaN values, real stamps and clock."""
    short = np.flatnonzero(series.rows < context)
    if len(short):
        first = int(short[0])
        more = f" (and {len(short) - 1} more)" if len(short) > 1 else ""
        raise DataError(
            f"series '{series.ids[first]}' has {series.rows[first]:,} rows{more}",
            f"expected at least {context:,}, the context of the model",
            help,
        )
    count = len(series.ids)
    number = np.repeat(np.arange(count), horizon)
    ahead = np.tile(np.arange(1, horizon + 1), count)
    future = steps_after(series.time[series.start[1:] - 1][number], ahead, series.freq, series.zone)
    start: Ints = series.start + np.arange(count + 1) * horizon
    old = np.arange(len(series.time)) + series.number * horizon
    new = start[1:][number] - horizon + ahead - 1
    time = np.empty(int(start[-1]), dtype="datetime64[us]")
    values = np.full((len(time), series.values.shape[1]), np.nan)
    calendar = np.empty((len(time), len(series.fields)), dtype=np.float32)
    time[old], time[new] = series.time, future
    values[old] = series.values
    known = covering(series, future)
    calendar[old], calendar[new] = series.clock, clock(future, series.fields, series.zone, known)
    return series._replace(start=start, time=time, values=values, clock=calendar, holidays=known)
