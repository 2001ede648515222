"""Tokens that are not time steps: patches of one channel (PatchTST, Nie et al. 2023, arXiv 2211.14730, §3.1) and whole
channels (iTransformer, Liu et al. 2024, arXiv 2310.06625, §3.1).

Shapes: past (B, L, C), mask (B, L, C), clock (B, L, F); T targets are the first channels.
"""

import torch
from torch import Tensor, nn

from forecast.models.dropout import Dropout
from forecast.models.embed import Calendar, CalendarEmbedding, Embedding, Positions
from forecast.types import CLOCK_SIZES, Spec


class PatchEmbedding(Embedding):
    """A token is a patch of `patch` steps of one target: -> (B·T, N, D), channels apart from one another.

    Patches start every `stride` steps and the last one ends with the window; what is missing before the first is
    its first value. Channels that are no targets are not looked at: nothing here mixes channels. A token carries the
    calendar of its last step.
    """

    causal = True  # a token knows nothing after its own last step
    layout = "patches"

    def __init__(
        self, *, spec: Spec, d_model: int = 64, patch: int = 16, stride: int = 8, calendar: Calendar = "timeF",
        position: bool = True, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 1 <= stride <= patch:
            raise ValueError(f"embed.patch is {patch} and embed.stride {stride}; expected 1 <= stride <= patch")
        self.d_model, self.patch, self.stride, self.targets = d_model, patch, stride, spec.targets
        self.value = nn.Linear(patch, d_model)
        self.calendar = CalendarEmbedding(spec.clock, d_model, kind=calendar)
        self.position = Positions(d_model) if position else None
        self.dropout = Dropout(dropout)

    def length(self, steps: int) -> int:
        return max(1, -(-(steps - self.patch) // self.stride) + 1)

    def forward(self, past: Tensor, mask: Tensor | None, clock: Tensor) -> Tensor:
        if mask is not None:
            past = past * mask
        x = self.value(self._cut(past[..., : self.targets].transpose(1, 2)))  # (B, T, N, D)
        ends = range(past.shape[1] - 1 - (x.shape[2] - 1) * self.stride, past.shape[1], self.stride)
        time = self.calendar(clock[:, list(ends)])
        x = x + (time[:, None] if isinstance(time, Tensor) else time)
        if self.position is not None:
            x = x + self.position(x.shape[2]).to(x.dtype)
        return self.dropout(x.flatten(0, 1))

    def token_mask(self, mask: Tensor) -> Tensor:
        """(B, L, C) -> (B·T, N): which patches hold an observed value."""
        return self._cut(mask[..., : self.targets].transpose(1, 2)).any(-1).flatten(0, 1)

    def along(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B·T, N, D): the mean over the steps of a patch, the same for each target."""
        return self._cut(x.transpose(1, 2)).mean(-1).transpose(1, 2).repeat_interleave(self.targets, 0)

    def _cut(self, x: Tensor) -> Tensor:
        """(B, T, L) -> (B, T, N, patch)."""
        missing = self.patch + (self.length(x.shape[-1]) - 1) * self.stride - x.shape[-1]
        x = torch.cat([x[..., :1].expand(-1, -1, missing), x], -1)
        return x.unfold(-1, self.patch, self.stride)


class ChannelEmbedding(Embedding):
    """A token is the whole window of one channel, so that the encoder mixes channels: -> (B, C + F, D).

    Each calendar field is a token too, scaled to [-0.5, 0.5] over its range.
    """

    causal = True  # each token ends with the window
    layout = "channels"

    def __init__(self, *, spec: Spec, d_model: int = 64, calendar: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.d_model, self.fields = d_model, len(spec.clock) if calendar else 0
        self.tokens = len(spec.channels) + self.fields
        top = [CLOCK_SIZES[field] - 1.0 for field in spec.clock]
        self.register_buffer("top", torch.tensor(top), persistent=False)
        self.top: Tensor
        self.value = nn.Linear(spec.context, d_model)
        self.dropout = Dropout(dropout)

    def length(self, steps: int) -> int:
        return self.tokens

    def forward(self, past: Tensor, mask: Tensor | None, clock: Tensor) -> Tensor:
        x = past if mask is None else past * mask
        if self.fields:
            x = torch.cat([x, clock / self.top - 0.5], -1)
        return self.dropout(self.value(x.transpose(1, 2)))

    def token_mask(self, mask: Tensor) -> Tensor:
        """(B, L, C) -> (B, C + F): channels with an observed value; the calendar is always known."""
        seen = mask.any(1)
        return torch.cat([seen, seen.new_ones(seen.shape[0], self.fields)], -1)

    def along(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, 1, D)."""
        return x.mean(1, keepdim=True)
