"""Transformer encoder (Vaswani et al. 2017, arXiv 1706.03762): what Aaren is compared with (arXiv 2405.13956, §4), the
same layer around another mixer, o_k = Σ_i softmax_i(q_k·k_i / √E) v_i.

The causal form has a window, so that its state has a fixed size: query n, counting only observed steps, sees the keys
n - window < i ≤ n and, with attention sinks, the keys i < sinks (Xiao et al. 2023, arXiv 2309.17453: the first keys
take up weight that has nowhere else to go, and a window that drops them degrades). A state is a cache of
sinks + window keys and values for each layer: 2·layers·(sinks + window)·D numbers for a series.

There are no positions here, they belong to the embedding.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from forecast.models.attention import FeedForward
from forecast.models.base import StreamingEncoder
from forecast.models.dropout import Dropout
from forecast.ops import attend

AT_ONCE = 64  # steps of a stream worked on together, or as many as the cache holds if that is more
NEVER = 1 << 62  # the number of a key that is none


class Cache(NamedTuple):
    """The keys a later step may see, M = sinks + window places: key n stands at place n while n < sinks, then the
    places after those are gone round and round."""

    seen: Tensor  # (B,) observed steps so far
    keys: tuple[Tensor, ...]  # of each layer (B, H, M, E)
    values: tuple[Tensor, ...]  # of each layer (B, H, M, E)


class Update(NamedTuple):
    """How some new steps meet the cache; the same for all layers."""

    blocked: Tensor  # (B, 1, l, M + l) which keys, the cached and the new, each step does not see
    take: Tensor  # (B, M) which of these keys fills each place afterwards
    seen: Tensor  # (B,)


Attention = Callable[[Tensor, Tensor, Tensor], Tensor]  # q, k, v (B, H, L, E) -> (B, H, L, E)


class TransformerLayer(nn.Module):
    """Attention, residual, norm; feed-forward, residual, norm; with norm_first the norms stand before."""

    def __init__(
        self, d_model: int, heads: int, d_ff: int, *, dropout: float, activation: Literal["gelu", "relu"],
        norm_first: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.norm_first = heads, norm_first
        self.query_projection, self.key_projection = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.value_projection, self.out_projection = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.feed = FeedForward(d_model, d_ff, dropout=dropout, activation=activation)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, attention: Attention) -> Tensor:
        y = self.norm1(x) if self.norm_first else x
        parts = self.query_projection(y), self.key_projection(y), self.value_projection(y)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        x = x + self.dropout(self.out_projection(attention(q, k, v).transpose(1, 2).flatten(2)))
        if self.norm_first:
            return x + self.feed(self.norm2(x))
        x = self.norm1(x)
        return self.norm2(x + self.feed(x))


class Transformer(StreamingEncoder):
    """(B, L, D) -> (B, L, D).

    causal=False: every step sees every observed step; such an encoder has no state and does not stream. window and
    sinks are of the causal form. norm_first adds a norm after the last layer. dt is ignored.
    """

    def __init__(
        self,
        *,
        d_model: int = 512,
        heads: int = 8,
        d_ff: int = 2048,
        layers: int = 1,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation: Literal["gelu", "relu"] = "gelu",
        norm_first: bool = False,
        causal: bool = False,
        window: int = 512,
        sinks: int = 0,
    ) -> None:
        if min(d_model, heads, d_ff, layers) < 1:
            found = f"d_model is {d_model}, heads {heads}, d_ff {d_ff}, layers {layers}"
            raise ValueError(f"{found}; all must be at least 1")
        if d_model % heads:
            raise ValueError(f"d_model {d_model} is not a multiple of heads {heads}; change one of the two")
        if window < 1 or sinks < 0:
            raise ValueError(f"window is {window} and sinks {sinks}; expected at least 1 and at least 0 steps")
        super().__init__(d_model)
        self.causal, self.window, self.sinks, self.attention_dropout = causal, window, sinks, attention_dropout
        self.layers = nn.ModuleList(
            TransformerLayer(d_model, heads, d_ff, dropout=dropout, activation=activation, norm_first=norm_first)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(d_model) if norm_first else nn.Identity()
        self.cached = (heads, sinks + window, d_model // heads)

    def forward(self, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None) -> Tensor:
        length = x.shape[1]
        if self.causal and length > self.window:
            return super().forward(x, mask)
        x, blocked = _hidden(x, mask), None
        if mask is not None:
            blocked = ~mask[:, None, None, :]
            if self.causal:
                blocked = blocked | torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        for layer in self.layers:
            x = layer(x, partial(self._attend, blocked=blocked))
        return self.norm(x)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, blocked: Tensor | None) -> Tensor:
        dropout = self.attention_dropout if self.training else 0.0
        if blocked is None and self.causal:
            return scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        return attend(q, k, v, blocked=blocked, dropout=dropout)

    def start(self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Cache:
        self._must_be_causal()
        kept = torch.promote_types(dtype or torch.float32, torch.float32)
        empty = tuple(torch.zeros(batch, *self.cached, device=device, dtype=kept) for _ in self.layers)
        return Cache(torch.zeros(batch, dtype=torch.int64, device=device), empty, empty)

    def scan(
        self, state: Cache, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None
    ) -> tuple[Cache, Tensor]:
        self._must_be_causal()
        x, out = _hidden(x, mask), []
        for now in x.split(max(AT_ONCE, self.cached[1]), 1):  # so that work and memory do not grow with L²
            seen = None if mask is None else mask[:, : now.shape[1]]
            mask = None if mask is None else mask[:, now.shape[1] :]
            state, y = self._go_on(state, now, seen)
            out.append(y)
        return state, torch.cat(out, 1)

    def _must_be_causal(self) -> None:
        if not self.causal:
            raise TypeError("a Transformer that sees all steps has no state; set model.causal=true or task.causal=true")

    def _go_on(self, state: Cache, x: Tensor, mask: Tensor | None) -> tuple[Cache, Tensor]:
        if x.shape[1] == 0:
            return state, x
        update = self._update(state.seen, x, mask)
        keys: list[Tensor] = []
        values: list[Tensor] = []
        heads, _, width = self.cached
        take = update.take[:, None, :, None].expand(-1, heads, -1, width)

        def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            old_k, old_v = state.keys[len(keys)], state.values[len(values)]
            k, v = torch.cat([old_k, k.to(old_k.dtype)], 2), torch.cat([old_v, v.to(old_v.dtype)], 2)
            keys.append(k.gather(2, take))
            values.append(v.gather(2, take))
            return self._attend(q, k.to(q.dtype), v.to(q.dtype), update.blocked)

        for layer in self.layers:
            x = layer(x, attention)
        return Cache(update.seen, tuple(keys), tuple(values)), self.norm(x)

    def _update(self, before: Tensor, x: Tensor, mask: Tensor | None) -> Update:
        (b, length, _), places = x.shape, self.cached[1]
        seen = torch.ones(b, length, dtype=torch.bool, device=x.device) if mask is None else mask
        number = before[:, None] + seen.cumsum(1) - 1  # of the last observed step up to each step
        after = before + seen.sum(1)
        old, wanted = self._numbers(before), self._numbers(after)
        key, query = torch.cat([old, number.masked_fill(~seen, NEVER)], 1)[:, None], number[..., None]
        visible = (key <= query) & ((key > query - self.window) | (key < self.sinks))
        held = torch.arange(places, device=x.device)
        if length == 1:  # of one step there is nothing to sort
            new = torch.full_like(held, places)
        else:
            steps = seen.to(torch.int8).argsort(stable=True, dim=1, descending=True)  # at i the i-th observed one
            new = places + steps.gather(1, (wanted - before[:, None]).clamp(0, length - 1))
        take = torch.where(wanted == old, held, new)
        return Update(~visible[:, None], take, after)

    def _numbers(self, seen: Tensor) -> Tensor:
        """After `seen` (B,) observed steps: the number of the key at each place (B, M), NEVER where there is none."""
        newest = seen[:, None] - 1
        first = torch.arange(self.sinks, device=seen.device).expand(seen.shape[0], -1)
        place = torch.arange(self.sinks, self.cached[1], device=seen.device)
        round_about = newest - (newest - place) % self.window  # the newest number that belongs there
        numbers = torch.cat([first, round_about], 1)
        none = (numbers > newest) | (numbers < torch.arange(self.cached[1], device=seen.device))
        return numbers.masked_fill(none, NEVER)


def _hidden(x: Tensor, mask: Tensor | None) -> Tensor:
    """x with 0 in masked steps, whatever stands there."""
    return x if mask is None else x.masked_fill(~mask[..., None], 0)
