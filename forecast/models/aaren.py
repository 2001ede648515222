"""Aaren, "attention as an RNN" (Feng et al. 2024, arXiv 2405.13956, §3): the query is learned, not the token.

    o_k = Σ_{i≤k} e^{s_i} v_i / Σ_{i≤k} e^{s_i},   s_i = ⟨W_q q + b_q, W_k x_i + b_k⟩ / √d_h   in each head
    y = LN(x + W_o o),  then LN(y + FFN(y))

Everything else is a Transformer's encoder layer, so one layer has its parameters and one token q more. Since the query
is the same at every step, s is a linear map of the token, s_h = ⟨u_h, x⟩ + const: b_k has no gradient, for a constant
cancels, and where no gradient is asked for, u_h (D, H) takes the place of W_q, W_k and q.

The plain prefix average freezes: for bounded scores a step weighs 1/k in the k-th average. Decay (by it, every earlier
score falls with time) and the window are ours; `decay=None` is the paper's.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.models.attention import FeedForward
from forecast.models.base import State, StreamingEncoder
from forecast.models.dropout import Dropout
from forecast.models.window import Ring, empty_ring, window_attention
from forecast.ops import Carry, empty_carry, prefix_attention


class Decay(nn.Module):
    """By how much scores fall per unit of time, for each head: `rate`, from rate / spread to rate · spread."""

    rates: Tensor  # (H,); where they are learned, what softplus makes them of

    def __init__(self, rate: float, heads: int, *, spread: float, learned: bool) -> None:
        super().__init__()
        if not 0 < rate < math.inf:
            raise ValueError(f"decay is {rate}; expected a rate above 0; null is no decay")
        if not 1 <= spread < math.inf:
            raise ValueError(f"spread is {spread}; expected at least 1, which is one rate for all heads")
        rates = rate * spread ** (torch.linspace(-1, 1, heads) if heads > 1 else torch.zeros(1))
        self.learned = learned
        if learned:
            self.rates = nn.Parameter(rates + (-torch.expm1(-rates)).log())  # softplus⁻¹
        else:
            self.register_buffer("rates", rates, persistent=False)

    def forward(self, dt: Tensor | None) -> Tensor:
        """dt (B, l) -> (B, H, l); None: steps of 1 -> (1, H, 1)."""
        rates = F.softplus(self.rates) if self.learned else self.rates
        return rates[None, :, None] if dt is None else rates[:, None] * dt[:, None]


class PrefixLayer(nn.Module):
    """One layer; its state is a Carry, or a Ring where there is a window."""

    def __init__(
        self, d_model: int, heads: int, d_ff: int, *, dropout: float, norm_first: bool, decay: Decay | None
    ) -> None:
        super().__init__()
        self.heads, self.width, self.norm_first = heads, d_model // heads, norm_first
        self.query = nn.Parameter(torch.randn(d_model))
        self.query_projection = nn.Linear(d_model, d_model)
        self.key_projection = nn.Linear(d_model, d_model)
        self.value_projection = nn.Linear(d_model, d_model)
        self.out_projection = nn.Linear(d_model, d_model)
        self.feed = FeedForward(d_model, d_ff, dropout=dropout, activation="gelu")
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)
        self.decay = decay

    def forward(
        self, state: Carry | Ring, x: Tensor, mask: Tensor | None, dt: Tensor | None
    ) -> tuple[Carry | Ring, Tensor]:
        """x (B, l, D), mask and dt (B, l) -> the state after it, y (B, l, D)."""
        if self.norm_first:
            state, mixed = self._mix(state, self.norm1(x), mask, dt)
            x = x + self.dropout(mixed)
            return state, x + self.feed(self.norm2(x))
        state, mixed = self._mix(state, x, mask, dt)
        x = self.norm1(x + self.dropout(mixed))
        return state, self.norm2(x + self.feed(x))

    def scores(self, x: Tensor) -> Tensor:
        """x (B, l, D) -> s (B, H, l)."""
        query = self.query_projection(self.query).view(self.heads, self.width) / math.sqrt(self.width)
        if self.training or torch.is_grad_enabled():
            keys = self.key_projection(x).unflatten(-1, (self.heads, self.width))
            return (keys * query).sum(-1).transpose(1, 2)
        # made anew in every call: as much as one token's keys cost, and nothing that could be out of date
        maps = (query[:, :, None] * self.key_projection.weight.view(self.heads, self.width, -1)).sum(1)  # (H, D)
        constant = (query * self.key_projection.bias.view(self.heads, self.width)).sum(1)  # a state may hold both forms
        return F.linear(x, maps, constant).transpose(1, 2)

    def _mix(
        self, state: Carry | Ring, x: Tensor, mask: Tensor | None, dt: Tensor | None
    ) -> tuple[Carry | Ring, Tensor]:
        s = self.scores(x)
        v = self.value_projection(x).unflatten(-1, (self.heads, self.width)).transpose(1, 2)  # (B, H, l, d_h)
        falls = None if self.decay is None else self.decay(dt)
        after: Carry | Ring
        if isinstance(state, Ring):
            o, after = window_attention(s, v, state, decay=falls, mask=mask)
        else:
            s = s if mask is None else s.masked_fill(~mask[:, None], -torch.inf)
            o, after = prefix_attention(s, v, state, decay=falls)
        return after, self.out_projection(o.transpose(1, 2).reshape(x.shape))


class Aaren(StreamingEncoder):
    """(B, L, D) -> (B, L, D), step k from the first k steps.

    decay: how fast scores fall, per step (dt counts where it is given), in each head; with `learn_decay` that is where
    it starts; `spread` 2 gives the heads rates from half of it to its double; None: never, the paper's model. window:
    attend to the last so many observed steps only. Time is that of observed steps: a masked one neither ages the state
    nor fills the window, and its dt is dropped. norm_first: normalise before attention and feed-forward, and once more
    at the end of the stack.
    """

    def __init__(
        self,
        *,
        d_model: int = 512,
        heads: int = 8,
        d_ff: int = 2048,
        layers: int = 2,
        dropout: float = 0.1,
        norm_first: bool = False,
        decay: float | None = 0.02,
        learn_decay: bool = False,
        spread: float = 1.0,
        window: int | None = None,
    ) -> None:
        super().__init__(d_model)
        self.heads, self.window = heads, window
        if min(heads, d_model, d_ff, layers) < 1:
            sizes = f"d_model {d_model}, heads {heads}, d_ff {d_ff}, layers {layers}"
            raise ValueError(f"sizes are {sizes}; all must be at least 1")
        if d_model % heads:
            raise ValueError(f"d_model {d_model} is not a multiple of heads {heads}; change one of the two")
        if window is not None and window < 2:
            raise ValueError(f"window is {window}; expected at least 2 steps, or null for all")
        if learn_decay and decay is None:
            raise ValueError("learn_decay without a decay; give the rate it starts from, e.g. decay=0.02")

        def layer() -> PrefixLayer:
            rates = None if decay is None else Decay(decay, heads, spread=spread, learned=learn_decay)
            return PrefixLayer(d_model, heads, d_ff, dropout=dropout, norm_first=norm_first, decay=rates)

        self.layers = nn.ModuleList(layer() for _ in range(layers))
        self.norm: nn.Module = nn.LayerNorm(d_model) if norm_first else nn.Identity()

    def start(self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> State:
        kept = torch.promote_types(dtype or torch.float32, torch.float32)
        shape = (batch, self.heads, self.d_model // self.heads)
        if self.window is None:
            return tuple(empty_carry(*shape, device, kept) for _ in self.layers)
        return tuple(empty_ring(*shape, self.window, device, kept) for _ in self.layers)

    def scan(
        self, state: State, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None
    ) -> tuple[State, Tensor]:
        if mask is not None:
            x = x.masked_fill(~mask[..., None], 0)  # whatever stands there, NaN too, must not meet a weight of 0
            dt = (torch.ones_like(x[..., 0]) if dt is None else dt).masked_fill(~mask, 0)
        after = []
        for layer, part in zip(self.layers, state, strict=True):
            part, x = layer(part, x, mask, dt)
            after.append(part)
        return tuple(after), self.norm(x)
