"""What covariates do to each step of the horizon, added to the forecast of any head: for step h of a window

    e_h = W g(A x_h + S x_s + M mean(x) + Z z),   g = GELU,

x_h the covariates known for that step, x_s those of its season's last one in the window, mean(x) over the window, z
the facts of the series. An effect is a difference: what the weather of the window did is in its own values already. W
starts at 0, so training starts at the plain forecast.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.models.covariates import Features, ahead
from forecast.ops.naive import seasonal_naive
from forecast.types import SeriesBatch, Spec


class Effect(nn.Module):
    """Covariates of a batch -> (B, H, T), or (B, 1, T) where only facts of series are known; scaled units."""

    def __init__(self, spec: Spec, width: int = 32) -> None:
        super().__init__()
        self.spec = spec
        known, moving = len(spec.known), len(spec.known) + len(spec.behind)

        def features(sizes: tuple[int, ...], masks: bool = spec.masks) -> Features | None:
            return Features(sizes, width, masks=masks, quiet=False) if sizes else None

        self.now, self.then = features(spec.sizes[:known]), features(spec.sizes[:known])
        self.level, self.facts = features(spec.sizes[:moving]), features(spec.sizes[moving:], False)
        self.shift = nn.Parameter(torch.zeros(width))
        self.out = nn.Linear(width, spec.targets)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, batch: SeriesBatch) -> Tensor:
        x = self.shift
        if self.level is not None and batch.known_past is not None:
            x = x + self.level(batch.known_past).mean(1, keepdim=True)
        if self.now is not None and self.then is not None and batch.known_past is not None:
            assert batch.known_future is not None
            phase = seasonal_naive(ahead(batch.known_past, self.spec), None, self.spec.horizon, self.spec.season)
            x = x + self.now(batch.known_future) + self.then(phase)
        if self.facts is not None and batch.static is not None:
            x = x + self.facts(batch.static)[:, None]
        return self.out(F.gelu(x))
