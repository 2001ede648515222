"""Distributions of counts: negative binomial, and the same with more zeros (intermittent demand). The first number of a
head is a location in the data's own units; its softplus is the mean, so that a linear residual and a normalised window
mean what they mean elsewhere. Counts must not be scaled (data.scale=none). Loss: negative log-likelihood, in nats.

With mean μ and r > 0, variance μ + μ²/r:   P(y) = Γ(y + r) / (Γ(r) y!) · (r / (r + μ))^r · (μ / (r + μ))^y
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from forecast.heads.output import Output
from forecast.models.normalise import Statistics, undo

LARGEST = 10_000  # a count; distribution functions are sums over counts
TINY = 1e-6
AT_ONCE = 1 << 22  # numbers of such sums in memory at once


class NegativeBinomial(Output):
    """Mean and r, the count of successes; r = ∞ is Poisson's distribution."""

    width = 2
    counts = True

    def forward(self, raw: Tensor, statistics: Statistics | None) -> Tensor:
        mean = F.softplus(undo(raw[..., :1], statistics)) + TINY
        return torch.cat([mean, F.softplus(raw[..., 1:2] + 1.0) + 1e-2, raw[..., 2:]], -1)

    def log_mass(self, forecast: Tensor, y: Tensor) -> Tensor:
        """log P(y); y (B, H, T) or, with forecast[..., None, :], (B, H, T, K)."""
        return _log_mass(forecast[..., 0], forecast[..., 1], y)

    def each(self, forecast: Tensor, target: Tensor) -> Tensor:
        return -self.log_mass(forecast.float(), target)

    def score(self, forecast: Tensor, target: Tensor, mix: Tensor | float = 0.5) -> Tensor:
        """Φ⁻¹ of the probability of less, and of `mix` of the probability of just this."""
        parts = zip(*(part.split(self._rows(forecast, target)) for part in (forecast, target)), strict=True)
        below = []
        for some, y in parts:
            total = self._distribution(some, int(y.max().clamp(min=0).item()) + 1)  # P(count <= k)
            at = y.round().clamp(min=0).long()[..., None]
            mass = self.log_mass(some, y.round().clamp(min=0)).exp()
            below.append((total.gather(-1, at)[..., 0] - mass).clamp(min=0))
        less = torch.cat(below) if below else target
        mass = self.log_mass(forecast, target.round().clamp(min=0)).exp()
        return torch.special.ndtri((less + mix * mass).clamp(TINY, 1 - TINY))

    def value(self, forecast: Tensor, score: Tensor) -> Tensor:
        """The smallest count whose probability, or less, reaches Φ(score)."""
        made = []
        level = torch.special.ndtr(score.expand(*forecast.shape[:-1], score.shape[-1]))
        rows = self._rows(forecast, None)
        for some, u in zip(forecast.split(rows), level.split(rows), strict=True):
            total = self._distribution(some, self._most(some))
            made.append(torch.searchsorted(total, u.contiguous()).clamp(max=total.shape[-1] - 1).to(forecast.dtype))
        return torch.cat(made) if made else level

    def _distribution(self, forecast: Tensor, size: int) -> Tensor:
        """P(count <= k) for k = 0 … size - 1, (B, H, T, size)."""
        k = torch.arange(size, dtype=forecast.dtype, device=forecast.device)
        return self.log_mass(forecast[..., None, :], k).exp().cumsum(-1).clamp(max=1.0)

    def _most(self, forecast: Tensor) -> int:
        """Counts beyond it have next to no probability."""
        mean, r = forecast[..., 0], forecast[..., 1]
        wide = mean + 12 * (mean + mean.square() / r).sqrt() + 20
        return int(wide.max().clamp(max=4 * LARGEST).item()) + 1 if wide.numel() else 1

    def _rows(self, forecast: Tensor, target: Tensor | None) -> int:
        size = self._most(forecast) if target is None else int(target.max().clamp(min=0).item()) + 1
        return max(1, AT_ONCE // max(1, size * forecast[0, ..., 0].numel())) if len(forecast) else 1


class ZeroInflated(NegativeBinomial):
    """A negative binomial, or with probability π none at all. Its point is the mean, (1 - π) μ."""

    width = 3

    def point(self, forecast: Tensor) -> Tensor:
        return forecast[..., 0] * torch.sigmoid(-forecast[..., 2])

    def log_mass(self, forecast: Tensor, y: Tensor) -> Tensor:
        mass, logit = super().log_mass(forecast, y), forecast[..., 2]
        some = F.logsigmoid(-logit) + mass
        return torch.where(y == 0, torch.logaddexp(F.logsigmoid(logit).expand_as(some), some), some)


def _log_mass(mean: Tensor, r: Tensor, y: Tensor) -> Tensor:
    peak = torch.lgamma(y + r) - torch.lgamma(r) - torch.lgamma(y + 1)
    return peak - r * torch.log1p(mean / r) + y * (torch.log(mean) - torch.log(r + mean))
