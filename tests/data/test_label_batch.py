"""Batches of labelled series: padded, masked, shuffled by seed and epoch, divided among ranks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.data.label_batch import LabelGather, LabelLoader, pooled
from forecast.data.labelled import Labelled
from forecast.errors import DataError, UsageError

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=60).map(np.array)


def of(lengths, channels: int = 2, seed: int = 0) -> Labelled:
    """Random series of these lengths, some values missing, one label unknown."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = rng.normal(2.0, 3.0, (int(offsets[-1]), channels))
    values[rng.random(values.shape) < 0.2] = np.nan
    label = rng.integers(-1, 3, len(lengths))
    names = tuple(f"x{i}" for i in range(channels))
    return Labelled(tuple(f"s{i}" for i in range(len(lengths))), offsets, values, label, ("a", "b", "c"), names)


def gather(lengths, **words) -> LabelGather:
    return LabelGather(of(lengths, **words), np.array([2.0, 1.0]), np.array([3.0, 0.5]))


@given(LENGTHS, st.data())
@settings(max_examples=40)
def test_a_batch_is_its_series_padded(lengths: np.ndarray, data) -> None:
    labelled, take = of(lengths), gather(lengths)
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=8))
    batch = take(torch.tensor(chosen))
    longest = max(lengths[chosen])
    assert batch.values.shape == batch.mask.shape == (len(chosen), longest, 2)
    assert (batch.values.dtype, batch.mask.dtype, batch.label.dtype) == (torch.float32, torch.bool, torch.int64)
    assert batch.series.tolist() == chosen and batch.length.tolist() == lengths[chosen].tolist()
    assert batch.label.tolist() == labelled.label[chosen].tolist()
    for row, number in enumerate(chosen):
        low, high = labelled.offsets[number : number + 2]
        own = (labelled.values[low:high] - [2.0, 1.0]) / [3.0, 0.5]
        seen = ~np.isnan(own)
        inside = high - low
        np.testing.assert_array_equal(batch.mask[row, :inside], seen)
        np.testing.assert_allclose(batch.values[row, :inside], np.where(seen, own, 0.0), rtol=1e-6)
        assert not batch.mask[row, inside:].any() and not batch.values[row, inside:].any()


@given(LENGTHS, st.integers(1, 20), st.integers(0, 3))
def test_an_epoch_serves_each_series_once(lengths: np.ndarray, size: int, epoch: int) -> None:
    pieces = pooled(lengths, size, seed=1, epoch=epoch)
    assert sorted(np.concatenate(pieces)) == list(range(len(lengths)))
    sizes = [len(piece) for piece in pieces]
    assert len(sizes) == -(-len(lengths) // size) and max(sizes) <= size and max(sizes) - min(sizes) <= 1
    again = pooled(lengths, size, seed=1, epoch=epoch)
    assert all((a == b).all() for a, b in zip(pieces, again, strict=True))


def test_lengths_are_mostly_shared_out() -> None:
    lengths = np.random.default_rng(0).permutation(np.arange(1, 401))
    pieces = pooled(lengths, 20, seed=1)
    spent = sum(len(piece) * lengths[piece].max() for piece in pieces)
    plain = np.split(np.random.default_rng(0).permutation(400), 20)
    assert spent < 0.75 * sum(len(piece) * lengths[piece].max() for piece in plain)
    other = pooled(lengths, 20, seed=1, epoch=1)
    assert {tuple(sorted(p)) for p in pieces}.isdisjoint({tuple(sorted(p)) for p in other})


def test_places_bound_a_batch() -> None:
    take = gather([5, 40, 3, 3, 3, 3])
    shuffled = LabelLoader(take, 64, seed=1, places=80)
    assert all(batch.mask.shape[0] * batch.mask.shape[1] <= 80 for batch in shuffled)
    ordered = list(LabelLoader(take, 64, places=20))
    assert [len(batch.series) for batch in ordered][0] == 1  # the longest is alone
    assert sorted(torch.cat([batch.series for batch in ordered]).tolist()) == list(range(6))


def test_batches_are_divided_among_ranks_and_resumed() -> None:
    take = gather(range(1, 31))
    for seed in (None, 3):
        ranks = [LabelLoader(take, 4, seed=seed, rank=rank, world=3) for rank in range(3)]
        served = torch.cat([batch.series for loader in ranks for batch in loader])
        assert set(served.tolist()) == set(range(30))
        if seed is not None:
            assert len({len(loader) for loader in ranks}) == 1
    with pytest.raises(UsageError, match="30 series for 50 processes; expected at least one for each"):
        LabelLoader(take, 4, world=50)
    whole = LabelLoader(take, 8, seed=5)
    whole.set_epoch(2)
    rest = LabelLoader(take, 8, seed=5, done=lambda count: (2, 1))
    wanted = [batch.series.tolist() for batch in whole][1:]
    assert [batch.series.tolist() for batch in rest] == wanted
    assert wanted != [batch.series.tolist() for batch in LabelLoader(take, 8, seed=5)][1:]


def test_a_part_without_series_has_no_batch() -> None:
    take = LabelGather(of([3]).take(np.zeros(0, np.int64)), np.zeros(2), np.ones(2))
    assert len(take) == 0 and list(LabelLoader(take, 8, places=100)) == []
    assert list(LabelLoader(take, 8, seed=1, places=100)) == []


def test_a_value_that_float32_cannot_hold_is_refused() -> None:
    labelled = of([3, 4])
    labelled.values[5, 1] = 1e60
    with pytest.raises(
        DataError, match="series 's1', channel 'x1': the value is 1e\\+60; expected numbers that float32"
    ):
        LabelGather(labelled, np.zeros(2), np.ones(2))
