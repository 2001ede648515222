"""Gated chunked attention of MEGA (Ma et al. 2022, arXiv 2209.10655, §3.2-3.5), whose average TCNCA makes a TCN.

    x̂ = Norm(x),  V = SiLU(x̂ W_v + b_v),  X' = Dropout(mixer(x̂))           mixer: TCN (TCNCA) or EMA (MEGA)
    [u | z r | h_x] = X' W + b,   u = σ(u),   [Z | r] = SiLU(z r)
    q, k = Z·gamma_{1,2} + beta_{1,2}                                        one head, Z shared
    A = softmax(q kᵀ/√z + bias)   or   f(q kᵀ/len + bias),   len = keys seen   within chunks of c steps, causal
        laplace: f(a) = (1 + erf((a - √½)/(√(1/4π)·√2)))/2        relu2: f(a) = relu(a)²
    h = Dropout(SiLU(h_x + (r·(A V)) W_h + b_h)),   out = x + u·(h - x)

Only the mixer carries anything from one chunk to the next, so a stream remembers the keys and values of the chunk it is
in, c at most, and drops them when the next begins.

Shapes: B rows, l steps, D channels, z width of keys, e width of values, c chunk.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.models.dropout import Dropout
from forecast.models.ema import EMA
from forecast.models.tcn import TCN
from forecast.ops import chunk_attention

Kind = Literal["softmax", "laplace", "relu2"]
LAPLACE_MEAN, LAPLACE_SD = math.sqrt(0.5), math.sqrt(0.25 / math.pi)


class BlockState(NamedTuple):
    """What a block remembers: its mixer's state, and keys (B, c, z) and values (B, c, e) of the chunk begun.

    Slots that the chunk has not reached are zero, so that equal histories are equal states.
    """

    mixer: tuple[Tensor, ...]
    keys: Tensor
    values: Tensor


class Now(NamedTuple):
    """Where in its series each row of a scan stands: `start` (B,) steps before it, `taken` (B,) in it, None for all.

    `phase`: of a scan from the beginning, by how many steps its first chunk is shorter than the others, less than one.
    """

    start: Tensor
    taken: Tensor | None
    phase: int = 0


class ChunkAttention(nn.Module):
    """Single-headed causal attention within chunks, with a learned bias for each distance."""

    def __init__(self, chunk: int, *, kind: Kind) -> None:
        super().__init__()
        self.chunk, self.kind = chunk, kind
        self.bias = nn.Parameter(0.02 * torch.randn(chunk))  # by i - j; of MEGA's 2c - 1 the causal ones

    def forward(self, q: Tensor, k: Tensor, v: Tensor, phase: int = 0) -> Tensor:
        """q and k (B, L, z), v (B, L, e) from the first step on -> (B, L, e); `phase` shortens the first chunk."""
        if phase:
            short = self.chunk - phase
            parts = ([part[:, :short] for part in (q, k, v)], [part[:, short:] for part in (q, k, v)])
            return torch.cat([self(*part) for part in parts if part[0].shape[1]], 1)
        length = q.shape[1]
        size = min(self.chunk, length)
        at = torch.arange(size, device=q.device)
        bias, seen = self._bias(at[:, None] - at), at[:, None] >= at
        if self.kind == "softmax":
            return chunk_attention(q[:, None], k[:, None], v[:, None], size, bias=bias[None])[:, 0]
        short = -length % size
        q, k, v = (F.pad(part, (0, 0, 0, short)).unflatten(1, (-1, size)) for part in (q, k, v))
        return (self.weights(q @ k.mT, bias, seen, at + 1, q.shape[-1]) @ v).flatten(1, 2)[:, :length]

    def onward(
        self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, now: Now
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same for steps that follow others -> (B, l, e), and keys and values remembered after them.

        Pieces of c steps: memory stays O(l·c), and a step costs O(c).
        """
        found = []
        start, count = now.start, now.taken
        for first in range(0, q.shape[1], self.chunk):
            part = slice(first, first + self.chunk)
            length = q[:, part].shape[1]
            here = None if count is None else (count - first).clamp(0, length)
            out, keys, values = self._piece(q[:, part], k[:, part], v[:, part], keys, values, Now(start, here))
            start = start + (length if here is None else here)
            found.append(out)
        return torch.cat(found, 1), keys, values

    def _piece(
        self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, now: Now
    ) -> tuple[Tensor, Tensor, Tensor]:
        """l ≤ c steps, which see the chunk begun and each other. Rows may stand at different places in their chunks."""
        chunk, length = self.chunk, q.shape[1]
        slots, steps = torch.arange(chunk, device=q.device), torch.arange(length, device=q.device)
        begun = now.start[:, None] % chunk  # (B, 1): slots that are taken
        place = begun + steps  # (B, l), counted from the begin of the chunk begun
        old = (place < chunk)[..., None] & (slots < begun[..., None])  # (B, l, c)
        new = (place[..., None] // chunk == place[:, None] // chunk) & (steps[:, None] >= steps)  # (B, l, l)
        held_k, held_v = torch.cat([keys.to(k.dtype), k], 1), torch.cat([values.to(v.dtype), v], 1)
        slot = torch.cat([slots.expand(q.shape[0], -1), place % chunk], 1)  # (B, c + l), of each key
        distance = place[..., None] % chunk - slot[:, None]
        bias = self._bias(distance)
        weights = self.weights(q @ held_k.mT, bias, torch.cat([old, new], 2), place % chunk + 1, q.shape[-1])
        # The chunk that is begun afterwards: its first `taken` slots, from what was held or from here.
        end = begun + (length if now.taken is None else now.taken[:, None])
        source = end - end % chunk + slots  # (B, c), counted as `place`
        index = torch.where(source < begun, source, chunk + source - begun).clamp(max=chunk + length - 1)
        empty = slots >= end % chunk

        def kept(held: Tensor, like: Tensor) -> Tensor:
            picked = held.gather(1, index[..., None].expand(-1, -1, held.shape[2]))
            return picked.masked_fill(empty[..., None], 0.0).to(like.dtype)

        return weights @ held_v, kept(held_k, keys), kept(held_v, values)

    def _bias(self, distance: Tensor) -> Tensor:
        return self.bias[distance.clamp(0, self.chunk - 1)]

    def weights(self, products: Tensor, bias: Tensor, seen: Tensor, count: Tensor, width: int) -> Tensor:
        """Products q kᵀ (…, i, j) -> A; seen (…, i, j), count (…, i) keys that query i sees."""
        if self.kind == "softmax":
            scores = products * width**-0.5 + bias
            return scores.masked_fill(~seen, -torch.inf).softmax(-1).to(products.dtype)
        scores = products / count[..., None] + bias
        weights = laplace(scores) if self.kind == "laplace" else F.relu(scores).square()
        return weights.masked_fill(~seen, 0.0).to(products.dtype)


def laplace(scores: Tensor) -> Tensor:
    """The normal distribution function with mean √½ and variance 1/4π: it meets relu² and its slope at √½."""
    return 0.5 * (1 + torch.erf((scores - LAPLACE_MEAN) / (LAPLACE_SD * math.sqrt(2))))


class Block(nn.Module):
    """Mixer, then attention on what it gives; the parts that the gated and the simple form share."""

    def __init__(
        self, mixer: TCN | EMA, d_model: int, *, d_key: int, d_value: int, chunk: int, kind: Kind, dropout: float
    ) -> None:
        super().__init__()
        self.norm, self.mixer, self.dropout = nn.LayerNorm(d_model), mixer, Dropout(dropout)
        self.attention = ChunkAttention(chunk, kind=kind)
        self.sizes = d_model, d_key, d_value

    def start(self, like: Tensor) -> BlockState:
        """like (B, D) says where and how precise."""
        _, d_key, d_value = self.sizes
        keys, values = (like.new_zeros(like.shape[0], self.attention.chunk, width) for width in (d_key, d_value))
        return BlockState(self.mixer.start(like), keys, values)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, mixed: tuple[Tensor, ...] | None, state: BlockState | None, now: Now
    ) -> tuple[Tensor, BlockState | None]:
        """A V, and the state after it, `mixed` that of the mixer."""
        if state is None or mixed is None:
            return self.attention(q, k, v, now.phase), None
        out, keys, values = self.attention.onward(q, k, v, state.keys, state.values, now)
        return out, BlockState(mixed, keys, values)


