"""The temporal convolutional network of TCNCA (Terzic et al. 2023, arXiv 2312.05605).

    layer i = 0 … D-1 of each of B stacks:   y = x + Dropout(act(Norm(conv(x; K, dilation f^i))))
    receptive field:                         R = 1 + B·(K-1)·(f^D - 1)/(f - 1)     (f = 1: 1 + B·(K-1)·D)

The convolution, its dilations and R are the paper's; norm, activation, the residual and whether channels mix are not
told there and are settings here. With f > K the taps of two layers leave holes that no tap falls into: refused.

Shapes: B rows, l steps, C channels, P = (K-1)·f^i steps that a layer remembers.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.models.dropout import Dropout
from forecast.ops import dilated_conv, receptive_field

Norm = Literal["none", "layer"]
Activation = Literal["silu", "gelu", "relu"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "gelu": F.gelu, "relu": F.relu}


class DilatedLayer(nn.Module):
    """One causal dilated convolution with its residual; `depthwise` keeps channels apart."""

    def __init__(
        self,
        d_model: int,
        *,
        kernel: int,
        dilation: int,
        norm: Norm = "none",
        activation: Activation = "silu",
        depthwise: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dilation, self.held, self.activation = dilation, (kernel - 1) * dilation, activation
        shape = (d_model, kernel) if depthwise else (d_model, d_model, kernel)
        bound = (kernel if depthwise else d_model * kernel) ** -0.5  # as torch's own convolutions
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(d_model).uniform_(-bound, bound))
        self.norm = nn.LayerNorm(d_model) if norm == "layer" else nn.Identity()
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, state: Tensor | None = None, count: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, l, C), state (B, P, C) -> y (B, l, C) and the state after the first `count` (B,) steps of each row.

        Without a state x is the beginning and nothing follows: no state is made.
        """
        before = None if state is None else state.to(x.dtype)
        y = x + self.dropout(ACTIVATIONS[self.activation](self.norm(self._conv(x, before))))
        return y, None if state is None or before is None else _latest(before, x, count).to(state.dtype)

    def _conv(self, x: Tensor, before: Tensor | None) -> Tensor:
        if self.weight.dim() == 2:
            return dilated_conv(x, self.weight, self.bias, dilation=self.dilation, state=before, carry=False)[0]
        wide = F.pad(x, (0, 0, self.held, 0)) if before is None else torch.cat([before, x], 1)
        return F.conv1d(wide.transpose(1, 2), self.weight, self.bias, dilation=self.dilation).transpose(1, 2)


def _latest(before: Tensor, x: Tensor, count: Tensor | None) -> Tensor:
    """The last P steps of before (B, P, C) and the first `count` steps of each row of x laid end to end."""
    held, steps = torch.cat([before, x], 1), before.shape[1]
    if count is None:
        return held[:, x.shape[1] :].clone()  # its own memory: it outlives x in a stream
    index = count[:, None] + torch.arange(steps, device=x.device)
    return held.gather(1, index[..., None].expand(-1, -1, x.shape[2]))


class TCN(nn.Module):
    """(B, L, C) -> (B, L, C): `stacks` times `depth` layers, dilations 1, f, f², … in each stack."""

    def __init__(
        self,
        d_model: int,
        *,
        kernel: int = 5,
        factor: int = 4,
        depth: int = 3,
        stacks: int = 1,
        norm: Norm = "none",
        activation: Activation = "silu",
        depthwise: bool = True,
        dropout: float = 0.0,
    ) -> None:
        for name, size in (("kernel", kernel), ("factor", factor), ("depth", depth), ("stacks", stacks)):
            if size < 1:
                raise ValueError(f"model.{name} is {size}; expected at least 1")
        if factor > kernel:
            raise ValueError(f"model.factor {factor} is above model.kernel {kernel}: no tap meets some steps; lower it")
        super().__init__()
        dilations = [factor**i for i in range(depth)] * stacks
        self.receptive_field = receptive_field(kernel, dilations)
        self.held = [(kernel - 1) * dilation for dilation in dilations]
        self.layers = nn.ModuleList(
            DilatedLayer(
                d_model, kernel=kernel, dilation=dilation, norm=norm, activation=activation, depthwise=depthwise,
                dropout=dropout,
            )
            for dilation in dilations
        )  # fmt: skip

    def start(self, like: Tensor) -> tuple[Tensor, ...]:
        """Zeros before the first step; like (B, C) says where and how precise."""
        return tuple(like.new_zeros(like.shape[0], held, like.shape[1]) for held in self.held)

    def forward(
        self, x: Tensor, state: tuple[Tensor, ...] | None = None, count: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """As DilatedLayer; the state is one for each layer."""
        after = []
        for i, layer in enumerate(self.layers):
            x, held = layer(x, None if state is None else state[i], count)
            after.append(held)
        return x, None if state is None else tuple(after)
