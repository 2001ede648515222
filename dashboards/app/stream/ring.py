"""What is kept of one series of a stream: the last of what was seen and of what was forecast. It does not grow."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

SEEN: Final = 500  # readings, events or steps
FANS: Final = 6  # earlier forecasts, a quarter of a horizon apart
ARRIVALS: Final = 1000  # of which a rate is told
RATE_S: Final = 5.0
TOP: Final = 8  # classes of a step

Line = dict[str, Any]


class Kept(NamedTuple):
    """A copy of a ring."""

    key: str
    seen: list[Line]  # oldest first: {at, y} of series; whole lines of events; {step, classes} of classes
    latest: Line | None
    earlier: list[Line]  # forecasts, oldest first
    lines: int  # since it is heard
    rate: float  # lines in a second


class Ring:
    """Of the lines of one series. It belongs to whoever holds the client's lock."""

    def __init__(self, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.key, self.clock, self.began = key, clock, clock()
        self.seen: deque[Line] = deque(maxlen=SEEN)
        self.earlier: deque[Line] = deque(maxlen=FANS)
        self.arrivals: deque[float] = deque(maxlen=ARRIVALS)
        self.latest: Line | None = None
        self.count, self.last, self.apart = 0, -1, 0

    def put(self, seq: int, line: Line) -> bool:
        """One more line; False for one that is here already."""
        if seq <= self.last:
            return False
        self.last, self.count = seq, self.count + 1
        self.arrivals.append(self.clock())
        if isinstance(line.get("y_hat"), list | dict):
            self._forecast(line)
        elif isinstance(line.get("classes"), dict):
            top = sorted(line["classes"].items(), key=lambda each: -(each[1] or 0))[:TOP]
            self.seen.append({**{k: line.get(k) for k in ("step", "ds", "status")}, "classes": dict(top)})
        else:
            self.seen.append({k: v for k, v in line.items() if k != "p"})
        self.latest = line
        return True

    def _forecast(self, line: Line) -> None:
        if "y" in line:
            self.seen.append({"at": line.get("cutoff"), "y": line["y"]})
        before, self.apart = self.latest, self.apart + 1
        if before is not None and self.apart * 4 >= len(before.get("ds") or ()):
            self.earlier.append(before)
            self.apart = 0

    def kept(self) -> Kept:
        """A copy, for whoever draws it."""
        now = self.clock()
        late = sum(at > now - RATE_S for at in self.arrivals)
        over = RATE_S
        if late == ARRIVALS:  # they fill less than the span
            over = max(now - self.arrivals[0], 1e-3)
        return Kept(self.key, list(self.seen), self.latest, list(self.earlier), self.count, late / over)
