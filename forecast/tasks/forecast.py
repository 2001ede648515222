"""The forecasting task: loss and validation scores around a chain. It owns nothing else."""

from typing import ClassVar

import torch
from torch import Tensor

from forecast.heads import Chain
from forecast.tasks.base import Task
from forecast.types import SeriesBatch


class ForecastTask(Task):
    """Trains a chain on SeriesBatch. Validation scores are ratios of sums over all windows and all ranks."""

    SCORES: ClassVar = ("val/mse", "val/mae")
    chain: Chain

    def loss(self, batch: SeriesBatch) -> Tensor:
        mask = batch.future_mask if self.chain.masked else None
        return self.chain.output.loss(self.chain(batch), batch.future, mask, batch.weight)

    def sums(self, batch: SeriesBatch, exact: torch.dtype) -> Tensor:
        error = (self.chain.point(batch).to(exact) - batch.future) * batch.future_mask
        return torch.stack([error.square().sum(), error.abs().sum(), batch.future_mask.sum().to(exact)])

    def scores(self, total: list[float]) -> tuple[float, ...]:
        squares, absolutes, count = total
        return squares / max(count, 1), absolutes / max(count, 1)
