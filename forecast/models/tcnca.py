"""TCNCA: a temporal convolutional network and chunked attention (Terzic et al. 2023, arXiv 2312.05605).

    each layer:   x ← Gated(x; TCN)   (MEGA's block with a TCN in place of its moving average: `forecast.models.mega`)
                  x ← x + FFN(Norm(x))
    at the end:   Norm(x)

A re-implementation: the paper's abstract fixes TCN, chunks and MEGA as the rest, its exact block we have not seen.
`mixer="ema"` is MEGA itself; `simple` is x + CA(TCN(x)), without gates. Steps are taken as equally spaced: dt is
ignored.

**Masks.** What the encoder sees is the sequence of observed steps; a masked step is skipped: it takes no place in a
chunk and no tap of a convolution, its output is zero. In parallel form each row's observed steps are moved to its
front, and outputs back; rows then have different lengths, and each remembers where in its chunk it stands. Without a
mask none of this is paid.
"""

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from forecast.models.base import StreamingEncoder
from forecast.models.ema import EMA
from forecast.models.mega import BlockState, FeedForward, Gated, Kind, Now, Simple
from forecast.models.tcn import TCN, Activation, Norm


class TCNCAState(NamedTuple):
    """`seen` (B,) observed steps of each row so far, and what each layer's block remembers."""

    seen: Tensor
    blocks: tuple[BlockState, ...]


class Layer(nn.Module):
    """A block with its feed-forward."""

    def __init__(self, block: Gated | Simple, feed: FeedForward) -> None:
        super().__init__()
        self.block, self.feed = block, feed

    def start(self, like: Tensor) -> BlockState:
        return self.block.start(like)

    def forward(self, x: Tensor, state: BlockState | None, now: Now) -> tuple[Tensor, BlockState | None]:
        x, after = self.block(x, state, now)
        return self.feed(x), after


class TCNCA(StreamingEncoder):
    """(B, L, D) -> (B, L, D), causal.

    d_key: width z of queries and keys; d_ff: width e of values, and of the feed-forward. kernel, factor, depth,
    stacks, norm, activation and depthwise are those of `TCN`; `states` is EMA's components per channel.
    any_phase: chunks of a window begin with it, and so its last step always stands at the same place in its chunk; in a
    stream it stands anywhere. With any_phase each batch of training is cut at a place of its own, from torch's
    generator, and the model has met them all.
    """

    def __init__(
        self,
        *,
        d_model: int = 32,
        d_key: int = 16,
        d_ff: int = 64,
        layers: int = 2,
        chunk: int = 64,
        attention: Kind = "softmax",
        simple: bool = False,
        mixer: Literal["tcn", "ema"] = "tcn",
        kernel: int = 5,
        factor: int = 4,
        depth: int = 3,
        stacks: int = 1,
        norm: Norm = "none",
        activation: Activation = "silu",
        depthwise: bool = True,
        states: int = 16,
        any_phase: bool = False,
        dropout: float = 0.1,
    ) -> None:
        sizes = {"d_model": d_model, "d_key": d_key, "d_ff": d_ff, "layers": layers, "chunk": chunk}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"model.{name} is {size}; expected at least 1")
        super().__init__(d_model)
        self.chunk, self.any_phase = chunk, any_phase
        form = Simple if simple else Gated

        def mixing() -> TCN | EMA:
            if mixer == "ema":
                return EMA(d_model, states=states)
            return TCN(
                d_model, kernel=kernel, factor=factor, depth=depth, stacks=stacks, norm=norm, activation=activation,
                depthwise=depthwise, dropout=dropout,
            )  # fmt: skip

        def layer() -> Layer:
            block = form(mixing(), d_model, d_key=d_key, d_value=d_ff, chunk=chunk, kind=attention, dropout=dropout)
            return Layer(block, FeedForward(d_model, d_ff, dropout=dropout))

        self.layers = nn.ModuleList(layer() for _ in range(layers))
        self.norm = nn.LayerNorm(d_model)

    def start(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> TCNCAState:
        wide = torch.promote_types(dtype or torch.float32, torch.float32)
        like = torch.zeros(batch, self.d_model, device=device, dtype=wide)
        seen = torch.zeros(batch, device=device, dtype=torch.int64)
        return TCNCAState(seen, tuple(cast(Layer, layer).start(like) for layer in self.layers))

    def scan(
        self, state: TCNCAState, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None
    ) -> tuple[TCNCAState, Tensor]:
        if not x.shape[1]:
            return state, x
        if mask is None:
            return self._onward(state, x, None)
        after, y = self._onward(state, _to_the_front(x, mask), mask.sum(1))
        return after, _back(y, mask)

    def forward(self, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None) -> Tensor:
        """A scan from the beginning whose state nobody wants: whole chunks at once."""
        if not x.shape[1]:
            return x
        y = x if mask is None else _to_the_front(x, mask)
        phase = int(torch.randint(self.chunk, ())) if self.training and self.any_phase else 0
        now = Now(torch.zeros(x.shape[0], device=x.device, dtype=torch.int64), None, phase)
        for layer in self.layers:
            y, _ = layer(y, None, now)
        y = self.norm(y)
        return y if mask is None else _back(y, mask)

    def _onward(self, state: TCNCAState, x: Tensor, count: Tensor | None) -> tuple[TCNCAState, Tensor]:
        """As scan, of which each row has taken its first `count` (B,) steps."""
        now, after = Now(state.seen, count), []
        for layer, block in zip(self.layers, state.blocks, strict=True):
            x, held = layer(x, block, now)
            after.append(held)
        return TCNCAState(state.seen + (x.shape[1] if count is None else count), tuple(after)), self.norm(x)


def _to_the_front(x: Tensor, mask: Tensor) -> Tensor:
    """x (B, l, D) with the observed steps of each row first, in order, and zeros after them."""
    order = (~mask).long().argsort(dim=1, stable=True)
    behind = torch.arange(x.shape[1], device=x.device) >= mask.sum(1)[:, None]
    return x.gather(1, order[..., None].expand_as(x)).masked_fill(behind[..., None], 0.0)


def _back(y: Tensor, mask: Tensor) -> Tensor:
    """Outputs at the places their steps came from, zero at the masked ones."""
    place = (mask.cumsum(1) - 1).clamp(min=0)
    return y.gather(1, place[..., None].expand_as(y)).masked_fill(~mask[..., None], 0.0)
