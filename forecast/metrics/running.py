"""Errors of point forecasts, gathered batch by batch in float64 and read once.

Every figure is a ratio of sums over observed values, so it does not depend on how windows are cut into batches.
Scaled units are those the model is trained in (mean 0, variance 1 on train); original units are the data's.

    mse = Σe²/n   mae = Σ|e|/n   rmse = √mse   bias = Σ(ŷ − y)/n   mase = mean of |e| / seasonal_scale
    smape = mean of 2|e| / (|y| + |ŷ|), between 0 and 2   wape = Σ|e| / Σ|y|, averaged over channels of several units
"""

from typing import Any

import torch
from torch import Tensor

_SUMS = ("n", "squares", "absolutes", "signed", "actuals", "symmetric", "n_mase", "mase", "z_squares", "z_absolutes")


class Errors:
    """Sums per horizon step and target, (H, T) each."""

    def __init__(self, horizon: int, names: tuple[str, ...], units: tuple[str, ...]) -> None:
        self.names, self.units = names, units
        self.sums = {key: torch.zeros(horizon, len(names), dtype=torch.float64) for key in _SUMS}

    def update(
        self, forecast: Tensor, target: Tensor, mask: Tensor, *, mean: Tensor, std: Tensor, scale: Tensor
    ) -> None:
        """forecast, target, mask (B, H, T) in scaled units; mean, std and the MASE scale (B, 1, T) in original ones."""
        seen = mask.to(torch.float64)
        y_z, f_z = target.to(torch.float64), forecast.to(torch.float64)
        y, f = y_z * std + mean, f_z * std + mean
        e_z, e = (f_z - y_z) * seen, (f - y) * seen
        size = (y.abs() + f.abs()) * seen
        scaled = (scale > 0) & mask
        self._add("n", seen)
        self._add("squares", e.square())
        self._add("absolutes", e.abs())
        self._add("signed", e)
        self._add("actuals", y.abs() * seen)
        self._add("symmetric", torch.where(size > 0, 2 * e.abs() / size.clamp(min=1e-300), 0.0))
        self._add("n_mase", scaled.to(torch.float64))
        self._add("mase", torch.where(scaled, e.abs() / torch.where(scale > 0, scale, 1.0), 0.0))
        self._add("z_squares", e_z.square())
        self._add("z_absolutes", e_z.abs())

    def _add(self, key: str, values: Tensor) -> None:
        self.sums[key] += values.sum(0).cpu()

    def result(self) -> dict[str, Any]:
        """Scores as plain numbers; None where nothing was observed or where units do not mix."""
        s = self.sums
        total = {key: value.sum() for key, value in s.items()}
        one_unit = len(set(self.units)) == 1
        original = self._original(total)
        if not one_unit:  # a sum of volts and watts means nothing; scores free of units do
            original = {k: (v if k in ("mase", "smape") else None) for k, v in original.items()}
            shares = [v for v in _ratios(s["absolutes"].sum(0), s["actuals"].sum(0)) if v is not None]
            original["wape"] = sum(shares) / len(shares) if shares else None
        per_step = {key: value.sum(1) for key, value in s.items()}
        channels = {
            name: {"unit": unit, **self._scaled({k: v[:, i].sum() for k, v in s.items()}, suffix="_z"),
                   **self._original({k: v[:, i].sum() for k, v in s.items()})}
            for i, (name, unit) in enumerate(zip(self.names, self.units, strict=True))
        }  # fmt: skip
        return {
            "scaled": self._scaled(total),
            "original": original,
            "horizon": {
                "mse": _ratios(per_step["z_squares"], per_step["n"]),
                "mae": _ratios(per_step["z_absolutes"], per_step["n"]),
                "original": self._by_step(per_step, one_unit),
            },
            "channels": channels,
            "values": int(total["n"]),
        }

    def _by_step(self, per_step: dict[str, Tensor], one_unit: bool) -> dict[str, list[float | None]]:
        """Original scores of each horizon step; of channels in several units only those free of units."""
        steps = [self._original({k: v[h] for k, v in per_step.items()}) for h in range(len(per_step["n"]))]
        keys = steps[0] if one_unit else ("mase", "smape")
        return {key: [step[key] for step in steps] for key in keys}

    @staticmethod
    def _scaled(s: dict[str, Tensor], suffix: str = "") -> dict[str, float | None]:
        mse = _ratio(s["z_squares"], s["n"])
        rmse = None if mse is None else mse**0.5
        return {f"mse{suffix}": mse, f"mae{suffix}": _ratio(s["z_absolutes"], s["n"]), f"rmse{suffix}": rmse}

    @staticmethod
    def _original(s: dict[str, Tensor]) -> dict[str, float | None]:
        mse = _ratio(s["squares"], s["n"])
        return {
            "mse": mse,
            "mae": _ratio(s["absolutes"], s["n"]),
            "rmse": None if mse is None else mse**0.5,
            "mase": _ratio(s["mase"], s["n_mase"]),
            "smape": _ratio(s["symmetric"], s["n"]),
            "wape": _ratio(s["absolutes"], s["actuals"]),
            "bias": _ratio(s["signed"], s["n"]),
        }


class SeriesMase:
    """The MASE of each of S series, and their mean: every series counts the same, however many windows it has."""

    def __init__(self, count: int) -> None:
        self.sums, self.counts = (torch.zeros(count, dtype=torch.float64) for _ in range(2))

    def update(self, error: Tensor, mask: Tensor, scale: Tensor, series: Tensor) -> None:
        """error, mask (B, H, T) and the MASE scale (B, 1, T) in original units; `series` (B,) the number of each."""
        seen = mask & (scale > 0)
        size = torch.where(seen, error.abs() / torch.where(scale > 0, scale, 1.0), 0.0)
        self.sums.index_add_(0, series, size.to(torch.float64).sum((1, 2)))
        self.counts.index_add_(0, series, seen.sum((1, 2)).to(torch.float64))

    def result(self) -> dict[str, Any]:
        """`mase`, the mean over the `count` series that have one; None where there is none."""
        some = self.counts > 0
        mean = float((self.sums[some] / self.counts[some]).mean()) if some.any() else None
        return {"mase": mean, "count": int(some.sum())}


def _ratio(top: Tensor, bottom: Tensor) -> float | None:
    return float(top / bottom) if float(bottom) > 0 else None


def _ratios(top: Tensor, bottom: Tensor) -> list[float | None]:
    return [_ratio(a, b) for a, b in zip(top, bottom, strict=True)]


def seasonal_scale(values: Tensor, season: int) -> Tensor:
    """The denominator of MASE (Hyndman & Koehler 2006): mean |y_t − y_{t−season}| of train rows (N, C) -> (C,).

    NaN marks missing values; 0 where no pair was observed or the series never moves.
    """
    if len(values) <= season:
        return torch.zeros(values.shape[1], dtype=torch.float64)
    step = (values[season:] - values[:-season]).abs().to(torch.float64)
    seen = ~step.isnan()
    return step.nan_to_num(0.0).sum(0) / seen.sum(0).clamp(min=1)
