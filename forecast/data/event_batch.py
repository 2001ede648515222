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
LEAST: Final = 17  # rows from which on a batch's size no longer changes the bits of one (measured, MKL)
BLUR: Final = 0.1  # lengths are multiplied by up to e^0.1 before they are sorted


class EventGather:
    """The gaps, marks and targets of a part, gathered as batches.

    Sequences of more than `longest` events are gathered in pieces of that length, each but the first with the half of
    it as context: no target is lost, and no batch is longer. A piece has the number `piece`; `number` is its sequence.
    """

    def __init__(
        self, part: Part, *, floor: float | None = None, longest: int | None = None, labels: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> None:  # fmt: skip
        """`floor` is the least gap, None: the grid; see `Events.gaps`. `labels` (K, M) bool: those of each code of a
        mark, K codes. `extra` (N, E) float32."""
        events = part.events
        self.gaps = torch.from_numpy(events.gaps(floor).astype(np.float32))  # (N,)
        self.marks = torch.from_numpy(events.mark)  # (N,)
        self.target = torch.from_numpy(part.target)  # (N,)
        self.labels, self.extra = labels, extra
        first, length, fresh, number = _pieces(events.start, longest)
        self.start, self.length, self.fresh = (torch.from_numpy(a) for a in (first, length, fresh))  # (P,)
        self.number = torch.from_numpy(number)  # (P,) of the sequence
        final = np.append(number[1:] != number[:-1], True)
        self.last = torch.from_numpy(np.where(final, part.last[number], 0.0).astype(np.float32))  # (P,)
        done = np.concatenate([[0], np.cumsum(part.target)])
        self.targets = done[first + length] - done[first + fresh]  # (P,)

    def used(self, *, survival: bool) -> Ints:
        """The numbers of the pieces that give something: a target or, with `survival`, a last interval."""
        return np.flatnonzero((self.targets > 0) | (survival & (self.last.numpy() > 0)))

    def __call__(self, pieces: Tensor, long: int | None = None) -> EventBatch:
        """(B,) int64 numbers of pieces → a batch as long as the longest of them, or `long`."""
        length = self.length[pieces]
        place = torch.arange(int(length.max()) if long is None else long)
        mask = place < length[:, None]
        rows = self.start[pieces, None] + place * mask  # what is padded reads the first event, and is then emptied
        marks = self.marks[rows] * mask
        return EventBatch(
            self.gaps[rows] * mask,
            marks if self.labels is None else self.labels[marks] & mask[..., None],
            mask,
            self.target[rows] & mask & (place >= self.fresh[pieces, None]),
            self.last[pieces],
            length,
            self.number[pieces],
            None if self.extra is None else self.extra[rows] * mask[..., None],
        )

    def rows(self, pieces: Tensor, length: int) -> Tensor:
        """(B, L) int64 rows of the table at the places of a batch; whatever where there is no event."""
        return self.start[pieces, None] + torch.arange(length)


def _pieces(start: Ints, longest: int | None) -> tuple[Ints, Ints, Ints, Ints]:
    """First row, length, places that are context only, and number of the sequence of each piece."""
    counts = np.diff(start)
    if longest is None or counts.max(initial=0) <= longest:
        return start[:-1], counts, np.zeros_like(counts), np.arange(len(counts))
    half = max(1, longest // 2)
    several = np.where(counts <= longest, 1, 1 + -(-(counts - longest) // half))
    number = np.repeat(np.arange(len(counts)), several)
    turn = np.arange(len(number)) - np.repeat(np.cumsum(several) - several, several)
    fresh = np.where(turn > 0, longest - half, 0)
    offset = turn * half
    return start[:-1][number] + offset, np.minimum(counts[number] - offset, longest), fresh, number


def buckets(
    lengths: Ints, batch_size: int, *, waste: float = WASTE, seed: int | None = None, epoch: int = 0,
    places: int | None = None,
) -> list[Ints]:  # fmt: skip
    """Places in `lengths` (K,) for each batch: each once, at most `batch_size` of them, and, of more than one, at most
    `places` events and paddings.

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
    borders = _borders(lengths[order], batch_size, waste, places)
    if seed is None:
        return np.split(order, borders)
    rng = np.random.default_rng([seed, epoch])
    order = np.argsort(-lengths * np.exp(BLUR * rng.random(len(lengths))), kind="stable")
    pieces = np.split(order, borders)
    return [pieces[i] for i in rng.permutation(len(pieces))]


def rungs(lengths: Ints, batch_size: int, *, places: int, least: int) -> Iterator[tuple[Ints, Ints, int]]:
    """As `buckets`, but so that what a sequence is padded to depends on its own length alone: the next of a few lengths
    (multiples of an eighth of the power of 2 below it). Gives the places of each batch, those filled up with its first
    to at least `least` rows, and the length."""
    step = 2 ** np.maximum(np.floor(np.log2(np.maximum(lengths, 1))).astype(np.int64) - 3, 0)
    long = -(-lengths // step) * step
    for one in np.unique(long)[::-1].tolist():
        mine = np.flatnonzero(long == one)
        size = max(least, min(batch_size, places // one))
        for some in np.split(mine, range(size, len(mine), size)):
            yield some, np.concatenate([some, np.repeat(some[:1], max(0, least - len(some)))]), one


def _borders(falling: Ints, batch_size: int, waste: float, places: int | None) -> list[int]:
    """Where batches after the first begin, of lengths that fall; the longest of a batch is its first."""
    borders = [0]
    while borders[-1] < len(falling):
        most = batch_size if places is None else max(1, min(batch_size, places // int(falling[borders[-1]])))
        ahead = falling[borders[-1] : borders[-1] + most]
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
    gather = EventGather(part, floor=floor)
    used = gather.used(survival=survival)
    for piece in buckets(gather.length.numpy()[used], batch_size, waste=waste, seed=seed, epoch=epoch):
        yield gather(torch.from_numpy(used[piece]))


def padding(lengths: Ints, pieces: list[Ints]) -> float:
    """The share of all places in batches that hold no event."""
    places = sum(len(piece) * int(lengths[piece].max()) for piece in pieces)
    return 1 - int(lengths[np.concatenate(pieces)].sum()) / places if places else 0.0
