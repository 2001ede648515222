"""Rolling origins as data: which cutoffs of which series, as arithmetic over rows.

An origin is a cutoff: the last stamp that a forecast may know. Two origins of a series lie `step` steps apart, and each
has a whole context before it and a whole horizon after it.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.clock import to_wall
from forecast.data.freq import Ints, parse_freq
from forecast.data.split import moment
from forecast.data.table import Series, stamp
from forecast.data.window import Windows
from forecast.errors import DataError, UsageError, nearest

KEYS = ("first", "last")


class Rolling(NamedTuple):
    """What was asked for; without a count or stamps every origin of a part."""

    step: int = 1
    most: int | None = None  # the last so many of each series
    first: str | None = None  # stamps of cutoffs
    last: str | None = None


def parse(origins: Any, step: int) -> Rolling:
    """`origins=` and `step=` of a config: None, a count, or {first: STAMP, last: STAMP}. UsageError for anything
    else."""
    if step < 1:
        raise UsageError(f"step is {step}", "expected steps from origin to origin, at least 1")
    if origins is None:
        return Rolling(step)
    if isinstance(origins, int) and not isinstance(origins, bool):
        if origins < 1:
            raise UsageError(f"origins is {origins}", "expected at least 1")
        return Rolling(step, most=origins)
    if not isinstance(origins, Mapping) or not origins:
        raise UsageError(f"origins is {origins!r}", "expected a count or stamps",
                         "set origins=100, or 'origins={first: 2024-01-31, last: 2024-02-29}'")  # fmt: skip
    if odd := [str(key) for key in origins if key not in KEYS]:
        raise UsageError(f"origins has no {odd[0]}", "expected first and last", nearest(odd[0], KEYS))
    given = {str(key): None if value is None else _text(value) for key, value in origins.items()}
    for key, text in given.items():
        if text is not None:
            _moment(key, text, None)
    return Rolling(step, first=given.get("first"), last=given.get("last"))


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _moment(key: str, text: str, zone: str | None) -> NDArray[np.datetime64]:
    try:
        found = moment(text, zone)
    except ValueError:
        found = np.array(["NaT"], "datetime64[us]")
    if np.isnat(found).any():
        raise UsageError(f"origins.{key} is {text!r}", "expected a stamp", "e.g. 2024-01-31, or 2024-01-31T06:00")
    return found


def rolled(asked: Rolling, series: Series, part: Ints, context: int, horizon: int) -> Windows:
    """The windows of the origins; `part` (S, 2): the rows whose windows are meant where nothing else is asked for,
    and beyond whose end no target may lie. DataError where no series has one."""
    lowest = series.start[:-1] + context  # origins, as rows of the first target
    highest = part[:, 1] - horizon
    begin, end = np.maximum(part[:, 0], lowest), highest
    if asked.most is not None:
        begin = highest - (asked.most - 1) * asked.step
    if asked.first is not None:
        begin = _row(series, _moment("first", asked.first, series.zone)) + 1
    if asked.last is not None:
        end = np.minimum(highest, _row(series, _moment("last", asked.last, series.zone)) + 1)
    begin = begin + -(-np.maximum(lowest - begin, 0) // asked.step) * asked.step  # on the grid of the first
    count = np.maximum((end - begin) // asked.step + 1, 0)
    if not count.any():
        _refuse(asked, series, lowest, highest, context, horizon)
    if asked.most is not None and count.max() < asked.most:
        s = int(count.argmax())
        raise DataError(
            f"origins={asked.most:,} with step={asked.step:,}: series '{series.ids[s]}' has {int(count[s]):,}",
            f"an origin has {context:,} steps before it and {horizon:,} after it", "ask for fewer, or lower step",
        )  # fmt: skip
    return Windows(begin, np.concatenate([[0], np.cumsum(count)]), asked.step, context, horizon)


def _row(series: Series, at: NDArray[np.datetime64]) -> Ints:
    """(S,) the last row of each series that is not after a UTC stamp (1,), as if its grid went on for ever."""
    step, first = parse_freq(series.freq), series.time[series.start[:-1]]
    wall, begins = (to_wall(time, series.zone) if step.wall else time for time in (at, first))
    (ordinal, rest), (own, own_rest) = step.ordinals(wall), step.ordinals(begins)
    if step.unit.endswith("S"):  # -1 of a month: so late in it that no stamp may stand there
        rest = np.where(rest < 0, np.iinfo(np.int64).max, rest)
    return np.asarray(series.start[:-1] + (ordinal - own - (rest < own_rest)) // step.step)


def _refuse(asked: Rolling, series: Series, lowest: Ints, highest: Ints, context: int, horizon: int) -> None:
    """Say between which stamps origins may lie."""
    some = np.flatnonzero(lowest <= highest)
    need = f"an origin has {context:,} steps before it and {horizon:,} after it"
    if not len(some):
        rows = int(series.rows.max())
        raise DataError(f"no series is long enough for an origin: the longest has {rows:,} rows", need,
                        "give longer series")  # fmt: skip
    first, last = series.time[lowest[some] - 1].min(), series.time[highest[some] - 1].max()
    what = f"first {asked.first or '–'}, last {asked.last or '–'}" if asked.first or asked.last else "those of the part"
    raise DataError(
        f"there is no origin ({what})", need, f"choose them between {stamp(first)} and {stamp(last)}"
    )  # fmt: skip


def cutoffs(series: Series, windows: Windows) -> tuple[Ints, Ints]:
    """(O,) the different times of all origins as microseconds in UTC, rising, and (K,) the place of each window's."""
    origin, _ = windows.at(np.arange(len(windows), dtype=np.int64))
    times = series.time[origin - 1].astype("datetime64[us]").astype(np.int64)
    found, place = np.unique(times, return_inverse=True)
    return found, place.astype(np.int64)
