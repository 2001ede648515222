"""The step of a series: what people write for it, and arithmetic on calendars without loops.

A stamp is `unit × ordinal + rest`: whole units since 1970 and what is left over. A series is regular when
`rest` never changes and its ordinals are multiples of the step apart, for hours, business days and months
alike. Days and longer count on the wall clock of the series' zone, shorter steps in UTC.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from forecast.errors import DataError

Stamps: TypeAlias = NDArray[np.datetime64]  # datetime64[us]
Ints: TypeAlias = NDArray[np.int64]

DAY: Final = 86_400_000_000  # microseconds
TICKS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "D": DAY,
    "W": DAY,
}
MONTHS: Final = {"MS": 1, "ME": 1, "QS": 3, "QE": 3, "YS": 12, "YE": 12}
WEEKDAYS: Final = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTH_NAMES: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")

# Spellings of pandas (old and new) and polars. Case matters: `M` is a month end, `m` a minute.
SPELLINGS: Final = {
    **dict.fromkeys(("us", "U", "µs"), "us"),
    **dict.fromkeys(("ms", "L"), "ms"),
    **dict.fromkeys(("s", "S", "sec"), "s"),
    **dict.fromkeys(("min", "T", "m"), "min"),
    **dict.fromkeys(("h", "H"), "h"),
    **dict.fromkeys(("d", "D"), "D"),
    "B": "B",
    **dict.fromkeys(("w", "W"), "W"),
    **dict.fromkeys(("MS", "mo"), "MS"),
    **dict.fromkeys(("ME", "M"), "ME"),
    **dict.fromkeys(("QS", "q"), "QS"),
    **dict.fromkeys(("QE", "Q"), "QE"),
    **dict.fromkeys(("YS", "AS", "y"), "YS"),
    **dict.fromkeys(("YE", "Y", "A"), "YE"),
}
EXAMPLES: Final = "15min, h, D, B, W, MS, QS or YS"
SEASONS: Final = {"D": 7, "B": 5, "W": 52, "MS": 12, "ME": 12, "QS": 4, "QE": 4}  # of single steps


@dataclass(frozen=True, slots=True)
class Freq:
    """`n` units of `unit`; `anchor`: the weekday or month of the grid, "" for that of the first stamp."""

    n: int
    unit: str
    anchor: str = ""

    @property
    def alias(self) -> str:
        """The canonical pandas alias."""
        return f"{self.n if self.n > 1 else ''}{self.unit}{'-' + self.anchor if self.anchor else ''}"

    @property
    def wall(self) -> bool:
        """Whether a step is counted on the wall clock (days and longer)."""
        return self.unit not in ("us", "ms", "s", "min", "h")

    @property
    def step(self) -> int:
        """Ordinals in one step."""
        return self.n * (7 if self.unit == "W" else MONTHS.get(self.unit, 1))

    @property
    def season(self) -> int:
        """Steps in the season people expect of such data, 1 where there is none: a day of minutes or hours."""
        if self.unit in ("min", "h"):
            steps, rest = divmod(DAY, self.n * TICKS[self.unit])
            return 1 if rest else steps
        return SEASONS.get(self.unit, 1) if self.n == 1 else 1

    def ordinals(self, time: Stamps) -> tuple[Ints, Ints]:
        """(N,) whole units since 1970 and the rest in microseconds, -1 where no stamp may stand."""
        micros = time.astype("datetime64[us]").astype(np.int64)
        if self.unit in TICKS:
            return np.divmod(micros, TICKS[self.unit])
        day = time.astype("datetime64[D]")
        if self.unit == "B":
            rest = micros - day.astype(np.int64) * DAY
            return np.busday_count(np.datetime64("1970-01-01"), day), np.where(np.is_busday(day), rest, -1)
        month = time.astype("datetime64[M]")
        if self.unit.endswith("E"):
            base = (month + 1).astype("datetime64[D]") - 1
            rest = micros - base.astype(np.int64) * DAY
            return month.astype(np.int64), np.where(rest >= 0, rest, -1)
        rest = micros - month.astype("datetime64[D]").astype(np.int64) * DAY
        return month.astype(np.int64), np.where(rest < 28 * DAY, rest, -1)

    def stamps(self, ordinal: Ints, rest: Ints) -> Stamps:
        """The inverse of `ordinals`, as datetime64[us]."""
        if self.unit in TICKS:
            return (ordinal * TICKS[self.unit] + rest).astype("datetime64[us]")
        if self.unit == "B":
            day = np.busday_offset(np.datetime64("1970-01-01"), ordinal)
        elif self.unit.endswith("E"):
            day = (ordinal + 1).astype("datetime64[M]").astype("datetime64[D]") - 1
        else:
            day = ordinal.astype("datetime64[M]").astype("datetime64[D]")
        return np.asarray(day.astype("datetime64[us]") + rest.astype("timedelta64[us]"))

    def anchored(self, first: Stamps) -> NDArray[np.bool_]:
        """(S,) whether first stamps stand on the anchor; True everywhere when there is none."""
        if not self.anchor:
            return np.ones(first.shape, dtype=bool)
        if self.unit == "W":
            weekday = (first.astype("datetime64[D]").astype(np.int64) + 3) % 7
            return np.asarray(weekday == WEEKDAYS.index(self.anchor))
        month = first.astype("datetime64[M]").astype(np.int64)
        return np.asarray((month - MONTH_NAMES.index(self.anchor)) % MONTHS[self.unit] == 0)


def parse_freq(text: str) -> Freq:
    """What pandas or polars call a frequency → Freq; DataError with examples for anything else."""
    match = re.fullmatch(r"\s*(\d*)\s*([A-Za-zµ]+)(?:-([A-Za-z]{3}))?\s*", text)
    unit = SPELLINGS.get(match[2]) if match else None
    if match is None or unit is None or match[1].strip("0") == "" != match[1]:
        close = get_close_matches(text, ["hourly", "daily", "weekly", "monthly"], n=1)
        hint = {"hourly": "h", "daily": "D", "weekly": "W", "monthly": "MS"}.get(close[0]) if close else None
        raise DataError(
            f"'{text}' is not a frequency",
            f"expected a pandas or polars alias such as {EXAMPLES}",
            f"set data.freq={hint or 'h'}",
        )
    anchor = (match[3] or "").upper()
    allowed = WEEKDAYS if unit == "W" else MONTH_NAMES if unit[0] in "QY" else ()
    if anchor and anchor not in allowed:
        raise DataError(
            f"'{text}' has the anchor '{anchor}'",
            f"expected one of {', '.join(allowed)}" if allowed else f"'{unit}' takes no anchor",
            f"set data.freq={unit}",
        )
    return _coarsest(int(match[1] or 1), unit, anchor)


def _coarsest(n: int, unit: str, anchor: str = "") -> Freq:
    """60min is h, 24h stays 24h (a day may have 23 hours), 7D is W, 3MS is QS, 12MS is YS."""
    ladder = {
        "us": ("ms", 1000),
        "ms": ("s", 1000),
        "s": ("min", 60),
        "min": ("h", 60),
        "D": ("W", 7),
        "MS": ("QS", 3),
        "QS": ("YS", 4),
        "ME": ("QE", 3),
        "QE": ("YE", 4),
    }
    while unit in ladder and n % ladder[unit][1] == 0:
        unit, n = ladder[unit][0], n // ladder[unit][1]
    return Freq(n, unit, anchor)


def infer_freq(wall: Stamps, start: Ints) -> Freq:
    """The step of sorted wall-clock stamps, series after series from rows `start` (S+1,), or a DataError.

    A calendar step is named only where a plain one does not fit: months differ in days, weekends are absent.
    """
    inner = np.ones(max(len(wall) - 1, 0), dtype=bool)
    inner[start[1:-1] - 1] = False
    micros: Ints = wall.astype("datetime64[us]").astype(np.int64)
    gaps = (micros[1:] - micros[:-1])[inner]
    gaps = gaps[gaps > 0]
    if not len(gaps):
        raise DataError(
            "the step between stamps cannot be seen: no series has two different stamps",
            "expected at least two rows in a series",
            "set data.freq, for example data.freq=h",
        )
    if gaps.min() >= 28 * DAY and (found := _months(wall, start)):
        return found
    steps, counts = np.unique(gaps, return_counts=True)
    usual = int(steps[counts.argmax()])
    if usual == DAY and len(gaps) >= 5 and gaps.max() > DAY and np.is_busday(wall.astype("datetime64[D]")).all():
        return Freq(1, "B")
    if np.any(gaps % usual):
        odd = int(gaps[gaps % usual != 0][0])
        local = usual % DAY == 0 and odd % DAY in (TICKS["h"], DAY - TICKS["h"])  # a clock that goes back and forward
        raise DataError(
            f"the stamps have no regular step: most are {_span(usual)} apart, some {_span(odd)}",
            f"expected one step such as {EXAMPLES}",
            "set data.zone to the place of these days" if local else "set data.freq to the step, or resample the file",
        )
    if counts.max() * 3 < len(gaps) * 2:
        first, second = np.argsort(-counts, kind="stable")[:2].tolist()
        raise DataError(
            f"the step is ambiguous: of {len(gaps):,} steps {counts[first]:,} are {_span(int(steps[first]))}, "
            f"{counts[second]:,} are {_span(int(steps[second]))}",
            "expected one step between two thirds of the rows",
            f"set data.freq, for example data.freq={_coarsest(usual, 'us').alias}",
        )
    if usual % (7 * DAY) == 0:
        weekday = (int(wall[0].astype("datetime64[D]").astype(np.int64)) + 3) % 7
        found = Freq(usual // (7 * DAY), "W", WEEKDAYS[weekday])
        # Series may start on different weekdays; then the grid is tied to none.
        return found if found.anchored(wall[start[:-1]]).all() else Freq(found.n, "W")
    return Freq(usual // DAY, "D") if usual % DAY == 0 else _coarsest(usual, "us")


def _months(wall: Stamps, start: Ints) -> Freq | None:
    """The step in months, at their start or end, when every stamp fits; else None."""
    for unit in ("MS", "ME"):
        ordinal, rest = Freq(1, unit).ordinals(wall)
        if (rest >= 0).all() and (rest == rest[0]).all():
            step = int(np.gcd.reduce(ordinal - np.repeat(ordinal[start[:-1]], np.diff(start))))
            return _coarsest(step or 1, unit)
    return None


def _span(micros: int) -> str:
    """A length of time in the largest unit that divides it."""
    for unit, size in (("d", DAY), ("h", TICKS["h"]), ("min", TICKS["min"]), ("s", TICKS["s"])):
        if micros % size == 0:
            return f"{micros // size} {unit}"
    return f"{micros} µs"
