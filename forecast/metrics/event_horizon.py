"""Scores of a horizon of events: what was forecast to come in a window, beside what came.

transport  the optimal transport distance of sequences (Mei, Qin & Eisner 2019, arXiv 1905.05570, §5), of each mark m:
               OTD_C = Σ_m min over alignments of [ Σ_matched |t - t'| + C · (events left over on either side) ]
           An event that is left over is deleted at the cost C, in units of time. Between points of a line some best
           alignment never crosses itself, so a dynamic programme over both sorted sequences is exact. It is a metric:
           0 for equal sequences, symmetric, and the triangle inequality holds. Papers take the mean over several C.

tmap       T-mAP (Karpukhin, Shipilov & Savchenko 2024, arXiv 2406.14341, §4.2): mean average precision, as of objects
           found in images. A forecast event has a time and a score for its mark. For each mark and tolerance δ it may
           be matched to an event that came, |t - t'| ≤ δ, one to one; those of all horizons are ranked by score, and
               AP = Σ_n (R_n - R_{n-1}) P_n,   P = matched / forecast, R = matched / came, over scores from the top down
           mean over tolerances, then over marks. The matching is the best for every threshold of the score at once.
           There is one: forecasts that can be matched together are the independent sets of a matroid, whose set of
           greatest weight is the same for all positive weights of the same order. So ranks serve as weights, and, as
           windows of equal width need not cross, a dynamic programme finds it. Choices: equal scores are one threshold;
           the mean is over marks that came (the published code's is over all marks, and a mark all of whose forecasts
           are right has 0 there); `weighted` is the mean over the events that came.

counts     absolute errors of the counts of each mark, and the continuous ranked probability score of the total count
               CRPS = E|X - y| - E|X - X'| / 2 ,   over sampled counts; of one forecast it is the absolute error.

brier      the mean of (P(at least one event) - whether one came)²

All of it is vectorised over horizons and marks; loops are over events of one mark in one horizon.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

DELETIONS: Final = (0.05, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # costs that papers take the mean over (Mei et al. 2019)
CELLS: Final = 1 << 23  # numbers of a dynamic programme at once


class Marked(NamedTuple):
    """Events of B horizons, in any order: what came, or what is forecast. Of one with several labels there is one of
    each label."""

    horizon: Tensor  # (n,) int64, 0 … B - 1
    mark: Tensor  # (n,) int64
    time: Tensor  # (n,) float64
    score: Tensor | None = None  # (n,) the more, the surer

    def where(self, keep: Tensor) -> "Marked":
        """Those of them where `keep` (n,) is True, or of these numbers."""
        return Marked(*(None if part is None else part[keep] for part in self))  # type: ignore[arg-type]


class Outlook(NamedTuple):
    """What is forecast of B horizons, in the forms that scores take."""

    sequence: Marked  # the events that are to come
    scored: Marked  # events that may come, with scores; all may be of any mark
    counts: Tensor  # (B, M) of each mark
    totals: Tensor  # (B, N) equally likely counts of all events
    some: Tensor  # (B,) P(at least one event)


class Precision(NamedTuple):
    """T-mAP, and what it is a mean of."""

    mean: float  # over the marks that came; not a number where none came
    weighted: float  # over the events that came
    each: Tensor  # (D, M) average precision at each tolerance; not a number for marks that did not come


def marked(times: Tensor, marks: Tensor, mask: Tensor, scores: Tensor | None = None) -> Marked:
    """Times, mask and scores (B, K), marks (B, K) or labels (B, K, M), padded in any way."""
    if marks.ndim == 3:
        horizon, place, mark = (marks & mask[..., None]).nonzero(as_tuple=True)
    else:
        horizon, place = mask.nonzero(as_tuple=True)
        mark = marks[horizon, place]
    return Marked(horizon, mark, times[horizon, place].double(), None if scores is None else scores[horizon, place])


def transport(ours: Marked, came: Marked, horizons: int, costs: Tensor) -> Tensor:
    """(C, B) float64: the distance of each horizon at each cost (C,) of a deletion."""
    costs = costs.double()
    total = torch.zeros(len(costs), horizons, dtype=torch.float64)
    key = torch.cat([_keys(ours, horizons), _keys(came, horizons)])
    kinds, row = key.unique(return_inverse=True)
    if not len(kinds):
        return total
    left, right = (
        _dense(row[some], part.time, len(kinds))
        for some, part in ((slice(0, len(ours.time)), ours), (slice(len(ours.time), None), came))
    )
    size = max(1, CELLS // (len(costs) * (right[0].shape[1] + 1)))
    for some in torch.arange(len(kinds)).split(size):
        found = _aligned(left[0][some], left[1][some], right[0][some], right[1][some], costs)
        total.index_add_(1, kinds[some] % horizons, found)
    return total


def precision(ours: Marked, came: Marked, horizons: int, tolerances: Tensor, marks: int) -> Precision:
    """T-mAP of scored forecasts; marks from `marks` on, which are unknown, are left out."""
    assert ours.score is not None
    ours, came = ours.where(ours.mark < marks), came.where(came.mark < marks)
    there = torch.bincount(came.mark, minlength=marks)
    each = torch.full((len(tolerances), marks), torch.nan, dtype=torch.float64)
    for number, hit in enumerate(_matched(ours, came, horizons, tolerances)):
        each[number] = _average(ours, hit, there)
    some = there > 0
    if not bool(some.any()):
        return Precision(float("nan"), float("nan"), each)
    mean = each[:, some].mean(0)
    return Precision(float(mean.mean()), float((mean * there[some]).sum() / there.sum()), each)


def crps(sampled: Tensor, came: Tensor) -> Tensor:
    """(B, N) equally likely values, and what came (B,) -> (B,)."""
    values = sampled.double().sort(1).values
    count = values.shape[1]
    order = 2 * torch.arange(1, count + 1, dtype=torch.float64) - count - 1
    return (values - came.double()[:, None]).abs().mean(1) - (order * values).sum(1) / count**2


def counted(events: Marked, horizons: int, marks: int) -> Tensor:
    """(B, M) int64 events of each mark; unknown ones are left out."""
    keep = events.mark < marks
    at = events.horizon[keep] * marks + events.mark[keep]
    return torch.bincount(at, minlength=horizons * marks).reshape(horizons, marks)


def outlook_scores(
    ours: Outlook, came: Marked, *, costs: Tensor, tolerances: Tensor, events: Tensor
) -> dict[str, float | None]:
    """Plain numbers, None where there was nothing to count. `events` (B,): how many came, one of several labels once.

    otd is the mean over horizons and costs, in units of time, otd_share how much that is of deleting everything.
    """
    horizons, marks = ours.counts.shape
    distance = transport(ours.sequence, came, horizons, costs)
    most = float(costs.double().sum()) * (len(ours.sequence.time) + len(came.time))
    found = precision(ours.scored, came, horizons, tolerances, marks)
    off = (ours.counts.double() - counted(came, horizons, marks)).abs()
    numbers = {
        "otd": float(distance.mean()),
        "otd_share": float(distance.sum()) / most if most else None,
        "tmap": found.mean,
        "tmap_weighted": found.weighted,
        "count_mae": float(off.mean()),
        "count_crps": float(crps(ours.totals, events).mean()),
        "brier": float((ours.some.double() - (events > 0).double()).square().mean()),
    }
    return {name: None if value is None or value != value else value for name, value in numbers.items()}


def _keys(events: Marked, horizons: int) -> Tensor:
    return events.mark * horizons + events.horizon


def _dense(row: Tensor, time: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Events (n,) of rows -> times (G, W) in order, infinite behind; how many (G,); and the number of
    each of them (G, W) in (n,), or -1."""
    order = torch.argsort(time, stable=True)
    order = order[torch.argsort(row[order], stable=True)]
    count = torch.bincount(row, minlength=rows)
    place = torch.arange(len(row)) - (count.cumsum(0) - count)[row[order]]
    at = row[order], place
    wide = rows, int(count.max()) if len(count) else 0
    times = torch.full(wide, torch.inf, dtype=torch.float64)
    times[at] = time[order].double()
    number = torch.full(wide, -1, dtype=torch.int64)
    number[at] = order
    return times, count, number


