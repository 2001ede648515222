"""From the memory of a series to its class: tokens pooled over time, then one linear map.

mean         Σ_j m_j / n
last         m_n
max          the largest of each number
attention    Σ_j softmax_j(⟨u, m_j⟩) m_j, with a learned u

Names joined by + are pooled side by side. `scan` gives the same of every prefix: of the tokens that were whole and the
newest, whole or not. Shapes: B series, L tokens, D numbers, K classes, l steps.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from forecast.models.base import State
from forecast.models.dropout import Dropout
from forecast.ops import Carry, empty_carry, prefix_attention


class Pooling(nn.Module):
    """(B, L, D) and which tokens are real (B, L), at least one of each row -> (B, D)."""

    def forward(self, memory: Tensor, seen: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not say how it pools")

    def start(self, batch: int, d_memory: int, device: torch.device | str | None) -> State:
        """The state before the first token, float64 where the device knows it: it outlives millions of tokens."""
        return ()

    def scan(self, state: State, memory: Tensor, whole: Tensor | None) -> tuple[State, Tensor]:
        """memory (B, l >= 1, D), whole (B, l): what is kept, None: all -> (B, l, D)."""
        raise TypeError(f"{type(self).__name__} does not say how it goes on")


class Mean(Pooling):
    """State: how many tokens (B, 1) and their sum (B, D)."""

    def forward(self, memory: Tensor, seen: Tensor) -> Tensor:
        real = seen[..., None].to(memory.dtype)
        return (memory * real).sum(1) / real.sum(1).clamp(min=1)

    def start(self, batch: int, d_memory: int, device: torch.device | str | None) -> State:
        zero = torch.zeros(batch, d_memory, device=device, dtype=exact(device))
        return zero[:, :1], zero

    def scan(self, state: State, memory: Tensor, whole: Tensor | None) -> tuple[State, Tensor]:
        count, total = state
        x = memory.to(total.dtype)
        one = torch.ones_like(x[..., :1]) if whole is None else whole[..., None].to(x.dtype)
        kept = x if whole is None else x.masked_fill(~whole[..., None], 0.0)
        sums, number = _before(total, kept, _cumsum), _before(count, one, _cumsum)
        after = number[:, -1] + one[:, -1], sums[:, -1] + kept[:, -1]
        return after, ((sums + x) / (number + 1)).to(memory.dtype)


class Last(Pooling):
    def forward(self, memory: Tensor, seen: Tensor) -> Tensor:
        at = (seen.sum(1) - 1).clamp(min=0)
        return memory[torch.arange(len(memory), device=memory.device), at]

    def scan(self, state: State, memory: Tensor, whole: Tensor | None) -> tuple[State, Tensor]:
        return state, memory


class Max(Pooling):
    """State: the largest so far (B, D), -inf before the first token."""

    def forward(self, memory: Tensor, seen: Tensor) -> Tensor:
        return memory.masked_fill(~seen[..., None], -torch.inf).amax(1)

    def start(self, batch: int, d_memory: int, device: torch.device | str | None) -> State:
        return (torch.full((batch, d_memory), -torch.inf, device=device, dtype=exact(device)),)

    def scan(self, state: State, memory: Tensor, whole: Tensor | None) -> tuple[State, Tensor]:
        x = memory.to(state[0].dtype)
        kept = x if whole is None else x.masked_fill(~whole[..., None], -torch.inf)
        top = _before(state[0], kept, _cummax)
        return (torch.maximum(top[:, -1], kept[:, -1]),), torch.maximum(top, x).to(memory.dtype)


class Attention(Pooling):
    """State: forecast.ops.Carry of one head."""

    def __init__(self, d_memory: int) -> None:
        super().__init__()
        self.score = nn.Linear(d_memory, 1, bias=False)  # a constant in every score changes nothing

    def forward(self, memory: Tensor, seen: Tensor) -> Tensor:
        weight = self.score(memory).masked_fill(~seen[..., None], -torch.inf).softmax(1)
        return (weight * memory).sum(1)

    def start(self, batch: int, d_memory: int, device: torch.device | str | None) -> State:
        return empty_carry(batch, 1, d_memory, device, exact(device))

    def scan(self, state: State, memory: Tensor, whole: Tensor | None) -> tuple[State, Tensor]:
        """The newest token has the share σ(s - log Σ e^{s_j}) beside those kept before it."""
        x, s = memory.to(state.c.dtype), self.score(memory)[..., 0].to(state.c.dtype)
        kept = s if whole is None else s.masked_fill(~whole, -torch.inf)
        mixed, after = prefix_attention(kept[:, None].contiguous(), x[:, None].contiguous(), state)
        first = state.w[:, 0] / state.c.clamp(min=torch.finfo(x.dtype).tiny)
        mixed = torch.cat([first[:, None], mixed[:, 0, :-1]], 1)
        logs = _before((state.m + state.c.log())[:, 0], kept, _logcumsumexp)
        share = (s - logs).sigmoid()[..., None]
        return Carry(*after), (mixed + share * (x - mixed)).to(memory.dtype)


POOLS = ("mean", "last", "max", "attention")


class Pool(nn.Module):
    """memory (B, L, D), seen (B, L) or None for all -> logits (B, K). pool: of POOLS, or several joined by +."""

    streams = True

    def __init__(self, *, d_memory: int, classes: int, pool: str = "mean", dropout: float = 0.0) -> None:
        super().__init__()
        names = pool.split("+")
        if unknown := [name for name in names if name not in POOLS]:
            raise ValueError(f"head.pool has {unknown[0]!r}; expected {', '.join(POOLS)}, or several joined by +")
        if classes < 2:
            raise ValueError(f"the series have {classes} classes; expected at least 2")
        made = {"mean": Mean, "last": Last, "max": Max, "attention": lambda: Attention(d_memory)}
        self.d_memory = d_memory
        self.pools = nn.ModuleList(made[name]() for name in names)  # type: ignore[operator]
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(d_memory * len(names), classes)

    def forward(self, memory: Tensor, seen: Tensor | None = None) -> Tensor:
        seen = torch.ones_like(memory[..., 0], dtype=torch.bool) if seen is None else seen
        return self.out(self.dropout(torch.cat([pool(memory, seen) for pool in self.pools], -1)))

    def start(self, batch: int, *, device: torch.device | str | None = None) -> State:
        """The state of B series before their first token."""
        return tuple(pool.start(batch, self.d_memory, device) for pool in self._pools())

    def scan(self, state: State, memory: Tensor, whole: Tensor | None = None) -> tuple[State, Tensor]:
        """memory (B, l, D); whole (B, l), None: all, says which tokens stay -> the state, the logits (B, l, K) after
        each: of those that stayed before it, and it."""
        if not memory.shape[1]:
            return state, memory.new_zeros(len(memory), 0, self.out.out_features)
        made = [pool.scan(part, memory, whole) for pool, part in zip(self._pools(), state, strict=True)]
        return tuple(after for after, _ in made), self.out(self.dropout(torch.cat([x for _, x in made], -1)))

    def _pools(self) -> list[Pooling]:
        return [pool for pool in self.pools if isinstance(pool, Pooling)]


def exact(device: torch.device | str | None) -> torch.dtype:
    """The widest numbers of a device: Apple's have no float64."""
    return torch.float32 if torch.device(device or "cpu").type == "mps" else torch.float64


def _before(start: Tensor, x: Tensor, along: Callable[[Tensor], Tensor]) -> Tensor:
    """start (B, …), x (B, l, …) -> what is gathered before each of the l; of one step there is nothing to gather."""
    start = start[:, None]
    return start if x.shape[1] == 1 else along(torch.cat([start, x[:, :-1]], 1))


def _cumsum(x: Tensor) -> Tensor:
    return x.cumsum(1)


def _cummax(x: Tensor) -> Tensor:
    return x.cummax(1).values


def _logcumsumexp(x: Tensor) -> Tensor:
    return x.logcumsumexp(1)
