"""Distributions of a value: normal and Student's t, the location first among what the head gives. Loss: the negative
log-likelihood of each observed value, in nats."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from forecast.heads.output import Output
from forecast.models.normalise import Statistics, undo

FLOOR = 1e-3  # of a scale, in units of a normalised window: the likelihood of a flat series must stay finite
HALF = math.log(math.expm1(0.5))  # softplus of it is 0.5: a scale before training


class Normal(Output):
    """Mean and deviation."""

    width = 2

    def forward(self, raw: Tensor, statistics: Statistics | None) -> Tensor:
        scale = F.softplus(raw[..., 1:2] + HALF) + FLOOR
        if statistics is not None:
            scale = scale * statistics.std[..., : raw.shape[2], None]
        return torch.cat([undo(raw[..., :1], statistics), scale, self._rest(raw)], -1)

    def _rest(self, raw: Tensor) -> Tensor:
        return raw[..., 2:]

    def each(self, forecast: Tensor, target: Tensor) -> Tensor:
        scale = forecast[..., 1].float()
        return 0.5 * self.score(forecast, target).square() + scale.log() + 0.5 * math.log(2 * math.pi)

    def score(self, forecast: Tensor, target: Tensor, mix: Tensor | float = 0.5) -> Tensor:
        return (target - forecast[..., 0]) / forecast[..., 1]

    def value(self, forecast: Tensor, score: Tensor) -> Tensor:
        return forecast[..., 0:1] + forecast[..., 1:2] * score


class StudentT(Normal):
    """Location, scale and degrees of freedom ν > 2, so that there is a variance; for errors with heavy tails."""

    width = 3

    def _rest(self, raw: Tensor) -> Tensor:
        return 2.01 + F.softplus(raw[..., 2:] + 2.0)

    def each(self, forecast: Tensor, target: Tensor) -> Tensor:
        scale, nu = forecast[..., 1].float(), forecast[..., 2].float()
        tail = (nu + 1) / 2 * torch.log1p(self.score(forecast, target).square() / nu)
        peak = torch.lgamma((nu + 1) / 2) - torch.lgamma(nu / 2) - 0.5 * torch.log(nu * math.pi)
        return tail - peak + scale.log()

    def own(self, forecast: Tensor, levels: Tensor) -> Tensor | None:
        return student_quantile(levels, forecast[..., 2:3])


def student_quantile(level: Tensor, nu: Tensor) -> Tensor:
    """Quantiles of Student's t at levels in (0, 1) for ν > 2 (they broadcast), by the expansion of Hill (1970,
    algorithm 396, CACM 13:619): four to six digits for the degrees of freedom met here."""
    dtype = nu.dtype
    level, nu = torch.broadcast_tensors(level.double(), nu.double())
    tails = 2 * torch.minimum(level, 1 - level)
    a = 1 / (nu - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * torch.sqrt(a * math.pi / 2) * nu
    x = torch.special.ndtri(tails / 2)
    y = x.square()
    near = torch.where(nu < 5, c + 0.3 * (nu - 4.5) * (x + 0.6), c)
    near = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + near
    middle = torch.expm1(a * (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / near - y - 3) / b + 1).mul(x).square())
    far = (d * tails) ** (2 / nu)
    wide = 1 / (((nu + 6) / (nu * far) - 0.089 * d - 0.822) * (nu + 2) * 3) + 0.5 / (nu + 4)
    outer = (wide * far - 1) * (nu + 1) / (nu + 2) + 1 / far
    size = torch.sqrt(nu * torch.where(far > 0.05 + a, middle, outer))
    return torch.where(level < 0.5, -size, size).to(dtype)
