"""What paths and likeliest events of some origins forecast, in the forms that scores take (metrics/event_horizon.py).

by its paths       the sequence is the medoid of sampled paths, the one with the least transport distance to the
                   others; the k-th event of mark m is forecast at the median of its time over the paths that have
                   one, its score is the share of all paths that have it near there; counts are medians
likeliest events   one after the other, at the median gap the likeliest mark; scores are the probabilities of marks
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.inference.event_paths import Likeliest, Paths
from forecast.metrics.event_horizon import CELLS, Marked, Outlook, marked, transport

JUDGES: Final = 16  # paths that a medoid is chosen among
POINTS: Final = 64  # of a window, at which paths are looked through
PEAKS: Final = 64  # events of one mark that are forecast of one window
RARE: Final = 0.03  # the least share of paths that makes an event

Ints = NDArray[np.int64]


def by_paths(
    sampled: list[tuple[Ints, Paths]],
    count: int,
    marks: int,
    *,
    cost: float,
    near: float,
    window: float,
) -> Outlook:
    """Paths of some origins each -> the outlook of all of them."""
    number = sampled[0][1].mask.shape[1]
    parts = []
    for place, made in sampled:
        flat = made.mask.flatten(0, 1), made.marks.flatten(0, 1), made.times.flatten(0, 1)
        events = marked(flat[2].cpu(), flat[1].cpu(), flat[0].cpu())
        row = torch.from_numpy(place)[events.horizon // number] * number + events.horizon % number
        parts.append(events._replace(horizon=row))
    events = _joined(parts)  # each path is a horizon of its own
    totals, counts = torch.zeros(count, number), torch.zeros(count, marks)
    some = torch.zeros(count, dtype=torch.float64)
    for place, made in sampled:
        rows = torch.from_numpy(place)
        totals[rows] = made.totals.float().cpu()
        counts[rows] = made.counts(marks).float().cpu().median(1).values
        some[rows] = made.some.cpu()
    chosen = medoids(events, count, number, cost)
    mine = events.where(chosen[events.horizon // number] == events.horizon % number)
    sequence = mine._replace(horizon=mine.horizon // number)
    return Outlook(sequence, peaks(events, number, near, window), counts, totals, some)


def medoids(events: Marked, count: int, number: int, cost: float) -> Tensor:
    """(B,) which of the first JUDGES paths of each origin is nearest to the others of them."""
    judges = min(number, JUDGES)
    one, other = torch.triu_indices(judges, judges, 1)
    if not len(one):
        return torch.zeros(count, dtype=torch.int64)
    sums = torch.zeros(count, judges, dtype=torch.float64)
    path = events.horizon % number
    costs = torch.tensor([cost], dtype=torch.float64)
    for first in range(judges - 1):  # against all later ones at once
        later = judges - 1 - first
        mine = events.where(path == first)
        index = torch.arange(later)
        left = Marked(
            (mine.horizon[:, None] // number * later + index).flatten(), mine.mark.repeat_interleave(later),
            mine.time.repeat_interleave(later),
        )  # fmt: skip
        theirs = events.where((path > first) & (path < judges))
        row = theirs.horizon // number * later + theirs.horizon % number - first - 1
        apart = transport(left, theirs._replace(horizon=row), count * later, costs)[0].reshape(count, later)
        sums[:, first] += apart.sum(1)
        sums[:, first + 1 :] += apart
    return sums.argmin(1)


def peaks(events: Marked, number: int, near: float, window: float) -> Marked:
    """Events of `number` paths of each origin -> scored events of the origins, one after the other for each mark: where
    most paths have an event within `near`, at the median of those nearest, with the share of all paths as its score.
    Those events are taken away, and again, until there are PEAKS or fewer than RARE of the paths agree.

    A path's events are counted once for each event forecast, so that as many are forecast as paths have.
    """
    if not len(events.time):
        return events._replace(score=events.time)
    size = int(events.mark.max()) + 1
    kinds, row = (events.horizon // number * size + events.mark).unique(return_inverse=True)
    times = _dense(events, row, len(kinds), number)
    found: list[Marked] = []
    for some in torch.arange(len(kinds)).split(max(1, CELLS // (times[0].numel() + number * POINTS))):
        for which, at, share in _agreed(times[some], near, window):
            kind = kinds[some[which]]
            found.append(Marked(kind // size, kind % size, at.double(), share.double()))
    return _joined(found) if found else events._replace(score=events.time).where(events.time < -torch.inf)


def _agreed(times: Tensor, near: float, window: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Times (G, N, K) of paths -> time after time: numbers of rows, where their paths agree, and which share does.

    Kept is how many events cover each of POINTS points in each path, (G, N, POINTS): one that is taken covers no more.
    """
    step, which = window / POINTS, torch.arange(len(times))
    near = max(near, step)
    low = ((times - near) / step - 0.5).ceil().clamp(0, POINTS).long()
    high = ((times + near) / step - 0.5).floor().clamp(-1, POINTS - 1).long()  # what is infinite covers none
    cover = torch.zeros(*times.shape[:2], POINTS + 1, dtype=torch.int32)
    one = torch.ones((), dtype=torch.int32)
    cover.scatter_add_(2, low, one.expand_as(low)).scatter_add_(2, high + 1, -one.expand_as(high))
    cover = cover.cumsum(2)[..., :-1]
    points = torch.arange(POINTS)
    for _ in range(PEAKS):
        place, share = _highest((cover > 0).float().mean(1))
        keep = share >= RARE
        which, place, share = which[keep], place[keep], share[keep]
        if not len(which):
            return
        times, low, high, cover = times[keep], low[keep], high[keep], cover[keep]
        nearest = (times - ((place + 0.5) * step)[:, None, None]).abs().argmin(2, keepdim=True)
        taken, first, last = times.gather(2, nearest), low.gather(2, nearest), high.gather(2, nearest)
        hit = (first <= place[:, None, None]) & (place[:, None, None] <= last) & taken.isfinite()
        yield which, taken.masked_fill(~hit, torch.nan).flatten(1).nanmedian(1).values, share
        cover = cover - (hit & (first <= points) & (points <= last)).int()
        times = times.scatter(2, nearest, taken.masked_fill(hit, torch.inf))


