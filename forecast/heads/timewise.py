"""The time-linear head: each token channel is mapped over time, (L') -> (H), as in DLinear and NLinear
(Zeng et al. 2023, arXiv 2205.13504)."""

import torch
from torch import Tensor, nn

from forecast.heads.base import Head, Residual
from forecast.ops.naive import last_value
from forecast.types import Context, Spec


class Timewise(Head):
    """memory (B, L', D) -> (B, H, T) or (B, H, T, P).

    individual: one map for each token channel instead of one for all. last: forecast the difference to the window's
    last observed value (NLinear), which needs tokens that are bare values; a linear residual takes its place.
    bare: the tokens are the channels themselves; where they are not, a second linear map takes D to T.
    """

    def __init__(
        self, *, spec: Spec, d_memory: int, length: int, bare: bool, individual: bool = False, last: bool = True,
        residual: Residual = "none", width: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(spec, residual, width)
        self.horizon, self.last = spec.horizon, last and residual == "none"
        self.copies = d_memory if individual else 1
        start = torch.zeros(self.copies, length, spec.horizon, width)
        start[..., 0] = 1.0 / length  # the mean of the window; nothing for other numbers than a forecast's place
        self.weight = nn.Parameter(start.flatten(2))
        self.bias = nn.Parameter(torch.zeros(self.copies, spec.horizon * width))
        self.mix = nn.Identity() if bare else nn.Linear(d_memory, spec.targets)
        self.bare = bare
        self._quiet([self.weight, self.bias] if bare else self.mix.parameters())

    def forward(self, memory: Tensor, context: Context) -> Tensor:
        level = last_value(context.past, context.past_mask, self.horizon)[..., : self.targets]
        if self.last and self.bare:
            memory = self._centred(memory, context)
        x = memory.transpose(1, 2)  # (B, D, L')
        if self.copies == 1:
            out = x @ self.weight[0] + self.bias[0]
        else:
            out = torch.einsum("bdl,dlh->bdh", x, self.weight) + self.bias
        own = torch.unflatten(out.transpose(1, 2), 1, (self.horizon, self.width))  # (B, H, P, D)
        own = self.mix(own)[..., : self.targets].transpose(2, 3).flatten(2)
        return self.joined(own, level if self.last else self.plain(context))

    def _centred(self, memory: Tensor, context: Context) -> Tensor:
        """Subtract the last value from the tokens that carry the level: all L, or the trend half of a decomposition."""
        length = context.past.shape[1]
        level = last_value(context.past, context.past_mask, 1)
        observed = torch.ones_like(context.past) if context.past_mask is None else context.past_mask
        if memory.shape[1] == length:
            return memory - level * observed
        return torch.cat([memory[:, :length] - level, memory[:, length:]], 1)
