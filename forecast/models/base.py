"""The one protocol of all encoders. An encoder knows nothing of tasks, data, channels or clocks."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

State = Any  # a tree of tuples (NamedTuples) of tensors, each with a leading batch axis


class Encoder(nn.Module):
    """(B, L, D) -> (B, out_len(L), D).

    `mask` (B, L) is True where a step was observed: what stands in a masked step changes no output. `dt` (B, L) is
    the time since the step before, in steps; encoders that work on regular series ignore it.
    """

    def __init__(self, d_model: int, *, causal: bool) -> None:
        super().__init__()
        self.d_model, self.causal = d_model, causal

    def out_len(self, length: int) -> int:
        """Tokens that come out for `length` tokens in."""
        return length

    def out_mask(self, mask: Tensor) -> Tensor:
        """(B, L) -> (B, out_len(L)): which of the tokens that come out saw something observed."""
        return mask

    def forward(self, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None) -> Tensor:
        raise TypeError(f"{type(self).__name__} does not say how it encodes")


class StreamingEncoder(Encoder):
    """A causal encoder with one token out for each token in, and a state of fixed size.

    The streaming law: any split of x gives the same y and the same final state. A masked step leaves the state as it
    is, and what it puts out is finite and belongs to nobody.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, causal=True)

    def start(self, batch: int, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> State:
        """The state before the first step, for `batch` series."""
        raise TypeError(f"{type(self).__name__} does not say how it starts")

    def scan(
        self, state: State, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None
    ) -> tuple[State, Tensor]:
        """x (B, l, D), mask and dt (B, l) -> the state after it, y (B, l, D); any l, 0 too."""
        raise TypeError(f"{type(self).__name__} does not say how it goes on")

    def forward(self, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None) -> Tensor:
        return self.scan(self.start(x.shape[0], device=x.device, dtype=x.dtype), x, mask, dt)[1]

    def step(
        self, state: State, x: Tensor, mask: Tensor | None = None, dt: Tensor | None = None
    ) -> tuple[State, Tensor]:
        """One step of each series: x (B, D), mask and dt (B,) -> the state after it, y (B, D)."""
        state, y = self.scan(
            state, x[:, None], None if mask is None else mask[:, None], None if dt is None else dt[:, None]
        )
        return state, y[:, 0]


def leaves(state: State) -> list[Tensor]:
    """The tensors of a state, in order."""
    return [state] if isinstance(state, Tensor) else [leaf for part in state for leaf in leaves(part)]


def rebuilt(state: State, tensors: Iterator[Tensor]) -> State:
    """A state of the same form, made of other tensors, in the order of `leaves`."""
    if isinstance(state, Tensor):
        return next(tensors)
    parts = [rebuilt(part, tensors) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def bytes_per_series(state: State) -> int:
    """What one series costs to keep."""
    return sum(leaf.nbytes // max(1, len(leaf)) for leaf in leaves(state))
