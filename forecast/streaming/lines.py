"""JSON lines into readings and forecasts into JSON lines.

In:   {"unique_id": "meter 7", "ds": "2024-01-01T00:00:00Z", "load": 3.2}        and, if wanted, "id" of the message
Out:  {"seq": 1, "unique_id": "meter 7", "cutoff": …, "status": "ok", "y": 3.2, "ds": [H], "y_hat": [H], "q05": [H],
       "q95": [H]}

The columns have the names of the training data; `unique_id`, `ds` and, where there is one channel, `y` will do as well.
`y` is the reading at `cutoff`, null where nothing was observed; it is left out where an earlier one was corrected. With
several targets each list of numbers, and `y`, is an object, one value for each channel.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import orjson
from numpy.typing import NDArray

from forecast.data.recipe import Recipe
from forecast.inference.predictor import column
from forecast.streaming.fold import ACCEPTED, REVISED, STATUSES
from forecast.streaming.outlook import Numbers
from forecast.streaming.parsing import EPOCH, KEPT, MICRO, Channels, Parsed, Refused
from forecast.streaming.taken import WHY, Taken

DIGITS: Final = 7  # significant ones, as many as a float32 has


class Reader(Channels):
    """What a line must hold under a run's recipe."""

    def __init__(self, recipe: Recipe) -> None:
        card, channels = recipe.card, recipe.spec.channels
        sources = {c.name: c.source for c in card.channels}
        super().__init__(
            [tuple(dict.fromkeys([sources[c], c, *(["y"] if len(channels) == 1 else [])])) for c in channels],
            card.missing, id=card.id, alone=recipe.scaler.ids[0], time=card.time.column, zone=card.time.zone,
        )  # fmt: skip

    def _held(self, found: dict[str, Any]) -> list[float]:
        return self._row(found)

    def _joined(self, values: list[list[float]]) -> Numbers:
        return np.array(values, np.float64).reshape(len(values), len(self.channels))


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
            if taken.seen is not None and codes[i] != REVISED:  # else it is not what was seen at the cutoff
                line["y"] = self._of(taken.seen[i])
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


def reason(code: int, why: Mapping[str, tuple[str, str]] = WHY) -> str:
    """Why a reading was not taken."""
    found, expected = why[STATUSES[code]]
    return f"the reading {found}; {expected}"


def refused(parsed: Parsed, status: NDArray[np.int8], why: Mapping[str, tuple[str, str]] = WHY) -> list[Refused]:
    """All lines of a batch that did not become part of a state, but for those that were taken before."""
    late = [
        Refused(parsed.number[at], reason(int(status[at]), why))
        for at in np.flatnonzero(status > ACCEPTED).tolist() if STATUSES[status[at]] != "duplicate"
    ]  # fmt: skip
    return sorted([*parsed.refused, *late])
