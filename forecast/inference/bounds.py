"""What no forecast may leave: `task.min` and `task.max`, in the data's own units."""

from typing import NamedTuple

import torch
from torch import Tensor

from forecast.data.scale import Scaler


class Bounds(NamedTuple):
    """Scaled bounds of each series and target, (S, T); None where there is no bound."""

    low: Tensor | None
    high: Tensor | None

    @classmethod
    def of(cls, low: float | None, high: float | None, scaler: Scaler, targets: int) -> "Bounds":
        mean, std = scaler.mean[:, :targets], scaler.std[:, :targets]

        def scaled(bound: float | None) -> Tensor | None:
            return None if bound is None else torch.from_numpy((bound - mean) / std).float()

        return cls(scaled(low), scaled(high))

    def __call__(self, values: Tensor, series: Tensor) -> Tensor:
        """values (B, H, T) or (B, H, T, N) of series (B,), scaled -> the same, within the bounds."""
        for bound, nearer in ((self.low, torch.maximum), (self.high, torch.minimum)):
            if bound is not None:
                each = bound[series][:, None]
                values = nearer(values, each if values.ndim == 3 else each[..., None])
        return values
