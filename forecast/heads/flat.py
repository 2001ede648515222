"""The flat head: all tokens of a forecast's own, side by side, through one linear map to the whole horizon
(PatchTST, Nie et al. 2023, arXiv 2211.14730, §3.1)."""

import torch
from torch import Tensor, nn

from forecast.heads.base import Head, Residual
from forecast.models.dropout import Dropout
from forecast.types import Context, Spec


class Flat(Head):
    """memory -> (B, H, T) or (B, H, T, P).

    Tokens of time steps (B, L', D): L'·D numbers to H·T. Patches (B·T, L', D): each target's L'·D numbers to its H.
    Channels (B, C', D): the D numbers of each target's token to its H.
    """

    def __init__(
        self, *, spec: Spec, d_memory: int, length: int, layout: str, residual: Residual = "none",
        dropout: float = 0.0, width: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(spec, residual, width)
        self.layout, self.horizon = layout, spec.horizon
        if layout == "channels" and length < spec.targets:
            raise ValueError(f"the encoder leaves {length} tokens of {spec.targets} targets; it must not shorten")
        wide = d_memory if layout == "channels" else length * d_memory
        self.dropout = Dropout(dropout)
        self.projection = nn.Linear(wide, spec.horizon * width * (spec.targets if layout == "steps" else 1))
        self._quiet(self.projection.parameters())

    def forward(self, memory: Tensor, context: Context) -> Tensor:
        return self.joined(self._own(memory, context), self.plain(context))

    def _own(self, memory: Tensor, context: Context) -> Tensor:
        """(B, H, T·P)"""
        if context.memory_mask is not None:
            memory = memory * context.memory_mask[..., None]
        if self.layout == "channels":
            return self._rows(self.projection(self.dropout(memory[:, : self.targets])))
        out = self.projection(self.dropout(memory.flatten(1)))
        if self.layout == "steps":
            return torch.unflatten(out, 1, (self.horizon, -1))
        return self._rows(torch.unflatten(out, 0, (-1, self.targets)))

    def _rows(self, out: Tensor) -> Tensor:
        """Each target's own row, (B, T, H·P) -> (B, H, T·P)."""
        return torch.unflatten(out, 2, (self.horizon, -1)).transpose(1, 2).flatten(2)
