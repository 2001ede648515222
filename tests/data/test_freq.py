"""Frequencies: spellings, inference, and arithmetic against pandas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.data.clock import to_utc, to_wall
from forecast.data.freq import infer_freq, parse_freq
from forecast.data.table import steps_after
from forecast.errors import DataError


@pytest.mark.parametrize(
    ("text", "alias"),
    [
        ("h", "h"),
        ("H", "h"),
        ("60min", "h"),
        ("1h", "h"),
        ("15min", "15min"),
        ("15m", "15min"),
        ("15T", "15min"),
        ("1d", "D"),
        ("D", "D"),
        ("7D", "W"),
        ("W", "W"),
        ("1w", "W"),
        ("W-SUN", "W-SUN"),
        ("MS", "MS"),
        ("ME", "ME"),
        ("M", "ME"),
        ("1mo", "MS"),
        ("3mo", "QS"),
        ("QS", "QS"),
        ("Q", "QE"),
        ("1q", "QS"),
        ("QE-DEC", "QE-DEC"),
        ("YS", "YS"),
        ("Y", "YE"),
        ("A", "YE"),
        ("1y", "YS"),
        ("B", "B"),
        ("s", "s"),
        ("S", "s"),
        ("30S", "30s"),
        ("3600s", "h"),
        ("24h", "24h"),
        ("100ms", "100ms"),
    ],
)
def test_spellings_of_pandas_and_polars(text: str, alias: str) -> None:
    assert parse_freq(text).alias == alias
    assert parse_freq(alias).alias == alias
    pd.tseries.frequencies.to_offset(alias)  # pandas knows it


@pytest.mark.parametrize(
    ("text", "season"),
    [("min", 1440), ("5min", 288), ("15min", 96), ("90min", 16), ("h", 24), ("2h", 12), ("4h", 6), ("6h", 4)]
    + [("24h", 1), ("7h", 1), ("7min", 1), ("s", 1), ("D", 7), ("2D", 1), ("B", 5), ("W-MON", 52), ("MS", 12)]
    + [("ME", 12), ("2MS", 1), ("QS", 4), ("QE-DEC", 4), ("YS", 1)],
)
def test_the_season_is_a_day_of_steps_or_the_usual_one(text: str, season: int) -> None:
    assert parse_freq(text).season == season


@pytest.mark.parametrize("text", ["", "hourly", "x", "0h", "-1h", "h-MON", "W-FOO", "1h30min", "QS-XYZ"])
def test_unknown_frequency_names_examples(text: str) -> None:
    with pytest.raises(DataError, match=r"set data\.freq="):
        parse_freq(text)


ALIASES = [
    "s",
    "15min",
    "h",
    "D",
    "2D",
    "W-WED",
    "B",
    "MS",
    "ME",
    "QS-JAN",
    "QE-DEC",
    "YS-JAN",
    "YE-DEC",
    "2MS",
    "7h",
]


@pytest.mark.parametrize("alias", ALIASES)
def test_steps_and_inference_agree_with_pandas(alias: str) -> None:
    want = pd.date_range("2023-11-17", periods=60, freq=alias).to_numpy().astype("datetime64[us]")
    got = steps_after(np.repeat(want[:1], 60), np.arange(60), alias, None)
    np.testing.assert_array_equal(got, want)
    found = infer_freq(want, np.array([0, 60]))
    assert pd.tseries.frequencies.to_offset(found.alias) == pd.tseries.frequencies.to_offset(
        "QS" if alias == "QS-JAN" else "QE" if alias == "QE-DEC" else found.alias if alias[0] == "Y" else alias
    )


@given(st.integers(-20_000, 40_000), st.integers(0, 300), st.sampled_from(["D", "B", "MS", "ME", "h", "W", "YS"]))
def test_stamps_invert_ordinals(day: int, count: int, alias: str) -> None:
    freq = parse_freq(alias)
    first = np.array([day], "datetime64[D]").astype("datetime64[us]")
    ordinal, rest = freq.ordinals(first)
    if rest[0] < 0:
        return
    later = freq.stamps(ordinal + count * freq.step, rest)
    again, left = freq.ordinals(later)
    assert again[0] == ordinal[0] + count * freq.step and left[0] == rest[0]


def test_inference_looks_past_gaps_and_series_borders() -> None:
    hours = np.datetime64("2024-01-01", "us") + np.array([0, 1, 2, 5, 6, 0, 1, 2]) * np.timedelta64(1, "h")
    assert infer_freq(hours, np.array([0, 5, 8])).alias == "h"


def test_inference_refuses_irregular_stamps_and_single_rows() -> None:
    odd = np.datetime64("2024-01-01", "us") + np.array([0, 60, 120, 150]) * np.timedelta64(1, "m")
    with pytest.raises(DataError, match="most are 1 h apart, some 30 min"):
        infer_freq(odd, np.array([0, 4]))
    with pytest.raises(DataError, match="no series has two"):
        infer_freq(odd[:1], np.array([0, 1]))


def test_days_keep_the_wall_clock_when_it_changes() -> None:
    wall = np.datetime64("2024-03-29", "us") + np.arange(5) * np.timedelta64(1, "D")
    utc = to_utc(wall, "Europe/Berlin")
    assert len(set(np.diff(utc))) == 2  # one day has 23 hours
    np.testing.assert_array_equal(steps_after(np.repeat(utc[:1], 5), np.arange(5), "D", "Europe/Berlin"), utc)
    np.testing.assert_array_equal(to_wall(utc, "Europe/Berlin"), wall)


def test_the_hour_shown_twice_and_the_hour_never_shown() -> None:
    twice = np.array(["2024-10-27T02:00", "2024-10-27T02:00", "2024-10-27T03:00"], "datetime64[us]")
    utc = to_utc(twice, "Europe/Berlin")
    assert np.diff(utc).tolist() == [np.timedelta64(1, "h")] * 2
    never = np.array(["2024-03-31T02:30"], "datetime64[us]")
    assert np.isnat(to_utc(never, "Europe/Berlin")).all()
    assert str(to_utc(never, "Europe/Berlin", shift=True)[0]) == "2024-03-31T01:30:00.000000"


def test_unknown_zone_is_one_line_with_the_nearest() -> None:
    with pytest.raises(DataError, match="Europe/Berlin"):
        to_wall(np.array(["2024-01-01"], "datetime64[us]"), "Europe/Berln")
