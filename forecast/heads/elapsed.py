"""The time that is left to the next event when none has come for e: log-normals that are cut off below e.

    S(r | e) = S(e + r) / S(e) = Σ v_k Φ(-u_k(e + r)) / Φ(-u_k(e)),    v_k ∝ w_k Φ(-u_k(e))
    E(r | e) = Σ v_k e^{a μ_k + b + σ²/2} Φ(σ - u_k(e)) / Φ(-u_k(e)) - e,    σ = a s_k,   u_k as in gaps.py
    E(min(r, T) | e), where gaps have a T: the same with what lies beyond e + T counted as T

Far out both S are 0 in float32, and the logs of both are so large that their difference is lost to rounding. So each
component is compared with itself, with Φ(-u) = e^{-u²/2} c(u), where c(u) = erfcx(u/√2)/2 has no tail that vanishes:

    log Φ(-u') - log Φ(-u) = -(u' - u)(u' + u)/2 + log c(u') - log c(u),    u' - u = log(1 + r/e) / σ

and of the mean only e (c(u - σ) / c(u) - 1) is left. Means count no more than T from now, as those of gaps do, for
there E(min(r, T) | e) = E(r | e) - S(T | e) E(r | e + T). With e = 0 all of it is what gaps.py says.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from forecast.heads.gaps import NARROW, Gaps

ROUNDS = 60  # of a bisection of log r
MARGIN = 0.01  # of log r, by which the ends of a bisection may be off
FAR = 35.0  # deviations: beyond it Φ is no number of float64
LEAST = 1e-300
ROOT = math.sqrt(0.5)
NAMES = ("log_weight", "place", "log_scale", "a", "b")  # the numbers of gaps


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
        """The time that is left at most with probability `level`, in (0, 1), to broadcast to (…): by bisection of
        log S between the least and the greatest quantile of a component, in float64."""
        level = torch.as_tensor(level, dtype=torch.float64, device=self.begun.device)
        each = self._of_each(level[..., None]).clamp(min=LEAST).log()
        low, high = (end + side for end, side in ((each.amin(-1), -MARGIN), (each.amax(-1), MARGIN)))
        place, sigma, start = self._exact()
        weight, e = self.gaps.log_weight.double(), self.elapsed.double()
        tail = torch.logsumexp(weight + torch.special.log_ndtr(-start), -1) + torch.log1p(-level)
        for _ in range(ROUNDS):
            middle = 0.5 * (low + high)
            u = ((e + middle.exp()).log()[..., None] - place) / sigma
            longer = torch.logsumexp(weight + torch.special.log_ndtr(-u), -1) > tail
            low, high = torch.where(longer, middle, low), torch.where(longer, high, middle)
        kind = torch.finfo(self.begun.dtype)
        return (0.5 * (low + high)).exp().clamp(kind.tiny, kind.max).to(self.begun.dtype)

    def median(self) -> Tensor:
        return self.quantile(0.5)

    def mean(self) -> Tensor:
        """E min(r, T), with T the `most` of the gaps, or E r without a T; in closed form, and in float64 inside. Where
        it is no number of its type any more, about the largest one."""
        if (dtype := self.begun.dtype) != torch.float64:
            kind = torch.finfo(dtype)
            exact = after(
                self.gaps._replace(**{n: getattr(self.gaps, n).double() for n in NAMES}), self.elapsed.double()
            )
            return exact.mean().clamp(kind.tiny, 0.99 * kind.max).to(dtype)
        each = self._part(self.begun, self.elapsed)
        if self.gaps.most < math.inf:
            each = self._up_to(each)
        return torch.logsumexp(self.log_weight + each.clamp(min=1e-300).log(), -1).exp()

    def _part(self, u: Tensor, passed: Tensor) -> Tensor:
        """(…, K): E(r | e) of each component, of which u(e) is known; at most about 1e300."""
        gaps, e = self.gaps, passed[..., None]
        sigma = gaps.a * gaps.log_scale.exp()
        whole = gaps.a * gaps.place + gaps.b + 0.5 * sigma.square()  # log E τ
        tail = (u > 0) & (u - sigma > -30.0)
        start = torch.where(tail, u, 0.0)
        ratio = torch.special.erfcx(ROOT * (start - sigma).clamp(min=-30.0)) / torch.special.erfcx(ROOT * start)
        near = whole + torch.special.log_ndtr(sigma - u) - torch.special.log_ndtr(-u)
        return torch.where(tail, e * (ratio - 1), near.clamp(max=690.0).exp() - e)

    def _up_to(self, each: Tensor) -> Tensor:
        """E(r | e) -> E(min(r, T) | e) = E(r | e) - S(T | e) E(r | e + T), of each component (…, K). Where E r is large
        beside T they are told apart by the lower tails, E min(τ, e + T) from its own parts."""
        gaps, e = self.gaps, self.elapsed[..., None]
        sigma, most = gaps.a * gaps.log_scale.exp(), gaps.most
        end, step = self._both(torch.full_like(self.elapsed, most))
        stays = self._change(end, step)[0].exp()
        whole = gaps.a * gaps.place + gaps.b + 0.5 * sigma.square()
        begun = self.begun.clamp(max=30.0)
        inside = (whole + torch.special.log_ndtr(end - sigma)).exp()
        inside = inside - (whole + torch.special.log_ndtr(begun - sigma)).exp()
        direct = inside / torch.special.ndtr(-begun) - e * (1 - stays) + most * stays
        apart = each - stays * self._part(end, self.elapsed + most)
        found = torch.where(self.begun < sigma.clamp(max=30.0), direct, apart)
        return found.clamp(0.0, most)

    def draw(self, pick: Tensor, level: Tensor) -> Tensor:
        """What is left, by two uniform numbers on (0, 1), to broadcast to (…): which component, and its quantile. Where
        there is a grid it ends there."""
        sums = self.log_weight.double().exp().cumsum(-1)
        picked = (sums < pick[..., None] * sums[..., -1:]).sum(-1, keepdim=True).clamp(max=sums.shape[-1] - 1)
        each = self._of_each(level[..., None].double())
        left = each.expand(*picked.shape[:-1], each.shape[-1]).gather(-1, picked)[..., 0]
        left, grid = left.to(self.begun.dtype), self.gaps.grid
        return (((self.elapsed + left) / grid).round() * grid - self.elapsed).clamp(min=0.0) if grid else left

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, …) times that are left."""
        device, shape = self.begun.device, (2, n, *self.elapsed.shape)
        noise = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
        return self.draw(*noise.clamp(2.0**-54, 1 - 2.0**-53))

    def _exact(self) -> tuple[Tensor, Tensor, Tensor]:
        """(…, K) float64: mean and deviation of the log gap of each component, and u(e)."""
        gaps, a = self.gaps, self.gaps.a.double()
        place, sigma = a * gaps.place.double() + gaps.b.double(), a * gaps.log_scale.double().exp()
        return place, sigma, (self.elapsed.double().log()[..., None] - place) / sigma

    def _of_each(self, level: Tensor) -> Tensor:
        """What is left of each component at a level (…, K), float64: Φ(-u') = (1 - level) Φ(-u(e)), solved for u'.
        Where Φ is no number any more, u' = u + E / (u + 1/u) with E = -log(1 - level), of the tail's own expansion."""
        place, sigma, start = self._exact()
        e = self.elapsed.double()[..., None]
        log_tail = torch.log1p(-level)
        far = start > FAR
        inner = torch.where(far, 0.0, start)
        u = -torch.special.ndtri((torch.special.log_ndtr(-inner) + log_tail).exp().clamp(min=LEAST))
        outer = torch.where(far, start, FAR)
        step = torch.where(far, -log_tail / (outer + 1 / outer), (u - inner).clamp(min=0.0))
        begun = self.elapsed[..., None] > 0
        whole = (place + sigma * torch.where(far, start + step, u)).clamp(-700.0, 700.0).exp()
        return torch.where(begun, e * torch.expm1((sigma * torch.where(begun, step, 0.0)).clamp(max=700.0)), whole)

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
