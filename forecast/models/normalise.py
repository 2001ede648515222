"""Normalisation of a window by its own statistics, undone where the forecast leaves (Kim et al. 2022, RevIN, without
its affine part). The statistics travel as a value; the module keeps no state."""

from typing import NamedTuple

from torch import Tensor, nn


class Statistics(NamedTuple):
    mean: Tensor  # (B, 1, C)
    std: Tensor  # (B, 1, C)


class NoNorm(nn.Module):
    """Hands values through: the scaler fitted on train is all the normalisation there is."""

    def forward(self, past: Tensor, mask: Tensor | None) -> tuple[Tensor, Statistics | None]:
        return past, None

    def undo(self, forecast: Tensor, statistics: Statistics | None) -> Tensor:
        return forecast


class InstanceNorm(NoNorm):
    """Zero mean and unit variance per window and channel, over observed steps; a flat window is only centred."""

    floor = 1e-2  # of the scaled standard deviation: a flat window must not blow noise up

    def forward(self, past: Tensor, mask: Tensor | None) -> tuple[Tensor, Statistics]:
        if mask is None:
            mean, std = past.mean(1, keepdim=True), past.std(1, keepdim=True, correction=0)
        else:
            count = mask.sum(1, keepdim=True).clamp(min=1)
            mean = (past * mask).sum(1, keepdim=True) / count
            std = (((past - mean) * mask).square().sum(1, keepdim=True) / count).sqrt()
        statistics = Statistics(mean.detach(), std.detach().clamp(min=self.floor))
        normal = (past - statistics.mean) / statistics.std
        return normal if mask is None else normal * mask, statistics

    def undo(self, forecast: Tensor, statistics: Statistics | None) -> Tensor:
        """forecast (B, H, T): the targets are the first T channels."""
        if statistics is None:
            return forecast
        targets = forecast.shape[-1]
        return forecast * statistics.std[..., :targets] + statistics.mean[..., :targets]
