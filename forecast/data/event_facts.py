"""What a table of events says of itself: lengths, gaps, the grid of its times, ties, the shares of its marks."""

from typing import Final, NamedTuple

import numpy as np

from forecast.data.event_card import EventCard
from forecast.data.events import UNITS, Events, Floats

# Steps that times are often recorded in: decimal ones, seconds and minutes of hours and days, binary fractions.
STEPS: Final = tuple(
    sorted(
        {10.0**k for k in range(-9, 7)}
        | {1 / 60, 1 / 3600, 1 / 1440, 1 / 86400, 60.0, 3600.0, 86400.0, 900.0, 0.25, 0.5}
        | {2.0**-k for k in range(3, 21)},
        reverse=True,
    )
)
NEAR: Final = 0.01  # of a step: what lies that near is on it
MOST: Final = 0.999  # of the gaps are on a grid that is seen
HALF: Final = 0.5  # … or at least that many, which is told


class Grid(NamedTuple):
    """A step in the unit of the events, 0 for none that is seen, and the share of the gaps that lie on it."""

    step: float
    share: float


class EventFacts(NamedTuple):
    """Counts and measures of events; times and gaps are in their unit, NaN where there is no gap."""

    sequences: int
    events: int
    single: int  # sequences of one event, which give no target
    lengths: tuple[int, int, int]  # of a sequence: least, median, most
    first: float
    last: float
    gaps: tuple[float, float, float]  # 5 %, median, 95 %
    zero: int  # gaps of 0: events of a sequence at the same time
    twice: int  # of them, those with the same mark too
    grid: Grid
    marks: dict[str, int]  # events of each mark, the most first


def event_facts(events: Events, card: EventCard) -> EventFacts:
    """The facts of events as they were read, before any floor."""
    gaps = events.gaps(0.0)[~events.first]
    again = ~events.first[1:] & (np.diff(events.time) == 0) & (np.diff(events.mark) == 0)
    counts = events.counts
    low, middle, high = np.quantile(gaps, [0.05, 0.5, 0.95]) if len(gaps) else (np.nan,) * 3
    return EventFacts(
        sequences=len(events.ids),
        events=len(events.time),
        single=int((counts == 1).sum()),
        lengths=(int(counts.min()), int(np.median(counts)), int(counts.max())),
        first=float(events.time.min()),
        last=float(events.time.max()),
        gaps=(float(low), float(middle), float(high)),
        zero=int((gaps == 0).sum()),
        twice=int(again.sum()),
        grid=seen_grid(events),
        marks=mark_counts(events, card.labels),
    )


def seen_grid(events: Events) -> Grid:
    """The greatest step that (nearly) all gaps are multiples of; of stamps, the step that all of them share."""
    gaps = events.gaps(0.0)[~events.first]
    gaps = gaps[gaps > 0]
    if not len(gaps):
        return Grid(0.0, 0.0)
    if events.origin is not None:
        micros = np.rint(gaps * UNITS[events.unit]).astype(np.int64)
        step = int(np.gcd.reduce(micros))
        return Grid(step / UNITS[events.unit], 1.0) if step > 1 else Grid(0.0, 0.0)
    shares = [Grid(step, on_grid(events, step)) for step in STEPS]
    whole = next((grid for grid in shares if grid.share >= MOST), None)
    return whole or next((grid for grid in shares if grid.share >= HALF), Grid(0.0, 0.0))


def on_grid(events: Events, step: float) -> float:
    """The share of the gaps above 0 that are multiples of a step; 0 where float64 cannot tell."""
    gaps: Floats = events.gaps(0.0)[~events.first]
    gaps = gaps[gaps > 0]
    if not len(gaps) or not step > 0 or np.spacing(np.abs(events.time).max()) > NEAR * step:
        return 0.0
    steps = gaps / step
    return float(((np.abs(steps - np.rint(steps)) <= NEAR) & (steps > HALF)).mean())


def mark_counts(events: Events, labels: str | None = None) -> dict[str, int]:
    """Events of each mark, the most first; each label of a mark counts where a separator parts them."""
    counts: dict[str, int] = {}
    for name, count in zip(events.marks, np.bincount(events.mark, minlength=len(events.marks)).tolist(), strict=False):
        for label in name.split(labels) if labels else (name,):
            counts[label] = counts.get(label, 0) + int(count)
    return dict(sorted(counts.items(), key=lambda one: -one[1]))
