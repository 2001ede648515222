"""Normalisation by the statistics of a window (Kim et al. 2022, RevIN, without its affine part) or of all that came
before (rolling), undone where the forecast leaves. The statistics travel as a value; the module keeps no state."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from forecast.ops import Carry, prefix_attention


class Statistics(NamedTuple):
    mean: Tensor  # (B, 1, C)
    std: Tensor  # (B, 1, C)


def undo(values: Tensor, statistics: Statistics | None) -> Tensor:
    """Values in units of a normalised window, (B, H, T) or (B, H, T, P) -> in scaled units; the targets are the first T
    channels."""
    if statistics is None:
        return values
    mean, std = statistics.mean[..., : values.shape[2]], statistics.std[..., : values.shape[2]]
    return values * std + mean if values.ndim == 3 else values * std[..., None] + mean[..., None]


class NoNorm(nn.Module):
    """Hands values through: the scaler fitted on train is all the normalisation there is."""

    def forward(self, past: Tensor, mask: Tensor | None) -> tuple[Tensor, Statistics | None]:
        return past, None

    def start(
        self, batch: int, channels: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, ...]:
        return ()

    def scan(
        self, state: tuple[Tensor, ...], past: Tensor, mask: Tensor | None
    ) -> tuple[tuple[Tensor, ...], Tensor, Statistics | None]:
        """What forward does, from a state on: the state after, normalised values, the statistics at the last step."""
        return (), *self(past, mask)

    def trace(
        self, state: tuple[Tensor, ...], past: Tensor, mask: Tensor | None
    ) -> tuple[tuple[Tensor, ...], Tensor, Statistics | None]:
        """The same with the statistics at every step, each (B, l, C)."""
        return (), past, None

    def statistics(self, state: tuple[Tensor, ...]) -> Statistics | None:
        """Those that undo a forecast made now; None where there is nothing to undo."""
        return None


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


class Rolling(NamedTuple):
    """Weight, mean and variance of what was seen, each (B, C)."""

    weight: Tensor
    mean: Tensor
    variance: Tensor


class RollingNorm(InstanceNorm):
    """Exponentially weighted mean and variance up to each step, in Welford's form; O(1) state, so it streams.

    With a_t = 1 / weight_t:   mean_t = (1 - a_t) mean_{t-1} + a_t x_t,
                               variance_t = (1 - a_t) variance_{t-1} + a_t (1 - a_t) (x_t - mean_{t-1})²
    Both are averages of every prefix with decaying weights: prefix attention with equal scores. What was observed
    `half_life` observed steps ago counts half. It starts as if one step of mean 0 and variance 1 had been seen: values
    are scaled by training data already. Statistics at the last step undo the forecast.
    """

    def __init__(self, half_life: float) -> None:
        super().__init__()
        if not half_life > 0:
            raise ValueError(f"half_life is {half_life}; expected steps, more than 0")
        self.decay = math.log(2) / half_life

    def start(
        self, batch: int, channels: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Rolling:
        ones = torch.ones(batch, channels, device=device, dtype=dtype)
        return Rolling(ones, torch.zeros_like(ones), ones)

    def forward(self, past: Tensor, mask: Tensor | None) -> tuple[Tensor, Statistics]:
        return self.scan(self.start(past.shape[0], past.shape[2], device=past.device, dtype=past.dtype), past, mask)[1:]

    def scan(self, state: Rolling, past: Tensor, mask: Tensor | None) -> tuple[Rolling, Tensor, Statistics]:  # type: ignore[override]
        """past (B, l, C), mask (B, l, C); a gap leaves the statistics of its channel as they are."""
        state, normal, _ = self.trace(state, past, mask)
        return state, normal, self.statistics(state)

    def statistics(self, state: Rolling) -> Statistics:  # type: ignore[override]
        return Statistics(state.mean[:, None], self._deviation(state.variance)[:, None])

    def _deviation(self, variance: Tensor) -> Tensor:
        return variance.sqrt().clamp(min=self.floor)

    @torch.no_grad()
    def trace(self, state: Rolling, past: Tensor, mask: Tensor | None) -> tuple[Rolling, Tensor, Statistics]:  # type: ignore[override]
        if past.shape[1] == 1:
            return self._step(state, past, mask)
        x = past.transpose(1, 2)  # (B, C, l)
        seen = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.transpose(1, 2)
        scores = torch.zeros_like(x).masked_fill(~seen, -torch.inf)
        fall, count = seen.to(x.dtype) * self.decay, seen.cumsum(-1).to(x.dtype)
        shrunk = torch.exp(-self.decay * count)
        weight = state.weight[..., None] * shrunk + (1 - shrunk) / -math.expm1(-self.decay)  # at each step

        def average(values: Tensor, so_far: Tensor) -> Tensor:
            carry = Carry(torch.zeros_like(so_far), state.weight, (state.weight * so_far)[..., None])
            return prefix_attention(scores, values[..., None], carry, decay=fall)[0][..., 0]

        mean = average(x, state.mean)
        earlier = torch.cat([state.mean[..., None], mean], -1)[..., :-1]
        variance = average((1 - 1 / weight) * (x - earlier).square(), state.variance)
        along = (weight, mean, variance)
        changed = seen.any(-1)
        ends = (torch.cat([old[..., None], new], -1)[..., -1] for old, new in zip(state, along, strict=True))
        last = Rolling(*(torch.where(changed, new, old) for old, new in zip(state, ends, strict=True)))
        each = Statistics(mean.transpose(1, 2), self._deviation(variance).transpose(1, 2))
        normal = (past - each.mean) / each.std
        return last, normal if mask is None else normal * mask, each

    def _step(self, state: Rolling, past: Tensor, mask: Tensor | None) -> tuple[Rolling, Tensor, Statistics]:
        """The same for one step, by the two equations above."""
        x = past[:, 0]
        weight = 1 + state.weight * math.exp(-self.decay)
        apart, share = x - state.mean, 1 / weight
        after = Rolling(
            weight, state.mean + share * apart,
            state.variance + share * ((1 - share) * apart.square() - state.variance),
        )  # fmt: skip
        if mask is not None:
            after = Rolling(*(torch.where(mask[:, 0], new, old) for old, new in zip(state, after, strict=True)))
        each = Statistics(after.mean[:, None], self._deviation(after.variance)[:, None])
        normal = (past - each.mean) / each.std
        return after, normal if mask is None else normal * mask, each
