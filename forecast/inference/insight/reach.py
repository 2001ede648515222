"""How far back an encoder, and a forecast, reach: by its construction, and measured by gradients.

The Frobenius norm ‖∂y/∂x_t‖ of a step t of the input, over all numbers of y, is estimated with signs r drawn at random:
E ‖(∂y/∂x_t)ᵀ r‖² = ‖∂y/∂x_t‖². One backward pass gives it for all t at once; where y has few numbers it is exact.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from forecast.models.aaren import Aaren
from forecast.models.base import Encoder
from forecast.models.linear import Linear
from forecast.models.mega import Block
from forecast.models.none import Identity
from forecast.models.tcn import TCN
from forecast.models.tcnca import TCNCA
from forecast.models.transformer import Transformer
from forecast.ops.selection import mixed

PROBES: Final = 16  # backward passes; the norm of many numbers is known to 1/√(2·PROBES) or better
SHARES: Final = (0.5, 0.9, 0.99)  # of the norms of a window, added up


class Reach(NamedTuple):
    """How many of the newest tokens the last output can depend on, and by which rule."""

    tokens: int
    rule: str


def by_construction(encoder: Encoder, length: int) -> Reach:
    """Of a window of `length` tokens without gaps, in evaluation."""
    if isinstance(encoder, Identity):
        return Reach(1, "each token is handed on untouched")
    if isinstance(encoder, Linear):
        width = encoder.width or 1
        words = f"a moving average of {width} tokens around each" if width > 1 else "each token is handed on untouched"
        return Reach(min(width // 2 + 1, length), words)
    if isinstance(encoder, TCNCA):
        return _tcnca(encoder, length)
    if isinstance(encoder, Aaren) and encoder.window is not None:
        depth, window = len(encoder.layers), encoder.window
        return Reach(min(1 + depth * (window - 1), length), f"{depth} × a window of {window} tokens")
    if isinstance(encoder, Transformer) and encoder.causal and encoder.window < length and not encoder.sinks:
        depth, window = len(encoder.layers), encoder.window
        return Reach(min(1 + depth * (window - 1), length), f"{depth} × a window of {window} tokens")
    return Reach(length, "every token of the window")


def _tcnca(encoder: TCNCA, length: int) -> Reach:
    """Layer by layer from the last token: back to the begin of its chunk, then over the convolutions."""
    first = length - 1
    field, ema = 1, False
    for layer in encoder.layers:
        block = layer.block
        assert isinstance(block, Block)
        first = first // encoder.chunk * encoder.chunk
        if isinstance(block.mixer, TCN):
            field = block.mixer.receptive_field
            first = max(0, first - field + 1)
        else:
            first, ema = 0, True
    if ema:
        return Reach(length, "a moving average of all earlier tokens")
    layers = len(encoder.layers)
    rule = f"{layers} × (convolutions over {field} tokens, attention in chunks of {encoder.chunk})"
    return Reach(length - first, rule)


def gradients(run: Callable[[Tensor], Tensor], x: Tensor, *, seed: int = 0) -> Tensor:
    """Estimates of ‖∂y/∂x‖ (…, as x) for y = run(x), B independent rows in both; squares may be summed over axes of x.

    Exact where a row of y has at most PROBES numbers. Touches no gradient of a parameter and no global generator.
    """
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        y = run(x).flatten(1)
        size = y.shape[1]
        if size <= PROBES:
            probes = torch.eye(size, dtype=y.dtype)
        else:
            generator = torch.Generator().manual_seed(mixed(seed, size))
            probes = torch.randint(2, (PROBES, size), generator=generator).to(y.dtype) * 2 - 1
        total = torch.zeros_like(x, requires_grad=False)
        for k, probe in enumerate(probes):
            (found,) = torch.autograd.grad(
                y, x, probe.expand_as(y), retain_graph=k + 1 < len(probes), allow_unused=True
            )
            if found is not None:
                total += found.square()
    return (total if size <= PROBES else total / PROBES).sqrt()


def of_encoder(encoder: Encoder, x: Tensor, mask: Tensor | None) -> tuple[Tensor, str]:
    """The norm of the gradient of the last token that comes out, or of all where an encoder looks both ways, for each
    token (B, L) that goes in; and which of the two."""
    last = encoder.causal and encoder.out_len(x.shape[1]) == x.shape[1]

    def run(tokens: Tensor) -> Tensor:
        y = encoder(tokens, mask)
        return y[:, -1] if last else y

    return gradients(run, x).square().sum(-1).sqrt(), "last" if last else "all"


def told(norms: Tensor) -> dict[str, Any]:
    """What the gradients (B, L) say in numbers: how many of the newest tokens hold a share of their sum, and how
    far back the first lies whose gradient is not 0."""
    length = norms.shape[1]
    behind = norms.double().flip(1).cumsum(1)  # of the newest 1 … L
    total = behind[:, -1:]
    share = {f"{100 * h:g}": [int(n) for n in (behind < h * total).sum(1).add(1).clamp(max=length)] for h in SHARES}
    some = norms > 0
    first = torch.where(some.any(1), some.int().argmax(1), length)
    return {"holds": share, "reaches": [int(length - k) for k in first]}
