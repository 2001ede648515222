"""Quantiles of gaps, fast: a stream asks for a few of them after every event.

Newton's method for the distribution function of a mixture, kept between the least and the greatest quantile of a
component: a step that leaves them, or is more than half the one before, halves them instead. It takes some 6 rounds
where bisection (`Gaps.quantile`, which has gradients) takes 40.
"""

import math
from typing import Final

import torch
from torch import Tensor

from forecast.heads.gaps import Gaps

ROUNDS: Final = 60
ENOUGH: Final = 1e-6  # of the normalised log gap
CLOSE: Final = 1e-4  # a step of Newton's after which as much is left, for its square counts
AT_ONCE: Final = 256  # states, so that their components stay in the cache
ROOT: Final = 0.3989422804014327  # of 1 / 2π


def quantiles(gaps: Gaps, levels: Tensor) -> Tensor:
    """Gaps of B states, at levels (N,) in (0, 1) -> (N, B) gaps, as long as last no longer with those probabilities."""
    cuts = range(0, len(gaps.place), AT_ONCE)
    each = [_normal(gaps.at(slice(first, first + AT_ONCE)), levels) for first in cuts]
    x = torch.cat(each, 1) if len(each) > 1 else each[0] if each else levels.new_empty(len(levels), 0)
    kind = torch.finfo(x.dtype)
    least, most = math.log(kind.tiny) + 0.01, math.log(kind.max) - 0.01
    return (gaps.a * x + gaps.b).clamp(least, most).exp()


def _normal(gaps: Gaps, levels: Tensor) -> Tensor:
    """(N, B) normalised log gaps."""
    weight, scale, place = gaps.log_weight.exp(), gaps.log_scale.exp(), gaps.place
    inverse, density = 1 / scale, ROOT * weight / scale
    level = levels[:, None]
    lower = level <= 0.5
    tail, sign = torch.where(lower, level, 1 - level), torch.where(lower, 1.0, -1.0)
    score = torch.special.ndtri(level)
    each = place + scale * score[..., None]  # (N, B, K)
    low, high = each.amin(-1), each.amax(-1)
    mean = (weight * place).sum(-1)
    spread = (weight * (scale.square() + (place - mean[:, None]).square())).sum(-1).sqrt()
    x = torch.minimum(torch.maximum(mean + spread * score, low), high)
    before, done = high - low, torch.zeros_like(low, dtype=torch.bool)
    for _ in range(ROUNDS):
        u = (x[..., None] - place) * inverse
        mass = (weight * torch.special.ndtr(sign[..., None] * u)).sum(-1)
        over = sign * (mass - tail)  # F - level, exact in both tails
        slope = (density * (-0.5 * u.square()).exp()).sum(-1)
        low, high = torch.where(over < 0, x, low), torch.where(over < 0, high, x)
        step = over / slope.clamp(min=1e-30)
        new = x - step
        astray = (new < low) | (new > high) | (step.abs() > 0.5 * before)
        new = torch.where(astray, 0.5 * (low + high), new)
        before = (new - x).abs()
        x = torch.where(done, x, new)
        done = done | (before <= torch.where(astray, ENOUGH, CLOSE) * (1 + x.abs()))
        if bool(done.all()):
            break
    return x
