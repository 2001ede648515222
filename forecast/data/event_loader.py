"""Batches for a training loop whose order is a function of (seed, epoch) alone, divided among ranks: of events here,
of labelled series in label_batch.py."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor

from forecast.data.event_batch import EventGather, buckets
from forecast.data.freq import Ints
from forecast.errors import UsageError
from forecast.types import EventBatch

Done = Callable[[int], tuple[int, int]]
B = TypeVar("B")


class PieceLoader(Generic[B]):
    """The batches of one rank. Shuffled: every rank gets as many as the others, the first ones twice where that needs
    padding; in order: each batch goes to one rank.

    `done` is asked when a pass begins: given the batches of an epoch, it tells how many epochs are finished and how
    many batches of the next were served (a resumed run); without it the epoch is that of `set_epoch`.
    """

    def __init__(
        self, take: Callable[[Tensor], B], used: Ints, lengths: Ints, batch_size: int, *, what: str,
        seed: int | None = None, rank: int = 0, world: int = 1, done: Done | None = None, places: int | None = None,
    ) -> None:  # fmt: skip
        """`take` gathers pieces by their numbers, `used` (K,) are those that are served, `lengths` (K,) theirs; `what`
        they are called. `seed` shuffles, None: the longest first; `places`: of a batch, with padding."""
        self.take, self.used, self.lengths = take, used, lengths
        if seed is None and world > 1:
            if len(used) < world:
                raise UsageError(
                    f"{len(used):,} {what} for {world} processes",
                    "expected at least one for each",
                    f"set trainer.devices={max(len(used), 1)}, or give more data to the part",
                )
            batch_size = min(batch_size, len(used) // world)
        self.batch_size, self.places, self.seed = batch_size, places, seed
        self.rank, self.world, self.done, self.epoch = rank, world, done, 0
        self.count = len(self._pieces(0))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def _pieces(self, epoch: int) -> list[Ints]:
        return buckets(self.lengths, self.batch_size, seed=self.seed, epoch=epoch, places=self.places)

    def _mine(self) -> list[int]:
        """Numbers of this rank's batches."""
        if self.seed is None:
            return list(range(self.rank, self.count, self.world))
        whole = -(-self.count // self.world) * self.world
        return [i % self.count for i in range(self.rank, whole, self.world)]

    def __len__(self) -> int:
        return len(self._mine())

    def __iter__(self) -> Iterator[B]:
        mine = self._mine()
        epoch, skip = (self.epoch, 0) if self.done is None else self.done(len(mine))
        pieces = self._pieces(epoch)
        return (self.take(torch.from_numpy(self.used[pieces[i]])) for i in mine[skip:])


class EventLoader(PieceLoader[EventBatch]):
    """The pieces of sequences that have a target or, with `survival`, a last interval."""

    def __init__(
        self, gather: EventGather, batch_size: int, *, survival: bool, seed: int | None = None, rank: int = 0,
        world: int = 1, done: Done | None = None, places: int | None = None,
    ) -> None:  # fmt: skip
        """`seed` shuffles, None: the longest first; `places`: of a batch, events and padding."""
        used = gather.used(survival=survival)
        super().__init__(
            gather, used, gather.length.numpy()[used], batch_size, what="sequence(s)", seed=seed, rank=rank,
            world=world, done=done, places=places,
        )  # fmt: skip
        self.gather = gather
