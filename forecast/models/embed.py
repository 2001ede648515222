"""From values and calendar to tokens: the only place that knows channels and clocks (arXiv 2012.07436, app. B)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from forecast.models.dropout import Dropout
from forecast.types import CLOCK_SIZES, Spec

Calendar = Literal["timeF", "fixed", "learned", "none"]


def sinusoid(length: int, width: int) -> Tensor:
    """The fixed sin/cos table (length, width) of Vaswani et al. 2017."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    table = torch.zeros(length, width)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : width // 2]
    return table


class CalendarEmbedding(nn.Module):
    """Calendar fields (B, L, F) as counts -> (B, L, D).

    "timeF": each field scaled to [-0.5, 0.5] and one linear map; "fixed" and "learned": a table per field, summed.
    Month and day of year say nearly the same: the scaled form uses the day of year, the tables use the month.
    """

    def __init__(self, fields: tuple[str, ...], d_model: int, *, kind: Calendar) -> None:
        super().__init__()
        if kind == "timeF":
            keep = [f for f in fields if not (f == "month" and "yearday" in fields)]
        else:
            keep = [f for f in fields if f not in ("yearday", "week") or fields == (f,)]
        self.kind, self.fields = kind, tuple(keep)
        self.columns = [fields.index(f) for f in keep]
        if kind == "timeF" and keep:
            self.embed = nn.Linear(len(keep), d_model)
            self.register_buffer("top", torch.tensor([CLOCK_SIZES[f] - 1.0 for f in keep]), persistent=False)
            self.top: Tensor
        elif kind == "learned":
            self.tables = nn.ModuleDict({f: nn.Embedding(CLOCK_SIZES[f], d_model) for f in keep})
        elif kind == "fixed":
            for f in keep:
                self.register_buffer(f, sinusoid(CLOCK_SIZES[f], d_model), persistent=False)

    def forward(self, clock: Tensor) -> Tensor | float:
        if self.kind == "none" or not self.fields:
            return 0.0
        picked = clock[..., self.columns]
        if self.kind == "timeF":
            return self.embed(picked / self.top - 0.5)
        counts = picked.long()
        table = self.tables.__getitem__ if self.kind == "learned" else self._fixed
        return sum((table(f)(counts[..., i]) for i, f in enumerate(self.fields)), start=torch.zeros(()))

    def _fixed(self, field: str) -> "_Lookup":
        return _Lookup(getattr(self, field))


class _Lookup:
    def __init__(self, table: Tensor) -> None:
        self.table = table

    def __call__(self, index: Tensor) -> Tensor:
        return self.table[index]


class ValueEmbedding(nn.Module):
    """A token is a time step: circular convolution over values (kernel 3) + position + calendar, then dropout.

    past (B, L, C), mask (B, L, C), clock (B, L, F) -> (B, L, D). Missing values enter as 0 whatever stands there.
    """

    causal = False  # the convolution is circular and looks one step ahead
    bare = False  # tokens are not the channels themselves

    def __init__(
        self,
        *,
        spec: Spec,
        d_model: int = 64,
        calendar: Calendar = "timeF",
        position: bool = True,
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        self.d_model, self.position = d_model, position
        conv = nn.Conv1d(len(spec.channels), d_model, 3, padding=1, padding_mode="circular")
        nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="leaky_relu")
        self.value = conv
        self.calendar = CalendarEmbedding(spec.clock, d_model, kind=calendar)
        self.dropout = Dropout(dropout)
        self.register_buffer("table", sinusoid(1024, d_model), persistent=False)
        self.table: Tensor

    def forward(self, past: Tensor, mask: Tensor | None, clock: Tensor) -> Tensor:
        if mask is not None:
            past = past * mask
        x = self.value(past.transpose(1, 2)).transpose(1, 2) + self.calendar(clock)
        if self.position:
            x = x + self._positions(x.shape[1]).to(x.dtype)
        return self.dropout(x)

    def _positions(self, length: int) -> Tensor:
        if length > len(self.table):  # no limit on the length: the table doubles until it is long enough
            self.table = sinusoid(2 ** math.ceil(math.log2(length)), self.d_model).to(self.table.device)
        return self.table[:length]


class NoEmbedding(nn.Module):
    """A token is the bare vector of channels: (B, L, C) -> (B, L, C), 0 where nothing was observed."""

    causal = True
    bare = True

    def __init__(self, *, spec: Spec) -> None:
        super().__init__()
        self.d_model = len(spec.channels)

    def forward(self, past: Tensor, mask: Tensor | None, clock: Tensor) -> Tensor:
        return past if mask is None else past * mask
