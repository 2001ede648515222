"""Batches of sequences: what is in them, how much of them is padding, and in which order they come."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch

from forecast.data.event_batch import EventGather, buckets, event_batches, padding
from forecast.data.event_split import Part, split_events, whole
from forecast.data.events import EventColumns, read_events
from forecast.data.hawkes import THREE, simulate
from forecast.errors import UsageError
from forecast.types import EventBatch
from forecast.where import data_root

SETS = ("taxi", "taobao", "earthquake", "stackoverflow")


def heavy(count: int = 3000) -> np.ndarray:
    """Lengths from 1 to thousands, most of them short, as customers have them."""
    return np.ceil(np.random.default_rng(0).pareto(0.9, count) + 0.01).clip(1, 3000).astype(np.int64)


def toy() -> Part:
    table = {
        "id": list("aaabccccd"),
        "time": [0.0, 1.0, 1.0, 2.0, 0.0, 2.0, 3.0, 7.0, 9.0],
        "mark": list("xyxyxxyzx"),
    }
    events = read_events(pl.DataFrame(table), EventColumns(unit="hour", grid=0.5), "toy")
    return split_events(events, {"val": 2.5, "test": 5.0}).val


def test_a_batch_holds_what_the_table_holds() -> None:
    part = toy()  # a: 0 1 1; b: 2; c: 0 2 3 up to 5, targets from 2.5 on
    batch = next(event_batches(part, 8, survival=True, waste=0.9))
    assert batch.sequence.tolist() == [0, 2, 1]
    assert batch.length.tolist() == [3, 3, 1]
    assert batch.mask.tolist() == [[True] * 3, [True] * 3, [True, False, False]]
    assert batch.gaps.tolist() == [[0, 1, 0.5], [0, 2, 1], [0, 0, 0]]  # a's tie is floored at the grid
    assert batch.marks.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert batch.target.tolist() == [[False] * 3, [False, False, True], [False] * 3]
    assert batch.last.tolist() == [4, 2, 3]
    assert batch.extra is None
    assert [column.dtype for column in batch[:7]] == [
        *(torch.float32, torch.int64, torch.bool, torch.bool, torch.float32, torch.int64, torch.int64)
    ]
    only = list(event_batches(part, 8, floor=0.0))
    assert [one.sequence.tolist() for one in only] == [[2]]


def test_nothing_is_lost_and_nothing_twice() -> None:
    part = simulate(THREE, 300, 20.0, seed=0)
    for seed in (None, 0):
        batches = list(event_batches(part, 32, seed=seed, epoch=3))
        numbers = torch.cat([batch.sequence for batch in batches])
        assert sorted(numbers.tolist()) == EventGather(part).used(survival=False).tolist()
        assert sum(int(batch.target.sum()) for batch in batches) == part.target.sum()
        for batch in batches:
            assert len(batch.sequence) <= 32
            assert int(batch.length.max()) == batch.gaps.shape[1]
            assert torch.equal(batch.mask.sum(dim=1), batch.length)
            assert not batch.gaps[~batch.mask].any()
            assert not batch.marks[~batch.mask].any()
            assert not batch.target[:, 0].any()
            one = int(batch.sequence[-1])
            rows = slice(part.events.start[one], part.events.start[one + 1])
            length = int(batch.length[-1])
            assert batch.marks[-1, :length].tolist() == part.events.mark[rows].tolist()
            torch.testing.assert_close(
                batch.gaps[-1, 1:length].double(), torch.from_numpy(np.diff(part.events.time[rows])), rtol=1e-6, atol=0
            )


def test_the_order_is_that_of_seed_and_epoch() -> None:
    lengths = heavy()
    first = buckets(lengths, 64, seed=1, epoch=2)
    again = buckets(lengths, 64, seed=1, epoch=2)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    others = [buckets(lengths, 64, seed=s, epoch=e) for s, e in ((1, 3), (2, 2))]
    for other in others:
        # A resumed run counts batches: there are as many of every size in each epoch.
        assert sorted(map(len, first)) == sorted(map(len, other))
        assert not np.array_equal(np.concatenate(first), np.concatenate(other))
        # Another company: few batches (of lengths that nothing comes near) come again.
        assert len({frozenset(p) for p in first} & {frozenset(p) for p in other}) < 0.2 * len(first)
    assert [len(piece) for piece in first] != sorted(len(piece) for piece in first)
    plain = buckets(lengths, 64)
    assert all(lengths[one].min() >= lengths[other].max() for one, other in pairwise(plain))


@pytest.mark.parametrize("batch_size", [1, 8, 64, 512])
def test_padding_stays_small_where_lengths_differ_by_thousands(batch_size: int) -> None:
    lengths = heavy()
    assert max(padding(lengths, [piece]) for piece in buckets(lengths, batch_size)) <= 0.1
    for epoch in range(3):
        pieces = buckets(lengths, batch_size, seed=0, epoch=epoch)
        assert sorted(np.concatenate(pieces).tolist()) == list(range(len(lengths)))
        assert max(map(len, pieces)) <= batch_size
        assert padding(lengths, pieces) < 0.2
        assert max(padding(lengths, [piece]) for piece in pieces) < 0.27  # 1 - 0.9 e^-0.2
    alike = np.full(100, 7)
    assert padding(alike, buckets(alike, 30, seed=0)) == 0
    assert [len(piece) for piece in buckets(alike, 30)] == [30, 30, 30, 10]
    assert buckets(alike[:0], 30, seed=0) == []


def test_settings_out_of_range_are_refused() -> None:
    for size, waste in ((0, 0.1), (8, 1.0), (8, -0.1), (8, float("nan"))):
        with pytest.raises(UsageError, match=f"batch_size is {size}, waste {waste}"):
            buckets(heavy(10), size, waste=waste)


@pytest.mark.skipif(data_root() is None, reason="needs FORECAST_DATA")
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("part", ["train", "test"])
def test_the_benchmarks_are_padded_by_less_than_a_tenth(name: str, part: str) -> None:
    root = data_root()
    assert root is not None
    file = root / "events" / name / f"{part}.parquet"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    events = read_events(pl.read_parquet(file), EventColumns(unit="hour"), name)
    lengths = events.counts
    for epoch in range(3):
        assert padding(lengths, buckets(lengths, 64, seed=0, epoch=epoch)) < 0.1
    batches: list[EventBatch] = list(event_batches(whole(events), 64, seed=0))
    assert sum(int(batch.mask.sum()) for batch in batches) == len(events.time)
