"""From what a chain gives to forecasts in original units: points, quantiles by the run's calibration, bounds."""

from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from forecast.data.freq import Ints, Stamps
from forecast.heads import Point
from forecast.inference.calibration import scores_at
from forecast.inference.predictor import Predictor, column
from forecast.streaming.stepping import Floats

Numbers = NDArray[np.float64]
KEPT: Final = 64  # places of the season whose scores are kept


class Forecasts(NamedTuple):
    """Of B series, in original units: H steps, T targets, N levels."""

    ids: list[str]  # B
    cutoff: Stamps  # (B,) UTC, the last step that was seen
    ds: Stamps  # (B, H) UTC
    y_hat: Numbers  # (B, H, T)
    quantiles: Numbers  # (B, H, T, N)
    levels: tuple[float, ...]  # N
    channels: tuple[str, ...]  # T

    def frame(self) -> pl.DataFrame:
        """unique_id, channel, cutoff, ds, step, y_hat and a column for each quantile, as `predict` gives it; stamps
        in UTC."""
        b, h, t = self.y_hat.shape
        order = {"y_hat": self.y_hat, **{column(p): self.quantiles[..., i] for i, p in enumerate(self.levels)}}
        return pl.DataFrame({
            "unique_id": np.repeat(np.array(self.ids, dtype=object), h * t).astype(str),
            "channel": np.tile(np.array(self.channels), b * h),
            "cutoff": np.repeat(self.cutoff, h * t), "ds": np.repeat(self.ds.reshape(-1), t),
            "step": np.tile(np.repeat(np.arange(1, h + 1, dtype=np.int32), t), b),
            **{key: value.reshape(-1) for key, value in order.items()},
        })  # fmt: skip


class Scaled(NamedTuple):
    """A forecast in scaled units."""

    point: Floats  # (B, H, T)
    quantiles: Floats  # (B, H, T, N) at Outlook.levels


class Outlook:
    """How the forecasts of one run are read, at the `levels` that are asked for. With `interval`, where the run has
    one, the median and the ends of the 90 % interval are made too: what a stream that corrects itself goes by."""

    def __init__(self, predictor: Predictor, levels: tuple[float, ...], *, interval: bool = False) -> None:
        self.output, self.calibration, spec = predictor.chain.output, predictor.calibration, predictor.recipe.spec
        self.bounds, self.levels, self.targets, self.season = predictor.bounds, levels, spec.targets, spec.season
        known = self.calibration is not None or self.output.spread
        known = known and interval
        self.all = tuple(sorted({*levels, 0.05, 0.5, 0.95})) if known else levels
        self.asked = [self.all.index(level) for level in levels]
        self.ends = [self.all.index(0.05), self.all.index(0.95)] if known else []
        self.middle = self.all.index(0.5) if known else 0
        self.ahead = np.arange(1, 1 + spec.horizon)
        self.plain = isinstance(self.output, Point) and (
            not self.all or self.calibration is not None
        )  # no need of torch
        self.level = torch.tensor(self.all, dtype=torch.float64)
        if self.calibration is not None:
            self.scores = scores_at(self.calibration.table, torch.special.ndtri(self.level).float())  # (H, T, N)
        self.kept: dict[int, torch.Tensor] = {}

    def scaled(
        self, made: Floats, step: Ints, shift: NDArray[Any] | None = None,
        stretch: tuple[NDArray[Any], NDArray[Any]] | None = None,
    ) -> Scaled:  # fmt: skip
        """What a chain gives after steps (B,), moved by shift (B, H, T); the distances of quantiles below and above the
        median times stretch, each (B, H, T)."""
        if self.plain and shift is None and stretch is None:
            scores = self._sized(step % self.season).numpy() if self.all else np.empty((1, 1, 1, 0), np.float32)
            return Scaled(made, made[..., None] + scores)
        numbers = torch.from_numpy(made)
        point = self.output.point(numbers)
        quantiles = self._quantiles(numbers, step, stretch) if self.all else point.new_empty(*point.shape, 0)
        if shift is not None:
            moved = torch.from_numpy(shift.astype(np.float32))
            point, quantiles = point + moved, quantiles + moved[..., None]
        return Scaled(point.numpy(), quantiles.numpy())

    def point(self, made: Floats) -> Floats:
        """The frozen chain's own point (B, H, T)."""
        return self.output.point(torch.from_numpy(made)).numpy()

    def _quantiles(
        self, made: torch.Tensor, step: Ints, stretch: tuple[NDArray[Any], NDArray[Any]] | None
    ) -> torch.Tensor:  # (B, H, T, N)
        if self.calibration is None:
            own = self.output.own(made, self.level.float())
            assert own is not None
            scores = own.expand(*made.shape[:3], len(self.all))
        else:
            scores = self._sized(step % self.season)
        if stretch is not None:
            low, high = (torch.from_numpy(part.astype(np.float32))[..., None] for part in stretch)
            middle = scores[..., self.middle, None]
            away = scores - middle
            scores = middle + away * torch.where(away < 0, low, high)
        return self.output.value(made, scores)

    def _sized(self, place: Ints) -> torch.Tensor:
        """The scores of quantiles (B, H, T, N), or (1, H, T, N) for all, after steps at places (B,) of the season."""
        assert self.calibration is not None
        one = len(place) == 1 or bool((place == place[0]).all())
        if one and (kept := self.kept.get(int(place[0]))) is not None:
            return kept
        ahead = torch.from_numpy((place[:1] if one else place)[:, None] + self.ahead) % self.season
        scores = self.scores * self.calibration.size(ahead)[..., None]
        if one:  # the usual case: all series are at the same time
            self.kept[int(place[0])] = scores
            if len(self.kept) > KEPT:
                self.kept.pop(next(iter(self.kept)))
        return scores

    def undone(self, scaled: Scaled, mean: Numbers, std: Numbers) -> tuple[Numbers, Numbers]:
        """Points (B, H, T) and the quantiles that were asked for, in original units, within the run's bounds; mean and
        std (B, C) of each series."""
        quantiles = scaled.quantiles[..., self.asked]
        scale, place = std[:, None, : self.targets], mean[:, None, : self.targets]
        point = scaled.point * scale + place
        wide = quantiles * scale[..., None] + place[..., None]
        low, high = self.bounds
        if low is not None or high is not None:
            point, wide = (np.clip(part, low, high) for part in (point, wide))
        return point, wide
