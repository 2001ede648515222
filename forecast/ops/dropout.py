"""Dropout (Srivastava et al. 2014) whose mask costs a quarter of torch's on a CPU.

torch draws one number per element (`bernoulli_`): in a training step of the reference Informer a tenth of the time.
Here one draw of 64 bits decides four elements, so a probability is a multiple of 2⁻¹⁶; the scale is that multiple's,
and the expectation is kept exactly. The draw is from torch's generator: what seeds it decides the mask.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

LANES = 1 << 16  # values of the 16 bits that decide one element


def dropout(x: Tensor, p: float) -> Tensor:
    """x of any shape, each element 0 with probability p, the others divided by 1 − p."""
    zeros = round(p * LANES)
    if x.device.type != "cpu" or torch.compiler.is_compiling() or not 0 < zeros < LANES:
        return F.dropout(x, p)
    return _Dropout.apply(x, zeros)


def dropped(shape: torch.Size, zeros: int) -> Tensor:
    """True with probability zeros / 2¹⁶, bool of that shape."""
    count = shape.numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    return (words.view(torch.int16)[:count] < zeros - LANES // 2).view(shape)


class _Dropout(torch.autograd.Function):
    """One byte per element is kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, zeros: int) -> Tensor:
        gone = dropped(x.shape, zeros)
        ctx.save_for_backward(gone)
        ctx.scale = LANES / (LANES - zeros)
        return x.mul(ctx.scale).masked_fill_(gone, 0.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.mul(ctx.scale).masked_fill_(ctx.saved_tensors[0], 0.0), None
