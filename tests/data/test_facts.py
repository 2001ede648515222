"""What a table says of itself: seasons, steps, sentinels, channels that never change."""

import numpy as np
import polars as pl

from forecast.data.facts import constant, peaks, sentinels, step

from .conftest import card, toy

RNG = np.random.default_rng(3)


def test_the_highest_peak_is_the_season() -> None:
    series, rows = toy((2000,), 2), np.arange(2000)
    waves = np.stack([np.sin(2 * np.pi * rows / 12), np.cos(2 * np.pi * rows / 12)], axis=1)
    series.values[:] = waves + 0.5 * RNG.normal(size=(2000, 2))
    series.values[100:130] = np.nan
    curve, tops = peaks(series)
    assert tops[0] % 12 == 0 and 12 in tops and 0.5 < curve[12] < 0.9 and abs(curve[0] - 1) < 1e-12


def test_the_curve_is_the_autocorrelation_by_its_definition() -> None:
    series = toy((300,), 1)
    curve, _ = peaks(series)
    x = series.values[:, 0] - series.values[:, 0].mean()
    np.testing.assert_allclose(curve, [x[: len(x) - k] @ x[k:] / (x @ x) for k in range(101)], atol=1e-12)


def test_noise_has_no_season() -> None:
    curve, tops = peaks(toy((20_000,), 1))
    assert max(curve[lag] for lag in tops) < 0.1


def test_nothing_is_seen_where_there_is_nothing() -> None:
    short, flat, gone = toy((8,)), toy((50,)), toy((50,))
    flat.values[:], gone.values[:] = 1.0, np.nan
    assert peaks(short)[1] == peaks(flat)[1] == peaks(gone)[1] == []


def test_a_channel_that_never_changes() -> None:
    series = toy((20, 20), 2)
    series.values[:, 1] = 4.0
    series.values[3, 1] = np.nan
    assert constant(series) == ["c1"]


def test_sentinels_are_counted_in_the_channels_alone() -> None:
    frame = pl.DataFrame(
        {"ds": ["2024-01-01", "2024-01-02"], "y": ["-9", "-99"], "z": ["1", "-9"], "other": ["-9", "-9"]}
    )
    assert sentinels(card("D", channels=("y", "z"), missing=(-9.0, -99.0)), frame) == 3
    assert sentinels(card("D", channels=(), missing=(-9.0,)), frame) == 4
    assert sentinels(card("D", channels=("y",)), frame) == 0


def test_the_step_is_that_of_the_stamps() -> None:
    days = pl.DataFrame({"ds": [f"2024-01-{d:02d}" for d in range(1, 29, 7)]})
    assert step(card("D"), days) == "W-MON" and step(card("D"), days.head(1)) is None
