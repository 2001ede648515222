"""Informer's generative decoder (Zhou et al. 2021, arXiv 2012.07436, §3.3, eq. 6): the whole horizon in one pass.

The decoder reads a start token (the last `label` known steps) followed by placeholders for the horizon, with the
calendar of both; masked ProbSparse self-attention, then full attention over the encoder's memory, then a linear map.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from forecast.heads.base import Head
from forecast.models.attention import Attention, FeedForward, Kind
from forecast.models.covariates import Features
from forecast.models.covariates import ahead as of_both
from forecast.models.dropout import Dropout
from forecast.models.embed import Calendar, ValueEmbedding
from forecast.ops.naive import last_value, seasonal_naive
from forecast.ops.probsparse import Lazy
from forecast.types import Context, Spec

Placeholder = Literal["zeros", "last", "season"]
FIRST_LAYER = 1000  # decoder layers draw their key samples apart from the encoder's


class DecoderLayer(nn.Module):
    """Masked self-attention, cross-attention, feed-forward, each with residual and norm (post-norm)."""

    def __init__(self, own: Attention, cross: Attention, feed: FeedForward, d_model: int, dropout: float) -> None:
        super().__init__()
        self.self_attention, self.cross_attention, self.feed = own, cross, feed
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(d_model) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None) -> Tensor:
        x = self.norm1(x + self.dropout(self.self_attention(x)))
        x = self.norm2(x + self.dropout(self.cross_attention(x, memory, memory_mask)))
        return self.norm3(x + self.feed(x))


class Generative(Head):
    """memory (B, L', D) and context -> (B, H, T) or (B, H, T, P).

    label: known steps in the start token; by default 48, or the whole context where it is shorter. mix, lazy="sum",
    placeholder="zeros" and residual="none" are the paper's code. placeholder "last" or "season" fills the unknown
    steps with a naive forecast instead of zeros. residual adds a plain forecast to the output, so that the decoder
    learns a correction: "naive" the placeholder itself, "linear" a learned linear map (see `Head`).
    """

    def __init__(
        self,
        *,
        spec: Spec,
        d_memory: int,
        length: int,
        d_model: int = 512,
        heads: int = 8,
        d_ff: int = 2048,
        layers: int = 1,
        factor: int = 5,
        dropout: float = 0.05,
        activation: Literal["gelu", "relu"] = "gelu",
        attention: Kind = "prob",
        label: int | None = None,
        mix: bool = False,
        lazy: Lazy = "sum",
        calendar: Calendar = "timeF",
        placeholder: Placeholder = "zeros",
        residual: Literal["none", "naive", "linear"] = "none",
        seed: int = 0,
        width: int = 1,
    ) -> None:
        super().__init__(spec, residual, width)
        label = min(48, spec.context) if label is None else label
        if not 0 < label <= spec.context:
            raise ValueError(f"head.label is {label}; expected 1 … task.context ({spec.context})")
        if residual == "naive" and placeholder == "zeros":
            raise ValueError("head.residual=naive with head.placeholder=zeros adds nothing; set last or season")
        self.label, self.horizon = label, spec.horizon
        self.season, self.placeholder = spec.season, placeholder
        self.embed = ValueEmbedding(spec=spec, d_model=d_model, calendar=calendar, dropout=dropout)
        self.bridge = nn.Identity() if d_memory == d_model else nn.Linear(d_memory, d_model)

        def layer(number: int) -> DecoderLayer:
            own = Attention(
                d_model, heads, kind=attention, factor=factor, causal=True, mix=mix, lazy=lazy,
                rank="global", dropout=dropout, layer=FIRST_LAYER + number, seed=seed,
            )  # fmt: skip
            cross = Attention(d_model, heads, kind="full", dropout=dropout)
            feed = FeedForward(d_model, d_ff, dropout=dropout, activation=activation)
            return DecoderLayer(own, cross, feed, d_model, dropout)

        self.layers = nn.ModuleList(layer(i) for i in range(layers))
        self.norm = nn.LayerNorm(d_model)
        self.projection = nn.Linear(d_model, spec.targets * width)
        self._quiet(self.projection.parameters())
        self.spec = spec
        known = len(spec.known)
        self.known = Features(spec.sizes[:known], d_model, masks=spec.masks) if known else None

    def forward(self, memory: Tensor, context: Context) -> Tensor:
        ahead = self._placeholder(context)  # (B, H, C)
        values = torch.cat([context.past[:, -self.label :], ahead], 1)
        clock = torch.cat([context.past_clock[:, -self.label :], context.future_clock], 1)
        mask = None
        if context.past_mask is not None:
            mask = torch.cat([context.past_mask[:, -self.label :], torch.ones_like(ahead, dtype=torch.bool)], 1)
        x, memory = self.embed(values, mask, clock), self.bridge(memory)
        if self.known is not None and context.known_past is not None and context.known_future is not None:
            start = of_both(context.known_past, self.spec)[:, -self.label :]
            x = x + self.known(torch.cat([start, context.known_future], 1))
        for layer in self.layers:
            x = layer(x, memory, context.memory_mask)
        forecast = self.projection(self.norm(x)[:, -self.horizon :])
        plain = ahead[..., : self.targets] if self.residual == "naive" else self.plain(context)
        return self.joined(forecast, plain)

    def _placeholder(self, context: Context) -> Tensor:
        if self.placeholder == "last":
            return last_value(context.past, context.past_mask, self.horizon)
        if self.placeholder == "season":
            return seasonal_naive(context.past, context.past_mask, self.horizon, self.season)
        b, _, c = context.past.shape
        return context.past.new_zeros(b, self.horizon, c)
