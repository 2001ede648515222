"""Scores of quantiles and of joint paths, gathered batch by batch in float64 and read once.

coverage   the share of observed values between the quantiles at (1 - c) / 2 and (1 + c) / 2; width: their distance
crps       2 ∫ pinball_p dp over the levels (Gneiting & Raftery 2007, §4.2), the mean over values
wql        2 Σ pinball / Σ|y|, the mean over levels, in original units (weighted quantile loss)
energy     E‖X - y‖ - ½ E‖X - X'‖ over whole windows (ibid., eq. 22), of scaled values
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

NOMINAL: Final = (0.5, 0.8, 0.9, 0.95)


class Intervals:
    """Sums over values, for quantiles at `levels` (G,), which hold those of every interval in NOMINAL."""

    def __init__(self, horizon: int, levels: Sequence[float], units: Sequence[str]) -> None:
        self.levels, self.one_unit = list(levels), len(set(units)) == 1
        self.at = torch.tensor(levels, dtype=torch.float64)
        edges = torch.cat([torch.zeros(1), (self.at[1:] + self.at[:-1]) / 2, torch.ones(1)]).double()
        self.share = edges.diff()  # of the levels between 0 and 1 that each stands for
        size, g = (horizon,), len(self.levels)
        self.count = torch.zeros(size, dtype=torch.float64)
        self.below = torch.zeros(*size, g, dtype=torch.float64)
        self.inside, self.wide, self.wide_original = (
            torch.zeros(*size, len(NOMINAL), dtype=torch.float64) for _ in range(3)
        )
        self.pinball, self.pinball_original = (torch.zeros(g, dtype=torch.float64) for _ in range(2))
        self.actual = 0.0
        self.ends = torch.tensor([(self._level((1 - c) / 2), self._level((1 + c) / 2)) for c in NOMINAL])

    def _level(self, p: float) -> int:
        return min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - p))

    def update(self, quantiles: Tensor, y: Tensor, mask: Tensor, *, mean: Tensor, std: Tensor) -> None:
        """quantiles (B, H, T, G) and y, mask (B, H, T) in scaled units; mean, std (B, 1, T) of original ones."""
        q, y = quantiles.double(), y.double()
        seen = mask.double()
        self.count += seen.sum((0, 2))
        self.below += ((y[..., None] <= q) * seen[..., None]).sum((0, 2))
        low, high = q[..., self.ends[:, 0]], q[..., self.ends[:, 1]]
        inside = (low <= y[..., None]) & (y[..., None] <= high)
        self.inside += (inside * seen[..., None]).sum((0, 2))
        wide = (high - low) * seen[..., None]
        self.wide += wide.sum((0, 2))
        self.wide_original += (wide * std[..., None]).sum((0, 2))
        error = y[..., None] - q
        pinball = torch.maximum(self.at * error, (self.at - 1) * error) * seen[..., None]
        self.pinball += pinball.sum((0, 1, 2))
        self.pinball_original += (pinball * std[..., None]).sum((0, 1, 2))
        self.actual += float(((y * std + mean).abs() * seen).sum())

    def result(self) -> dict[str, Any]:
        """Plain numbers; None where nothing was observed or where units do not mix."""
        n = float(self.count.sum())
        if n == 0:
            return {"levels": self.levels, "values": 0}
        nominal = {
            f"{100 * c:g}": {
                "coverage": float(self.inside[:, i].sum() / n),
                "width": float(self.wide[:, i].sum() / n),
                "width_original": float(self.wide_original[:, i].sum() / n) if self.one_unit else None,
                "coverage_by_step": _ratios(self.inside[:, i], self.count),
                "width_by_step": _ratios(self.wide[:, i], self.count),
            }
            for i, c in enumerate(NOMINAL)
        }
        crps, crps_original = (
            float(2 * (sums * self.share).sum() / n) for sums in (self.pinball, self.pinball_original)
        )
        wql = float(2 * self.pinball_original.mean() / self.actual) if self.actual > 0 and self.one_unit else None
        return {
            "levels": self.levels, "below": [float(x) for x in self.below.sum(0) / n], "nominal": nominal,
            "crps": crps, "crps_original": crps_original if self.one_unit else None, "wql": wql, "values": int(n),
        }  # fmt: skip


class Joint:
    """Sums over whole windows: the sum and the peak of a target over the horizon, by paths and, for comparison, as if
    every step had its quantile at once (marginals); and the energy score."""

    def __init__(self) -> None:
        self.count, self.energy, self.windows = 0.0, 0.0, 0
        self.inside = {(what, how): torch.zeros(len(NOMINAL), dtype=torch.float64)
                       for what in ("sum", "peak") for how in ("paths", "marginals")}  # fmt: skip

    def update(self, paths: Tensor, ends: Tensor, y: Tensor, mask: Tensor) -> None:
        """paths (B, H, T, N), ends (B, H, T, 2, len(NOMINAL)) the quantiles that bound each step, y and mask (B, H, T).

        Only a target that was observed over the whole horizon counts, for the energy only whole windows.
        """
        whole = mask.all(1)  # (B, T)
        levels = torch.tensor([[(1 - c) / 2 for c in NOMINAL], [(1 + c) / 2 for c in NOMINAL]])
        reduced = {"sum": lambda x: x.sum(1), "peak": lambda x: x.amax(1)}
        for what, reduce in reduced.items():
            made, truth, bounds = reduce(paths), reduce(y), reduce(ends)  # (B, T, N), (B, T), (B, T, 2, C)
            spread = torch.quantile(made, levels.flatten().to(made.dtype), dim=-1).unflatten(0, levels.shape)
            by_paths = (spread[0] <= truth) & (truth <= spread[1])  # (C, B, T)
            self.inside[what, "paths"] += (by_paths & whole).sum((1, 2))
            both = (bounds[:, :, 0] <= truth[..., None]) & (truth[..., None] <= bounds[:, :, 1])
            self.inside[what, "marginals"] += (both & whole[..., None]).sum((0, 1))
        self.count += float(whole.sum())
        full = whole.all(1)
        if full.any():
            x = paths[full].flatten(1, 2).double()  # (B, H·T, N)
            off = (x - y[full].flatten(1)[..., None].double()).norm(dim=1).mean(-1)
            half = x.shape[-1] // 2  # two halves of the paths are independent of each other
            apart = (x[..., :half] - x[..., half : 2 * half]).norm(dim=1).mean(-1)
            self.energy += float((off - apart / 2).sum())
            self.windows += int(full.sum())

    def result(self) -> dict[str, Any]:
        """Plain numbers; None where no window was observed whole."""
        made: dict[str, Any] = {"energy": self.energy / self.windows if self.windows else None}
        for (what, how), inside in self.inside.items():
            shares = {f"{100 * c:g}": float(x) / self.count if self.count else None
                      for c, x in zip(NOMINAL, inside, strict=True)}  # fmt: skip
            made.setdefault(what, {})[how] = shares
        return made


def _ratios(top: Tensor, bottom: Tensor) -> list[float | None]:
    return [float(a / b) if float(b) > 0 else None for a, b in zip(top, bottom, strict=True)]
