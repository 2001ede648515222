"""The direct head: one linear map from the last tokens of the memory to the whole horizon."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.heads.base import Head, Residual
from forecast.models.dropout import Dropout
from forecast.types import Context, Spec


class Direct(Head):
    """memory (B, L', D) -> (B, H, T) or (B, H, T, P), reading the last `tokens` tokens; a shorter memory is padded
    with zeros."""

    def __init__(
        self, *, spec: Spec, d_memory: int, length: int, tokens: int = 1, residual: Residual = "none",
        dropout: float = 0.0, width: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(spec, residual, width)
        if tokens < 1:
            raise ValueError(f"head.tokens is {tokens}; expected at least 1")
        self.tokens, self.shape = tokens, (spec.horizon, spec.targets)
        self.dropout = Dropout(dropout)
        self.projection = nn.Linear(tokens * d_memory, spec.horizon * spec.targets * width)
        self._quiet(self.projection.parameters())

    def forward(self, memory: Tensor, context: Context) -> Tensor:
        last = memory[:, -self.tokens :]
        if context.memory_mask is not None:
            last = last * context.memory_mask[:, -self.tokens :, None]
        missing = self.tokens - last.shape[1]
        if missing:
            last = F.pad(last, (0, 0, missing, 0))
        own = torch.unflatten(self.projection(self.dropout(last.flatten(1))), 1, (self.shape[0], -1))
        return self.joined(own, self.plain(context))
