"""Segments of the horizon decoded in parallel (SegRNN, Lin et al. 2023, arXiv 2308.11200): for segment j of target t

    x_tj = [p_j ; q_t] + calendar(end of j),   s_tj = cell(x_tj, h),   y_tj = W s_tj + b,

p and q learned, h the last token of the memory that saw something, the cell one step of a GRU, as there, or an LSTM,

    GRU   r, z = σ(A x + U h),  n = tanh(A x + r U h),  s = (1 - z) n + z h       each gate its own A, U and biases,
    LSTM  i, f, o = σ(A x + U h),  g = tanh(A x + U h),  s = o tanh(f c + i g)    c learned, since no memory holds it.

No segment waits for another. With attention (Luong et al. 2015, arXiv 1508.04025, eq. 5, 7, 8: global, score "general")

    a = softmax_i(s' W_a m_i) over the tokens m_i that saw something,   s <- tanh(W_c [Σ a_i m_i ; s]).
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.heads.base import Head, Residual
from forecast.models.dropout import Dropout
from forecast.models.embed import Calendar, CalendarEmbedding
from forecast.types import Context, Spec

GATES = {"lstm": 4, "gru": 3}


class Segments(Head):
    """memory -> (B, H, T) or (B, H, T, P), ⌈H / segment⌉ segments at once, the last one cut to the horizon.

    Patches (B·T, L', D): each target from its own row. Tokens of time steps (B, L', D): all targets from one row.
    channel: half of a query says which target it asks for, where targets have rows of their own. calendar: that of a
    segment's last step, as far as the horizon goes.
    """

    def __init__(
        self,
        *,
        spec: Spec,
        d_memory: int,
        layout: str,
        segment: int = 24,
        cell: Literal["lstm", "gru"] = "lstm",
        channel: bool = True,
        calendar: Calendar = "none",
        attention: bool = False,
        residual: Residual = "none",
        dropout: float = 0.0,
        width: int = 1,
    ) -> None:
        super().__init__(spec, residual, width)
        if segment < 1:
            raise ValueError(f"head.segment is {segment}; expected at least 1")
        if layout == "channels":
            raise ValueError("Segments reads patches or steps, the embedding gives channels; set embed=patch")
        self.segment, self.horizon = segment, spec.horizon
        self.rows = spec.targets if layout == "patches" else 1  # of the memory that belong to one window
        count = -(-spec.horizon // segment)
        self.ends = [min((j + 1) * segment, spec.horizon) - 1 for j in range(count)]
        half = d_memory // 2 if channel and self.rows > 1 else 0
        self.position = nn.Parameter(torch.randn(count, d_memory - half))
        self.channel = nn.Parameter(torch.randn(self.rows, half)) if half else None
        self.calendar = CalendarEmbedding(spec.clock, d_memory, kind=calendar)
        self.input = nn.Linear(d_memory, GATES[cell] * d_memory)  # A
        self.hidden = nn.Linear(d_memory, GATES[cell] * d_memory)  # U
        self.start = nn.Parameter(torch.zeros(d_memory)) if cell == "lstm" else None  # c
        self.attention = Attend(d_memory) if attention else None
        self.dropout = Dropout(dropout)
        self.projection = nn.Linear(d_memory, segment * width * spec.targets // self.rows)
        self._quiet(self.projection.parameters())

    def forward(self, memory: Tensor, context: Context) -> Tensor:
        mask = context.memory_mask
        last = torch.unflatten(latest(memory, mask), 0, (-1, self.rows))[:, :, None]  # (B, R, 1, D)
        s = self._step(self._asked(context.future_clock), last)  # (B, R, M, D)
        if self.attention is not None:
            s = torch.unflatten(self.attention(s.flatten(0, 1), memory, mask), 0, (-1, self.rows))
        y = torch.unflatten(self.projection(self.dropout(s)), -1, (self.segment, -1))  # (B, R, M, segment, T·P / R)
        own = y.flatten(2, 3)[:, :, : self.horizon].transpose(1, 2).flatten(2)
        return self.joined(own, self.plain(context))

    def _asked(self, future_clock: Tensor) -> Tensor:
        """A x + its biases (B or 1, R, M, gates · D), without doing again for each window what all have in common."""
        query = self.position.expand(self.rows, -1, -1)
        if self.channel is not None:
            query = torch.cat([query, self.channel[:, None].expand(-1, len(self.position), -1)], -1)
        asked = self.input(query)[None]
        time = self.calendar(future_clock[:, self.ends])
        return asked + F.linear(time, self.input.weight)[:, None] if isinstance(time, Tensor) else asked

    def _step(self, asked: Tensor, h: Tensor) -> Tensor:
        """One step of the cell from h (B, R, 1, D), for all queries: -> (B, R, M, D). U h is one for all."""
        told = self.hidden(h)
        if self.start is None:
            (rx, zx, nx), (rh, zh, nh) = asked.chunk(3, -1), told.chunk(3, -1)
            n = torch.tanh(nx + torch.sigmoid(rx + rh) * nh)
            return n + torch.sigmoid(zx + zh) * (h - n)
        i, f, g, o = (asked + told).chunk(4, -1)
        c = torch.sigmoid(f) * self.start + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c)


class Attend(nn.Module):
    """Each state looks at the memory: states (R, M, D), memory (R, L', D), mask (R, L') -> (R, M, D)."""

    def __init__(self, d_memory: int) -> None:
        super().__init__()
        self.score = nn.Linear(d_memory, d_memory, bias=False)
        self.mix = nn.Linear(2 * d_memory, d_memory, bias=False)

    def forward(self, states: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        scores = states @ self.score(memory).transpose(1, 2)
        if mask is not None:
            memory = memory * mask[..., None]  # so that a row of nothing but gaps sees zeros
            scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
        seen = scores.softmax(-1) @ memory
        return torch.tanh(self.mix(torch.cat([seen, states], -1)))


def latest(memory: Tensor, mask: Tensor | None) -> Tensor:
    """memory (R, L', D), mask (R, L') -> (R, D): each row's last token that saw something, 0 where none did."""
    if mask is None:
        return memory[:, -1]
    at = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)
    return memory[torch.arange(memory.shape[0], device=mask.device), at] * mask.any(1, keepdim=True)
