"""Residual causal convolutions over tokens, exact for series that are padded behind their end, and as a stream.

    y_j = x_j + Dropout(act(Norm(Σ_i W_i x_{j - (k-1-i)·d} + b)))     kernel k, dilation d, 0 before the first token

A stream's newest token may be one that is not whole yet: what it would give is told, and nothing of it is remembered.
Shapes: B rows, L tokens, l steps, J tokens that these steps touch, D channels, P = (k-1)·d tokens remembered.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.models.dropout import Dropout

Norm = Literal["none", "layer", "batch"]
Activation = Literal["none", "gelu", "relu", "silu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x, "gelu": F.gelu, "relu": F.relu, "silu": F.silu
}  # fmt: skip


class Arrival(NamedTuple):
    """How the l newest steps of each row fall into tokens of `stride` steps."""

    token: Tensor  # (B, l) int64, which of the J tokens a step belongs to
    place: Tensor  # (B, l) int64, which step of that token it is, 0 … stride - 1
    last: Tensor  # (B, J) int64, the step that makes each token whole; any step where none does
    whole: Tensor  # (B,) int64, how many tokens become whole

    @staticmethod
    def of(before: Tensor, count: Tensor, length: int, stride: int) -> "Arrival":
        """`before` (B,) steps came earlier; of the `length` >= 1 new ones the first `count` (B,) are real."""
        phase, steps = before % stride, torch.arange(length, device=before.device)
        at = phase[:, None] + steps
        tokens = torch.arange((length + stride - 2) // stride + 1, device=before.device)
        last = ((tokens + 1) * stride - 1 - phase[:, None]).clamp(max=length - 1)
        return Arrival(at // stride, at % stride, last, (phase + count) // stride)


class TokenNorm(nn.Module):
    """(B, L, D), mask (B, L) of the real tokens or None for all -> (B, L, D).

    "batch": each channel by its mean and deviation over the real tokens of the batch; in evaluation by the running
    ones, so that no row depends on its batch. "layer": each token by its own.
    """

    def __init__(self, d_model: int, kind: Norm) -> None:
        super().__init__()
        self.norm: nn.Module = nn.Identity()
        if kind == "layer":
            self.norm = nn.LayerNorm(d_model)
        elif kind == "batch":
            self.norm = nn.BatchNorm1d(d_model)
        elif kind != "none":
            raise ValueError(f"embed.norm is {kind!r}; expected none, layer or batch")

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if not self.training or not isinstance(self.norm, nn.BatchNorm1d):
            return self.still(x)
        if mask is None and x.shape[0] * x.shape[1] > 1:
            return self.norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return _batch_norm(self.norm, x, mask)

    def still(self, x: Tensor) -> Tensor:
        """What evaluation gives, whatever the mode."""
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm1d):
            return norm(x)
        flat = F.batch_norm(x.flatten(0, 1), norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        return flat.unflatten(0, x.shape[:2])


def _batch_norm(norm: nn.BatchNorm1d, x: Tensor, mask: Tensor | None) -> Tensor:
    """By the statistics of the real tokens; the running ones move by norm.momentum towards them."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    real = torch.ones_like(wide[..., :1]) if mask is None else mask[..., None].to(wide.dtype)
    count = real.sum().clamp(min=1)
    mean = (wide * real).sum((0, 1)) / count
    off = wide - mean
    variance = (off.square() * real).sum((0, 1)) / count
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    with torch.no_grad():
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        unbiased = variance * (count / (count - 1).clamp(min=1))
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
    return (off * (variance + norm.eps).rsqrt() * norm.weight + norm.bias).to(x.dtype)


class TokenConv(nn.Module):
    """One residual layer, (B, L, D) -> (B, L, D)."""

    def __init__(
        self, d_model: int, *, kernel: int, dilation: int, norm: Norm, activation: Activation, dropout: float
    ) -> None:
        super().__init__()
        self.held, self.activation = (kernel - 1) * dilation, activation
        self.conv = nn.Conv1d(d_model, d_model, kernel, dilation=dilation)
        self.norm = TokenNorm(d_model, norm)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.conv(F.pad(x.transpose(1, 2), (self.held, 0))).transpose(1, 2)
        return x + self.dropout(ACTIVATIONS[self.activation](self.norm(y, mask)))

    def start(self, like: Tensor) -> Tensor:
        """Zeros (B, P, D) before the first token; like (B, D) says where and how precise."""
        return like.new_zeros(like.shape[0], self.held, like.shape[1])

    def scan(self, ring: Tensor, x: Tensor, arrival: Arrival) -> tuple[Tensor, Tensor]:
        """x (B, l, D): after each step its token as it would be if the series ended there -> the ring after the steps,
        and the outputs of these tokens."""
        weight, y = self.conv.weight, F.linear(x, self.conv.weight[..., -1], self.conv.bias)
        tokens = x.gather(1, _wide(arrival.last, x))  # those that become whole; nothing looks at the others
        if self.held:
            dilation = self.conv.dilation[0]
            wide = torch.cat([ring.to(x.dtype), tokens], 1)
            sight = wide[:, : wide.shape[1] - dilation].transpose(1, 2)
            earlier = F.conv1d(sight, weight[..., :-1], dilation=dilation).transpose(1, 2)  # (B, J, D)
            y = y + earlier.gather(1, _wide(arrival.token, x))
            ring = latest(ring, tokens, arrival.whole)
        return ring, x + ACTIVATIONS[self.activation](self.norm.still(y))


def latest(before: Tensor, x: Tensor, count: Tensor) -> Tensor:
    """The last P of before (B, P, C) and the first `count` (B,) of x (B, l, C) laid end to end."""
    held, size = torch.cat([before, x.to(before.dtype)], 1), before.shape[1]
    return held.gather(1, _wide(count[:, None] + torch.arange(size, device=x.device), held))


def _wide(index: Tensor, like: Tensor) -> Tensor:
    """(B, n) -> (B, n, C), to gather rows of like (B, l, C)."""
    return index[..., None].expand(-1, -1, like.shape[2])
