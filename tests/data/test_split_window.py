"""Splits never overlap; every window is there exactly once; none leaves its series or its part."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.data.split import split
from forecast.data.table import Series
from forecast.data.window import last_windows, windows
from forecast.errors import DataError, UsageError

from .conftest import toy

NO_CLOCK = np.empty((0, 0), np.float32)


def bare(lengths: list[int]) -> Series:
    """Series of these lengths; only ids, bounds and stamps matter here."""
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    time = np.concatenate([np.datetime64("2024-01-01", "us") + np.arange(n) * np.timedelta64(1, "D") for n in lengths])
    return Series(
        tuple(f"s{i}" for i in range(len(lengths))),
        start,
        time,
        np.zeros((start[-1], 1)),
        NO_CLOCK,
        (),
        ("y",),
        1,
        ("",),
        "D",
        7,
        None,
    )


LENGTHS = st.lists(st.integers(1, 200), min_size=1, max_size=6)
SPLITS = st.one_of(
    st.tuples(st.integers(1, 8), st.integers(0, 8), st.integers(0, 8)).map(
        lambda p: {"train": p[0] / sum(p), "val": p[1] / sum(p), "test": p[2] / sum(p)}
    ),
    st.tuples(st.integers(1, 31), st.integers(0, 100)).map(
        lambda d: {
            "val": f"2024-01-{d[0] + 1 if d[0] < 31 else 31:02d}",
            "test": str(np.datetime64(f"2024-01-{d[0] + 1 if d[0] < 31 else 31:02d}") + d[1]),
        }
    ),
)


@given(LENGTHS, SPLITS)
def test_parts_are_in_order_and_never_overlap(lengths: list[int], splits: dict[str, Any]) -> None:
    series = bare(lengths)
    try:
        parts = split(series, splits)
    except DataError:
        return
    assert (parts.train[:, 0] == series.start[:-1]).all()
    assert (parts.train[:, 1] == parts.val[:, 0]).all() and (parts.val[:, 1] == parts.test[:, 0]).all()
    assert (parts.test[:, 1] == series.start[1:]).all()
    assert all((part[:, 0] <= part[:, 1]).all() for part in parts)


def test_fractions_round_as_the_field_does() -> None:
    parts = split(bare([26304]), {"train": 0.7, "val": 0.1, "test": 0.2})
    assert [p.tolist() for p in parts] == [[[0, 18412]], [[18412, 21044]], [[21044, 26304]]]


def test_rows_leave_the_rest_unused() -> None:
    parts = split(bare([100, 50]), {"train": 20, "val": 10, "test": 5})
    assert parts.test.tolist() == [[30, 35], [130, 135]]


def test_rows_from_the_end_on_are_not_used() -> None:
    whole = split(bare([100]), {"val": "2024-01-03", "test": "2024-01-04"})
    cut = split(bare([100]), {"val": "2024-01-03", "test": "2024-01-04", "end": "2024-01-10T00:00:00.000001Z"})
    assert cut.train.tolist() == whole.train.tolist() and cut.val.tolist() == whole.val.tolist()
    assert cut.test.tolist() == [[int(whole.test[0, 0]), int(whole.test[0, 0]) + 7]]


def test_an_end_before_the_test_part_is_refused() -> None:
    with pytest.raises(DataError, match=r"end is 2024-01-02.*, before test; expected test before end"):
        split(bare([100]), {"val": "2024-01-02", "test": "2024-01-03", "end": "2024-01-02"})


@pytest.mark.parametrize(
    "splits",
    [
        {},
        {"train": 0.5},
        {"train": 0.5, "val": 0.1, "test": 0.1},
        {"train": 0.7, "val": 10, "test": "x"},
        {"val": "2024-02-01", "test": "2024-01-01"},
        {"val": "soon", "test": "later"},
        {"val": "2024-01-01", "test": "2024-01-02", "end": "2024-01-01"},
        {"train": 500, "val": 1, "test": 1},
        {"train": 1.2, "val": -0.1, "test": -0.1},
        {"trane": 1},
        {"val": "1999-01-01", "test": "2024-01-05"},
    ],
)
def test_bad_splits_are_refused(splits: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        split(bare([40]), splits)


@settings(max_examples=200)
@given(LENGTHS, st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.data())
def test_every_window_exactly_once(lengths: list[int], context: int, horizon: int, stride: int, data: st.DataObject):
    series = bare(lengths)
    first = np.array([data.draw(st.integers(0, n)) for n in lengths])
    last = np.array([data.draw(st.integers(f, n)) for f, n in zip(first, lengths, strict=True)])
    ranges = np.stack([first, last], axis=1) + series.start[:-1, None]
    want = [
        (o, s)
        for s, (a, b) in enumerate(ranges.tolist())
        for o in range(max(a, series.start[s] + context), b - horizon + 1, stride)
    ]
    if not want:  # a series alone may have none
        with pytest.raises(DataError, match=r"task\.context or task\.horizon"):
            windows(series, ranges, context, horizon, stride)
        return
    found = windows(series, ranges, context, horizon, stride)
    origin, number = found.at(np.arange(len(found)))
    assert list(zip(origin.tolist(), number.tolist(), strict=True)) == want
    assert (origin - context >= series.start[number]).all() and (origin + horizon <= ranges[number, 1]).all()
    assert (origin >= ranges[number, 0]).all()


def test_too_short_names_series_rows_and_need() -> None:
    series = bare([12, 10])
    parts = split(series, {"train": 0.7, "val": 0.1, "test": 0.2})
    with pytest.raises(DataError) as fault:
        windows(series, parts.val, 5, 3, part="val")
    assert str(fault.value) == (
        "the val part of series 's0' has 2 rows after 8 earlier ones (and 1 more of 2 series); "
        "a window needs 3 (context 5, horizon 3); "
        "lower task.context or task.horizon, or change data.splits"
    )


def test_settings_below_one_are_refused() -> None:
    with pytest.raises(UsageError, match=r"task\.horizon is 0"):
        windows(bare([50]), np.array([[0, 50]]), 5, 0)


def test_last_windows_are_the_ends() -> None:
    series = toy((30, 40))
    origin, number = last_windows(series, 10, 5).at(np.arange(2))
    assert origin.tolist() == [25, 65] and number.tolist() == [0, 1]
