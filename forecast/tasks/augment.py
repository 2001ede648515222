"""Changed copies of labelled series to train on. Every series is changed by itself, within its own length; mixup mixes
two. Numbers are drawn from torch's global generator, which a training seeds in each step.

warp             time runs at a speed that varies smoothly, exp(warp · z) at each of KNOTS even places of the series,
                 z ~ N(0, 1); its ends stay (Um et al. 2017, arXiv 1706.00527)
scale            each channel times exp(scale · z)
jitter           each value + jitter · z, in units of scaled values (same)
mixup            λ · own + (1 - λ) · another of the batch, λ ~ max(b, 1 - b), b ~ Beta(mixup, mixup) (Zhang et al. 2018,
                 arXiv 1710.09412): where both have observed values. A series keeps its length, and its label gets
                 1 - (1 - λ) · the share of its steps that the other has
channel_dropout  each channel is hidden with this probability, never all of a series
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from forecast.types import LabelBatch

KNOTS = 6


@dataclass(frozen=True)
class Augment:
    """LabelBatch -> another like it, and soft targets (B, K). All 0: the batch as it is, and its labels one-hot.

    ValueError for a strength that means nothing.
    """

    jitter: float = 0.0
    scale: float = 0.0
    warp: float = 0.0
    channel_dropout: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        for name, found in asdict(self).items():
            if not 0 <= found < (1 if name == "channel_dropout" else float("inf")):
                most = "below 1" if name == "channel_dropout" else "or more"
                raise ValueError(f"task.augment.{name} is {found}; expected 0 {most}, 0 for none")

    def __call__(self, batch: LabelBatch, classes: int) -> tuple[LabelBatch, Tensor]:
        """`classes` is K. A series whose label is not known has targets of 0."""
        values, mask, length = batch.values, batch.mask, batch.length
        targets = F.one_hot(batch.label.clamp(min=0), classes) * (batch.label >= 0)[:, None]
        targets = targets.to(values.dtype)
        if self.warp:
            values, mask = warped(values, mask, length, self.warp)
        if self.scale:
            values = values * (self.scale * torch.randn_like(values[:, :1])).exp()
        if self.jitter:
            values = torch.where(mask, values + self.jitter * torch.randn_like(values), values)
        if self.mixup:
            values, targets = mixed(values, mask, length, targets, self.mixup)
        if self.channel_dropout:
            shown = channels_kept(mask, self.channel_dropout)[:, None]
            values, mask = values.masked_fill(~shown, 0.0), mask & shown
        return batch._replace(values=values, mask=mask), targets


def warped(values: Tensor, mask: Tensor, length: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Values (B, L, C) and mask at other times of the same series, by straight lines between its steps.

    What is observed at the nearer of the two steps is observed; where only that one is, its value is taken.
    """
    time = warped_time(length, values.shape[1], strength, values.dtype)
    low = time.floor().long()
    high = torch.minimum(low + 1, (length - 1)[:, None])
    share = (time - low)[..., None]
    (a, seen_a), (b, seen_b) = (_at(values, mask, index) for index in (low, high))
    whole = torch.where(seen_a & seen_b, torch.lerp(a, b, share), torch.where(share < 0.5, a, b))
    real = (torch.arange(values.shape[1], device=values.device) < length[:, None])[..., None]
    seen = torch.where(share < 0.5, seen_a, seen_b) & real
    return whole.masked_fill(~seen, 0.0), seen


def warped_time(length: Tensor, steps: int, strength: float, dtype: torch.dtype) -> Tensor:
    """(B, steps): for each step where in its series it comes from, rising from 0 to length - 1, and 0 behind."""
    rows, device = len(length), length.device
    log_speed = strength * torch.randn(rows, KNOTS, device=device, dtype=dtype)
    number, last = torch.arange(steps, device=device), (length - 1).clamp(min=1)[:, None]
    knot = (number / last).clamp(max=1) * (KNOTS - 1)
    left = knot.floor().long().clamp(max=KNOTS - 2)
    speed = torch.lerp(log_speed.gather(1, left), log_speed.gather(1, left + 1), (knot - left).to(dtype)).exp()
    passed = F.pad((speed[:, 1:] + speed[:, :-1]) / 2, (1, 0)).cumsum(1)
    end = passed.gather(1, (length - 1)[:, None])
    last = (length - 1)[:, None].to(dtype)
    time = torch.minimum(passed / end.clamp(min=torch.finfo(dtype).tiny) * last, last)
    return time.masked_fill(number >= length[:, None], 0.0)


def mixed(values: Tensor, mask: Tensor, length: Tensor, targets: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Each series with another of the batch; a row may meet itself."""
    rows, device = len(values), values.device
    b = torch.distributions.Beta(alpha, alpha).sample((rows,)).to(device, values.dtype)
    other, own = torch.randperm(rows, device=device), torch.maximum(b, 1 - b)
    together = mask & mask[other]
    values = torch.where(together, torch.lerp(values[other], values, own[:, None, None]), values)
    share = torch.minimum(length, length[other]) / length
    return values, torch.lerp(targets, targets[other], ((1 - own) * share.to(own.dtype))[:, None])


def channels_kept(mask: Tensor, share: float) -> Tensor:
    """(B, C): each is hidden with this probability; where all would be, one is left, any."""
    draw = torch.rand(mask.shape[0], mask.shape[2], device=mask.device)
    return (draw >= share) | (draw == draw.amax(1, keepdim=True))


def _at(values: Tensor, mask: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    wide = index[..., None].expand(-1, -1, values.shape[2])
    return values.gather(1, wide), mask.gather(1, wide)