def _dense(events: Marked, row: Tensor, rows: int, number: int) -> Tensor:
    """(G, N, K) float32: the times of each row's events in each path, infinite behind them."""
    path = events.horizon % number
    key = row * number + path
    order = key.argsort(stable=True)
    index = torch.arange(len(order))
    new = torch.cat([torch.ones(1, dtype=torch.bool), key[order].diff() != 0])
    rank = index - torch.where(new, index, 0).cummax(0).values
    times = torch.full((rows, number, int(rank.max()) + 1), torch.inf)
    times[row[order], path[order], rank] = events.time[order].float()
    return times


def _highest(share: Tensor) -> tuple[Tensor, Tensor]:
    """(G, P) -> the middle of the first stretch of points with the largest share, and that share (G,)."""
    best = share.amax(1)
    most = share == best[:, None]
    first = most.int().argmax(1, keepdim=True)
    inside = most | (torch.arange(share.shape[1]) < first)
    length = inside.int().cumprod(1).sum(1, keepdim=True)  # up to the end of the stretch
    return ((first + length - 1) // 2)[:, 0], best


def by_likeliest(best: list[tuple[Ints, Likeliest]], count: int, marks: int) -> Outlook:
    """The outlook of one sequence for each origin; every event is scored for all marks."""
    sequence, scored = [], []
    total = torch.zeros(count)
    counts = torch.zeros(count, marks)
    for place, found in best:
        origin = torch.from_numpy(place)
        made = Likeliest(*(part.cpu() for part in found))
        events = marked(made.times, made.marks, made.mask)
        counts.index_put_((origin[events.horizon], events.mark), torch.ones(len(events.mark)), accumulate=True)
        sequence.append(events._replace(horizon=origin[events.horizon]))
        row, step, mark = (made.mask[..., None] & (made.probabilities > 0)).nonzero(as_tuple=True)
        scored.append(Marked(origin[row], mark, made.times[row, step], made.probabilities[row, step, mark].double()))
        total[origin] = made.mask.sum(1).float()
    return Outlook(_joined(sequence), _joined(scored), counts, total[:, None], (total > 0).double())


def _joined(parts: list[Marked]) -> Marked:
    scores = [part.score for part in parts if part.score is not None]
    return Marked(
        torch.cat([part.horizon for part in parts]), torch.cat([part.mark for part in parts]),
        torch.cat([part.time for part in parts]), torch.cat(scores) if scores else None,
    )  # fmt: skip
