"""One stamp, as a person or a program gives it, into microseconds in UTC."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from forecast.data.clock import to_utc
from forecast.data.freq import Ints
from forecast.errors import DataError


def micros(time: Any, zone: str | None) -> Ints:
    """A stamp, as text, datetime or datetime64 -> (1,) microseconds in UTC; one without an offset is on the clock
    of the zone. DataError for what is no stamp."""
    if isinstance(time, np.datetime64):
        wall = time.astype("datetime64[us]").astype(np.int64).reshape(1)
    else:
        try:
            found = time if isinstance(time, datetime) else datetime.fromisoformat(time)
            if found.tzinfo is not None:
                return _since(found.astimezone(UTC).replace(tzinfo=None))
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{time!r} is no stamp", "expected one like 2024-01-31 13:00") from None
        wall = _since(found)
    if zone is None:
        return wall
    utc = to_utc(wall.astype("datetime64[us]"), zone)
    if np.isnat(utc[0]):
        raise DataError(f"{time} was never shown on a clock of {zone}", "expected a time there is")
    return utc.astype(np.int64)


def _since(wall: datetime) -> Ints:
    return np.array([np.datetime64(wall, "us").astype(np.int64)])
