"""What a forecast is made of: the numbers a head gives for each step and target, their loss, and the way between values
and scores.

A score says where a value lies within its forecast, free of the forecast's own place and width: 0 near the middle,
growing with the value. So one calibration (inference/calibration.py) serves every output: it learns how scores are
spread, and `value` takes scores back to values. Shapes: B windows, H steps, T targets, P numbers, N of anything.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.models.normalise import Statistics, undo

Loss = Literal["mse", "mae", "huber"]
_LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.smooth_l1_loss}


class Output(nn.Module):
    """The contract. `width` P numbers come from the head; a forecast is (B, H, T), or (B, H, T, P) where P > 1.

    frequency: share of the loss that is the mean absolute error of the forecast's Fourier transform over the horizon,
    in which the errors of neighbouring steps are nearly uncorrelated (FreDF, Wang et al. 2024, arXiv 2402.02399).
    """

    width = 1
    counts = False  # whether values are counts, in units that must not be scaled
    spread = True  # whether a forecast says how wide it is

    def __init__(self, frequency: float = 0.0) -> None:
        super().__init__()
        if not 0 <= frequency < 1:
            raise ValueError(f"task.frequency is {frequency}; expected a share from 0 to less than 1")
        self.frequency = frequency

    def forward(self, raw: Tensor, statistics: Statistics | None) -> Tensor:
        """What a head gives, raw, in units of a normalised window -> the forecast in scaled units."""
        raise NotImplementedError

    def point(self, forecast: Tensor) -> Tensor:
        """The one number (B, H, T) of a forecast."""
        return forecast[..., 0]

    def each(self, forecast: Tensor, target: Tensor) -> Tensor:
        """The loss (B, H, T) of each value."""
        raise NotImplementedError

    def score(self, forecast: Tensor, target: Tensor, mix: Tensor | float = 0.5) -> Tensor:
        """Where target (B, H, T) lies in its forecast. Counts have jumps: `mix` in (0, 1) says where within one."""
        raise NotImplementedError

    def value(self, forecast: Tensor, score: Tensor) -> Tensor:
        """The values (B, H, T, N) that have scores (B, H, T, N)."""
        raise NotImplementedError

    def own(self, forecast: Tensor, levels: Tensor) -> Tensor | None:
        """The scores, to broadcast to (B, H, T, N), of quantiles at `levels` (N,) by the forecast's own account; None
        where it has none."""
        return torch.special.ndtri(levels)

    def loss(self, forecast: Tensor, target: Tensor, mask: Tensor | None, weight: Tensor | None = None) -> Tensor:
        """target (B, H, T), mask (B, H, T) True where observed, weight (B,) of each window -> scalar; the mean over
        what was observed, 0 where nothing was."""
        each = self.each(forecast, target)
        if self.frequency:
            each = (1 - self.frequency) * each + self.frequency * self._apart(forecast, target, mask)
        if weight is not None:
            share = weight[:, None, None].expand_as(each) * (1.0 if mask is None else mask)
            return (each * share).sum() / share.sum().clamp(min=torch.finfo(share.dtype).tiny)
        if mask is None:
            return each.mean()
        return (each * mask).sum() / mask.sum().clamp(min=1)

    def _apart(self, forecast: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        """(B, 1, T): the mean absolute Fourier coefficient of the error over the horizon; a gap is no error."""
        error = self.point(forecast).float() - target
        if mask is not None:
            error = error * mask
        return torch.fft.rfft(error, dim=1, norm="ortho").abs().mean(1, keepdim=True)


class Point(Output):
    """One number per step and target."""

    spread = False

    def __init__(self, loss: Loss = "mse", *, frequency: float = 0.0) -> None:
        super().__init__(frequency)
        if loss not in _LOSSES:
            raise ValueError(f"task.loss is {loss!r}; expected one of {', '.join(_LOSSES)}")
        self.name = loss

    def forward(self, raw: Tensor, statistics: Statistics | None) -> Tensor:
        return undo(raw, statistics)

    def point(self, forecast: Tensor) -> Tensor:
        return forecast

    def each(self, forecast: Tensor, target: Tensor) -> Tensor:
        return _LOSSES[self.name](forecast, target, reduction="none")

    def score(self, forecast: Tensor, target: Tensor, mix: Tensor | float = 0.5) -> Tensor:
        return target - forecast

    def value(self, forecast: Tensor, score: Tensor) -> Tensor:
        return forecast[..., None] + score

    def own(self, forecast: Tensor, levels: Tensor) -> Tensor | None:
        return None


class Quantiles(Output):
    """Quantiles at `levels`, the median first among what the head gives; none can cross another.

    The others stand below and above the median at distances that add up (each a softplus), so they are in order by
    construction. Loss: the mean pinball loss of all levels, twice, so that the median alone would have its MAE
    (Koenker & Bassett 1978). A score is Φ⁻¹ of the level, linear between two quantiles and beyond the last.
    """

    def __init__(self, levels: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95), *, frequency: float = 0.0) -> None:
        super().__init__(frequency)
        if len(levels) < 3 or any(not 0 < p < 1 for p in levels) or sorted(set(levels)) != list(levels):
            raise ValueError(f"task.levels is {list(levels)}; expected three or more, rising, between 0 and 1")
        if 0.5 not in levels:
            raise ValueError(f"task.levels is {list(levels)}; expected 0.5, the median, among them")
        self.width, self.middle = len(levels), list(levels).index(0.5)
        self.levels: Tensor
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        gap = torch.special.ndtri(torch.tensor(levels, dtype=torch.float64)).diff()
        self.start: Tensor  # softplus of it is half the gap between quantiles of a standard normal
        self.register_buffer("start", (gap / 2).expm1().log().float(), persistent=False)

    def forward(self, raw: Tensor, statistics: Statistics | None) -> Tensor:
        gap, k = F.softplus(raw[..., 1:] + self.start), self.middle
        middle = raw[..., :1]
        below = middle - gap[..., :k].flip(-1).cumsum(-1).flip(-1)
        return undo(torch.cat([below, middle, middle + gap[..., k:].cumsum(-1)], -1), statistics)

    def point(self, forecast: Tensor) -> Tensor:
        return forecast[..., self.middle]

    def each(self, forecast: Tensor, target: Tensor) -> Tensor:
        error = target[..., None] - forecast
        return 2 * torch.maximum(self.levels * error, (self.levels - 1) * error).mean(-1)

    def score(self, forecast: Tensor, target: Tensor, mix: Tensor | float = 0.5) -> Tensor:
        normal = torch.special.ndtri(self.levels).expand_as(forecast)
        return between(forecast, normal, target[..., None])[..., 0]

    def value(self, forecast: Tensor, score: Tensor) -> Tensor:
        return between(torch.special.ndtri(self.levels).expand_as(forecast), forecast, score)


def between(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """The piecewise linear map through points (x, y), both (…, P) with x rising, at (…, N) -> (…, N); the first axes of
    `at` may be left out. Beyond the last points it goes on as steeply."""
    at = at.expand(*x.shape[:-1], at.shape[-1])
    right = torch.searchsorted(x.contiguous(), at.contiguous()).clamp(1, x.shape[-1] - 1)
    left = right - 1
    x0, x1, y0, y1 = x.gather(-1, left), x.gather(-1, right), y.gather(-1, left), y.gather(-1, right)
    return y0 + (at - x0) * (y1 - y0) / (x1 - x0).clamp(min=torch.finfo(x.dtype).tiny ** 0.5)
