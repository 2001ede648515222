"""Scores of the next event, gathered batch by batch in float64 and read once: over events 2 … N of each sequence.

nats         log p(gap), the mean over events, which depends on the unit of time, told beside it; log p(mark), the mean
             over events whose mark is known, since no forecast can name another; and the sum of both
survival     log S(last interval), in which nothing came, per sequence that has one; apart from the nats of events
rmse, mae    of the mean and of the median of the next gap, in the unit of time
macro_f1     the mean of F1 over the marks that came or were forecast
pit          the share of events whose F(gap) falls in each of 20 equal parts of (0, 1); where gaps have a grid, an
             event is spread over its F at both edges of its cell (Czado, Gneiting & Held 2009): nothing is drawn
calibration  the mean over levels p of |share of F(gap) ≤ p, less p| (expected calibration error)
ks           max |share of F(gap) ≤ p, less p|, Kolmogorov's and Smirnov's. By time rescaling -log S(gap) is exponential
             where the model is true (Brown et al. 2002), which is the same statistic. Read at multiples of 1/1000: what
             lies between adds 1/1000 at most
"""

from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

EDGES: Final = 1000  # parts of (0, 1) at whose ends the distribution of F(gap) is kept
PARTS: Final = 20  # of the histogram
ROWS: Final = 1 << 12  # events spread over all the edges at once


class Told(NamedTuple):
    """What was forecast of a batch of events and what came, (B, L) each; whatever stands where `mask` is False."""

    mask: Tensor  # True at events 2 … N: a forecast was made and the event came
    time: Tensor  # log p(gap), nats
    marked: Tensor  # log p(mark), nats
    gap: Tensor
    mean: Tensor
    median: Tensor
    pit: tuple[Tensor, Tensor]  # F at both ends of the gap's cell, the same twice where there is no grid
    mark: Tensor  # int64, M unknown; or (B, L, M) bool labels
    guess: Tensor  # the mark forecast, of the same form
    survival: Tensor | None = None  # (B,) log S(last interval), 0 where there was none


