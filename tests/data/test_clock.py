"""Calendar fields against pandas, and against the sizes that embeddings are made for."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.data.clock import clock, fields_for
from forecast.data.holidays import FIELDS
from forecast.types import CLOCK_SIZES

ALL = tuple(name for name in CLOCK_SIZES if name not in FIELDS)  # those of days off: test_holidays.py


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"])
def test_fields_agree_with_pandas(zone: str | None) -> None:
    rng = np.random.default_rng(0)
    seconds = rng.integers(-2_000_000_000, 4_000_000_000, 2000)
    time = seconds.astype("datetime64[s]").astype("datetime64[us]")
    local = pd.DatetimeIndex(time).tz_localize("UTC").tz_convert(zone or "UTC")
    want = {
        "month": local.month - 1,
        "week": local.isocalendar().week.to_numpy() - 1,
        "yearday": local.dayofyear - 1,
        "day": local.day - 1,
        "weekday": local.weekday,
        "hour": local.hour,
        "minute": local.minute,
        "second": local.second,
    }
    got = clock(time, ALL, zone)
    assert got.dtype == np.float32
    for i, field in enumerate(ALL):
        np.testing.assert_array_equal(got[:, i], np.asarray(want[field], np.float32), err_msg=field)


@given(st.lists(st.integers(-(2**44), 2**45), min_size=1, max_size=50))
def test_counts_stay_below_their_sizes(millis: list[int]) -> None:
    got = clock(np.array(millis, "datetime64[ms]").astype("datetime64[us]"), ALL)
    assert (got >= 0).all() and (got < np.array([CLOCK_SIZES[name] for name in ALL])).all()


@pytest.mark.parametrize(
    ("freq", "fields"),
    [
        ("h", 4),
        ("15min", 5),
        ("s", 6),
        ("D", 3),
        ("B", 3),
        ("W", 2),
        ("MS", 1),
        ("QE", 1),
        ("YS", 0),
        ("10ms", 6),
    ],
)
def test_fields_vary_with_the_step(freq: str, fields: int) -> None:
    assert len(fields_for(freq)) == fields
    assert set(fields_for(freq)) <= set(CLOCK_SIZES)


def test_no_fields_is_an_empty_table() -> None:
    assert clock(np.array(["2024-01-01"], "datetime64[us]"), ()).shape == (1, 0)
