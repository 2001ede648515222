"""LSTM over steps (Hochreiter & Schmidhuber 1997; the forget gate of Gers et al. 2000), for layer after layer

    i, f, o = σ(W x_t + U h_{t-1} + b)   each its own,   g = tanh(W x_t + U h_{t-1} + b),
    c_t = f c_{t-1} + i g,   h_t = o tanh(c_t).

A step that was not observed does not happen: the observed steps of a row are moved to its front, the layer runs once
over all rows, and what a row has after its own last step is its state.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from forecast.models.base import StreamingEncoder
from forecast.models.dropout import Dropout

SHUT = 1e4  # added to a gate: σ(-SHUT) is 0 and σ(SHUT) is 1, in every precision, half among them


class Memory(NamedTuple):
    """What the steps so far leave to those that follow."""

    h: Tensor  # (B, layers, D) the last output of each layer
    c: Tensor  # (B, layers, D) its cell


class LSTM(StreamingEncoder):
    """(B, L, D) -> (B, L, D), hidden size D in every layer.

    residual: x + LSTM(LayerNorm(x)) in each layer instead of LSTM(x), so that many layers learn as easily as one.
    dropout: between layers, and with residual on what each layer adds. At a masked step the last output is repeated.
    Steps are taken to be regular: dt is ignored.
    """

    def __init__(self, *, d_model: int = 64, layers: int = 1, dropout: float = 0.0, residual: bool = False) -> None:
        if d_model < 1 or layers < 1:
            raise ValueError(f"d_model is {d_model} and layers {layers}; both must be at least 1")
        super().__init__(d_model)
        self.residual = residual
        self.layers = nn.ModuleList(nn.LSTM(d_model, d_model, batch_first=True) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) if residual else nn.Identity() for _ in range(layers))
        self.dropout = Dropout(dropout)

    def start(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Memory:
        kept = torch.promote_types(dtype or torch.float32, torch.float32)
        zero = torch.zeros(batch, len(self.layers), self.d_model, device=device, dtype=kept)
        return Memory(zero, zero)

    def scan(
        self, state: Memory, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None
    ) -> tuple[Memory, Tensor]:
        if x.shape[1] == 0:
            return state, x
        if mask is None:
            state, added = self._run(state, x, None)
            return state, x + added if self.residual else added
        x = x.masked_fill(~mask[..., None], 0)
        order = mask.to(torch.int8).argsort(stable=True, dim=1, descending=True)  # observed steps first
        after, added = self._run(state, x.gather(1, order[..., None].expand_as(x)), mask.sum(1))
        before = state.h.sum(1) if self.residual else state.h[:, -1]
        added = torch.cat([before[:, None].to(added.dtype), added], 1)
        y = added.gather(1, mask.cumsum(1)[..., None].expand_as(x))  # of the last observed step up to each step
        return after, x + y if self.residual else y

    def _run(self, state: Memory, x: Tensor, count: Tensor | None) -> tuple[Memory, Tensor]:
        """All layers over x (B, L, D), of whose rows the first `count` (B,) steps are real: the state after those,
        and the output (B, L, D), with residual what is added to x."""
        added, hs, cs, last = torch.zeros_like(x), [], [], len(self.layers) - 1
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            y, h, c = _layer(layer, norm(x + added), state.h[:, i], state.c[:, i], count)
            hs.append(h)
            cs.append(c)
            if self.residual:
                added = added + self.dropout(y)
            elif i < last:
                x = self.dropout(y)
            else:
                added = y
        return Memory(torch.stack(hs, 1), torch.stack(cs, 1)), added


def _layer(lstm: nn.Module, x: Tensor, h: Tensor, c: Tensor, count: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """x (B, L, D), h and c (B, D) -> the outputs (B, L, D), and h and c after each row's own `count` steps.

    In the steps after those one more input, 1 there and 0 before, opens the forget gate and shuts the input gate:
    c stands still, bit for bit. So the work is the same whatever is masked, and no row depends on another's gaps,
    which would not be so if rows were packed.
    """
    start = (h[None].to(x.dtype).contiguous(), c[None].to(x.dtype).contiguous())
    if count is None:
        y, (h_end, c_end) = lstm(x, start)
        return y, h_end[0].to(h.dtype), c_end[0].to(c.dtype)
    over = (torch.arange(x.shape[1], device=x.device) >= count[:, None])[..., None]
    train = torch.is_grad_enabled()  # or cuDNN keeps nothing for the way back
    y, _, c_end = torch.lstm(
        torch.cat([x, over.to(x.dtype)], -1), start, _with_stop(lstm), True, 1, 0.0, train, False, True
    )
    at = (count - 1).clamp(min=0)[:, None, None].expand(-1, 1, y.shape[-1])
    some = (count > 0)[:, None]
    return y, torch.where(some, y.gather(1, at)[:, 0].to(h.dtype), h), torch.where(some, c_end[0].to(c.dtype), c)


def _with_stop(lstm: nn.Module) -> list[Tensor]:
    """The layer's weights with a column for the input that stops it; one piece of memory, as cuDNN keeps them."""
    weights: list[Tensor] = list(lstm.parameters())
    width = weights[1].shape[1]
    shut = torch.tensor([-SHUT, SHUT, 0, 0], dtype=weights[0].dtype, device=weights[0].device)  # of i, f, g, o
    weights[0] = torch.cat([weights[0], shut.repeat_interleave(width)[:, None]], 1)
    memory = torch.cat([w.flatten() for w in weights])
    parts = memory.split([w.numel() for w in weights])
    return [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]
