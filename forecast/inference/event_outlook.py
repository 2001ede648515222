"""What paths and likeliest events of some origins forecast, in the forms that scores take (metrics/event_horizon.py).

by its paths       the sequence is the medoid of sampled paths, the one with the least transport distance to the
                   others; the k-th event of mark m is forecast at the median of its time over the paths that have
                   one, its score is the share of all paths that have it near there; counts are medians
likeliest events   one after the other, at the median gap the likeliest mark; scores are the probabilities of marks
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.inference.event_paths import Likeliest, Paths
from forecast.metrics.event_horizon import Marked, Outlook, marked, transport

JUDGES: Final = 16  # paths that a medoid is chosen among

Ints = NDArray[np.int64]


def by_paths(sampled: list[tuple[Ints, Paths]], count: int, marks: int, *, cost: float, near: float) -> Outlook:
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
    return Outlook(sequence, numbered(events, number, near), counts, totals, some)


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


def numbered(events: Marked, number: int, near: float) -> Marked:
    """Events of paths -> of each origin the first, second, … of each mark: the median of its time over the paths that
    have one, and as a score the share of all paths in which it comes within `near` of that."""
    if not len(events.time):
        return events._replace(score=events.time)
    path, order = events.horizon % number, events.time.argsort(stable=True)
    origin = events.horizon // number
    size = int(events.mark.max()) + 1
    key = (origin * size + events.mark) * number + path
    order = order[key[order].argsort(stable=True)]
    start = torch.cat([torch.ones(1, dtype=torch.bool), key[order].diff() != 0])
    index = torch.arange(len(order))
    rank = index - torch.where(start, index, 0).cummax(0).values  # 0 for the first of its mark in a path
    most = int(rank.max()) + 1
    group = (origin[order] * size + events.mark[order]) * most + rank
    time = events.time[order]
    inner = time.argsort(stable=True)
    inner = inner[group[inner].argsort(stable=True)]
    group, time = group[inner], time[inner]
    kinds, row, many = group.unique_consecutive(return_inverse=True, return_counts=True)
    middle = time[many.cumsum(0) - many + (many - 1) // 2]
    close = ((time - middle[row]).abs() <= near).double()
    score = torch.zeros(len(kinds), dtype=torch.float64).index_add_(0, row, close) / number
    return Marked(kinds // most // size, kinds // most % size, middle, score)


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