def _aligned(left: Tensor, many: Tensor, right: Tensor, more: Tensor, costs: Tensor) -> Tensor:
    """Times (G, W) and (G, V), of which the first `many` and `more` (G,) count -> (C, G) least costs."""
    steps = costs[:, None, None] * torch.arange(right.shape[1] + 1, dtype=torch.float64)
    least = steps.expand(-1, len(left), -1)  # (C, G, V + 1): the first i of the left against the first j of the right
    deletion = costs[:, None, None]
    for i in range(int(many.max())):
        moved = least[..., :-1] + (left[:, i, None] - right).abs().nan_to_num(nan=torch.inf)
        fresh = torch.cat([least[..., :1] + deletion, torch.minimum(least[..., 1:] + deletion, moved)], -1)
        fresh = (fresh - steps).cummin(-1).values + steps  # or the last of the right is left over
        least = torch.where((i < many)[:, None], fresh, least)
    return least.gather(2, more[None, :, None].expand(len(costs), -1, 1))[..., 0]


def _matched(ours: Marked, came: Marked, horizons: int, tolerances: Tensor) -> list[Tensor]:
    """(n,) bool for each tolerance: which forecasts are matched."""
    hits = [torch.zeros(len(ours.time), dtype=torch.bool) for _ in tolerances]
    kinds = _keys(came, horizons).unique()
    if not len(kinds) or not len(ours.time):
        return hits
    key = _keys(ours, horizons)
    row = torch.searchsorted(kinds, key).clamp(max=len(kinds) - 1)
    some = (kinds[row] == key).nonzero()[:, 0]  # of other marks nothing came in that horizon
    if not len(some):
        return hits
    times, many, number = _dense(row[some], ours.time[some], len(kinds))
    number = torch.where(number >= 0, some[number.clamp(min=0)], -1)
    came_at = _dense(torch.searchsorted(kinds, _keys(came, horizons)), came.time, len(kinds))[0]
    weight = _ranks(ours, number)
    size = max(1, CELLS // ((times.shape[1] + 1) * (came_at.shape[1] + 1)))
    for part in torch.arange(len(kinds)).split(size):
        apart = (times[part, :, None] - came_at[part, None]).abs().nan_to_num(nan=torch.inf)
        for hit, tolerance in zip(hits, tolerances.tolist(), strict=True):
            found = _heaviest(weight[part], apart <= tolerance)
            hit[number[part][found]] = True
    return hits


def _ranks(ours: Marked, number: Tensor) -> Tensor:
    """(G, W) int64: 1 for the least sure forecast of each row, and so on; 0 where there is none."""
    assert ours.score is not None
    score = torch.where(number >= 0, ours.score.double()[number.clamp(min=0)], -torch.inf)
    order = score.argsort(stable=True, dim=1, descending=True)
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(score.shape[1], 0, -1).expand_as(order))
    return torch.where(number >= 0, rank, 0)


