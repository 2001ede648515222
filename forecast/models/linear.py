"""The honest rival: no mixing at all, only DLinear's decomposition (Zeng et al. 2023, arXiv 2205.13504, §4).

With the time-linear head (`forecast.heads.Timewise`) this is DLinear; with `decompose=0` it is (N)Linear.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from forecast.models.base import Encoder


class Linear(Encoder):
    """(B, L, D) -> (B, 2L, D): the moving average of `decompose` steps, then the remainder, joined in time.

    decompose=0 hands the tokens on untouched, (B, L, D). An even width is made odd, so that it has a centre.
    The ends are padded by repeating the first and last token, as in the paper's code.
    """

    def __init__(self, *, d_model: int, decompose: int = 25) -> None:
        if decompose < 0:
            raise ValueError(f"model.decompose is {decompose}; expected a width in steps, or 0 for none")
        super().__init__(d_model, causal=False)
        self.width = decompose | 1 if decompose else None

    def out_len(self, length: int) -> int:
        return length if self.width is None else 2 * length

    def out_mask(self, mask: Tensor) -> Tensor:
        return mask if self.width is None else torch.cat([mask, mask], 1)

    def forward(self, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None) -> Tensor:
        seen = None if mask is None else mask[..., None].to(x.dtype)
        if seen is not None:
            x = x * seen
        if self.width is None:
            return x
        trend = self._average(x)
        if seen is not None:  # a mean over what was observed; the remainder of a missing step is 0
            trend = trend / self._average(seen).clamp(min=0.5 / self.width)
            return torch.cat([trend, (x - trend) * seen], 1)
        return torch.cat([trend, x - trend], 1)

    def _average(self, x: Tensor) -> Tensor:
        """Centred moving average over time."""
        assert self.width is not None
        half = self.width // 2
        padded = F.pad(x.transpose(1, 2), (half, half), mode="replicate")
        return F.avg_pool1d(padded, self.width, stride=1).transpose(1, 2)
