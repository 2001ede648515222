"""How far the ends of an interval stand from its median, and what beyond them is an alarm, learned series by series.

The distances are stretched by the size of errors over the size that the calibration claims, by the size of late over
the usual one, and by r, which is learned from whether each outcome lay outside the end that was issued (Gibbs & Candès
2021, arXiv 2106.00170; quantile tracking: Angelopoulos, Candès & Tibshirani 2023, arXiv 2307.16895):

    r <- r · exp(rate · ([outside] - 0.05))

As long as r stays within its bounds, the share outside tends to 5 % on each side whatever comes. The bounds are narrow,
as sizes are followed already: a few days of a new kind leave no intervals behind them that are too wide for months. The
threshold of alarms is learned as r is, so that their share tends to the budget at most.
"""

from math import exp
from statistics import NormalDist
from typing import Final

import numpy as np

from forecast.inference.rows import Array, Layout, Rates, Rows, ratio

OUTSIDE: Final = 0.05  # the share beyond each end
END: Final = NormalDist().inv_cdf(1 - OUTSIDE)  # the normal score of an end
FARTHEST: Final = 1e6  # a normal score, and the threshold of alarms


class Ends:
    """The rules for ends and alarms of rows; `size` (K knots, T targets) and `count` and `late` (T) of their layout are
    learned elsewhere."""

    def __init__(self, layout: Layout, knots: int, targets: int, rates: Rates, budget: float) -> None:
        """Adds its own fields to `layout`."""
        self.layout, self.rates, self.budget = layout, rates, budget
        self.nominal = NormalDist().inv_cdf(1 - budget / 2)
        layout.add("claimed", knots, targets)  # E[d²] as the widths of the calibration would have it
        layout.add("stretch", knots, 2, targets, empty=1.0)  # r
        layout.add("threshold", targets, empty=1.5 * self.nominal)

    def stretch(self, rows: Rows) -> Array:
        """(B, K, 2, T) what distances are multiplied with at the knots, below and above."""
        size, claimed = self.layout.get(rows, "size"), self.layout.get(rows, "claimed")
        count, late = self.layout.get(rows, "count")[:, None], self.layout.get(rows, "late")[:, None]
        trust, calm = count / (count + self.rates.prior), self.rates.calm
        grown = trust * ratio(size, claimed, 1.0) + 1 - trust
        grown = np.clip(grown, 1e-4, 1e4) * (late + calm) / (1 + calm)
        return self.layout.get(rows, "stretch") * np.sqrt(grown)[:, :, None]

    def outcome(self, rows: Rows, y: Array, issued: list[Array]) -> None:
        """A truth (B, T) and, for each knot, the ends (B, 2, T) that were issued for it; NaN: unknown."""
        stretch, rates = self.layout.of(rows, "stretch"), self.rates
        up, down = exp(rates.stretch * (1 - OUTSIDE)), exp(-rates.stretch * OUTSIDE)
        for i, ends in enumerate(issued):
            for side, outside in enumerate((y < ends[:, 0], y > ends[:, 1])):
                moved = np.clip(stretch[:, i, side] * np.where(outside, up, down), rates.least, rates.most)
                known = ~np.isnan(y) & ~np.isnan(ends[:, side])
                stretch[:, i, side] = np.where(known, moved, stretch[:, i, side])

    def issued(self, rows: Rows, width: Array) -> None:
        """Widths (B, K, T) of what was issued with `stretch` as it is now."""
        each = self.stretch(rows)
        new = (width / (each[:, :, 0] + each[:, :, 1]) / END) ** 2
        claimed, count = self.layout.of(rows, "claimed"), self.layout.get(rows, "count")[:, None]
        moved = claimed + np.maximum(self.rates.claimed, 1 / (1 + count)) * (new - claimed)
        claimed[:] = np.where(np.isnan(new), claimed, np.where(claimed > 0, moved, new))

    def alarms(self, rows: Rows, far: Array) -> None:
        """Normal scores (B, T), without their sign, of a truth; NaN: unknown."""
        threshold, rate = self.layout.of(rows, "threshold"), self.rates.alarm
        moved = threshold * np.where(far > threshold, exp(rate * (1 - self.budget)), exp(-rate * self.budget))
        threshold[:] = np.where(np.isnan(far), threshold, np.clip(moved, self.nominal, FARTHEST))


def normal_score(y: Array, low: Array, middle: Array, high: Array) -> Array:
    """How far y is from the middle, on either side, where the ends are at the score of 95 %."""
    away, span = np.abs(y - middle), np.where(y >= middle, high - middle, middle - low)
    return np.where(away > 0, np.minimum(END * ratio(away, span, FARTHEST), FARTHEST), away)
