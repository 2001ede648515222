"""What else is known of an event: columns of numbers beside its mark, and where its time lies in a day, a week, a year.

scaled column: (x - mean) / deviation of train's events, 0 where it is missing
period P:      sin(2π h t / P) and cos(2π h t / P), h = 1 … HARMONICS, t since 1970 for stamps (UTC)
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.events import UNITS, Events, Floats
from forecast.errors import DataError, nearest

HARMONICS: Final = 3
PERIODS: Final = {"day": 1.0, "week": 7.0, "year": 365.2425}  # in days


class Extra(NamedTuple):
    """How the E extra numbers of an event are made."""

    columns: tuple[str, ...]
    mean: tuple[float, ...]  # of each column in train
    std: tuple[float, ...]
    periods: tuple[float, ...]  # in the unit of time

    @classmethod
    def of(cls, columns: Sequence[str], periods: Sequence[float], train: Events) -> "Extra":
        """With the scale of the columns in train; one that never changes there is only shifted."""
        if train.beside is None:
            return cls((), (), (), tuple(periods))
        for name, column in zip(columns, train.beside.T, strict=True):
            if np.isnan(column).all():
                raise DataError(f"column '{name}' holds no number in train", "expected some", "leave it out")
        mean, std = np.nanmean(train.beside, axis=0), np.nanstd(train.beside, axis=0)
        return cls(tuple(columns), tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist()), tuple(periods))

    @property
    def names(self) -> tuple[str, ...]:
        """E names, in their order."""
        waves = [f"{kind} {h}/{p:g}" for p in self.periods for kind in ("sin", "cos") for h in range(1, HARMONICS + 1)]
        return (*self.columns, *waves)

    def __call__(self, time: Floats, beside: Floats | None, origin: np.datetime64 | None, unit: str) -> NDArray[Any]:
        """(…) times since the origin and (…, columns) -> (…, E) float32."""
        parts = []
        if self.columns:
            assert beside is not None
            parts.append(np.nan_to_num((beside - np.array(self.mean)) / np.array(self.std), nan=0.0))
        since = 0.0 if origin is None else float((origin - np.datetime64(0, "us")).astype(np.int64)) / UNITS[unit]
        parts += [_waves((time + since % period) % period / period) for period in self.periods]
        return np.concatenate(parts, axis=-1).astype(np.float32)

    def events(self, events: Events) -> NDArray[Any] | None:
        """(N, E) of a table; None where there are none."""
        if not self.names:
            return None
        return self(events.time, events.beside, events.origin, events.unit)

    def ahead(self, time: Floats, origin: np.datetime64 | None, unit: str) -> NDArray[Any]:
        """(…) times of events to come -> (…, E): their columns are not known, and taken as usual."""
        return self(time, np.broadcast_to(np.array(self.mean), (*time.shape, len(self.columns))), origin, unit)

    def to_dict(self) -> dict[str, Any]:
        return {key: list(value) for key, value in self._asdict().items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Extra":
        return cls(*(tuple(plain[key]) for key in cls._fields))


def periods_of(given: Sequence[str | float], unit: str) -> tuple[float, ...]:
    """Names of periods and numbers -> lengths in the unit of time; DataError for what is neither."""
    found = []
    for one in given:
        if isinstance(one, str) and one in PERIODS and unit in UNITS:
            found.append(PERIODS[one] * UNITS["day"] / UNITS[unit])
        elif isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < np.inf:
            found.append(float(one))
        else:
            words = f"periods holds {one!r}, with times in {unit}s"
            raise DataError(words, "expected day, week, year or a number", nearest(str(one), PERIODS))
    return tuple(found)


def _waves(phase: Floats) -> Floats:
    """(…) in [0, 1) -> (…, 2 HARMONICS)."""
    angle = 2 * np.pi * phase[..., None] * np.arange(1, HARMONICS + 1)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=-1)
