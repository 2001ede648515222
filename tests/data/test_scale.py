"""The scaler: only training rows, exact round trips, unknown series."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.data.scale import Scaler, fit
from forecast.data.split import split
from forecast.errors import ArtifactError, DataError

from .conftest import toy

SPLITS = {"train": 0.7, "val": 0.1, "test": 0.2}


def test_statistics_are_those_of_observed_training_rows() -> None:
    series = toy((50, 80), channels=3)
    series.values[3:7, 1] = np.nan
    parts = split(series, SPLITS)
    scaler = Scaler.fit(series, parts.train)
    series.values[parts.test[0, 0] :] *= 100  # the future changes nothing
    for s, (a, b) in enumerate(parts.train):
        if s == 0:
            np.testing.assert_allclose(scaler.mean[s], np.nanmean(series.values[a:b], axis=0), rtol=1e-13)
            np.testing.assert_allclose(scaler.std[s], np.nanstd(series.values[a:b], axis=0), rtol=1e-12)
    untouched = toy((50, 80), channels=3)
    untouched.values[3:7, 1] = np.nan
    np.testing.assert_array_equal(scaler.mean, Scaler.fit(untouched, parts.train).mean)


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 10_000), st.floats(1e-6, 1e9))
def test_undo_inverts_apply(count: int, channels: int, seed: int, size: float) -> None:
    series = toy(tuple(range(12, 12 + count)), channels, seed)
    series = series._replace(values=series.values * size)
    scaler = Scaler.fit(series, split(series, SPLITS).train)
    scaled = scaler.apply(series.values, series.number)
    np.testing.assert_allclose(scaler.undo(scaled, series.number), series.values, rtol=1e-9, atol=1e-9 * size)
    block = scaled[:8].reshape(2, 4, channels)[..., :1]
    back = scaler.undo(block, np.array([0, 0]), 1)
    np.testing.assert_allclose(back, series.values[:8].reshape(2, 4, channels)[..., :1], rtol=1e-9, atol=1e-9 * size)


@given(st.integers(0, 10_000))
def test_json_keeps_every_bit(seed: int) -> None:
    scaler = Scaler.fit(toy((20, 30), 2, seed), np.array([[0, 20], [20, 50]]))
    again = Scaler.from_dict(json.loads(json.dumps(scaler.to_dict())))
    assert again.ids == scaler.ids and again.kind == scaler.kind
    np.testing.assert_array_equal(again.mean, scaler.mean)
    np.testing.assert_array_equal(again.std, scaler.std)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 0.1, -3.3e-9])
def test_a_constant_channel_has_deviation_one(value: float) -> None:
    series = toy((40,))
    series.values[:] = value
    assert Scaler.fit(series, np.array([[0, 40]])).std[0, 0] == 1.0


def test_a_channel_without_training_values_is_refused() -> None:
    series = toy((40, 40), 2)
    series.values[:28, 1] = np.nan
    series.values[40:68, 1] = np.nan
    with pytest.raises(DataError, match="channel 'c1' of series 's0' and 1 more has no value in the 56 training rows"):
        Scaler.fit(series, split(series, SPLITS).train)


def test_unknown_series_are_scaled_by_their_own_rows() -> None:
    series = toy((40, 50, 60))
    scaler = Scaler.fit(series, np.stack([series.start[:-1], series.start[1:]], 1))
    other = toy((30, 30))._replace(ids=("new", "s2"))
    moved, unknown = scaler.for_ids(other)
    assert unknown == ["new"] and moved.ids == ("new", "s2")
    assert moved.mean[1] == scaler.mean[2] and moved.std[1] == scaler.std[2]
    np.testing.assert_allclose(moved.mean[0], other.values[:30].mean(0))
    assert scaler.ids == ("s0", "s1", "s2")


def test_none_changes_nothing_even_for_unknown_series() -> None:
    series = toy((40,))
    scaler = fit("none", series, np.array([[0, 40]]))
    np.testing.assert_array_equal(scaler.apply(series.values, series.number), series.values)
    moved, _ = scaler.for_ids(series._replace(ids=("new",)))
    assert moved.mean[0, 0] == 0 and moved.std[0, 0] == 1


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"kind": "standard", "ids": ["a"], "mean": [[1.0]], "std": [[0.0]]},
        {"kind": "standard", "ids": ["a"], "mean": [["x"]], "std": [[1.0]]},
        {"kind": "standard", "ids": ["a", "b"], "mean": [[1.0]], "std": [[1.0]]},
    ],
)
def test_a_damaged_record_is_refused(plain: dict[str, object]) -> None:
    with pytest.raises(ArtifactError):
        Scaler.from_dict(plain)
