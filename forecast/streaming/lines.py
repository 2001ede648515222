"""JSON lines into readings and forecasts into JSON lines.

In:   {"unique_id": "meter 7", "ds": "2024-01-01T00:00:00Z", "load": 3.2}        and, if wanted, "id" of the message
Out:  {"seq": 1, "unique_id": "meter 7", "cutoff": …, "status": "ok", "ds": [H], "y_hat": [H], "q05": [H], "q95": [H]}

The columns have the names of the training data; `unique_id`, `ds` and, where there is one channel, `y` will do as well.
With several targets each list of numbers is an object of lists, one for each channel.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import orjson
from numpy.typing import NDArray

from forecast.data.clock import to_utc
from forecast.data.freq import Ints
from forecast.data.recipe import Recipe
from forecast.errors import nearest
from forecast.inference.predictor import column
from forecast.streaming.fold import ACCEPTED, STATUSES
from forecast.streaming.live import WHY, Taken
from forecast.streaming.outlook import Numbers

EPOCH: Final = datetime(1970, 1, 1)
MICRO: Final = timedelta(microseconds=1)
YEARS: Final = (1678, 2261)  # as in data/stamps.py
DIGITS: Final = 7  # significant ones, as many as a float32 has
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
    time: Ints  # (N,) microseconds in UTC
    values: Numbers  # (N, C)
    ids: list[Any]  # N, of the message; None where there was none
    refused: list[Refused]


class Reader:
    """What a line must hold under a run's recipe."""

    def __init__(self, recipe: Recipe) -> None:
        card, channels = recipe.card, recipe.spec.channels
        sources = {c.name: c.source for c in card.channels}
        self.zone, self.alone = card.time.zone, None if card.id else recipe.scaler.ids[0]
        self.id = tuple(dict.fromkeys([card.id or "unique_id", "unique_id"]))
        self.time = tuple(dict.fromkeys([card.time.column, "ds"]))
        self.channels = [
            tuple(dict.fromkeys([sources[c], c, *(["y"] if len(channels) == 1 else [])])) for c in channels
        ]
        self.known = {*self.id, *self.time, *(name for names in self.channels for name in names), "id"}
        self.missing = set(card.missing)
        self.times: dict[str, tuple[int, bool]] = {}

    def __call__(self, lines: Sequence[bytes]) -> Parsed:
        """Lines, in order -> readings; empty lines are none."""
        number: list[int] = []
        names: list[str] = []
        times: list[tuple[int, bool]] = []
        values: list[list[float]] = []
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
        found = np.array(values, np.float64).reshape(len(names), len(self.channels))
        if (lost := micros == np.datetime64("NaT").astype(np.int64)).any():  # an hour that a clock skipped
            refused += [Refused(number[i], f"there was no such time in {self.zone}") for i in np.flatnonzero(lost)]
            keep = np.flatnonzero(~lost)
            number, names, ids = [number[i] for i in keep], [names[i] for i in keep], [ids[i] for i in keep]
            micros, found = micros[keep], found[keep]
        return Parsed(number, names, micros, found, ids, refused)

    def _one(self, line: bytes) -> tuple[str, tuple[int, bool], list[float], Any]:
        """ValueError says what is wrong with a line."""
        if len(line) > LONGEST:
            raise ValueError(f"the line has {len(line):,} bytes; expected at most {LONGEST:,}")
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ValueError(f"no JSON: {error}") from None
        if not isinstance(found, dict):
            keys = self.id[0], self.time[0], *(names[0] for names in self.channels)
            raise ValueError(f"no JSON object; expected one with {', '.join(keys)}")
        name = next((found[key] for key in self.id if key in found), self.alone)
        if not isinstance(name, str) or not name:
            if type(name) is not int:
                raise ValueError(f"'{self.id[0]}' is {_shown(name)}; expected the name of a series")
            name = str(name)
        text = next((found[key] for key in self.time if key in found), None)
        time = self.times.get(text) if isinstance(text, str) else None
        if time is None:
            time = self._time(text)
        row, lacks = [], False
        for keys in self.channels:
            key = next((key for key in keys if key in found), None)
            lacks = lacks or key is None
            row.append(np.nan if key is None else self._number(key, found[key]))
        if lacks:
            self._complete(found)
        return name, time, row, found.get("id")

    def _complete(self, found: dict[str, Any]) -> None:
        """A line may lack a channel that was not observed, but not because its name was mistyped."""
        if strange := [key for key in found if key not in self.known]:
            raise ValueError(f"'{strange[0]}' is no column; {nearest(strange[0], sorted(self.known))}")
        if not any(key in found for keys in self.channels for key in keys):
            raise ValueError(f"there is no value; expected {', '.join(keys[0] for keys in self.channels)}")

    def _number(self, key: str, value: Any) -> float:
        if value is None:
            return np.nan
        if type(value) is float or type(value) is int:
            if value in self.missing:
                return np.nan
            return float(value) if abs(value) < 1e300 else np.inf
        raise ValueError(f"'{key}' is {_shown(value)}; expected a number or null")

    def _time(self, text: Any) -> tuple[int, bool]:
        """Microseconds since 1970, and whether they are in UTC."""
        try:
            found = datetime.fromisoformat(text)
            aware = found.tzinfo is not None
            if aware:
                found = found.astimezone(UTC).replace(tzinfo=None)
        except (TypeError, ValueError, OverflowError):
            what = _shown(text)
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


