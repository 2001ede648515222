"""Informer's encoder: ProbSparse attention with distilling (Zhou et al. 2021, arXiv 2012.07436, §3.2).

Between two attention blocks the sequence is halved: L -> ceil(L/2). With several replicas (`layers=[3, 2, 1]`, the
paper's stack) replica i sees the last L // 2^i steps and the outputs are joined in time. The generative decoder is
not here: it is a head (`forecast.heads.Generative`).

The causal form is ours: no distilling, whose convolutions look ahead; a query attends if it is among the u most active
of the steps up to it, measured on sampled keys up to it; and what does not attend is the mean of the values so far.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.models.attention import Attention, FeedForward, Kind
from forecast.models.base import Encoder
from forecast.models.dropout import Dropout


class EncoderLayer(nn.Module):
    """Attention, residual, norm; feed-forward, residual, norm (post-norm, as the paper's code)."""

    def __init__(self, attention: Attention, feed: FeedForward, d_model: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.feed = attention, feed
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x, mask=mask)))
        return self.norm2(x + self.feed(x))


class Distil(nn.Module):
    """Halve the sequence (eq. 5): circular conv -> BatchNorm -> ELU -> max pooling, L -> ceil(L/2)."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.down = nn.Conv1d(d_model, d_model, 3, padding=1, padding_mode="circular")
        self.norm = nn.BatchNorm1d(d_model)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """x (B, L, D), mask (B, L) -> (B, ceil(L/2), D), (B, ceil(L/2))."""
        if mask is not None:
            x = x * mask[..., None]
        x = F.elu(self.norm(self.down(x.transpose(1, 2))))
        x = F.max_pool1d(x, 3, stride=2, padding=1).transpose(1, 2)
        return x, None if mask is None else halve(mask)


def halve(mask: Tensor) -> Tensor:
    """(B, L) -> (B, ceil(L/2)): True where the pooling window saw at least one observed step."""
    return F.max_pool1d(mask[:, None].float(), 3, stride=2, padding=1)[:, 0] > 0


class Stack(nn.Module):
    """One replica: `depth` encoder layers with a distilling layer between each two."""

    def __init__(self, layers: Sequence[EncoderLayer], distil: Sequence[Distil], d_model: int) -> None:
        super().__init__()
        self.layers, self.distil = nn.ModuleList(layers), nn.ModuleList(distil)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x, mask)
            if i < len(self.distil):
                x, mask = self.distil[i](x, mask)
        return self.norm(x)


class Informer(Encoder):
    """(B, L, D) -> (B, out_len(L), D).

    layers: depth of each replica, `[2]` for the usual single stack, `[3, 2, 1]` for the paper's. factor: the paper's
    c. attention "full" gives the paper's Informer†. `aligned` asks for one output per input, which distilling and
    several replicas cannot give; `causal` for no look ahead, which they cannot give either. distil None is what
    `aligned` leaves: true without it. How many queries attend, and which keys are sampled, follows from L: the causal
    form never sees later values, but of a longer sequence it is another function. So it does not stream. `nominal` is
    the length that settles this instead for causal sequences of all lengths up to it, which do not depend on theirs.
    """

    def __init__(
        self,
        *,
        d_model: int = 512,
        heads: int = 8,
        d_ff: int = 2048,
        layers: Sequence[int] = (2,),
        factor: int = 5,
        dropout: float = 0.05,
        activation: Literal["gelu", "relu"] = "gelu",
        attention: Kind = "prob",
        distil: bool | None = None,
        causal: bool = False,
        aligned: bool = False,
        seed: int = 0,
        nominal: int | None = None,
    ) -> None:
        distil = not aligned if distil is None else distil
        if (causal or aligned) and (distil or len(layers) > 1):
            asked = "a causal Informer must not look ahead" if causal else "an aligned Informer gives a token per step"
            raise ValueError(f"{asked}; set model.distil=false (task.aligned=true does) and one replica, e.g. [2]")
        if not layers or min(layers) < 1:
            raise ValueError(f"model.layers is {list(layers)}; expected one depth of at least 1 per replica, e.g. [2]")
        super().__init__(d_model, causal=causal)
        self.depths, self.distilling = tuple(layers), distil
        numbers = iter(range(sum(layers)))

        def layer() -> EncoderLayer:
            inner = Attention(
                d_model, heads, kind=attention, factor=factor, causal=causal, lazy="mean",
                rank="prefix" if causal else "global", dropout=dropout, layer=next(numbers), seed=seed,
                nominal=nominal,
            )  # fmt: skip
            feed = FeedForward(d_model, d_ff, dropout=dropout, activation=activation)
            return EncoderLayer(inner, feed, d_model, dropout)

        def stack(depth: int) -> Stack:
            halvings = depth - 1 if distil else 0
            return Stack([layer() for _ in range(depth)], [Distil(d_model) for _ in range(halvings)], d_model)

        self.stacks = nn.ModuleList(stack(depth) for depth in layers)

    def lengths(self, length: int) -> list[int]:
        """Of so many tokens the newest that each replica sees."""
        return [max(1, length // 2**i) for i in range(len(self.depths))]

    def out_len(self, length: int) -> int:
        total = 0
        for depth, part in zip(self.depths, self.lengths(length), strict=True):
            for _ in range(depth - 1 if self.distilling else 0):
                part = -(-part // 2)
            total += part
        return total

    def out_mask(self, mask: Tensor) -> Tensor:
        parts = []
        for depth, length in zip(self.depths, self.lengths(mask.shape[1]), strict=True):
            part = mask[:, -length:]
            for _ in range(depth - 1 if self.distilling else 0):
                part = halve(part)
            parts.append(part)
        return torch.cat(parts, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None) -> Tensor:
        parts = []
        if self.causal and mask is not None:
            x = x.masked_fill(
                ~mask[..., None], 0
            )  # a masked step is ranked too: let it not depend on what stands there
        for stack, length in zip(self.stacks, self.lengths(x.shape[1]), strict=True):
            parts.append(stack(x[:, -length:], None if mask is None else mask[:, -length:]))
        return torch.cat(parts, 1)
