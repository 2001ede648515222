"""Naive forecasts, with and without gaps."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.ops.naive import last_value, seasonal_naive


def test_the_season_before_repeats_over_the_horizon():
    past = torch.arange(8.0)[None, :, None]
    assert seasonal_naive(past, None, 5, 3).flatten().tolist() == [5, 6, 7, 5, 6]
    assert last_value(past, None, 2).flatten().tolist() == [7, 7]


def test_a_window_shorter_than_a_season_has_only_its_last_value():
    assert seasonal_naive(torch.arange(4.0)[None, :, None], None, 6, 99).flatten().tolist() == [3] * 6


def test_a_gap_is_bridged_by_the_same_phase_then_by_the_last_value_then_by_zero():
    past = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])[None, :, None]
    mask = torch.tensor([True, True, False, True, False, False])[None, :, None]
    # season 3: phases are (1, 4), (2, missing), (missing, missing)
    assert seasonal_naive(past, mask, 3, 3).flatten().tolist() == [4, 2, 4]
    assert last_value(past, mask, 1).item() == 4
    assert seasonal_naive(past, torch.zeros_like(mask), 3, 3).flatten().tolist() == [0, 0, 0]


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 30), horizon=st.integers(1, 40), season=st.integers(1, 35))
def test_complete_data_need_no_mask(length, horizon, season):
    past = torch.randn(2, length, 3, generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(past, dtype=torch.bool)
    assert seasonal_naive(past, None, horizon, season).equal(seasonal_naive(past, mask, horizon, season))
    assert seasonal_naive(past, None, horizon, season).shape == (2, horizon, 3)
