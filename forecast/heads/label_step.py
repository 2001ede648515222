"""One step of any number of labelled series as a graph of tensors; a stream's state is a row of a few matrices.

Beside the chain's state a row holds the logits after the last step: what was told of a series can be told again.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from forecast.errors import UsageError
from forecast.heads.flat_label import FlatLabel
from forecast.heads.label_chain import LabelChain
from forecast.heads.step import Packs
from forecast.models.base import State


class LabelStepState(NamedTuple):
    """What a series leaves to its next step."""

    chain: State
    logits: Tensor  # (B, K), 0 before the first step


class LabelStep(Packs):
    """(values (B, C), seen (B, C), rows) -> rows. UsageError where the chain cannot stream."""

    def __init__(self, chain: LabelChain) -> None:
        if not chain.streams:
            name = type(chain.encoder).__name__
            do = "train with model.causal=true" if name == "Transformer" else "train with model=aaren"
            raise UsageError(
                f"this model cannot stream: {name} looks at a whole series, as aaren, lstm, tcnca and none do not",
                do=do,
            )
        classes = len(chain.spec.classes)
        super().__init__(LabelStepState(chain.start(1), torch.zeros(1, classes, dtype=chain.kind)))
        self.chain, self.classes = chain.eval(), classes

    @property
    def longest(self) -> int | None:
        """Steps that a series may have; None: any number."""
        head = self.chain.head
        return head.length * self.chain.embed.stride if isinstance(head, FlatLabel) else None

    def forward(self, values: Tensor, seen: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        state = self.unpack(rows)
        after, logits = self.chain.scan(state.chain, values[:, None], seen[:, None])
        return self.pack(LabelStepState(after, logits[:, 0]))

    def logits(self, rows: tuple[Tensor, ...]) -> Tensor:
        """(B, K) of packed rows: the last part of its matrix."""
        return rows[self.of[-1]][:, -self.classes :]