def _heaviest(weight: Tensor, near: Tensor) -> Tensor:
    """Weights (G, W) of forecasts, and which event each may be matched to (G, W, V), both in order of time -> which
    are matched (G, W) in the heaviest matching that does not cross itself."""
    count, wide = near.shape[0], near.shape[1]
    best = torch.zeros(count, near.shape[2] + 1, dtype=torch.int64)
    table = [best]  # (G, V + 1): the weight of the first i forecasts and the first j events
    for i in range(wide):
        joined = torch.where(near[:, i], best[:, :-1] + weight[:, i, None], 0)
        best = torch.cat([best[:, :1], torch.maximum(best[:, 1:], joined)], 1).cummax(1).values
        table.append(best)
    hit = torch.zeros(count, wide, dtype=torch.bool)
    at = torch.full((count, 1), near.shape[2], dtype=torch.int64)
    for i in range(wide, 0, -1):
        value = table[i].gather(1, at)
        at = (table[i] < value).sum(1, keepdim=True)  # the first events that are enough
        used = table[i - 1].gather(1, at) < value
        hit[:, i - 1] = used[:, 0]
        at = torch.where(used, at - 1, at)
    return hit


def _average(ours: Marked, hit: Tensor, there: Tensor) -> Tensor:
    """(M,) average precision of forecasts (n,) of which `hit` are right; `there` (M,): how many came."""
    assert ours.score is not None
    total = torch.zeros(len(there), dtype=torch.float64).masked_fill(there == 0, torch.nan)
    if not len(hit):
        return total
    order = torch.argsort(ours.score, descending=True, stable=True)
    order = order[torch.argsort(ours.mark[order], stable=True)]
    mark, score, right = ours.mark[order], ours.score[order], hit[order].double().cumsum(0)
    count = torch.bincount(mark, minlength=len(there))
    first = (count.cumsum(0) - count)[mark]
    before = torch.cat([right.new_zeros(1), right])[first]
    shown = torch.arange(1, len(mark) + 1) - first
    last = torch.ones(len(mark), dtype=torch.bool)  # of those with the same score
    last[:-1] = (mark[1:] != mark[:-1]) | (score[1:] != score[:-1])
    mark, found, shown = mark[last], (right - before)[last], shown[last]
    gained = found.clone()
    same = mark[1:] == mark[:-1]
    gained[1:] -= torch.where(same, found[:-1], 0.0)
    return total.index_add_(0, mark, gained * found / shown / there[mark].clamp(min=1))
