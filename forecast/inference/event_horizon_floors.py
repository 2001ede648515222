"""What stands in every table of horizons: what is forecast of the next window W without a model.

    copy of the last window   the events of the window before now, once more, each W later
    majority mark             train's likeliest mark at every median gap of train; scores are train's shares of marks
    Poisson rates             λ_m, train's share of mark m over train's mean gap
    Markov rates              the marks of the next W / (mean gap) events by train's transitions from the last mark
    own rates                 λ_m of the sequence's own past, with one gap and one mark of train's mean beside it

By rates: the k-th event of mark m, k = 1, 2, …, is forecast at the median of its time if it comes in the window (of a
gamma law that is cut off there), with the score P(N ≥ k), N Poisson with the mean λ_m W. The sequence holds those that
are likelier than not, which makes its counts the medians of N, as absolute errors ask.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.data.event_split import Part
from forecast.metrics.event_horizon import Marked, Outlook, counted

Numbers = NDArray[np.float64]

MOST = 128  # events of one mark in a window
TRANSITIONS = 1000  # marks of which all pairs are counted
RARE = 0.02  # what comes with a smaller probability is not among the scored events
LEVELS = 64  # quantiles that stand for a Poisson law


class Past(NamedTuple):
    """What came before now in B sequences."""

    events: Marked  # times from now, not above 0; an event of several labels is there with each
    single: Marked  # each event once, whatever its marks
    span: Tensor  # (B,) from the first event to now
    last: Tensor  # (B,) int64 mark of the last event, M where it is unknown
    elapsed: Tensor  # (B,) since the last event


class Rates(NamedTuple):
    """What the floors take of train."""

    mean: float  # gap
    median: float  # gap
    share: Numbers  # (M,) of marks, or of events with each label
    after: Numbers | None  # (M + 1, M) transitions from each mark and from an unknown one; None: not counted


def rates(train: Part, marks: int, labels: NDArray[np.bool_] | None = None) -> Rates:
    """Of train's targets: gaps, shares of marks and transitions, with shares in place of what was never seen.
    labels (K, M): those of each code of a mark."""
    events, second = train.events, train.target[1:]
    gap = np.diff(events.time)[second]
    mark, before = events.mark[1:][second], events.mark[:-1][second]
    if labels is not None:
        count = np.bincount(mark, minlength=len(labels))
        found = (count @ labels + 1) / (count.sum() + 2)
        return Rates(float(gap.mean()), float(np.median(gap)), found, None)
    count = np.bincount(mark[mark < marks], minlength=marks).astype(np.float64)
    share = (count + 1) / (count.sum() + marks)
    after = None
    if marks <= TRANSITIONS:
        known = (mark < marks) & (before < marks)
        pair = np.bincount(before[known] * marks + mark[known], minlength=marks * marks).reshape(marks, marks)
        after = np.vstack([(pair + share) / (pair.sum(1, keepdims=True) + 1), share])
    return Rates(float(gap.mean()), float(np.median(gap)), share, after)


def horizon_floors(known: Rates, past: Past, window: float) -> dict[str, Outlook]:
    """Name of a floor -> what it forecasts of the window after now."""
    marks, count = len(known.share), len(past.span)
    share = torch.from_numpy(known.share)
    found = {
        "copy of the last window": copied(past, window, marks),
        "majority mark": repeated(known, past, window),
        "Poisson rates": by_rates((share / known.mean).expand(count, -1), window, torch.full((count,), 1 / known.mean)),
    }
    if known.after is not None:
        step = torch.from_numpy(known.after)
        steps = int(min(max(1, round(window / known.mean)), MOST))
        ahead = step[past.last]
        total = ahead.clone()
        for _ in range(steps - 1):
            ahead = ahead @ step[:-1]
            total += ahead
        found["Markov rates"] = by_rates(total / steps / known.mean, window, torch.full((count,), 1 / known.mean))
    own = counted(past.events, count, marks).double() + share
    events = torch.bincount(past.single.horizon, minlength=count) + 1
    span = past.span + known.mean
    found["own rates"] = by_rates(own / span[:, None], window, events / span)
    return found


def copied(past: Past, window: float, marks: int) -> Outlook:
    """The events of the last window, once more."""
    count = len(past.span)
    events = past.events.where(past.events.time > -window)
    events = events._replace(time=events.time + window, score=torch.ones_like(events.time))
    counts = counted(events, count, marks)
    total = torch.bincount(past.single.horizon[past.single.time > -window], minlength=count)
    return Outlook(events, events, counts, total[:, None], (total > 0).double())


def repeated(known: Rates, past: Past, window: float) -> Outlook:
    """The majority mark at every median gap, from the last event on; gaps that are over already are left out."""
    count, marks = len(past.span), len(known.share)
    if known.median <= 0:
        return _nothing(count, marks)
    first = torch.floor(past.elapsed / known.median) + 1
    number = min(MOST, int(window / known.median) + 1)
    times = (first[:, None] + torch.arange(number)) * known.median - past.elapsed[:, None]
    row, place = (times <= window).nonzero(as_tuple=True)
    time = times[row, place]
    sequence = Marked(row, torch.full_like(row, int(known.share.argmax())), time)
    share = torch.from_numpy(known.share)
    common = (share >= RARE).nonzero()[:, 0]
    scored = Marked(
        row.repeat_interleave(len(common)), common.repeat(len(row)), time.repeat_interleave(len(common)),
        share[common].repeat(len(row)),
    )  # fmt: skip
    total = torch.bincount(row, minlength=count)
    return Outlook(sequence, scored, counted(sequence, count, marks), total[:, None], (total > 0).double())


def by_rates(rate: Tensor, window: float, whole: Tensor) -> Outlook:
    """Poisson events of each mark (B, M) and of all events (B,), per unit of time."""
    from scipy.special import gammaincinv  # here: what has no use for horizons need not wait for its import
    from scipy.stats import poisson

    mean = (rate * window).numpy()
    most = int(min(MOST, np.ceil(mean.max() + 4 * np.sqrt(mean.max()) + 3)))
    number = np.arange(1, most + 1)
    chance = torch.from_numpy(poisson.sf(number - 1, mean[..., None]))  # (B, M, K) that so many come
    row, mark, place = (chance >= RARE).nonzero(as_tuple=True)
    score = chance[row, mark, place]
    time = torch.from_numpy(gammaincinv(place.numpy() + 1.0, 0.5 * score.numpy())) / rate[row, mark]
    scored = Marked(row, mark, time, score)
    sequence = scored.where(score >= 0.5)._replace(score=None)
    total = (whole * window).double().numpy()
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    totals = torch.from_numpy(poisson.ppf(levels, total[:, None]))
    counts = torch.from_numpy(poisson.ppf(0.5, mean))
    return Outlook(sequence, scored, counts, totals, torch.from_numpy(-np.expm1(-total)))


def _nothing(count: int, marks: int) -> Outlook:
    none = torch.zeros(0, dtype=torch.int64)
    empty = Marked(none, none, none.double(), none.double())
    zero = torch.zeros(count)
    return Outlook(empty, empty, torch.zeros(count, marks), zero[:, None], zero)
