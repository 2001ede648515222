"""Batches for a training loop: whole batches are indexed, their order is explicit.

Plain torch: worker processes import this file, and should not wait for Lightning.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from forecast.data.batch import Gather, chunked, take
from forecast.data.panel import by_series
from forecast.data.shuffle import permute
from forecast.data.window import Windows
from forecast.errors import UsageError
from forecast.types import SeriesBatch

Numbers = NDArray[np.int64]  # of windows
Done = Callable[[int], tuple[int, int]]
LISTED: Final = 1 << 24  # windows; the order of more is not a list in memory but worked out, see shuffle.py
AHEAD: Final = 64  # batches whose numbers are worked out at once


class BatchDataset(Dataset[SeriesBatch]):
    """Indexed by the numbers of a whole batch of windows."""

    def __init__(self, gather: Gather, windows: Windows) -> None:
        self.gather, self.windows = gather, windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, k: Numbers) -> SeriesBatch:
        return take(self.gather, self.windows, k)


class BatchOrder(Sampler[Numbers]):
    """Window numbers of each batch of one rank; the order is a function of (seed, epoch) alone.

    Shuffled: every rank gets as many batches as the others, the first ones twice where that needs padding.
    In order: each batch goes to one rank, so counts may differ by one. Batches are made smaller where a rank would
    get none, since the others would wait for it; UsageError where there are fewer windows than ranks.

    `done` is asked when a pass begins: given the batches of an epoch, it tells how many epochs are finished and how
    many batches of the next were served. Without it the epoch is that of `set_epoch`, which is not enough to resume:
    Lightning calls it with 0 in the first epoch after a resume, and the batches of epoch 0 would be seen again.

    `until` (S+1,), the windows before each series, draws by series: each equally often, see `by_series`.

    A shuffled order is a list up to `listed` windows. Beyond that it takes no memory: another order, as random, and a
    function of (seed, epoch) too.
    """

    def __init__(
        self, windows: int, batch_size: int, *, shuffle: bool, seed: int = 0, rank: int = 0, world: int = 1,
        done: Done | None = None, until: Numbers | None = None, listed: int = LISTED,
    ) -> None:  # fmt: skip
        if not shuffle and world > 1:
            if windows < world:
                raise UsageError(
                    f"{windows:,} window{'s' if windows != 1 else ''} for {world} processes",
                    "expected at least one for each",
                    f"set trainer.devices={max(windows, 1)}, or give more data to the part",
                )
            batch_size = min(batch_size, windows // world)
        self.count, self.batch_size, self.shuffle, self.seed = windows, batch_size, shuffle, seed
        self.rank, self.world, self.epoch, self.skip = rank, world, 0, 0
        self.done, self.until, self.listed = done, until, listed

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """The epoch of the next pass; `skip` of its batches were served before (a resumed run)."""
        self.epoch, self.skip = epoch, skip

    def _mine(self) -> range:
        """Numbers of this rank's batches; where every rank gets as many, those beyond the last mean the first ones."""
        total = -(-self.count // self.batch_size)
        end = -(-total // self.world) * self.world if self.shuffle else total
        return range(self.rank, end, self.world)

    def __len__(self) -> int:
        return len(self._mine()) - self.skip

    def __iter__(self) -> Iterator[Numbers]:
        epoch, skip = (self.epoch, self.skip) if self.done is None else self.done(len(self._mine()))
        mine, self.skip = self._mine()[skip:], 0
        if not self.shuffle:
            return (self._places(i) for i in mine)
        if self.count > self.listed:
            return self._worked_out(mine, epoch)
        mixed = np.random.SeedSequence([self.seed, epoch]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
        if self.until is None:
            order = torch.randperm(self.count, generator=generator).numpy()
        else:
            order = by_series(self.until, generator)
        return (order[self._places(i)] for i in mine)

    def _places(self, batch: int) -> Numbers:
        """The places of a batch in the order of all windows."""
        first = batch % -(-self.count // self.batch_size) * self.batch_size
        return np.arange(first, min(first + self.batch_size, self.count), dtype=np.int64)

    def _worked_out(self, mine: range, epoch: int) -> Iterator[Numbers]:
        """The batches of an order that is nowhere written down; some at once, since a call costs more than a number."""
        keys = np.random.SeedSequence([self.seed, epoch]).generate_state(2, np.uint64) >> np.uint64(1)
        turns = None if self.until is None else Turns(self.until, *keys.tolist())
        for first in range(0, len(mine), AHEAD):
            places = [self._places(i) for i in mine[first : first + AHEAD]]
            joined = np.concatenate(places)
            found = permute(joined, self.count, int(keys[0])) if turns is None else turns(joined)
            yield from np.split(found, np.cumsum([len(each) for each in places])[:-1])


class Turns:
    """The order of `by_series` without a list: every series once in each round, its windows in a random order."""

    def __init__(self, until: Numbers, key: int, other: int) -> None:
        """`until` (S+1,) windows before each series; `key` and `other` seed the orders of series and of windows."""
        own = np.diff(until)
        self.some = np.flatnonzero(own)
        self.first, self.own, self.key, self.other = until[self.some], own[self.some], key, other

    def __call__(self, places: Numbers) -> Numbers:
        """(B,) places in the order → (B,) numbers of windows."""
        turn, at = np.divmod(places, len(self.some))
        number = permute(at, len(self.some), self.key + turn)
        return np.asarray(self.first[number] + permute(turn % self.own[number], self.own[number], self.other + number))


class Loader:
    """The batches of a part in this process, in their order. (`sampler` is a name that Lightning would act on.)"""

    def __init__(self, data: BatchDataset, order: BatchOrder) -> None:
        self.data, self.order = data, order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[SeriesBatch]:
        return chunked(self.data.gather, self.data.windows, self.order, self.order.batch_size)


def loader(
    data: BatchDataset,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int = 0,
    done: Done | None = None,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    sample: str = "window",
) -> Loader | DataLoader[SeriesBatch]:
    """Batches of a part. Gathering is faster than handing batches between processes: workers seldom pay.

    `sample` is window or series: what is drawn equally often in an epoch of a shuffled part."""
    order = BatchOrder(
        len(data), batch_size, shuffle=shuffle, seed=seed, rank=rank, world=world, done=done,
        until=data.windows.until if sample == "series" else None,
    )  # fmt: skip
    if not workers:
        return Loader(data, order)
    return DataLoader(
        data,
        sampler=order,
        batch_size=None,
        num_workers=workers,
        collate_fn=_apart,
        multiprocessing_context="spawn",
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )


def served(trainer: Any, batches: int) -> tuple[int, int]:
    """Finished epochs, and batches of the next one, from the count of batches that a checkpoint keeps; `batches` are
    those of an epoch, of which the trainer may take fewer."""
    limit = trainer.limit_train_batches
    an_epoch = batches if limit is None else limit if isinstance(limit, int) else int(batches * limit)
    return divmod(trainer.fit_loop.epoch_loop.batch_progress.total.ready, max(1, min(an_epoch, batches)))


def _apart(batch: Any) -> SeriesBatch:
    """A mask whose rows are all one, written out: it could not be pinned."""
    return SeriesBatch._make(None if part is None else part.contiguous() for part in batch)
