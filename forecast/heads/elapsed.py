"""The time that is left to the next event when none has come for e: log-normals that are cut off below e.

    S(r | e) = S(e + r) / S(e) = Σ v_k Φ(-u_k(e + r)) / Φ(-u_k(e)),    v_k ∝ w_k Φ(-u_k(e))
    E(r | e) = Σ v_k e^{a μ_k + b + σ²/2} Φ(σ - u_k(e)) / Φ(-u_k(e)) - e,    σ = a s_k,   u_k as in gaps.py
    E(min(r, T) | e), where gaps have a T: the same with what lies beyond e + T counted as T

Far out both S are 0 in float32, and the logs of both are so large that their difference is lost to rounding. So each
component is compared with itself, with Φ(-u) = e^{-u²/2} c(u), where c(u) = erfcx(u/√2)/2 has no tail that vanishes:

    log Φ(-u') - log Φ(-u) = -(u' - u)(u' + u)/2 + log c(u') - log c(u),    u' - u = log(1 + r/e) / σ

and of the mean only e (c(u - σ) / c(u) - 1) is left. With e = 0 all of it is what gaps.py says.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from forecast.heads.gaps import NARROW, Gaps

ROUNDS = {torch.float32: 48, torch.float64: 80}  # of a bisection of log r: what is left is below its rounding
ROOT = math.sqrt(0.5)


class Remaining(NamedTuple):
    """The distribution of the time r that is left, of (…) rows. Made by `after`."""

    gaps: Gaps
    elapsed: Tensor  # (…) time without an event, from 0 on
    log_weight: Tensor  # (…, K) log v
    begun: Tensor  # (…, K) u(e), -∞ where e is 0

    def log_survival(self, left: Tensor) -> Tensor:
        """log P(nothing comes for `left` more), (…)."""
        fall, _ = self._change(*self._both(left))
        return torch.where(left > 0, torch.logsumexp(self.log_weight + fall, -1).clamp(max=0.0), 0.0)

    def cdf(self, left: Tensor) -> Tensor:
        """P(it comes within `left`), as exact where it is small."""
        _, share = self._change(*self._both(left))
        return torch.where(left > 0, (self.log_weight.exp() * share).sum(-1).clamp(0.0, 1.0), 0.0)

    def hazard(self, left: Tensor) -> Tensor:
        """Events per unit of time, `left` from now, where none has come: each component's, by what is left of it."""
        u, _ = self._both(left)
        whole = self.elapsed + left
        belongs = (self.gaps.log_weight + torch.special.log_ndtr(-u)).softmax(-1)
        each = math.sqrt(2 / math.pi) / torch.special.erfcx(ROOT * u) * (-self.gaps.log_scale).exp()
        tiny = torch.finfo(u.dtype).tiny
        return torch.where(whole > 0, (belongs * each).sum(-1) / (self.gaps.a * whole.clamp(min=tiny)), 0.0)

    def log_density(self, left: Tensor) -> Tensor:
        """log of the density of `left`, nats, over the unit of time."""
        return self.hazard(left).log() + self.log_survival(left)

    def quantile(self, level: Tensor | float) -> Tensor:
        """The time that is left at most with probability `level`, in (0, 1), to broadcast to (…)."""
        kind = torch.finfo(self.begun.dtype)
        level = torch.as_tensor(level, dtype=self.begun.dtype, device=self.begun.device)
        lower, tail = level <= 0.5, torch.log1p(-level)
        shape = torch.broadcast_shapes(level.shape, self.elapsed.shape)
        low = torch.full(shape, math.log(kind.tiny) + 0.01, dtype=level.dtype, device=level.device)
        high = torch.full_like(low, math.log(kind.max) - 0.01)
        for _ in range(ROUNDS[level.dtype]):
            middle = 0.5 * (low + high)
            left = middle.exp()
            right = torch.where(lower, self.cdf(left) < level, self.log_survival(left) > tail)  # it is longer
            low, high = torch.where(right, middle, low), torch.where(right, high, middle)
        return (0.5 * (low + high)).exp()

    def median(self) -> Tensor:
        return self.quantile(0.5)

    def mean(self) -> Tensor:
        """E min(r, T), in closed form, in float64 inside; without a T, E r, and where that is no number of its type any
        more, about the largest one."""
        if self.gaps.most < math.inf:
            return self._restricted()
        gaps, kind = self.gaps, torch.finfo(self.begun.dtype)
        e, z, weight = (x.double() for x in (self.elapsed[..., None], self.begun, self.log_weight))
        sigma = (gaps.a * gaps.log_scale.exp()).double()
        whole = (gaps.a * gaps.place + gaps.b).double() + 0.5 * sigma.square()  # log E τ of each component
        tail = z > 0
        start = torch.where(tail, z, 0.0)
        ratio = torch.special.erfcx(ROOT * (start - sigma).clamp(min=-30.0)) / torch.special.erfcx(ROOT * start)
        near = whole + torch.special.log_ndtr(sigma - z) - torch.special.log_ndtr(-z)
        least, most = math.log(kind.tiny) + 0.01, math.log(kind.max) - 0.01
        by_ratio = tail & (start - sigma > -30.0)
        small = (near.clamp(max=700.0).exp() - e).clamp(min=kind.tiny).log()
        each = torch.where(near > 700.0, near, small)
        each = torch.where(by_ratio, (e * (ratio - 1)).clamp(min=kind.tiny).log(), each)
        return torch.logsumexp(weight + each, -1).clamp(least, most).exp().to(self.begun.dtype)

    def _restricted(self) -> Tensor:
        gaps, most = self.gaps, self.gaps.most
        sigma = (gaps.a * gaps.log_scale.exp()).double()
        place = (gaps.a * gaps.place + gaps.b).double()
        start, e = self.begun.double(), self.elapsed.double()[..., None]
        end = ((e + most).log() - place) / sigma
        lost = torch.special.log_ndtr(-start)  # log S(e) of each component
        whole = place + 0.5 * sigma.square() - lost
        inside = (whole + torch.special.log_ndtr(end - sigma)).exp() - (
            whole + torch.special.log_ndtr(start - sigma)
        ).exp()
        beyond = (torch.special.log_ndtr(-end) - lost).exp()
        each = (inside - e * (1 - beyond) + most * beyond).clamp(0.0, most)
        return (self.log_weight.double().exp() * each).sum(-1).to(self.begun.dtype)

    def at(self, noise: Tensor) -> Tensor:
        """What is left at `noise`, uniform on (0, 1), to broadcast to (…); where there is a grid it ends there."""
        left, grid = self.quantile(noise), self.gaps.grid
        if not grid:
            return left
        return (((self.elapsed + left) / grid).round() * grid - self.elapsed).clamp(min=0.0)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, …) times that are left."""
        dtype, device = self.begun.dtype, self.begun.device
        noise = torch.rand(n, *self.elapsed.shape, generator=generator, dtype=torch.float64, device=device)
        kind = torch.finfo(dtype)
        return self.at(noise.to(dtype).clamp(kind.tiny, 1 - kind.eps))

    def _both(self, left: Tensor) -> tuple[Tensor, Tensor]:
        """u(e + r), (…, K), and how far that is from u(e), exact where r is small beside e."""
        kind = torch.finfo(self.begun.dtype)
        e, left = self.elapsed, left.to(self.begun.dtype)
        far = self.gaps._standard((e + left).clamp(min=kind.tiny).log())
        since = e.clamp(min=kind.tiny)
        small = left < since
        step = torch.where(small, torch.log1p(torch.where(small, left / since, 0.0)),
                           (since + left).log() - since.log())  # fmt: skip
        step = (step / self.gaps.a)[..., None] * (-self.gaps.log_scale).exp()
        return torch.where(self.begun > 0, self.begun + step, far), step

    def _change(self, u: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """log Φ(-u) - log Φ(-u(e)), and 1 - Φ(-u) / Φ(-u(e)), each as exact as it can be."""
        tail = self.begun > 0
        start, end = torch.where(tail, self.begun, 0.0), torch.where(tail, u, 0.0)
        ratio = torch.special.erfcx(ROOT * end).log() - torch.special.erfcx(ROOT * start).log()
        early = torch.where(tail, 0.0, self.begun)
        near = torch.special.log_ndtr(-u) - torch.special.log_ndtr(-early)
        fall = torch.where(tail, ratio - 0.5 * step * (start + end), near).clamp(max=0.0)
        share = (torch.special.ndtr(u) - torch.special.ndtr(early)) / torch.special.ndtr(-early)
        share = torch.where(tail, -torch.expm1(fall), share)
        narrow = (step < NARROW) & (start * step < 0.5) & self.begun.isfinite()
        thin = _thin(torch.where(narrow, self.begun, 0.0), torch.where(narrow, step, 0.0))
        share = torch.where(narrow, thin, share)
        return torch.where(share < 0.25, torch.log1p(-share.clamp(max=0.5)), fall), share


def _thin(u: Tensor, step: Tensor) -> Tensor:
    """(Φ(u + step) - Φ(u)) / Φ(-u) for a small step: φ(u)/Φ(-u) times the integral about the middle (gaps.py)."""
    middle = u + 0.5 * step
    half = 0.5 * middle * step
    wide = half.abs() > 1e-3
    sinhc = torch.where(wide, half.sinh() / torch.where(wide, half, 1.0), 1 + half.square() / 6)
    rate = math.sqrt(2 / math.pi) / torch.special.erfcx(ROOT * u)
    return rate * step * sinhc * torch.exp(-0.25 * step * (u + middle)) * (1 - step.square() / 24)


def after(gaps: Gaps, elapsed: Tensor | float) -> Remaining:
    """What is left of gaps (…) when nothing came for `elapsed`, to broadcast to (…); ValueError where it is below 0."""
    dtype, device = gaps.place.dtype, gaps.place.device
    passed = torch.as_tensor(elapsed, dtype=dtype, device=device).expand(gaps.place.shape[:-1])
    if not bool(((passed >= 0) & passed.isfinite()).all()):
        raise ValueError("the time without an event is negative or no number; expected 0 or more of each row")
    begun = gaps._standard(passed.clamp(min=torch.finfo(dtype).tiny).log())
    begun = torch.where((passed > 0)[..., None], begun, -torch.inf)
    weight = (gaps.log_weight + torch.special.log_ndtr(-begun)).log_softmax(-1)
    return Remaining(gaps, passed, weight, begun)
