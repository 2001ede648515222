"""What a chain remembers of sequences of events while their future is drawn: R rows, one event of each at a time.

A chain that streams keeps its state, so an event costs the same however many came before. Another keeps all events and
goes through them again for each: the same law, slowly.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from forecast.heads.event_chain import EventChain
from forecast.heads.next_event import Next
from forecast.models.base import State, bytes_per_series, leaves, rebuilt
from forecast.types import EventBatch

AT_ONCE = 1 << 14  # events that are gone through again at once
ROOM = 16  # places for events to come that are added at once


class Streamed(NamedTuple):
    """Rows by their states."""

    chain: EventChain
    state: State
    latest: Tensor  # (R, D) what the encoder gave for the last event of each

    @property
    def size(self) -> int:
        """Bytes of one row."""
        return bytes_per_series(self.state)

    def repeated(self, times: int) -> "Streamed":
        """Each row so many times, beside each other."""
        return self.taken(torch.arange(len(self.latest), device=self.latest.device).repeat_interleave(times))

    def taken(self, rows: Tensor) -> "Streamed":
        """The rows of these numbers."""
        state = rebuilt(self.state, iter([leaf[rows] for leaf in leaves(self.state)]))
        return Streamed(self.chain, state, self.latest[rows])

    def pushed(self, gap: Tensor, mark: Tensor, extra: Tensor | None) -> "Streamed":
        """One event of each row: gap (R,), mark (R,) or labels (R, M), extra (R, E)."""
        others = None if extra is None else extra[:, None]
        state, memory = self.chain.remember(self.state, gap[:, None], mark[:, None], None, others)
        return Streamed(self.chain, state, memory[:, 0])


class Recomputed(NamedTuple):
    """Rows by their events, padded behind."""

    chain: EventChain
    gaps: Tensor  # (R, L)
    marks: Tensor  # (R, L) or (R, L, M)
    extra: Tensor | None  # (R, L, E)
    length: Tensor  # (R,)
    latest: Tensor  # (R, D)

    @property
    def size(self) -> int:
        """Bytes of one row, with what the encoder makes of it."""
        return self.gaps.shape[1] * self.latest.shape[1] * self.latest.element_size() * 8

    def repeated(self, times: int) -> "Recomputed":
        """Each row so many times, beside each other."""
        return self.taken(torch.arange(len(self.latest), device=self.latest.device).repeat_interleave(times))

    def taken(self, rows: Tensor) -> "Recomputed":
        """The rows of these numbers."""
        extra = None if self.extra is None else self.extra[rows]
        return Recomputed(self.chain, self.gaps[rows], self.marks[rows], extra, self.length[rows], self.latest[rows])

    def pushed(self, gap: Tensor, mark: Tensor, extra: Tensor | None) -> "Recomputed":
        """One event of each row: gap (R,), mark (R,) or labels (R, M), extra (R, E)."""
        parts = [self.gaps, self.marks, self.extra]
        if int(self.length.max()) == self.gaps.shape[1]:
            parts = [None if part is None else _wider(part, ROOM) for part in parts]
        row = torch.arange(len(gap), device=gap.device)
        new = []
        for part, value in zip(parts, (gap, mark, extra), strict=True):
            part = None if part is None else part.clone()
            if part is not None and value is not None:
                part[row, self.length] = value.to(part.dtype)
            new.append(part)
        gaps, marks, others = new
        assert gaps is not None and marks is not None
        length = self.length + 1
        return Recomputed(self.chain, gaps, marks, others, length, _latest(self.chain, gaps, marks, others, length))


Memory = Streamed | Recomputed


def begin(chain: EventChain, history: EventBatch, *, recompute: bool = False) -> Memory:
    """The rows after their histories (B, L), at least one event each; `recompute` as if the chain did not stream.

    ValueError where the encoder looks ahead or gives no token for each event: neither knows the next event.
    """
    if not chain.encoder.causal or chain.encoder.out_len(history.gaps.shape[1]) != history.gaps.shape[1]:
        raise ValueError("the encoder looks ahead, or gives no token for each event; expected a causal one")
    if not bool((history.length > 0).all()):
        raise ValueError("a history has no event; expected at least one, for there is no forecast before it")
    if recompute or not chain.streams:
        past = history.gaps, history.marks, history.extra, history.length
        return Recomputed(chain, *past, _latest(chain, *past))
    state = chain.start(len(history.gaps), device=history.gaps.device)
    latest: Tensor | None = None
    wide = max(1, AT_ONCE // len(history.gaps))
    for a in range(0, history.gaps.shape[1], wide):
        b = min(a + wide, history.gaps.shape[1])
        mask, extra = history.mask[:, a:b], None if history.extra is None else history.extra[:, a:b]
        state, memory = chain.remember(state, history.gaps[:, a:b], history.marks[:, a:b], mask, extra)
        found = _last(memory, history.length.clamp(a + 1, b) - a)
        latest = found if latest is None else torch.where((history.length > a)[:, None], found, latest)
    assert latest is not None
    return Streamed(chain, state, latest)


def ahead(memory: Memory) -> Next:
    """What is forecast after the last event of each row: (R, 1)."""
    found = memory.chain.head(memory.latest[:, None])
    assert isinstance(found, Next)
    return found


def _latest(chain: EventChain, gaps: Tensor, marks: Tensor, extra: Tensor | None, length: Tensor) -> Tensor:
    """(R, D), some rows at a time."""
    found, mask = [], torch.arange(gaps.shape[1], device=gaps.device) < length[:, None]
    for some in torch.arange(len(gaps), device=gaps.device).split(max(1, AT_ONCE // gaps.shape[1])):
        tokens = chain.embed(gaps[some], marks[some], mask[some], None if extra is None else extra[some])
        found.append(_last(chain.encoder(tokens, mask[some]), length[some]))
    return torch.cat(found)


def _last(memory: Tensor, length: Tensor) -> Tensor:
    """Tokens (R, L, D) -> the one of each row's last event (R, D)."""
    return memory[torch.arange(len(memory), device=memory.device), length - 1]


def _wider(part: Tensor, room: int) -> Tensor:
    """(R, L, …) -> (R, L + room, …)"""
    return torch.cat([part, part.new_zeros(part.shape[0], room, *part.shape[2:])], 1)