class EventScores:
    """Sums over events of M marks. `unit` is the unit of gaps, told with the scores."""

    def __init__(self, marks: int, *, unit: str = "") -> None:
        self.unit, self.sequences, self.survived = unit, 0, 0
        self.sums = {key: torch.zeros((), dtype=torch.float64) for key in
                     ("events", "time", "mark", "squares", "absolutes", "known", "hits", "survival")}  # fmt: skip
        self.right, self.came, self.guessed = (torch.zeros(marks, dtype=torch.float64) for _ in range(3))
        self.below = torch.zeros(EDGES + 1, dtype=torch.float64)  # events with F(gap) ≤ each edge

    def update(self, told: Told) -> None:
        seen = told.mask
        self._add("events", seen.double())
        self._add("time", told.time[seen])
        self._add("mark", told.marked[seen])
        gap = told.gap[seen].double()
        self._add("squares", (told.mean[seen].double() - gap).square())
        self._add("absolutes", (told.median[seen].double() - gap).abs())
        self._count(told.mark[seen], told.guess[seen])
        self.below += _spread(*(end[seen].double().cpu() for end in told.pit))
        self.sequences += len(seen)
        if told.survival is not None:
            self._add("survival", told.survival)
            self.survived += int((told.survival != 0).sum())

    def _count(self, mark: Tensor, guess: Tensor) -> None:
        """Marks (N,) or labels (N, M): which came, which were forecast, which of them rightly."""
        count = len(self.came)
        if mark.ndim == 2:
            self._add("known", torch.ones(len(mark)))
            self._add("hits", (mark == guess).all(-1))
            parts = (mark & guess, mark, guess)
            for sums, part in zip((self.right, self.came, self.guessed), parts, strict=True):
                sums += part.double().sum(0).cpu()
            return
        known = mark < count
        mark, guess = mark[known], guess[known]
        self._add("known", known)
        self._add("hits", mark == guess)
        for sums, some in zip((self.right, self.came, self.guessed), (mark[mark == guess], mark, guess), strict=True):
            sums += torch.bincount(some, minlength=count).double().cpu()

    def _add(self, key: str, values: Tensor) -> None:
        self.sums[key] += values.double().sum().cpu()

    def result(self) -> dict[str, Any]:
        """Plain numbers; None where there was nothing to count."""
        s = self.sums
        time, mark = _ratio(s["time"], s["events"]), _ratio(s["mark"], s["known"])
        square = _ratio(s["squares"], s["events"])
        either = self.came + self.guessed
        f1 = (2 * self.right / either.clamp(min=1))[either > 0]
        return {
            "events": int(s["events"]),
            "sequences": self.sequences,
            "unit": self.unit,
            "nats": {"time": time, "mark": mark, "total": None if time is None or mark is None else time + mark},
            "survival": float(s["survival"]) / self.survived if self.survived else None,
            "rmse": None if square is None else square**0.5,
            "mae": _ratio(s["absolutes"], s["events"]),
            "accuracy": _ratio(s["hits"], s["known"]),
            "macro_f1": float(f1.mean()) if len(f1) else None,
            **self._calibration(),
        }

    def _calibration(self) -> dict[str, Any]:
        count = self.sums["events"]
        if not count:
            return {"pit": None, "calibration": None, "ks": None}
        share = self.below / count
        off = (share - torch.linspace(0, 1, EDGES + 1, dtype=torch.float64)).abs()
        parts = share[:: EDGES // PARTS].clone()
        parts[0] = 0.0  # what lies at 0 is of the first part
        return {"pit": parts.diff().tolist(), "calibration": float(off[1:-1].mean()), "ks": float(off[1:].max())}


class MetaTpp:
    """protocol=metatpp: the figures of meta-TPP's line of papers (Bae et al. 2023), of which Aaren's is one. Only to be
    compared with theirs, for they are no scores of forecasts:

    nll    less the log-likelihood of events 2 … N - 1 and of the survival of the last interval, over all N events: the
           first, of which nothing was forecast, and the last, which is not scored, are counted
    rmse   √(Σ over sequences of (the SUM of errors)² / scored events): errors of a sequence cancel out
    """

    def __init__(self) -> None:
        self.likelihood, self.squares, self.hits = (torch.zeros((), dtype=torch.float64) for _ in range(3))
        self.all, self.scored = 0, 0

    def update(self, told: Told) -> None:
        """`told.mask` of a row is True at all of its events 2 … N; a row without any is a sequence of one event."""
        order = torch.arange(told.mask.shape[1], device=told.mask.device)
        last = (told.mask * (order + 1)).amax(1, keepdim=True) - 1
        scored = told.mask & (order < last)
        self.likelihood += (told.time.double() + told.marked.double())[scored].sum().cpu()
        if told.survival is not None:
            self.likelihood += told.survival.double().sum().cpu()
        error = (told.mean.double() - told.gap.double()).masked_fill(~scored, 0.0)
        self.squares += error.sum(1).square().sum().cpu()
        same = told.mark == told.guess
        self.hits += (same.all(-1) if same.ndim == 3 else same)[scored].double().sum().cpu()
        self.all += len(told.mask) + int(told.mask.sum())
        self.scored += int(scored.sum())

    def result(self) -> dict[str, Any]:
        """Plain numbers; None where there was nothing to count."""
        some = self.scored > 0
        return {
            "protocol": "metatpp",
            "nll": (0.0 - float(self.likelihood)) / self.all if self.all else None,
            "rmse": (float(self.squares) / self.scored) ** 0.5 if some else None,
            "accuracy": float(self.hits) / self.scored if some else None,
            "events": self.all,
            "scored": self.scored,
        }


def _spread(low: Tensor, high: Tensor) -> Tensor:
    """(N,) ends of what each event covers of (0, 1) -> (EDGES + 1,) how many events lie below each edge."""
    edges = torch.linspace(0, 1, EDGES + 1, dtype=torch.float64)
    point = high <= low
    at = torch.searchsorted(edges, high[point])  # the first edge that is not below
    total = torch.bincount(at, minlength=EDGES + 1)[: EDGES + 1].double().cumsum(0)
    for some, until in zip(low[~point].split(ROWS), high[~point].split(ROWS), strict=True):
        total += ((edges - some[:, None]) / (until - some)[:, None]).clamp(0, 1).sum(0)
    return total


def _ratio(top: Tensor, bottom: Tensor) -> float | None:
    return float(top / bottom) if float(bottom) > 0 else None