def _shown(value: Any) -> str:
    """What was found, for a person."""
    return "missing" if value is None else repr(value)[:40]


class Writer:
    """Forecasts as lines, each with the number of its message."""

    def __init__(self, recipe: Recipe, levels: Sequence[float], *, tails: bool) -> None:
        """tails: whether a line says how likely the reading was and whether it raised an alarm."""
        self.zone = None if recipe.card.time.zone is None else ZoneInfo(recipe.card.time.zone)
        self.channels = recipe.spec.channels[: recipe.spec.targets]
        self.columns, self.tails = [column(level) for level in levels], tails
        self.texts: dict[int, str] = {}

    def __call__(self, taken: Taken, ids: Sequence[Any], first: int) -> list[bytes]:
        """A line for each forecast; `ids` are those of the readings' messages, `first` the number of the first line."""
        made = taken.forecasts
        y, quantiles = significant(made.y_hat), significant(made.quantiles)
        tail = significant(taken.tail.astype(np.float64)) if self.tails else None
        ahead = {}
        for cutoff, row in zip(*np.unique(made.cutoff, return_index=True), strict=True):
            ahead[cutoff] = (
                self._stamp(cutoff),
                orjson.Fragment(orjson.dumps([self._stamp(one) for one in made.ds[row]])),
            )
        lines, codes = [], taken.status[taken.at].tolist()
        for i, (name, cutoff, at) in enumerate(zip(made.ids, made.cutoff, taken.at.tolist(), strict=True)):
            text, ds = ahead[cutoff]
            line: dict[str, Any] = {"seq": first + i, "unique_id": name, "cutoff": text, "status": STATUSES[codes[i]]}
            if ids[at] is not None:
                line["id"] = ids[at]
            if tail is not None:
                line["p"], line["alarm"] = self._of(tail[i]), self._of(taken.alarm[i])
            line["ds"], line["y_hat"] = ds, self._lists(y[i])
            for n, key in enumerate(self.columns):
                line[key] = self._lists(quantiles[i, :, :, n])
            lines.append(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY))
        return lines

    def _lists(self, values: Numbers) -> Any:
        """(H, T)"""
        if len(self.channels) == 1:
            return np.ascontiguousarray(values[:, 0])
        return {name: np.ascontiguousarray(values[:, t]) for t, name in enumerate(self.channels)}

    def _of(self, values: NDArray[Any]) -> Any:
        """(T,), null where unknown"""
        plain = [None if value != value else value for value in values.tolist()]
        return plain[0] if len(plain) == 1 else dict(zip(self.channels, plain, strict=True))

    def _stamp(self, time: np.datetime64) -> str:
        micros = int(time.astype(np.int64))
        if (known := self.texts.get(micros)) is not None:
            return known
        found = EPOCH + micros * MICRO
        if self.zone is not None:
            found = found.replace(tzinfo=UTC).astimezone(self.zone)
        if len(self.texts) >= KEPT:
            self.texts.clear()
        text = self.texts[micros] = found.isoformat()
        return text


def significant(values: Numbers) -> Numbers:
    """Rounded to as many digits as a forecast has."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        power = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.round(values * power) / power
    return np.where(np.isfinite(rounded), rounded, values)


def reason(code: int) -> str:
    """Why a reading was not taken."""
    found, expected = WHY[STATUSES[code]]
    return f"the reading {found}; {expected}"


def refused(parsed: Parsed, status: NDArray[np.int8]) -> list[Refused]:
    """All lines of a batch that did not become part of a state, but for those that were taken before."""
    late = [
        Refused(parsed.number[at], reason(int(status[at])))
        for at in np.flatnonzero(status > ACCEPTED).tolist() if STATUSES[status[at]] != "duplicate"
    ]  # fmt: skip
    return sorted([*parsed.refused, *late])