class Gated(Block):
    """The block above: x (B, l, D) -> out (B, l, D)."""

    def __init__(
        self, mixer: TCN | EMA, d_model: int, *, d_key: int, d_value: int, chunk: int, kind: Kind, dropout: float
    ) -> None:
        super().__init__(mixer, d_model, d_key=d_key, d_value=d_value, chunk=chunk, kind=kind, dropout=dropout)
        self.value = linear(d_model, d_value)
        self.gates = linear(d_model, 2 * d_model + d_key + d_value)
        self.gamma = nn.Parameter(0.02 * torch.randn(2, d_key))
        self.beta = nn.Parameter(torch.zeros(2, d_key))
        self.out = nn.Linear(d_value, d_model, bias=False)  # b_h would be h_x's bias twice

    def forward(self, x: Tensor, state: BlockState | None, now: Now) -> tuple[Tensor, BlockState | None]:
        d_model, d_key, d_value = self.sizes
        normed = self.norm(x)
        mixed, held = self.mixer(normed, None if state is None else state.mixer, now.taken)
        u, zr, inner = self.gates(self.dropout(mixed)).split([d_model, d_key + d_value, d_model], -1)
        z, r = F.silu(zr).split([d_key, d_value], -1)
        q, k = (z * self.gamma[i] + self.beta[i] for i in (0, 1))
        seen, after = self.attend(q, k, F.silu(self.value(normed)), held, state, now)
        h = self.dropout(F.silu(inner + self.out(r * seen)))
        return x + u.sigmoid() * (h - x), after


