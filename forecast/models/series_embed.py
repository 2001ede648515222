"""From labelled series to tokens, by strided causal convolution.

    token j = act(Norm(Σ_i W_i x_{(j+1)·stride - kernel + i} + b)),   x = [values, where they were observed]

and then residual convolutions over tokens (token_conv.py). Token j is about the steps j·stride … (j+1)·stride - 1 and
knows none after them; before the first step and behind the last stands 0. kernel = stride is patching. A series of L
steps has ceil(L / stride) tokens, the last of which may be about fewer steps than the others.

Shapes: B series, L steps, l new steps, L' tokens, C channels, C' inputs: C, or 2C where values may be missing.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.models.base import State
from forecast.models.dropout import Dropout
from forecast.models.embed import Positions, waves
from forecast.models.token_conv import ACTIVATIONS, Activation, Arrival, Norm, TokenConv, TokenNorm, latest


class SeriesTokens(nn.Module):
    """values (B, L, C), mask (B, L, C) of what was observed, steps (B, L) of what is no padding -> (B, L', D).

    What stands where mask or steps are False changes nothing; None is True everywhere. Padding is behind. A token
    without a step is 0.
    """

    d_model: int
    stride = 1

    def __init__(self, channels: int, missing: bool) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"the series have {channels} channels; expected at least 1")
        self.channels, self.missing = channels, missing

    def length(self, steps: int) -> int:
        """Tokens of so many steps."""
        return -(-steps // self.stride)

    def token_mask(self, steps: Tensor) -> Tensor:
        """(B, L) -> (B, L'): which tokens are about any step."""
        return steps[:, :: self.stride]

    def forward(self, values: Tensor, mask: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not say how it embeds")

    def start(self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> State:
        """The state before the first step."""
        return ()

    def phase(self, state: State) -> Tensor:
        """(B,) steps of the token that is not whole yet."""
        raise TypeError(f"{type(self).__name__} has a token for each step")

    def scan(
        self, state: State, values: Tensor, mask: Tensor | None = None, count: Tensor | None = None
    ) -> tuple[State, Tensor, Tensor | None]:
        """values and mask (B, l, C), the first `count` (B,) steps of each row are real, None: all -> the state after
        them; after each step the token (B, l, D) that would be the last if the series ended there; and which of these
        are whole (B, l), None where all are. Any l: the streaming law holds for what is real.
        """
        raise TypeError(f"{type(self).__name__} does not say how it goes on")

    def inputs(self, values: Tensor, mask: Tensor | None, steps: Tensor | None) -> Tensor:
        """(B, L, C'), 0 where nothing was observed."""
        if steps is not None:
            mask = steps[..., None].expand_as(values) if mask is None else mask & steps[..., None]
        if mask is not None:
            values = values.masked_fill(~mask, 0.0)
        if not self.missing:
            return values
        seen = torch.ones_like(values) if mask is None else mask.to(values.dtype)
        return torch.cat([values, seen], -1)


class FlatSeries(SeriesTokens):
    """A token is a step: its values, and where they may be missing, which were observed. Nothing is learned."""

    def __init__(self, *, channels: int, missing: bool = False) -> None:
        super().__init__(channels, missing)
        self.d_model = channels * (2 if missing else 1)

    def forward(self, values: Tensor, mask: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
        return self.inputs(values, mask, steps)

    def scan(
        self, state: State, values: Tensor, mask: Tensor | None = None, count: Tensor | None = None
    ) -> tuple[State, Tensor, Tensor | None]:
        steps = _first(count, values.shape[1])
        return state, self.inputs(values, mask, steps), steps


class Recalled(NamedTuple):
    """What a series leaves to its next step."""

    inputs: Tensor  # (B, kernel - 1, C') of the last steps
    steps: Tensor  # (B,) int64, how many there were
    rings: tuple[Tensor, ...]  # of each layer (B, P, D), the last tokens that went into it


class SeriesEmbedding(SeriesTokens):
    """A strided convolution, `layers` residual ones over tokens, positions, dropout.

    stride: None: the least that makes at most `tokens` of `longest` steps. kernel: steps that a token sees, at least
    stride; None: two strides, and 3 at least. missing: which values were observed is an input too. norm and activation
    follow each convolution; with neither and layers=0 a token is a linear map of its steps. block_kernel: tokens that
    a layer sees, `factor` times as far apart from layer to layer; block_dropout: on what a layer adds. position: add
    where a token stands.
    """

    def __init__(
        self, *, channels: int, missing: bool = False, longest: int | None = None, d_model: int = 64,
        kernel: int | None = None, stride: int | None = None, tokens: int = 64, layers: int = 2, block_kernel: int = 5,
        factor: int = 1, norm: Norm = "batch", activation: Activation = "gelu", position: bool = False,
        dropout: float = 0.0, block_dropout: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__(channels, missing)
        if stride is None:
            if longest is None or tokens < 1:
                raise ValueError(
                    f"embed.stride is null, tokens {tokens} and longest {longest}; expected both, or a stride"
                )
            stride = max(1, -(-longest // tokens))
        kernel = max(3, 2 * stride) if kernel is None else kernel
        if not 1 <= stride <= kernel:
            raise ValueError(f"embed.kernel is {kernel} and embed.stride {stride}; expected 1 <= stride <= kernel")
        if min(d_model, block_kernel, factor) < 1 or layers < 0:
            found = f"d_model is {d_model}, layers {layers}, block_kernel {block_kernel} and factor {factor}"
            raise ValueError(f"embed.{found}; expected at least 1, and layers at least 0")
        if activation not in ACTIVATIONS:
            raise ValueError(f"embed.activation is {activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        self.d_model, self.kernel, self.stride, self.activation = d_model, kernel, stride, activation
        self.conv = nn.Conv1d(channels * (2 if missing else 1), d_model, kernel, stride=stride)
        self.norm = TokenNorm(d_model, norm)
        self.layers = nn.ModuleList(
            TokenConv(
                d_model, kernel=block_kernel, dilation=factor**i, norm=norm, activation=activation,
                dropout=block_dropout,
            )
            for i in range(layers)
        )  # fmt: skip
        self.position = Positions(d_model) if position else None
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
        x = self.inputs(values, mask, steps).to(self.conv.weight.dtype).transpose(1, 2)
        tokens = self.length(x.shape[2])
        x = F.pad(x, (self.kernel - self.stride, tokens * self.stride - x.shape[2]))
        real = None if steps is None else self.token_mask(steps)
        x = ACTIVATIONS[self.activation](self.norm(self.conv(x).transpose(1, 2), real))
        for layer in self.layers:  # padding is behind and nothing looks ahead, so what stands there reaches no token
            x = layer(x, real)
        if self.position is not None:
            x = x + self.position(tokens).to(x.dtype)
        x = self.dropout(x)
        return x if real is None else x.masked_fill(~real[..., None], 0.0)

    def start(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Recalled:
        kept = torch.promote_types(dtype or self.conv.weight.dtype, torch.float32)
        blank = torch.zeros(batch, self.d_model, device=device, dtype=kept)
        inputs = blank.new_zeros(batch, self.kernel - 1, self.conv.in_channels)
        steps = torch.zeros(batch, dtype=torch.int64, device=device)
        return Recalled(inputs, steps, tuple(layer.start(blank) for layer in self._layers()))

    def _layers(self) -> list[TokenConv]:
        return [layer for layer in self.layers if isinstance(layer, TokenConv)]

    def phase(self, state: Recalled) -> Tensor:
        return state.steps % self.stride

    def scan(
        self, state: Recalled, values: Tensor, mask: Tensor | None = None, count: Tensor | None = None
    ) -> tuple[Recalled, Tensor, Tensor | None]:
        length = values.shape[1]
        real = _first(count, length)
        new = self.inputs(values, mask, real).to(self.conv.weight.dtype)
        if not length:
            return state, new.new_zeros(len(new), 0, self.d_model), real
        count = torch.full_like(state.steps, length) if count is None else count
        arrival = Arrival.of(state.steps, count, length, self.stride)
        x = ACTIVATIONS[self.activation](self.norm.still(self._stem(state.inputs, new, arrival.place)))
        rings = []
        for layer, ring in zip(self._layers(), state.rings, strict=True):
            ring, x = layer.scan(ring, x, arrival)
            rings.append(ring)
        if self.position is not None:
            number = (state.steps[:, None] + torch.arange(length, device=x.device)) // self.stride
            x = x + waves(number.to(torch.float32), self.d_model).to(x.dtype)
        after = Recalled(latest(state.inputs, new, count), state.steps + count, tuple(rings))
        if self.stride > 1:
            whole = arrival.place == self.stride - 1
            real = whole if real is None else whole & real
        return after, self.dropout(x), real

    def _stem(self, held: Tensor, new: Tensor, place: Tensor) -> Tensor:
        """held (B, kernel - 1, C'), new (B, l, C'), place (B, l) -> (B, l, D): of each step the token it belongs to,
        with 0 in place of the steps after it."""
        rows, length, _ = new.shape
        wide = F.pad(torch.cat([held.to(new.dtype), new], 1), (0, 0, 0, self.stride - 1))
        if self.stride == 1:
            return F.conv1d(wide.transpose(1, 2), self.conv.weight, self.conv.bias).transpose(1, 2)
        taps = torch.arange(self.kernel, device=new.device)
        ahead = self.stride - 1 - place[..., None] + taps  # from the step's own window to that of its token
        index = (ahead + torch.arange(length, device=new.device)[:, None]).flatten(1)
        seen = wide.gather(1, index[..., None].expand(-1, -1, wide.shape[2])).view(rows, length, self.kernel, -1)
        seen = seen.masked_fill((ahead >= self.kernel)[..., None], 0.0)
        return F.linear(seen.flatten(2), self.conv.weight.transpose(1, 2).flatten(1), self.conv.bias)


def _first(count: Tensor | None, length: int) -> Tensor | None:
    """(B,) -> (B, length), True in the first `count` places."""
    return None if count is None else torch.arange(length, device=count.device) < count[:, None]
