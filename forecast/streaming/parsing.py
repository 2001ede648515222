"""JSON lines into what they say: whose it is, when it was, and what more a line of that kind holds.

A line that cannot be read is refused with its reason, and nothing that it may hold stops a stream.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from forecast.data.clock import to_utc
from forecast.data.freq import Ints
from forecast.errors import nearest

EPOCH: Final = datetime(1970, 1, 1)
MICRO: Final = timedelta(microseconds=1)
YEARS: Final = (1678, 2261)  # as in data/stamps.py
LONGEST: Final = 1 << 20  # bytes of a line
KEPT: Final = 1 << 17  # stamps whose text is kept


class Refused(NamedTuple):
    """A line that is no reading, and why."""

    number: int  # in its batch
    reason: str


class Parsed(NamedTuple):
    """The N readings of a batch of lines."""

    number: list[int]  # N, of the line
    names: list[str]  # N
    time: Ints  # (N,) microseconds in UTC, or what stands for them where times are numbers (event_time.py)
    values: Any  # (N, C) numbers of readings, Held of events or Steps of classes: an index of rows gives those
    ids: list[Any]  # N, of the message; None where there was none
    refused: list[Refused]


class Parser:
    """Reads lines of one kind. What a line holds beside a name and a time is read by `_held`, row by row, and joined by
    `_joined`."""

    def __init__(self, *, id: str | None, alone: str, time: str, zone: str | None, shape: Sequence[str]) -> None:
        """id: the column of names, None: all lines are of the series `alone`; time: that of stamps; zone: of clocks;
        shape: the columns that a line should have, beside those two."""
        self.zone, self.alone = zone, None if id else alone
        self.id = tuple(dict.fromkeys([id or "unique_id", "unique_id"]))
        self.time = tuple(dict.fromkeys([time, "ds"]))
        self.shape = [self.id[0], self.time[0], *shape]
        self.known = {*self.id, *self.time, "id"}
        self.message = "id" not in (*self.id, *self.time, *shape)  # else a line has no place for one of its message
        self.times: dict[str, tuple[int, bool]] = {}

    def __call__(self, lines: Sequence[bytes]) -> Parsed:
        """Lines, in order -> readings; empty lines are none."""
        number: list[int] = []
        names: list[str] = []
        times: list[tuple[int, bool]] = []
        values: list[Any] = []
        ids: list[Any] = []
        refused: list[Refused] = []
        for at, line in enumerate(lines):
            if not line or line.isspace():
                continue
            try:
                name, time, row, message = self._one(line)
            except ValueError as error:
                refused.append(Refused(at, str(error)))
                continue
            number.append(at)
            names.append(name)
            times.append(time)
            values.append(row)
            ids.append(message)
        micros = self._utc(times)
        found = self._joined(values)
        if (lost := micros == np.datetime64("NaT").astype(np.int64)).any():  # an hour that a clock skipped
            refused += [Refused(number[i], f"there was no such time in {self.zone}") for i in np.flatnonzero(lost)]
            keep = np.flatnonzero(~lost)
            number, names, ids = [number[i] for i in keep], [names[i] for i in keep], [ids[i] for i in keep]
            micros, found = micros[keep], found[keep]
        return Parsed(number, names, micros, found, ids, refused)

    def _one(self, line: bytes) -> tuple[str, tuple[int, bool], Any, Any]:
        """ValueError says what is wrong with a line."""
        if len(line) > LONGEST:
            raise ValueError(f"the line has {len(line):,} bytes; expected at most {LONGEST:,}")
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"no JSON: {error}") from None
        if not isinstance(found, dict):
            raise ValueError(f"no JSON object; expected one with {', '.join(self.shape)}")
        name = next((found[key] for key in self.id if key in found), self.alone)
        if not isinstance(name, str) or not name:
            if type(name) is not int:
                raise ValueError(f"'{self.id[0]}' is {shown(name)}; expected the name of a series")
            name = str(name)
        return name, self._when(found), self._held(found), found.get("id") if self.message else None

    def _when(self, found: dict[str, Any]) -> tuple[int, bool]:
        """Its time, and whether that is in UTC."""
        text = next((found[key] for key in self.time if key in found), None)
        time = self.times.get(text) if isinstance(text, str) else None
        return self._time(text) if time is None else time

    def _held(self, found: dict[str, Any]) -> Any:
        """What else a line holds."""
        raise NotImplementedError

    def _joined(self, values: list[Any]) -> Any:
        """That of all lines."""
        raise NotImplementedError

    def _time(self, text: Any) -> tuple[int, bool]:
        """Microseconds since 1970, and whether they are in UTC."""
        try:
            found = datetime.fromisoformat(text)
            aware = found.tzinfo is not None
            if aware:
                found = found.astimezone(UTC).replace(tzinfo=None)
        except (TypeError, ValueError, OverflowError):
            what = shown(text)
            raise ValueError(f"'{self.time[0]}' is {what}; expected a stamp like 2024-01-31T13:00") from None
        if not YEARS[0] <= found.year <= YEARS[1]:
            raise ValueError(f"'{self.time[0]}' is of the year {found.year}; expected {YEARS[0]} to {YEARS[1]}")
        if len(self.times) >= KEPT:
            self.times.clear()
        time = self.times[text] = (found - EPOCH) // MICRO, aware or self.zone is None
        return time

    def _utc(self, times: list[tuple[int, bool]]) -> Ints:
        micros = np.array([time for time, _ in times], np.int64)
        wall = np.array([not aware for _, aware in times], bool)
        if wall.any():
            micros[wall] = to_utc(micros[wall].astype("datetime64[us]"), self.zone).astype(np.int64)
        return micros


class Channels(Parser):
    """Lines that hold numbers of channels."""

    def __init__(self, channels: Sequence[tuple[str, ...]], missing: Sequence[float], **words: Any) -> None:
        """channels: the names that each may have; missing: numbers that mean "not observed"; `words` as of Parser."""
        self.channels, self.missing = channels, set(missing)
        super().__init__(shape=[names[0] for names in channels], **words)
        self.known |= {name for names in channels for name in names}

    def _row(self, found: dict[str, Any]) -> list[float]:
        """The value of each channel, NaN where there is none."""
        row, lacks = [], False
        for keys in self.channels:
            key = next((key for key in keys if key in found), None)
            lacks = lacks or key is None
            row.append(np.nan if key is None else self._number(key, found[key]))
        if lacks:
            self._complete(found)
        return row

    def _complete(self, found: dict[str, Any]) -> None:
        """A line may lack a channel that was not observed, but not because its name was mistyped."""
        if strange := [key for key in found if key not in self.known]:
            raise ValueError(f"'{strange[0]}' is no column; {nearest(strange[0], sorted(self.known))}")
        if not any(key in found for keys in self.channels for key in keys):
            raise ValueError(f"there is no value; expected {', '.join(keys[0] for keys in self.channels)}")

    def _number(self, key: str, value: Any) -> float:
        found = number(key, value)
        return np.nan if value in self.missing else found


def number(key: str, value: Any) -> float:
    """A number of a line, NaN where it is null; ValueError for anything else."""
    if value is None:
        return np.nan
    if type(value) is float or type(value) is int:
        return float(value) if abs(value) < 1e300 else np.inf
    raise ValueError(f"'{key}' is {shown(value)}; expected a number or null")


def shown(value: Any) -> str:
    """What was found, for a person."""
    return "missing" if value is None else repr(value)[:40]
