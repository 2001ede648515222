"""Windows a second of the loader beside a per-item Dataset with default collate, as public code serves them."""

import statistics
import time
from collections.abc import Iterable

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import Row, record
from forecast.data.module import SeriesModule

LABEL, ROUNDS = 48, 7
SETTINGS = (  # card, context, horizon, gaps, windows in a batch
    ("electricity", 168, 24, "error", 64),
    ("electricity", 168, 24, "error", 32),
    ("electricity", 96, 24, "error", 32),
    ("household", 168, 24, "mask", 64),
)


class Items(Dataset[tuple[np.ndarray, ...]]):
    """One window an item: past, start token with future, and the calendars of both."""

    def __init__(self, data: SeriesModule) -> None:
        self.values, self.clock = data.gather.values.numpy(), data.series.clock
        self.count, self.context, self.horizon = len(data.windows("train")), data.context, data.horizon

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[np.ndarray, ...]:
        middle, label, end = i + self.context, i + self.context - LABEL, i + self.context + self.horizon
        return self.values[i:middle], self.values[label:end], self.clock[i:middle], self.clock[label:end]


def rate(batches: Iterable[object], windows: int) -> float:
    """Windows a second of one pass."""
    began = time.perf_counter()
    for _ in batches:
        pass
    return windows / (time.perf_counter() - began)


def main() -> None:
    torch.set_num_threads(1)
    rows: list[Row] = []
    for card, context, horizon, gaps, size in SETTINGS:
        data = SeriesModule(card=card, context=context, horizon=horizon, batch_size=size, gaps=gaps).prepare()
        ours, items = data.train_dataloader(), DataLoader(Items(data), size, shuffle=True)
        count = len(data.windows("train"))
        rates = [(rate(ours, count), rate(items, count)) for _ in range(ROUNDS)]
        rows.append(
            {
                "data": f"{card} {context} -> {horizon}", "gaps": gaps, "batch": size,
                "loader windows/s": statistics.median(a for a, _ in rates),
                "per item windows/s": statistics.median(b for _, b in rates),
                "ratio": statistics.median(a / b for a, b in rates),
            }
        )  # fmt: skip
    record("loader", rows)
