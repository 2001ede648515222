"""From values and calendar to tokens: the only place that knows channels and clocks (arXiv 2012.07436, app. B)."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from forecast.models.base import State
from forecast.models.dropout import Dropout
from forecast.types import CLOCK_SIZES, Spec

Calendar = Literal["timeF", "fixed", "learned", "none"]


def sinusoid(length: int, width: int) -> Tensor:
    """The fixed sin/cos table (length, width) of Vaswani et al. 2017."""
    return waves(torch.arange(length, dtype=torch.float32), width)


def waves(position: Tensor, width: int) -> Tensor:
    """Its rows (…, width) for positions (…)."""
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32, device=position.device) * (-math.log(1e4) / width))
    angle = position[..., None] * rate
    return torch.stack([torch.sin(angle), torch.cos(angle)], -1).flatten(-2)[..., :width]


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


class Embedding(nn.Module):
    """Values (B, L, C), mask (B, L, C) and clock (B, L, F) to tokens of width d_model."""

    d_model: int
    causal: bool  # a token knows nothing after its own step
    bare: bool = False  # tokens are the channels themselves
    layout: Literal["steps", "patches", "channels"] = "steps"  # what a token is

    def length(self, steps: int) -> int:
        """Tokens of a window of so many steps."""
        return steps

    def token_mask(self, mask: Tensor) -> Tensor:
        """(B, L, C) -> which tokens hold an observed value."""
        return mask.any(-1)

    def along(self, x: Tensor) -> Tensor:
        """(B, L, D), one vector for each step -> one for each token, or what broadcasts to them."""
        return x

    def start(self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> State:
        """The state before the first step; only an embedding of steps has one."""
        raise TypeError(f"{type(self).__name__} has no state to start from; set embed=value embed.causal=true")

    def scan(self, state: State, past: Tensor, mask: Tensor | None, clock: Tensor) -> tuple[State, Tensor]:
        """What forward does, from a state on. The streaming law: any split gives the same tokens and final state."""
        raise TypeError(f"{type(self).__name__} cannot go on from a state; set embed=value embed.causal=true")


class Positions(nn.Module):
    """The sin/cos table of Vaswani et al. 2017 for steps first … first + length - 1: (length, D). It knows no end."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.register_buffer("table", sinusoid(1024, d_model), persistent=False)
        self.table: Tensor

    def forward(self, length: int, first: Tensor | None = None) -> Tensor:
        """first (B,) counts the steps before, then (B, length, D)."""
        if first is None:
            if length > len(self.table):  # the table doubles until it is long enough
                self.table = sinusoid(2 ** math.ceil(math.log2(length)), self.d_model).to(self.table.device)
            return self.table[:length]
        position = first[:, None] + torch.arange(length, device=first.device)
        return waves(position.to(torch.float32), self.d_model)


class Recent(NamedTuple):
    """What a causal value embedding remembers: the last two steps, and how many there were."""

    values: Tensor  # (B, 2, C)
    steps: Tensor  # (B,) int64


class ValueEmbedding(Embedding):
    """A token is a time step: convolution over values (kernel 3) + position + calendar, then dropout.

    past (B, L, C), mask (B, L, C), clock (B, L, F) -> (B, L, D). Missing values enter as 0 whatever stands there.
    The paper's convolution is circular and looks one step ahead; `causal` looks at the step and the two before it.
    """

    def __init__(
        self,
        *,
        spec: Spec,
        d_model: int = 64,
        calendar: Calendar = "timeF",
        position: bool = True,
        causal: bool = False,
        dropout: float = 0.05,
    ) -> None:
        super().__init__()
        self.d_model, self.causal, self.channels = d_model, causal, len(spec.channels)
        circular = {} if causal else {"padding": 1, "padding_mode": "circular"}
        conv = nn.Conv1d(self.channels, d_model, 3, **circular)  # type: ignore[arg-type]
        nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="leaky_relu")
        self.value = conv
        self.calendar = CalendarEmbedding(spec.clock, d_model, kind=calendar)
        self.position = Positions(d_model) if position else None
        self.dropout = Dropout(dropout)

    def forward(self, past: Tensor, mask: Tensor | None, clock: Tensor) -> Tensor:
        if self.causal:
            return self.scan(self.start(past.shape[0], device=past.device, dtype=past.dtype), past, mask, clock)[1]
        if mask is not None:
            past = past * mask
        x = self.value(past.transpose(1, 2)).transpose(1, 2) + self.calendar(clock)
        if self.position is not None:
            x = x + self.position(x.shape[1]).to(x.dtype)
        return self.dropout(x)

    def start(
        self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Recent:
        values = torch.zeros(batch, 2, self.channels, device=device, dtype=dtype)
        return Recent(values, torch.zeros(batch, dtype=torch.int64, device=device))

    def scan(self, state: Recent, past: Tensor, mask: Tensor | None, clock: Tensor) -> tuple[Recent, Tensor]:
        """The streaming law: any split of the steps gives the same tokens and the same final state.

        A step of gaps is a step: it is seen as zeros, and time goes on.
        """
        if not self.causal:
            raise TypeError("a circular embedding cannot go on from a state; set embed.causal=true")
        values = torch.cat([state.values, past if mask is None else past * mask], 1)
        after = Recent(values[:, -2:], state.steps + past.shape[1])
        if not past.shape[1]:
            return after, past.new_zeros(past.shape[0], 0, self.d_model)
        x = self.value(values.transpose(1, 2)).transpose(1, 2) + self.calendar(clock)
        if self.position is not None:
            x = x + self.position(x.shape[1], state.steps).to(x.dtype)
        return after, self.dropout(x)


class NoEmbedding(Embedding):
    """A token is the bare vector of channels: (B, L, C) -> (B, L, C), 0 where nothing was observed."""

    causal = True
    bare = True

    def __init__(self, *, spec: Spec) -> None:
        super().__init__()
        self.d_model = len(spec.channels)

    def forward(self, past: Tensor, mask: Tensor | None, clock: Tensor) -> Tensor:
        return past if mask is None else past * mask

    def start(self, batch: int, *, device: object = None, dtype: object = None) -> State:
        return ()

    def scan(self, state: State, past: Tensor, mask: Tensor | None, clock: Tensor) -> tuple[State, Tensor]:
        return state, self(past, mask, clock)
