"""Labelled series as batches, padded to their longest: one indexing call for a whole batch.

For training the series are permuted and cut into batches of equal size. Where lengths differ, some batches that follow
each other in that order (POOL) share their series out by length, which saves most of the padding and still mixes the
company that a series comes in; then the batches are shuffled. All of it is a function of (seed, epoch) alone, and
numbers of series are the same in all epochs, so that a run can be resumed by counting batches.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

from forecast.data.event_loader import Done, PieceLoader
from forecast.data.events import Floats
from forecast.data.freq import Ints
from forecast.data.labelled import Labelled
from forecast.errors import DataError
from forecast.types import LabelBatch

POOL: Final = 4  # batches


class LabelGather:
    """The scaled values, masks and labels of labelled series, gathered as batches."""

    def __init__(self, labelled: Labelled, mean: Floats, std: Floats) -> None:
        """`mean` and `std` (C,) of the channels. DataError for a value that float32 cannot hold."""
        seen = ~np.isnan(labelled.values)
        values = np.where(seen, (labelled.values - mean) / std, 0.0)
        if (wrong := np.abs(values) > np.finfo(np.float32).max).any():
            row, channel = np.unravel_index(int(wrong.argmax()), values.shape)
            raise DataError(
                f"series '{labelled.ids[int(labelled.number[row])]}', channel '{labelled.channels[int(channel)]}': the "
                f"value is {labelled.values[row, channel]:g}",
                "expected numbers that float32 can hold once they are scaled",
                "correct it, or leave the cell empty",
                reason="non_finite",
            )
        self.values = torch.from_numpy(values.astype(np.float32))  # (N, C)
        self.mask = torch.from_numpy(seen)  # (N, C)
        self.start = torch.from_numpy(labelled.offsets[:-1].copy())  # (n,)
        self.length = torch.from_numpy(labelled.lengths)  # (n,)
        self.label = torch.from_numpy(labelled.label.copy())  # (n,)

    def __len__(self) -> int:
        return len(self.length)

    def __call__(self, series: Tensor, long: int | None = None) -> LabelBatch:
        """(B,) int64 numbers of series, at least one → a batch as long as the longest of them, or `long`."""
        length = self.length[series]
        place = torch.arange(int(length.max()) if long is None else long)
        inside = place < length[:, None]
        rows = self.start[series, None] + place * inside  # what is padded reads the first step, and is then emptied
        return LabelBatch(
            self.values[rows] * inside[..., None],
            self.mask[rows] & inside[..., None],
            length,
            self.label[series],
            series,
        )


def pooled(lengths: Ints, batch_size: int, *, seed: int, epoch: int = 0) -> list[Ints]:
    """Places in `lengths` (n,) for each batch: each once, in batches whose sizes differ by one at most."""
    count = -(-len(lengths) // batch_size)
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    borders = np.arange(count + 1) * len(lengths) // max(count, 1)
    for first in range(0, count, POOL):
        low, high = borders[first], borders[min(first + POOL, count)]
        order[low:high] = order[low:high][np.argsort(-lengths[order[low:high]], kind="stable")]
    pieces = np.split(order, borders[1:-1])
    return [pieces[i] for i in rng.permutation(count)]


class LabelLoader(PieceLoader[LabelBatch]):
    """The batches of one rank: shuffled with a seed, the longest first without."""

    def __init__(
        self, gather: LabelGather, batch_size: int, *, seed: int | None = None, rank: int = 0, world: int = 1,
        done: Done | None = None, places: int | None = None,
    ) -> None:  # fmt: skip
        """`places`: steps and padding of a batch, where it is of more than one series."""
        lengths = gather.length.numpy()
        if places is not None and seed is not None and len(lengths):
            batch_size = max(1, min(batch_size, places // int(lengths.max())))
        super().__init__(
            gather, np.arange(len(lengths)), lengths, batch_size, what="series", seed=seed, rank=rank, world=world,
            done=done, places=places,
        )  # fmt: skip
        self.gather = gather

    def _pieces(self, epoch: int) -> list[Ints]:
        if self.seed is None:
            return super()._pieces(epoch)
        return pooled(self.lengths, self.batch_size, seed=self.seed, epoch=epoch)
