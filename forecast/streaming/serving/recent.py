"""What a stream was like lately: how much it did in a second, how long a request waited for its answer, how far behind
the clock its readings are.

Counts are kept second by second, and of requests the last ones only: what is held does not grow.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

RATE_S: Final = 10  # whole seconds of which rates are means
WAITED_S: Final = 60.0  # requests of which percentiles are told,
REQUESTS: Final = 4096  # and so many of them, at most
SHARES: Final = {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99}


class Recent:
    """Safe for several threads. `clock` gives seconds, `wall` seconds since 1970 in UTC."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self.clock, self.wall, self.began = clock, wall, clock()
        self.lock = threading.Lock()
        self.seconds: deque[tuple[int, int, int]] = deque(maxlen=RATE_S + 1)  # which one, readings, forecasts
        self.waits: deque[tuple[float, float]] = deque(maxlen=REQUESTS)  # when it was answered, seconds
        self.latest: int | None = None  # microseconds in UTC, of the latest reading

    def batch(self, readings: int, forecasts: int, latest: int | None) -> None:
        """So many were taken in and given out; `latest` is the time of the latest of those that were accepted."""
        now = int(self.clock())
        with self.lock:
            if self.seconds and self.seconds[-1][0] == now:
                _, before, given = self.seconds.pop()
                readings, forecasts = readings + before, forecasts + given
            self.seconds.append((now, readings, forecasts))
            if latest is not None:
                self.latest = latest if self.latest is None else max(latest, self.latest)

    def request(self, seconds: float) -> None:
        """A request with readings was answered."""
        with self.lock:
            self.waits.append((self.clock(), seconds))

    @property
    def lag_s(self) -> float | None:
        """Seconds from the time of the latest reading to now; None where no reading has a time."""
        return None if self.latest is None else round(self.wall() - self.latest / 1e6, 3)

    def facts(self) -> dict[str, Any]:
        """Rates of the last ten whole seconds, percentiles of the requests of the last minute."""
        now = self.clock()
        with self.lock:
            whole = [each for each in self.seconds if now - RATE_S - 1 < each[0] < int(now)]
            waits = [seconds for at, seconds in self.waits if at > now - WAITED_S]
        over = min(max(int(now) - int(self.began), 1), RATE_S)
        found: dict[str, Any] = {
            "readings_per_s": sum(each[1] for each in whole) / over,
            "forecasts_per_s": sum(each[2] for each in whole) / over, "requests": len(waits),
        }  # fmt: skip
        if waits:
            told = np.percentile(waits, list(SHARES.values())) * 1e3
            found |= dict(zip(SHARES, told.round(3).tolist(), strict=True))
        return found | {"lag_s": self.lag_s}
