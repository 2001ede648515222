"""One event of any number of streams as a graph of tensors; a stream's state is a row of a few matrices.

Beside the chain's state a row holds the memory after the last event, from which the next one is forecast: what comes
is scored by it, and a forecast can be made again without another event.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from forecast.errors import UsageError
from forecast.heads.event_chain import EventChain
from forecast.heads.step import Packs
from forecast.models.base import State


class EventState(NamedTuple):
    """What a sequence leaves to its next event."""

    chain: State
    memory: Tensor  # (B, D), 0 before the first event


class EventStep(Packs):
    """(gap (B,), mark (B,) or labels (B, M), extra (B, E) or None, rows) -> rows. UsageError where the chain cannot
    stream."""

    def __init__(self, chain: EventChain) -> None:
        if not chain.streams or not chain.encoder.causal:
            name = type(chain.encoder).__name__
            raise UsageError(
                f"this model cannot stream: {name} looks at a whole sequence, as aaren, lstm, tcnca and none do not",
                do="train with model=aaren",
            )
        weight = chain.embed.mix.weight
        super().__init__(EventState(chain.start(1), torch.zeros(1, chain.encoder.d_model, dtype=weight.dtype)))
        self.chain, self.width = chain.eval(), chain.encoder.d_model

    def forward(self, gap: Tensor, mark: Tensor, extra: Tensor | None, *rows: Tensor) -> tuple[Tensor, ...]:
        state = self.unpack(rows)
        after, memory = self.chain.remember(
            state.chain, gap[:, None], mark[:, None], None, None if extra is None else extra[:, None]
        )
        return self.pack(EventState(after, memory[:, 0]))

    def memory(self, rows: tuple[Tensor, ...]) -> Tensor:
        """(B, D) of packed rows: the last part of its matrix."""
        return rows[self.of[-1]][:, -self.width :]
