"""Errors of many forecasters by group, a series or an origin: sums of batches in float64, read once as a table."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.data.freq import Ints
from forecast.types import SeriesBatch

Numbers = NDArray[np.float64]
SUMS: Final = (
    "values", "z_squares", "z_absolutes", "squares", "absolutes", "signed", "scales", "scaled", "inside", "wide",
    "counted",
)  # fmt: skip
WIDEST: Final = 0.9  # the interval of the tables by series and origin, where there is one


def pairs(levels: Sequence[float]) -> list[tuple[float, float]]:
    """The levels that bound an interval, the widest last."""
    near = {round(level, 9) for level in levels}
    return [(level, round(1 - level, 9)) for level in sorted(near, reverse=True)
            if level < 0.5 and round(1 - level, 9) in near]  # fmt: skip


def shown(found: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The interval that tables show: that of 90 %, else the widest."""
    of = {round(high - low, 9): (low, high) for low, high in found}
    return of.get(WIDEST, found[-1] if found else None)


def sums(
    forecast: Tensor, batch: SeriesBatch, std: Tensor, scale: Tensor, ends: tuple[Numbers, Numbers] | None, y: Numbers
) -> Numbers:
    """(B, len(SUMS)) of forecasts (B, h, T), scaled; std and the MASE scale (B, 1, T); ends of an interval and what
    came, y, (B, h, T) in original units, NaN where nothing was observed."""
    h = forecast.shape[1]
    seen = batch.future_mask[:, :h]
    off = torch.where(seen, forecast.double() - batch.future[:, :h].double(), 0.0)
    error, known = off * std, seen & (scale > 0)
    parts = [seen.double(), off.square(), off.abs(), error.square(), error.abs(), error]
    parts += [torch.where(known, error.abs() / torch.where(scale > 0, scale, 1.0), 0.0), known.double()]
    found = torch.stack([part.sum((1, 2)) for part in parts], 1).numpy()
    if ends is None:
        return np.concatenate([found, np.zeros((len(found), 3))], 1)
    low, high = ends
    real = ~np.isnan(y)
    inside, wide = real & (low <= y) & (y <= high), np.where(real, high - low, 0.0)
    return np.concatenate([found, *(part.sum((1, 2))[:, None] for part in (inside, wide, real))], 1)


class Tally:
    """Sums by forecaster and group."""

    def __init__(self, groups: int, *, one_unit: bool) -> None:
        self.groups, self.one_unit = groups, one_unit
        self.sums: dict[str, Numbers] = {}  # (G, len(SUMS))

    def add(self, name: str, group: Ints, found: Numbers) -> None:
        """Sums (B, len(SUMS)) of windows in groups (B,)."""
        if name not in self.sums:
            self.sums[name] = np.zeros((self.groups, len(SUMS)))
        np.add.at(self.sums[name], group, found)

    def frame(self, keys: Mapping[str, Any], kinds: Mapping[str, str]) -> pl.DataFrame:
        """A row for each forecaster and group that has a value; `keys`: columns (G,) that say which group."""
        frames = [self._of(name, keys, kinds.get(name, "baseline")) for name in self.sums]
        return pl.concat(frames).filter(pl.col("values") > 0)

    def _of(self, name: str, keys: Mapping[str, Any], kind: str) -> pl.DataFrame:
        s = dict(zip(SUMS, self.sums[name].T, strict=True))
        found: dict[str, Any] = {
            "mse": _ratio(s["z_squares"], s["values"]), "mae": _ratio(s["z_absolutes"], s["values"]),
            "mae_original": _ratio(s["absolutes"], s["values"]),
            "rmse_original": np.sqrt(_ratio(s["squares"], s["values"])),
            "bias_original": _ratio(s["signed"], s["values"]), "mase": _ratio(s["scales"], s["scaled"]),
            "coverage": _ratio(s["inside"], s["counted"]), "width_original": _ratio(s["wide"], s["counted"]),
        }  # fmt: skip
        if not self.one_unit:  # a sum of volts and watts means nothing
            found |= {key: np.full(self.groups, np.nan) for key in found if key.endswith("_original")}
        count = s["values"].astype(np.int64)
        head = {"name": [name] * self.groups, "kind": [kind] * self.groups, **keys, "values": count}
        return pl.DataFrame({**head, **found}).with_columns(pl.col(*found).fill_nan(None))


def _ratio(top: Numbers, bottom: Numbers) -> Numbers:
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), np.nan)


class Covered:
    """What the intervals between pairs of levels hold, by step of the horizon."""

    def __init__(self, horizon: int, levels: Sequence[float], *, one_unit: bool) -> None:
        self.pairs, self.one_unit = pairs(levels), one_unit
        self.inside, self.wide = (np.zeros((horizon, len(self.pairs))) for _ in range(2))
        self.count = np.zeros(horizon)

    def add(self, quantiles: Mapping[float, Numbers], y: Numbers) -> None:
        """quantiles by level and y (B, h, T), NaN where nothing was observed."""
        real = ~np.isnan(y)
        self.count += real.sum((0, 2))
        for k, (low, high) in enumerate(self.pairs):
            a, b = quantiles[low], quantiles[high]
            self.inside[:, k] += (real & (a <= y) & (y <= b)).sum((0, 2))
            self.wide[:, k] += np.where(real, b - a, 0.0).sum((0, 2))

    def result(self) -> dict[str, Any]:
        """{"90": {coverage, width_original, coverage_by_step, width_by_step}, …}, plain numbers; None where nothing was
        observed, or where units do not mix."""
        n = self.count.sum()
        return {
            f"{100 * (high - low):g}": {
                "coverage": float(self.inside[:, k].sum() / n) if n else None,
                "width_original": float(self.wide[:, k].sum() / n) if n and self.one_unit else None,
                "coverage_by_step": _plain(_ratio(self.inside[:, k], self.count)),
                "width_by_step": _plain(_ratio(self.wide[:, k], self.count)) if self.one_unit else None,
            }
            for k, (low, high) in enumerate(self.pairs)
        }


def _plain(values: Numbers) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]
