"""embed ∘ encoder ∘ head for events as one module: what is trained, saved, served. Knows nothing of Lightning."""

import torch
from torch import Tensor, nn

from forecast.heads.next_event import Next, NextEvent
from forecast.models.base import Encoder, State, StreamingEncoder
from forecast.models.event_embed import EventEmbedding
from forecast.types import EventBatch, EventSpec


class EventChain(nn.Module):
    """EventBatch -> Next: place i (B, L) forecasts event i + 1 from the events up to i.

    Where the encoder streams, `start` and `scan` give the same, any split of a sequence at a time.
    """

    def __init__(self, *, embed: EventEmbedding, encoder: Encoder, head: NextEvent, spec: EventSpec) -> None:
        super().__init__()
        self.embed, self.encoder, self.head, self.spec = embed, encoder, head, spec

    def forward(self, batch: EventBatch) -> Next:
        return self.head(self._memory(batch))

    def nats(self, batch: EventBatch, *, survival: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Log-likelihoods of the N targets of a batch, times and marks (N,), in the order of their places; and of the
        last intervals in which nothing came (B,), 0 where there is none or without `survival`."""
        memory = self._memory(batch)
        wanted = batch.target[:, 1:]
        made = self.head(memory[:, :-1][wanted])
        time, mark = made.log_prob(batch.gaps[:, 1:][wanted], batch.marks[:, 1:][wanted])
        if not survival or not bool((batch.last > 0).any()):
            return time, mark, torch.zeros_like(batch.last)
        rows = torch.arange(len(memory), device=memory.device)
        return time, mark, self.head(memory[rows, batch.length - 1]).log_survival(batch.last)

    def last(self, batch: EventBatch) -> Next:
        """What is forecast after the last event of each sequence (B,)."""
        memory = self._memory(batch)
        return self.head(memory[torch.arange(len(memory), device=memory.device), batch.length - 1])

    def _memory(self, batch: EventBatch) -> Tensor:
        return self.encoder(self.embed(batch.gaps, batch.marks, batch.mask, batch.extra), batch.mask)

    @property
    def streams(self) -> bool:
        return isinstance(self.encoder, StreamingEncoder)

    def start(self, batch: int, *, device: torch.device | str | None = None) -> State:
        """The state of B sequences before their first event."""
        assert isinstance(self.encoder, StreamingEncoder)
        kind = self.embed.mix.weight.dtype
        return self.embed.start(batch, device=device), self.encoder.start(batch, device=device, dtype=kind)

    def scan(
        self, state: State, gaps: Tensor, marks: Tensor, mask: Tensor | None = None, extra: Tensor | None = None
    ) -> tuple[State, Next]:
        """Events (B, l), any l, as in EventBatch -> the state after them, and what is forecast after each."""
        state, memory = self.remember(state, gaps, marks, mask, extra)
        return state, self.head(memory)

    def remember(
        self, state: State, gaps: Tensor, marks: Tensor, mask: Tensor | None = None, extra: Tensor | None = None
    ) -> tuple[State, Tensor]:
        """`scan` up to the head: (B, l, D)."""
        assert isinstance(self.encoder, StreamingEncoder)
        clock, state = state
        clock, tokens = self.embed.scan(clock, gaps, marks, mask, extra)
        state, memory = self.encoder.scan(state, tokens, mask)
        return (clock, state), memory
