"""Sequences of events as batches of like length: one indexing call for a whole batch.

Lengths of real sequences differ by a factor of hundreds. They are sorted by length and cut where the batch is full or
its padding would exceed a share, so that a few long sequences never make a hundred short ones as long. For training
the lengths are blurred a little before they fill those batches, which mixes the company a sequence comes in, and the
batches are shuffled: both are functions of (seed, epoch) alone. Batches thus differ in size; where every target shall
weigh the same, a loss is the sum over a batch's targets, divided by what does not depend on the batch.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from torch import Tensor

from forecast.data.event_split import Part
from forecast.data.freq import Ints
from forecast.errors import UsageError
from forecast.types import EventBatch

WASTE: Final = 0.1  # the largest share of padding in a batch of sorted lengths
BLUR: Final = 0.1  # lengths are multiplied by up to e^0.1 before they are sorted


class EventGather:
    """The gaps, marks and targets of a part, gathered as batches."""

    def __init__(self, part: Part, *, floor: float | None = None) -> None:
        """`floor` is the least gap, None: the grid; see `Events.gaps`."""
        events = part.events
        self.gaps = torch.from_numpy(events.gaps(floor).astype(np.float32))  # (N,)
        self.marks = torch.from_numpy(events.mark)  # (N,)
        self.target = torch.from_numpy(part.target)  # (N,)
        self.last = torch.from_numpy(part.last.astype(np.float32))  # (S,)
        self.start = torch.from_numpy(events.start[:-1])  # (S,)
        self.length = torch.from_numpy(events.counts)  # (S,)

    def __call__(self, numbers: Tensor) -> EventBatch:
        """(B,) int64 numbers of sequences → a batch as long as the longest of them."""
        length = self.length[numbers]
        place = torch.arange(int(length.max()))
        mask = place < length[:, None]
        rows = self.start[numbers, None] + place * mask  # what is padded reads the first event, and is then emptied
        return EventBatch(
            self.gaps[rows] * mask,
            self.marks[rows] * mask,
            mask,
            self.target[rows] & mask,
            self.last[numbers],
            length,
            numbers,
        )


def buckets(
    lengths: Ints, batch_size: int, *, waste: float = WASTE, seed: int | None = None, epoch: int = 0
) -> list[Ints]:
    """Places in `lengths` (K,) for each batch: each once, at most `batch_size` of them.

    Without a seed: the longest first, always the same, with padding up to `waste` in every batch. With one: in the
    shuffled order of that epoch. Sizes are the same in all epochs, so that a run can be resumed by counting batches;
    blurred lengths fill them, which pads a batch by at most e^(2 BLUR) as much as its own.
    """
    if batch_size < 1 or not 0 <= waste < 1:
        raise UsageError(
            f"events: batch_size is {batch_size}, waste {waste}",
            "expected a batch of 1 or more, and a share from 0 to below 1",
            "correct it",
        )
    if not len(lengths):
        return []
    order = np.argsort(-lengths, kind="stable")
    borders = _borders(lengths[order], batch_size, waste)
    if seed is None:
        return np.split(order, borders)
    rng = np.random.default_rng([seed, epoch])
    order = np.argsort(-lengths * np.exp(BLUR * rng.random(len(lengths))), kind="stable")
    pieces = np.split(order, borders)
    return [pieces[i] for i in rng.permutation(len(pieces))]


def _borders(falling: Ints, batch_size: int, waste: float) -> list[int]:
    """Where batches after the first begin, of lengths that fall; the longest of a batch is its first."""
    borders = [0]
    while borders[-1] < len(falling):
        ahead = falling[borders[-1] : borders[-1] + batch_size]
        over = np.cumsum(ahead) < (1 - waste) * ahead[0] * np.arange(1, len(ahead) + 1)
        borders.append(borders[-1] + (int(over.argmax()) if over.any() else len(ahead)))
    return borders[1:-1]


def event_batches(
    part: Part,
    batch_size: int,
    *,
    survival: bool = False,
    floor: float | None = None,
    waste: float = WASTE,
    seed: int | None = None,
    epoch: int = 0,
) -> Iterator[EventBatch]:
    """All sequences of a part that have a target or, with `survival`, a last interval; see `buckets`."""
    gather, used = EventGather(part, floor=floor), part.used(survival=survival)
    for piece in buckets(part.events.counts[used], batch_size, waste=waste, seed=seed, epoch=epoch):
        yield gather(torch.from_numpy(used[piece]))


def padding(lengths: Ints, pieces: list[Ints]) -> float:
    """The share of all places in batches that hold no event."""
    places = sum(len(piece) * int(lengths[piece].max()) for piece in pieces)
    return 1 - int(lengths[np.concatenate(pieces)].sum()) / places if places else 0.0
