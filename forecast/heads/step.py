"""One step of any number of streams as a graph of tensors: what `torch.compile`, ONNX and a state store can take.

The state of a series is one row of a few matrices, one for each dtype that occurs, so that a store holds rows and knows
nothing of models. Shapes: B series, C channels, F calendar fields, H steps ahead, T targets.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forecast.heads.stream import Stream
from forecast.models.base import State, leaves, rebuilt
from forecast.types import Spec


class Packs(nn.Module):
    """A step whose state is packed into rows."""

    def __init__(self, blank: State) -> None:
        """`blank` is the state (1, …) of a series before its first step."""
        super().__init__()
        self.blank = blank
        parts = leaves(blank)
        self.kinds = tuple(dict.fromkeys(part.dtype for part in parts))  # in the order they first occur
        self.shapes = [tuple(part.shape[1:]) for part in parts]
        self.of = [self.kinds.index(part.dtype) for part in parts]

    def start(self) -> tuple[Tensor, ...]:
        """The rows (1, n) of a series before its first step, one matrix for each dtype."""
        return self.pack(self.blank)

    def pack(self, state: State) -> tuple[Tensor, ...]:
        """A state -> its rows."""
        flat = [part.reshape(part.shape[0], -1) for part in leaves(state)]
        return tuple(
            torch.cat([part for part, of in zip(flat, self.of, strict=True) if of == kind], 1)
            for kind in range(len(self.kinds))
        )

    def unpack(self, rows: Sequence[Tensor]) -> State:
        """The inverse of `pack`."""
        at, found = [0] * len(rows), []
        for shape, kind in zip(self.shapes, self.of, strict=True):
            size = torch.Size(shape).numel()
            found.append(rows[kind][:, at[kind] : at[kind] + size].reshape(-1, *shape))
            at[kind] += size
        return rebuilt(self.blank, iter(found))


class Step(Packs):
    """(values, seen, clock, *rows) -> (forecast, *rows), the forecast as the chain gives it."""

    def __init__(self, stream: Stream, spec: Spec) -> None:
        super().__init__(stream.start(1))
        self.stream, self.spec = stream, spec

    def forward(self, values: Tensor, seen: Tensor, clock: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
        """values (B, C) scaled, seen (B, C) bool, clock (B, F) -> the forecast (B, H, T) or (B, H, T, P) after this
        step, and the rows after it. `seen` is not looked at by a chain that was trained without gaps."""
        mask = seen[:, None] if self.stream.chain.masked else None
        state = self.stream.scan(self.unpack(rows), values[:, None], mask, clock[:, None])
        return self.stream.made(state, clock[:, None]), *self.pack(state)
