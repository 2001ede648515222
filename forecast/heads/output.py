"""What a forecast is made of, and how it is scored in training."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Loss = Literal["mse", "mae", "huber"]
_LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.smooth_l1_loss}


class Point(nn.Module):
    """One number per step and target; the loss is averaged over observed values only."""

    def __init__(self, loss: Loss = "mse") -> None:
        super().__init__()
        if loss not in _LOSSES:
            raise ValueError(f"task.loss is {loss!r}; expected one of {', '.join(_LOSSES)}")
        self.name = loss

    def loss(self, forecast: Tensor, target: Tensor, mask: Tensor | None, weight: Tensor | None = None) -> Tensor:
        """forecast, target (B, H, T), mask (B, H, T) True where observed -> scalar; 0 where nothing was observed.

        A window of `weight` (B,) 2 counts as two of weight 1: Σ w·loss / Σ w over observed values.
        """
        if mask is None and weight is None:
            return _LOSSES[self.name](forecast, target)
        each = _LOSSES[self.name](forecast, target, reduction="none")
        if weight is None:
            assert mask is not None
            return (each * mask).sum() / mask.sum().clamp(min=1)
        share = weight[:, None, None].expand_as(each)
        share = share if mask is None else share * mask
        return (each * share).sum() / share.sum().clamp(min=torch.finfo(share.dtype).tiny)
