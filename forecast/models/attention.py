"""Multi-head attention with ProbSparse or full attention inside (arXiv 2012.07436, §3)."""

from typing import Literal

import torch
from torch import Tensor, nn

from forecast.models.dropout import Dropout
from forecast.ops.probsparse import Lazy, Rank, attend, probsparse_attention
from forecast.ops.selection import budget, sample_keys

Kind = Literal["prob", "full"]


class Attention(nn.Module):
    """Queries from one sequence, keys and values from the same or another.

    `layer` and `seed` name this layer's key sample; `step` is set from outside before a training step (see
    `set_step`), so that the sample is a function of the step and not of a hidden generator. `mix` reproduces the
    paper's code, which views (B, H, L, E) as (B, L, H·E) in its decoder and so mixes heads with time. `rank` says
    among which queries one is chosen: "prefix", those up to it, for a causal encoder; "global", all, which is the
    paper's, and in causal attention lets later steps decide which earlier ones attend. There it must be asked for.
    `nominal` is the length that settles how many keys are sampled and queries kept; None: that of the input, which for
    sequences of all lengths side by side would make one depend on its company. It is for rank "prefix".
    """

    def __init__(
        self,
        d_model: int,
        heads: int,
        *,
        kind: Kind = "full",
        factor: int = 5,
        causal: bool = False,
        mix: bool = False,
        lazy: Lazy = "sum",
        rank: Rank | None = None,
        dropout: float = 0.0,
        layer: int = 0,
        seed: int = 0,
        nominal: int | None = None,
    ) -> None:
        super().__init__()
        if heads < 1 or d_model < 1:
            raise ValueError(f"d_model is {d_model} and heads {heads}; both must be at least 1")
        if d_model % heads:
            raise ValueError(f"d_model {d_model} is not a multiple of heads {heads}; change one of the two")
        if causal and kind == "prob" and rank is None:
            raise ValueError(
                "causal ProbSparse attention without a rank; set rank='prefix', or 'global' if it may leak"
            )
        self.heads, self.kind, self.factor, self.rank = heads, kind, factor, rank or "global"
        self.causal, self.mix, self.lazy = causal, mix, lazy
        self.dropout, self.layer, self.seed = dropout, layer, seed
        self.nominal = nominal
        self.step: int | None = None
        self.query_projection = nn.Linear(d_model, d_model)
        self.key_projection = nn.Linear(d_model, d_model)
        self.value_projection = nn.Linear(d_model, d_model)
        self.out_projection = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """x (B, L_Q, D), memory (B, L_K, D) or None for x itself, mask (B, L_K) -> (B, L_Q, D)."""
        source = x if memory is None else memory
        q = self._split(self.query_projection(x))
        k = self._split(self.key_projection(source))
        v = self._split(self.value_projection(source))
        out = self._prob(q, k, v, mask) if self.kind == "prob" else self._full(q, k, v, mask)
        if not self.mix:
            out = out.transpose(1, 2)  # (B, L, H, E)
        return self.out_projection(out.reshape(x.shape))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, L, E)

    def _full(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        blocked = None
        if self.causal:
            blocked = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(1)
        if mask is not None:
            hidden = ~mask[:, None, None, :]
            blocked = hidden if blocked is None else blocked | hidden
        return attend(q, k, v, blocked=blocked, dropout=self.dropout if self.training else 0.0)

    def draw(self, l_q: int, l_k: int) -> tuple[Tensor, int]:
        """The sampled keys (L_Q, U) of a call now, and how many queries u are kept."""
        step = self.step if self.training else None
        prefix = self.rank == "prefix"
        many = max(l_q, self.nominal or 0) if prefix else l_q
        count = budget(max(l_k, many) if prefix else l_k, self.factor)
        drawn = (many, many) if prefix else (l_q, l_k)
        sample = sample_keys(*drawn, count, seed=self.seed, layer=self.layer, step=step, causal=prefix)[:l_q]
        return sample, min(budget(many, self.factor), l_q)

    def _prob(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        sample, u = self.draw(q.shape[2], k.shape[2])
        return probsparse_attention(q, k, v, sample, u, causal=self.causal, mask=mask, lazy=self.lazy, rank=self.rank)


def set_step(module: nn.Module, step: int) -> None:
    """Tell every attention inside `module` which training step this is."""
    for part in module.modules():
        if isinstance(part, Attention):
            part.step = step


class FeedForward(nn.Module):
    """Two linear maps with an activation between: the paper's two 1×1 convolutions over time."""

    def __init__(self, d_model: int, d_ff: int, *, dropout: float, activation: Literal["gelu", "relu"]) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)
        self.act = nn.GELU() if activation == "gelu" else nn.ReLU()
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.conv2(self.dropout(self.act(self.conv1(x)))))
