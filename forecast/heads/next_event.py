"""When is the next event, and which: the intensity-free head (Shchur et al. 2020, arXiv 1909.12127).

    log p(τ, y | h) = log p(τ | h) + log p(y | h)   or, with mark_given="gap", + log p(y | h, τ)
    [μ | log s | logits of w] = W h + c,  3K numbers;   log s is clamped to [-5, 3], its gradient is not;
    with a grid to [-8, 3]

The state h_i after event i forecasts event i + 1. How gaps that were recorded on a grid are scored, so that no
likelihood is won on the grid, stands in gaps.py; how many marks are, in marks.py.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from forecast.heads.gaps import FLOOR, Gaps
from forecast.heads.marks import MarkGiven, Marks

LOG_SCALE = (-5.0, 3.0)
LEAST_ON_GRID = -8.0  # where cells bound the likelihood: gaps of a timer are as narrow as that
LEVELS = 16  # quantiles of the gap that stand for all of it, where the mark depends on it and it is not known


class Next(NamedTuple):
    """The forecast after each state (B, L, D): gaps and marks are (B, L), or (B, L, M) labels."""

    gaps: Gaps
    states: Tensor
    marks: Marks

    def log_prob(self, gap: Tensor, mark: Tensor) -> tuple[Tensor, Tensor]:
        """Nats (B, L) of the next event's time and of its mark given what marks are given. The mark M is unknown: 0."""
        return self.gaps.log_prob(gap), self.marks.log_prob(self.states, mark, self._normal(gap))

    def log_survival(self, gap: Tensor) -> Tensor:
        """Nats (B, L) of no event for so long."""
        return self.gaps.log_survival(gap)

    def mark_probabilities(self, gap: Tensor | None = None) -> Tensor:
        """(B, L, M). Where marks are given the gap and it is not known, their mean over LEVELS quantiles of it."""
        if gap is not None or self.marks.given == "state" or self.marks.one:
            return self.marks.probabilities(self.states, None if gap is None else self._normal(gap))
        levels = [self.gaps.quantile((i + 0.5) / LEVELS) for i in range(LEVELS)]
        total = self.marks.probabilities(self.states, self._normal(levels[0]))
        for level in levels[1:]:
            total = total + self.marks.probabilities(self.states, self._normal(level))
        return total / LEVELS

    def mark(self, gap: Tensor | None = None) -> Tensor:
        """The likeliest mark (B, L), or the labels (B, L, M) that are likelier than not."""
        if gap is None and self.marks.given == "gap" and not self.marks.one:
            p = self.mark_probabilities()
            return p > 0.5 if self.marks.labels else p.argmax(-1)
        return self.marks.best(self.states, None if gap is None else self._normal(gap))

    def sample(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """n next events of each state: gaps (n, B, L), marks (n, B, L) or labels (n, B, L, M)."""
        gap = self.gaps.sample(n, generator)
        states = self.states.expand(n, *self.states.shape)
        return gap, self.marks.sample(states, self._normal(gap), generator)

    def _normal(self, gap: Tensor) -> Tensor:
        """The normalised log gap; one below half a step of the grid is taken as half a step."""
        least = max(FLOOR, self.gaps.grid / 2)
        return (gap.to(self.gaps.place.dtype).clamp(min=least).log() - self.gaps.b) / self.gaps.a


class NextEvent(nn.Module):
    """States (B, L, D) -> Next.

    marks: how many there are, 1 where events are not told apart. log_mean, log_std: of train's log gaps. components: K.
    grid: the step of the clock that recorded the events, in units of gaps; 0 where time was not rounded. mark_given:
    what a mark's probability depends on. labels: an event has any number of marks at once. most: the longest gap that a
    mean reckons with (gaps.py). begin: where components start: as if log gaps were normal, or at their quantiles, as
    near to each other as those are: gaps that crowd at one length, such as those of a timer, are hardly found from
    components as wide as all of train. levels: n quantiles of train's normalised log gaps, at (i + ½) / n, rising.
    """

    a: Tensor
    b: Tensor

    def __init__(
        self, *, d_memory: int, marks: int, log_mean: float, log_std: float, components: int = 64, grid: float = 0.0,
        mark_given: MarkGiven = "state", labels: bool = False, most: float = math.inf,
        begin: Literal["normal", "quantiles"] = "normal", levels: Sequence[float] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        if components < 1:
            raise ValueError(f"head.components is {components}; expected at least 1")
        if marks < 1:
            raise ValueError(f"the events have {marks} marks; expected at least 1, which is one for all")
        if not (math.isfinite(log_mean) and 0 < log_std < math.inf):
            raise ValueError(
                f"log gaps have mean {log_mean} and deviation {log_std}; expected numbers, the last above 0"
            )
        if not 0 <= grid < math.inf:
            raise ValueError(f"the grid of the gaps is {grid}; expected a step of time, or 0 for none")
        if mark_given not in ("state", "gap"):
            raise ValueError(f"head.mark_given is {mark_given!r}; expected state or gap")
        self.components, self.grid, self.most = components, grid, most
        self.register_buffer("a", torch.tensor(log_std, dtype=torch.float32))
        self.register_buffer("b", torch.tensor(log_mean, dtype=torch.float32))
        self.projection = nn.Linear(d_memory, 3 * components)
        self.marks = Marks(d_memory, marks, given=mark_given, labels=labels)
        if begin not in ("normal", "quantiles") or (begin == "quantiles" and not levels):
            raise ValueError(f"head.begin is {begin!r}; expected normal or quantiles, and quantiles to begin with")
        self._spread(torch.tensor(levels if begin == "quantiles" else (), dtype=torch.float64))

    def _spread(self, levels: Tensor) -> None:
        """Components start side by side, about as all the log gaps of train lie; with levels for every state the same,
        for what states add at random is wider than a narrow one."""
        k = self.components
        each = (torch.arange(k, dtype=torch.float64) + 0.5) / k
        with torch.no_grad():
            self.projection.bias[:k] = torch.special.ndtri(each)
            self.projection.bias[k : 2 * k] = -1.0  # wider ones have tails that rule the mean
            self.projection.bias[2 * k :] = 0.0
            if not len(levels):
                return
            apart = (_between(levels, each + 0.75 / k) - _between(levels, each - 0.75 / k)) / 2
            self.projection.bias[:k] = _between(levels, each)
            self.projection.bias[k : 2 * k] = apart.clamp(math.exp(self.least) * 1.6, 1.0).log()
            self.projection.weight[: 2 * k] = 0.0

    @property
    def least(self) -> float:
        """The least log s."""
        return LEAST_ON_GRID if self.grid else LOG_SCALE[0]

    def forward(self, memory: Tensor) -> Next:
        raw = self.projection(memory)
        raw = raw if raw.dtype == torch.float64 else raw.float()  # exponents and tails need more than half precision
        place, log_scale, logits = raw.split(self.components, -1)
        log_scale = log_scale.clamp(self.least, LOG_SCALE[1]).detach() + (log_scale - log_scale.detach())
        gaps = Gaps(
            logits.log_softmax(-1), place, log_scale, self.a.to(raw.dtype), self.b.to(raw.dtype), self.grid, self.most
        )  # fmt: skip
        return Next(gaps, memory, self.marks)


def _between(levels: Tensor, share: Tensor) -> Tensor:
    """Quantiles (K,) at the shares (K,), straight lines between the levels (n,), which are at (i + ½) / n."""
    place = (share * len(levels) - 0.5).clamp(0, len(levels) - 1)
    low = place.floor().long()
    return torch.lerp(levels[low], levels[(low + 1).clamp(max=len(levels) - 1)], place - low)
