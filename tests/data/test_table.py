"""Regular tables: gaps, their treatment, channels, the future."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.data.card import TimeColumn
from forecast.data.clock import clock
from forecast.data.read import from_frame
from forecast.data.table import apply_gaps, extend, gaps, select, summary
from forecast.errors import DataError, UsageError

from .conftest import card, toy


@settings(max_examples=60)
@given(
    st.lists(st.sets(st.integers(0, 40), min_size=1), min_size=1, max_size=4),
    st.sampled_from(["h", "15min", "D", "MS", "B", "W", "ME"]),
)
def test_missing_stamps_become_rows_of_nan(kept: list[set[int]], freq: str) -> None:
    import pandas as pd

    whole = pd.date_range("2024-01-05", periods=41, freq=freq).to_numpy().astype("datetime64[us]")
    pick = np.concatenate([sorted(keep) for keep in kept])
    names = np.repeat([f"s{s}" for s in range(len(kept))], [len(keep) for keep in kept])
    frame = pl.DataFrame({"id": names, "ds": whole[pick], "y": pick.astype(float)})
    series = from_frame(card(freq, id="id"), frame, "toy")
    for s, keep in enumerate(kept):
        a, b = series.start[s], series.start[s + 1]
        span = range(min(keep), max(keep) + 1)
        np.testing.assert_array_equal(series.time[a:b], whole[min(keep) : max(keep) + 1])
        want = [float(i) if i in keep else np.nan for i in span]
        np.testing.assert_array_equal(series.values[a:b, 0], want)
    np.testing.assert_array_equal(series.clock, clock(series.time, series.fields))
    assert sum(gap.steps for gap in gaps(series)) == np.isnan(series.values).sum()


def test_gaps_name_series_channel_and_span() -> None:
    series = toy((10, 10), 2)
    series.values[8:12] = np.nan  # over the border: two gaps
    series.values[15:17, 1] = np.nan
    found = gaps(series)
    assert [(g.id, g.channel, g.steps) for g in found] == [("s0", None, 2), ("s1", None, 2), ("s1", "c1", 2)]
    assert str(found[0].first) == "2024-01-01T08:00:00.000000"
    assert summary(series).startswith("3 gaps, 25.00% of the values; the longest is 2 steps from 2024-01-01 08:00")
    assert summary(toy((5,))) == "no gaps"


def test_modes_of_gaps() -> None:
    series = toy((6, 6))
    series.values[[2, 3, 6, 7, 9]] = np.nan
    with pytest.raises(DataError, match=r"series 's0' has a gap of 2 steps from 2024-01-01 02:00 .*data\.gaps=mask"):
        apply_gaps(series, "error")
    masked, observed = apply_gaps(series, "mask")
    np.testing.assert_array_equal(np.isnan(masked.values), ~observed)
    filled, observed = apply_gaps(series, "fill")
    np.testing.assert_array_equal(~observed[:, 0], np.isnan(series.values[:, 0]))
    y, f = series.values[:, 0], filled.values[:, 0]
    np.testing.assert_array_equal(f[[2, 3, 9]], y[[1, 1, 8]])
    assert np.isnan(f[[6, 7]]).all()  # nothing flows from one series into the next
    with pytest.raises(UsageError, match="did you mean mask"):
        apply_gaps(series, "mas")


@given(st.integers(0, 1000), st.integers(1, 18))
def test_filling_never_looks_ahead(seed: int, cut: int) -> None:
    series = toy((20,), seed=seed)
    series.values[np.random.default_rng(seed).random(20) < 0.4] = np.nan
    scrambled = series._replace(values=series.values.copy())
    scrambled.values[cut:] = 99.0
    np.testing.assert_array_equal(
        apply_gaps(series, "fill")[0].values[:cut], apply_gaps(scrambled, "fill")[0].values[:cut]
    )


def test_channels_are_selected_with_targets_first() -> None:
    series = toy((5,), 4)
    picked = select(series, ["c2"], ["c0", "c2"])
    assert picked.channels == ("c2", "c0") and picked.targets == 1
    np.testing.assert_array_equal(picked.values, series.values[:, [2, 0]])
    assert select(series, None, ["c3"]).channels == ("c0", "c1", "c2", "c3")
    assert select(series, None, ["c3"]).targets == 3
    assert select(series, None, None) is series
    with pytest.raises(UsageError, match=r"data\.target names 'c9'.*choose one of: c0"):
        select(series, ["c9"], None)


@pytest.mark.parametrize("freq", ["h", "D", "MS", "W-MON"])
def test_the_future_is_appended_to_every_series(freq: str) -> None:
    import pandas as pd

    whole = pd.date_range("2024-01-01", periods=30, freq=freq).to_numpy().astype("datetime64[us]")
    frame = pl.DataFrame(
        {"id": ["a"] * 20 + ["b"] * 25, "ds": np.concatenate([whole[:20], whole[:25]]), "y": np.arange(45.0)}
    )
    series = from_frame(card(freq, id="id"), frame, "toy")
    ahead = extend(series, 10, 5)
    assert ahead.start.tolist() == [0, 25, 55]
    np.testing.assert_array_equal(ahead.time, np.concatenate([whole[:25], whole[:30]]))
    assert np.isnan(ahead.values[[*range(20, 25), *range(50, 55)]]).all()
    np.testing.assert_array_equal(ahead.values[25:50], series.values[20:])
    np.testing.assert_array_equal(ahead.clock, clock(ahead.time, ahead.fields))
    with pytest.raises(DataError, match="series 'a' has 20 rows; expected at least 21, the context"):
        extend(series, 21, 5)


def test_the_future_of_days_follows_the_wall_clock() -> None:
    days = np.datetime64("2024-03-01", "us") + np.arange(29) * np.timedelta64(1, "D")
    frame = pl.DataFrame({"ds": days, "y": np.arange(29.0)})
    series = from_frame(card("D", time=TimeColumn("ds", "D", "Europe/Berlin")), frame, "toy")
    ahead = extend(series, 7, 4)
    assert np.diff(ahead.time)[-2] == np.timedelta64(23, "h")  # the night the clock goes forward
    assert ahead.clock[-1].tolist() == [92, 1, 1]  # Tuesday, 2 April
