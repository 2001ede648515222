"""Calibration that goes on as values come: each quantile of the scores is moved a little at every outcome, up where the
outcome was above it and down where it was below (quantile tracking: Gibbs & Candès 2021; Angelopoulos, Candès &
Tibshirani 2023, arXiv 2307.16895, §2):

    q_p <- q_p + rate · width · (p - [score <= q_p])

Over a long run the share of values below q_p tends to p whatever happens to the series; no exchangeability is needed.
The copula forgets its oldest windows as new ones are complete. Nothing is learned from a value before it is known.
"""

from typing import Final

import torch
from torch import Tensor

from forecast.inference.calibration import LEVELS, Calibration, normal_scores

RATE: Final = 0.02  # of the width between the quantiles at 5 and 95 %
NARROWEST: Final = 0.1  # of the width at the start
DRIFT: Final = 0.05  # of the way from the usual size of scores at a place of the season to that of what came
MOST: Final = 5.0  # usual sizes: what came counts as no more


class Adaptive:
    """The state of S series whose errors are pooled. Time is a count of steps; it only goes on.

    `push` the scores of forecasts as they are made (their truth stays hidden until its step has come), `advance` to a
    time before forecasts are made then, and read `table`.
    """

    def __init__(self, calibration: Calibration, series: int, *, rate: float = RATE) -> None:
        self.table, self.scale, self.pool = (part.clone() for part in calibration)
        self.rate = rate
        self.horizon, self.targets = self.table.shape[:2]
        self.levels = torch.tensor(LEVELS)
        self.low, self.high = LEVELS.index(0.05), LEVELS.index(0.95)
        self.narrow = NARROWEST * self._width()
        self.now: int | None = None
        self.ring = torch.full((self.horizon + 1, series, self.horizon, self.targets), torch.nan)
        self.normal = torch.full_like(self.ring, torch.nan)  # where each score stood when its forecast was made
        self.step = torch.arange(self.horizon)
        self.oldest = 0  # in the pool

    def advance(self, now: int) -> None:
        """To the time whose forecasts are made next: values of all steps before it are known."""
        if self.now is None:
            self.now = now
        if now - self.now > len(self.ring):  # nothing that is waiting is left behind
            for _ in range(len(self.ring)):
                self._tick()
            self.now = now
        while self.now < now:
            self._tick()

    def push(self, series: Tensor, scores: Tensor) -> None:
        """Scores (W, H, T), over their usual size now, of forecasts made now for `series` (W,); NaN: not observed."""
        assert self.now is not None
        slot = self.now % len(self.ring)
        self.ring[slot][series] = scores
        self.normal[slot][series] = normal_scores(self.table, scores).where(~scores.isnan(), torch.nan)

    def _tick(self) -> None:
        assert self.now is not None
        self.now += 1
        slots = len(self.ring)
        made = (self.now - 1 - self.step) % slots
        known = self.ring[made, :, self.step]  # (H, S, T): step d of the forecasts made d + 1 steps ago
        seen = ~known.isnan()
        if seen.any():
            self._resize(known, seen)
            below = known[..., None] <= self.table[:, None]
            count = seen.sum(1)[..., None]
            share = (below & seen[..., None]).sum(1) / count.clamp(min=1)
            moved = torch.where(count > 0, self.levels - share, 0.0)
            self.table = (self.table + self.rate * torch.maximum(self._width(), self.narrow) * moved).sort(-1).values
        old = self.normal[(self.now - self.horizon) % slots]
        whole = old[~old.isnan().flatten(1).any(1)][-len(self.pool) :]
        if len(whole):
            at = (self.oldest + torch.arange(len(whole))) % len(self.pool)
            self.pool[at] = whole
            self.oldest = int(at[-1]) + 1
        self.ring[self.now % slots] = torch.nan

    def _resize(self, known: Tensor, seen: Tensor) -> None:
        """The size of scores at the place in the season that was just seen drifts towards that of (H, S, T) scores."""
        assert self.now is not None
        place, count = (self.now - 1) % len(self.scale), seen.sum((0, 1))
        size = known.abs().nan_to_num(0.0).sum((0, 1)) / count.clamp(min=1)
        change = torch.where(count > 0, 1 + DRIFT * (size.clamp(max=MOST) - 1), 1.0)
        self.scale[place] = self.scale[place] * change

    def learned(self) -> Calibration:
        """What is known now."""
        return Calibration(self.table.clone(), self.scale.clone(), self.pool.clone())

    def _width(self) -> Tensor:
        return self.table[..., self.high, None] - self.table[..., self.low, None]
