"""The time to the next event: a mixture of K log-normals (Shchur et al. 2020, arXiv 1909.12127, §3.1), all in logs.

    τ = exp(a x + b),   x ~ Σ_k w_k N(μ_k, s_k)          a, b: deviation and mean of the log gaps of train
    S(τ) = Σ w_k Φ(-u_k),   u_k = ((log τ - b) / a - μ_k) / s_k,   E τ = Σ w_k exp(a μ_k + b + a² s_k² / 2)

One wide component in a thousand rules that mean, for its own is e^(a² s² / 2) times its median: gaps from minutes to
months gave a mean of thousands of years. So the mean is the restricted one of survival analysis, with T the longest gap
of train, beyond which nothing is known of gaps (Royston & Parmar 2013):

    E min(τ, T) = Σ w_k [exp(a μ_k + b + σ²/2) Φ(u_k(T) - σ) + T Φ(-u_k(T))],    σ = a s_k

A clock ticks: recorded gaps are whole multiples of its grid g. A density has no bound there, for a component may shrink
on one multiple, and a likelihood that grows so says nothing of forecasts. So where a grid is given, a gap scores the
probability of its cell, spread over the width of the cell:

    log p(τ) = log(F(τ + g/2) - F(τ - g/2)) - log g,   the cell of 0 from 0 to g/2

It is at most -log g however narrow the components are, its cells add up to 1, and for gaps far above the grid it is the
density. In float32 the difference of two F is lost to rounding where cells are narrow, u apart by δ and m in their
middle; there log(Φ(m + δ/2) - Φ(m - δ/2)) = log φ(m) + log δ + log(sinh(mδ/2) / (mδ/2)) - δ²/24.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

FLOOR = 1e-9  # the least gap, in the units of gaps, where there is no grid: a density knows no gap of 0
NARROW = 0.03  # the narrowest cell, in scales of a component, that two distribution functions tell apart
LEAST_DROP = 0.01  # of log Φ over a cell that is not narrow: it is 0.024 at least, before its rounding far out
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class Gaps(NamedTuple):
    """The distribution of the next gap after each state. Gaps are (…), in the data's own unit of time, from 0 on."""

    log_weight: Tensor  # (…, K), of which exp adds up to 1
    place: Tensor  # (…, K) μ
    log_scale: Tensor  # (…, K) log s
    a: Tensor  # ()
    b: Tensor  # ()
    grid: float = 0.0  # step of the recording clock; 0 where time was not rounded
    most: float = math.inf  # T, the longest gap that a mean reckons with

    def at(self, index: Any) -> "Gaps":
        """Those of some states, by an index of (…)."""
        return self._replace(
            log_weight=self.log_weight[index], place=self.place[index], log_scale=self.log_scale[index]
        )

    def log_prob(self, gap: Tensor) -> Tensor:
        """Nats for each gap: a density of the unit of time, over a cell of the grid where there is one."""
        if not self.grid:
            return self.log_density(gap)
        steps = (gap.to(self.place.dtype) / self.grid).round()
        zero, steps = steps < 1, steps.clamp(min=1)
        share = 0.5 / steps  # of half a cell in the gap
        middle = (steps * self.grid).log() + 0.5 * torch.log1p(-share.square())  # of the cell, in logs
        top = self._standard(torch.full_like(middle, math.log(self.grid / 2)))
        wide = 2 * torch.atanh(share)[..., None] / self.a * (-self.log_scale).exp()
        parts = _log_between(self._standard(middle), wide, zero[..., None], top)
        return torch.logsumexp(self.log_weight + parts, -1).clamp(max=0.0) - math.log(self.grid)

    def log_density(self, gap: Tensor) -> Tensor:
        """log f(τ); a gap below FLOOR is taken as FLOOR."""
        log_gap = self._log(gap.clamp(min=FLOOR))
        parts = self.log_weight - self.log_scale - 0.5 * self._standard(log_gap).square() - HALF_LOG_TAU
        return torch.logsumexp(parts, -1) - log_gap - self.a.log()

    def log_survival(self, gap: Tensor) -> Tensor:
        """log S(τ), of a gap that had not ended after τ; 0 after no time."""
        tail = _log_phi(-self._standard(self._log(gap)))
        return torch.where(gap > 0, torch.logsumexp(self.log_weight + tail, -1).clamp(max=0.0), 0.0)

    def survival(self, gap: Tensor) -> Tensor:
        return self.log_survival(gap).exp()

    def cdf(self, gap: Tensor) -> Tensor:
        """F(τ), exact in both tails."""
        below = (self.log_weight.exp() * torch.special.ndtr(self._standard(self._log(gap)))).sum(-1)
        return torch.where(gap > 0, below.clamp(max=1.0), 0.0)

    def hazard(self, gap: Tensor) -> Tensor:
        """f(τ) / S(τ) per unit of time: the rate of events, τ after the last, where none has come yet."""
        return (self.log_density(gap) - self.log_survival(gap)).exp()

    def pit(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        """F at both edges of the gap's cell, twice the same without a grid: a calibrated forecast spreads it evenly."""
        if not self.grid:
            return (at := self.cdf(gap)), at
        steps = (gap.to(self.place.dtype) / self.grid).round()
        return self.cdf((steps - 0.5).clamp(min=0.0) * self.grid), self.cdf((steps + 0.5) * self.grid)

    def mean(self) -> Tensor:
        """E min(τ, T), in closed form; without a T, E τ, and where that is no number of its type any more, about the
        largest one."""
        if self.most < math.inf:
            return self._restricted()
        parts = self.a * self.place + self.b + 0.5 * (self.a * self.log_scale.exp()).square()
        return _power(torch.logsumexp(self.log_weight + parts, -1))

    def _restricted(self) -> Tensor:
        sigma = (self.a * self.log_scale.exp()).double()
        whole = (self.a * self.place + self.b).double() + 0.5 * sigma.square()
        end = (math.log(self.most) - self.b.double() - (self.a * self.place).double()) / sigma  # u(T)
        inside = (whole + torch.special.log_ndtr(end - sigma)).exp()
        each = inside + self.most * torch.special.ndtr(-end)
        return (self.log_weight.double().exp() * each).sum(-1).to(self.place.dtype)

    def quantile(self, level: Tensor | float) -> Tensor:
        """The gap that lasts no longer with probability `level`, in (0, 1), to broadcast to (…): by bisection of the
        smaller of F and S between the least and the greatest quantile of a component."""
        level = torch.as_tensor(level, dtype=self.place.dtype, device=self.place.device)
        lower, sign = level <= 0.5, torch.where(level <= 0.5, 1.0, -1.0)[..., None]
        tail, scale, weight = torch.where(lower, level, 1 - level), self.log_scale.exp(), self.log_weight.exp()
        each = self.place + scale * torch.special.ndtri(level)[..., None]
        low, high = each.amin(-1), each.amax(-1)
        for _ in range(40 if level.dtype == torch.float32 else 70):  # 2^-40 of the interval is below its rounding
            middle = 0.5 * (low + high)
            mass = (weight * torch.special.ndtr(sign * (middle[..., None] - self.place) / scale)).sum(-1)
            right = (mass < tail) == lower  # F is still too small, or S still too large
            low, high = torch.where(right, middle, low), torch.where(right, high, middle)
        return self._gap(0.5 * (low + high))

    def median(self) -> Tensor:
        return self.quantile(0.5)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, …) gaps, on the grid where there is one."""
        shape, components = self.place.shape[:-1], self.place.shape[-1]
        weight = self.log_weight.exp().reshape(-1, components)
        picked = torch.multinomial(weight, n, replacement=True, generator=generator)  # (rows, n)
        place, scale = (x.reshape(-1, components).gather(1, picked) for x in (self.place, self.log_scale.exp()))
        noise = torch.randn(place.shape, generator=generator, dtype=place.dtype, device=place.device)
        gap = self._gap(place + scale * noise).T.reshape(n, *shape)
        return (gap / self.grid).round() * self.grid if self.grid else gap

    def _log(self, gap: Tensor) -> Tensor:
        return gap.to(self.place.dtype).clamp(min=torch.finfo(self.place.dtype).tiny).log()

    def _standard(self, log_gap: Tensor) -> Tensor:
        """(…) log gaps -> (…, K) u."""
        return (((log_gap - self.b) / self.a)[..., None] - self.place) * (-self.log_scale).exp()

    def _gap(self, x: Tensor) -> Tensor:
        """A normalised log gap -> the gap."""
        return _power(self.a * x + self.b)


class _LogPhi(torch.autograd.Function):
    """log Φ(u), of which φ(u) / Φ(u) = √(2/π) / erfcx(-u/√2) is the gradient, exact in both tails. That of torch, made
    of e^(-u²/2 - log Φ(u)), is off by a twentieth at u = -1000 in float32 and infinite at -50,000, where a component
    that is narrow and far from a gap lies: its weight there is 0, and 0 times infinity no number."""

    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return torch.special.log_ndtr(u)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return grads[0] * (math.sqrt(2 / math.pi) / torch.special.erfcx(-math.sqrt(0.5) * u))


def _log_phi(u: Tensor) -> Tensor:
    found: Tensor = _LogPhi.apply(u) if u.requires_grad else torch.special.log_ndtr(u)
    return found


def _power(x: Tensor) -> Tensor:
    """e^x, a number that is neither 0 nor infinite."""
    kind = torch.finfo(x.dtype)
    return x.clamp(math.log(kind.tiny) + 0.01, math.log(kind.max) - 0.01).exp()


def _log_between(middle: Tensor, wide: Tensor, zero: Tensor, top: Tensor) -> Tensor:
    """log(Φ(middle + wide/2) - Φ(middle - wide/2)), or, where `zero`, log Φ(top). Both branches of each choice stay
    finite, for what is not chosen has a gradient too."""
    narrow = (wide < NARROW) & ~zero
    inner = middle.abs()  # Φ is taken in its lower tail, where its log does not round to 0
    high = torch.where(zero, top, 0.5 * wide - inner)
    apart = torch.where(narrow, 1.0, wide)
    upper = _log_phi(high)
    drop = (upper - _log_phi(torch.where(zero, high - 1.0, high - apart))).clamp(min=LEAST_DROP)
    large = upper + torch.where(zero, 0.0, _log1mexp(torch.where(zero, 1.0, drop)))
    half = torch.where(narrow, 0.5 * wide * inner, 1.0)
    thin = torch.where(narrow, wide, 1.0)
    small = thin.log() - 0.5 * middle.square() - HALF_LOG_TAU + _log_sinhc(half) - thin.square() / 24
    return torch.where(narrow, small, large)


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^-x) for x > 0."""
    near = x < math.log(2)
    return torch.where(near, (-torch.expm1(-torch.where(near, x, 1.0))).log(), torch.log1p(-(-x.clamp(min=0.5)).exp()))


def _log_sinhc(x: Tensor) -> Tensor:
    """log(sinh(x) / x) for x ≥ 0."""
    near, square = x < 0.5, x.clamp(max=0.5).square()
    series = square / 6 - square.square() / 180 + square**3 / 2835 - square**4 / 37800
    far = x.clamp(min=0.5)
    return torch.where(near, series, far + torch.log1p(-(-2 * far).exp()) - (2 * far).log())
