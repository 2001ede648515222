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
        tokens = self.embed(batch.gaps, batch.marks, batch.mask, batch.extra)
        return self.head(self.encoder(tokens, batch.mask))

    @property
    def streams(self) -> bool:
        return isinstance(self.encoder, StreamingEncoder)

    def start(self, batch: int, *, device: torch.device | str | None = None) -> State:
        """The state of B sequences before their first event."""
        assert isinstance(self.encoder, StreamingEncoder)
        kind = self.embed.mix.weight.dtype
        return self.encoder.start(batch, device=device, dtype=kind)

    def scan(
        self, state: State, gaps: Tensor, marks: Tensor, mask: Tensor | None = None, extra: Tensor | None = None
    ) -> tuple[State, Next]:
        """Events (B, l), any l, as in EventBatch -> the state after them, and what is forecast after each."""
        assert isinstance(self.encoder, StreamingEncoder)
        state, memory = self.encoder.scan(state, self.embed(gaps, marks, mask, extra), mask)
        return state, self.head(memory)


def shifted(batch: EventBatch) -> tuple[Tensor, Tensor, Tensor]:
    """What place i forecasts, (B, L - 1) each: the gap, the mark, and whether it is scored."""
    return batch.gaps[:, 1:], batch.marks[:, 1:], batch.target[:, 1:]