class Simple(Block):
    """Without gates, as we read TCNCA's form for associative recall: out = x + Dropout(CA(mixer(Norm(x))))."""

    def __init__(
        self, mixer: TCN | EMA, d_model: int, *, d_key: int, d_value: int, chunk: int, kind: Kind, dropout: float
    ) -> None:
        super().__init__(mixer, d_model, d_key=d_key, d_value=d_value, chunk=chunk, kind=kind, dropout=dropout)
        self.project = linear(d_model, 2 * d_key + d_value)
        self.out = linear(d_value, d_model)

    def forward(self, x: Tensor, state: BlockState | None, now: Now) -> tuple[Tensor, BlockState | None]:
        _, d_key, d_value = self.sizes
        mixed, held = self.mixer(self.norm(x), None if state is None else state.mixer, now.taken)
        q, k, v = self.project(self.dropout(mixed)).split([d_key, d_key, d_value], -1)
        seen, after = self.attend(q, k, v, held, state, now)
        return x + self.dropout(self.out(seen)), after


class FeedForward(nn.Module):
    """MEGA's normalised one: x + Dropout(W_2 Dropout(SiLU(W_1 Norm(x))))."""

    def __init__(self, d_model: int, d_ff: int, *, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(d_model), Dropout(dropout)
        self.up, self.down = linear(d_model, d_ff), linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.down(self.dropout(F.silu(self.up(self.norm(x))))))


def linear(width: int, out: int) -> nn.Linear:
    """torch's own weights: at MEGA's width, 512, their deviation is its N(0, 0.02), and at ours they do not fade."""
    made = nn.Linear(width, out)
    nn.init.zeros_(made.bias)
    return made
