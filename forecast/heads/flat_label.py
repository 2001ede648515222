"""All tokens of a series side by side through one linear map: with FlatSeries and no encoder, logistic regression."""

import torch
from torch import Tensor, nn

from forecast.heads.pool import exact
from forecast.models.base import State
from forecast.models.dropout import Dropout


class FlatLabel(nn.Module):
    """memory (B, L, D), seen (B, L) or None for all -> logits (B, K).

    length: the most tokens of a series, those of train's longest; where one has fewer there is 0, and what
    comes after them is not looked at.
    """

    streams = True

    def __init__(self, *, d_memory: int, length: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"the longest series has {length} tokens; expected at least 1")
        if classes < 2:
            raise ValueError(f"the series have {classes} classes; expected at least 2")
        self.length, self.d_memory = length, d_memory
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(length * d_memory, classes)

    def forward(self, memory: Tensor, seen: Tensor | None = None) -> Tensor:
        memory, seen = memory[:, : self.length], None if seen is None else seen[:, : self.length]
        if seen is not None:
            memory = memory.masked_fill(~seen[..., None], 0.0)
        weight = self.out.weight[:, : memory.shape[1] * self.d_memory]
        return nn.functional.linear(self.dropout(memory.flatten(1)), weight, self.out.bias)

    def start(self, batch: int, *, device: torch.device | str | None = None) -> State:
        """How many tokens there were (B,), and what they said together (B, K), in float64 where the device knows it."""
        total = torch.zeros(batch, self.out.out_features, device=device, dtype=exact(device))
        return torch.zeros(batch, dtype=torch.int64, device=device), total

    def scan(self, state: State, memory: Tensor, whole: Tensor | None = None) -> tuple[State, Tensor]:
        """As Pool.scan."""
        count, total = state
        kept = torch.ones_like(memory[..., 0], dtype=torch.bool) if whole is None else whole
        before = count[:, None] + kept.cumsum(1) - kept.long()  # tokens that stayed, before each
        weight = self.out.weight.view(-1, self.length, self.d_memory).transpose(0, 1)  # (length, K, D)
        each = (weight[before.clamp(max=self.length - 1)] @ memory[..., None])[..., 0].to(total.dtype)
        each = each * (before < self.length)[..., None]
        sums = total[:, None] + (each * kept[..., None]).cumsum(1)
        logits = sums + each * ~kept[..., None] + self.out.bias
        after = sums[:, -1] if memory.shape[1] else total
        return (count + kept.sum(1), after), logits.to(memory.dtype)
