"""Batches equal what naive slicing gives, whatever the size of the batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.data.batch import Gather, batches, take
from forecast.data.scale import Scaler
from forecast.data.table import apply_gaps
from forecast.data.window import windows
from forecast.types import SeriesBatch

from .conftest import toy


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(12, 40), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(1, 8),
    st.integers(1, 4),
    st.sampled_from(["mask", "fill"]),
    st.floats(0, 0.5),
    st.integers(1, 9),
    st.integers(0, 99),
    st.data(),
)
def test_gather_equals_naive_slicing(lengths, channels, context, horizon, mode, share, size, seed, data) -> None:
    series = toy(tuple(lengths), channels, seed)
    targets = data.draw(st.integers(1, channels))
    rng = np.random.default_rng(seed)
    series.values[rng.random(series.values.shape) < share] = np.nan
    series = series._replace(targets=targets)
    inputs, observed = apply_gaps(series, mode)
    scaler = Scaler.none(series)
    gather = Gather.of(inputs, scaler, context=context, horizon=horizon, observed=observed)
    whole = np.stack([series.start[:-1], series.start[1:]], axis=1)
    found = windows(series, whole, context, horizon)
    served = 0
    for batch in batches(gather, found, size):
        for i in range(len(batch.origin)):
            o, s = int(batch.origin[i]), int(batch.series[i])
            assert series.start[s] <= o - context and o + horizon <= series.start[s + 1]
            past = inputs.values[o - context : o].astype(np.float32)
            future = series.values[o : o + horizon, :targets].astype(np.float32)
            np.testing.assert_array_equal(batch.past[i], np.nan_to_num(past))
            np.testing.assert_array_equal(batch.past_mask[i], ~np.isnan(past))
            np.testing.assert_array_equal(batch.past_clock[i], series.clock[o - context : o])
            np.testing.assert_array_equal(batch.future[i], np.nan_to_num(future))
            np.testing.assert_array_equal(batch.future_mask[i], ~np.isnan(future))
            np.testing.assert_array_equal(batch.future_clock[i], series.clock[o : o + horizon])
        served += len(batch.origin)
    assert served == len(found)


def test_types_and_values_of_a_batch() -> None:
    series = toy((50,), 2)
    scaler = Scaler.fit(series, np.array([[0, 35]]))
    gather = Gather.of(series, scaler, context=8, horizon=4)
    batch = take(gather, windows(series, np.array([[0, 50]]), 8, 4), np.array([3, 0]))
    assert batch.past.dtype == batch.future.dtype == batch.past_clock.dtype == torch.float32
    assert batch.past_mask.dtype == batch.future_mask.dtype == torch.bool
    assert batch.origin.tolist() == [11, 8] and batch.origin.dtype == batch.series.dtype == torch.int64
    assert batch.past.is_contiguous() and batch.future.is_contiguous()
    back = scaler.undo(batch.future.numpy(), batch.series.numpy(), 2)
    np.testing.assert_allclose(back[0], series.values[11:15], rtol=1e-5, atol=1e-5)


def test_a_batch_does_not_alias_the_table() -> None:
    series = toy((30,))
    series.values[5] = np.nan
    gather = Gather.of(series, Scaler.none(series), context=4, horizon=2)
    before = gather.values.clone()
    batch = gather(torch.tensor([6]), torch.tensor([0]))
    batch.past.fill_(7.0)
    torch.testing.assert_close(gather.values, before, equal_nan=True)


@pytest.mark.parametrize("origin", [3, 29, -1])
def test_a_window_outside_the_table_is_refused(origin: int) -> None:
    series = toy((30,))
    gather = Gather.of(series, Scaler.none(series), context=4, horizon=2)
    with pytest.raises((IndexError, RuntimeError)):
        gather(torch.tensor([origin]), torch.tensor([0]))


def same(one: SeriesBatch, two: SeriesBatch) -> bool:
    return all(a is b if a is None else a.equal(b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("chunk", [1, 700, 1 << 20])
def test_batches_do_not_depend_on_how_many_are_gathered_at_once(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    series = toy((60, 45), 2)
    series.values[7:9] = np.nan
    gather = Gather.of(series, Scaler.none(series), context=8, horizon=4)
    found = windows(series, np.array([[0, 60], [60, 105]]), 8, 4)
    monkeypatch.setattr("forecast.data.batch.CHUNK", chunk)
    served = list(batches(gather, found, 7))
    assert [len(batch.origin) for batch in served] == [7] * 11 + [6]
    for number, batch in enumerate(served):
        alone = take(gather, found, np.arange(7 * number, 7 * number + len(batch.origin)))
        assert same(batch, alone)


def test_a_mask_without_gaps_is_not_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with a GPU, where CUDA refuses to copy into a tensor whose rows share memory."""

    def pin(part: torch.Tensor) -> torch.Tensor:
        return torch.empty_strided(part.shape, part.stride(), dtype=part.dtype).copy_(part)

    series = toy((60,), 2)
    gather = Gather.of(series, Scaler.none(series), context=8, horizon=4)
    found = windows(series, np.array([[0, 60]]), 8, 4)
    plain = list(batches(gather, found, 4))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    pinned = list(batches(gather, found, 4))
    assert plain[0].past_mask.stride(0) == 0
    assert all(same(one, two) for one, two in zip(plain, pinned, strict=True))
