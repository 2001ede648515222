"""Thinning keeps what an eye looks for, whatever the line."""

import numpy as np
import pytest

from forecast.dashboards.charts.thin import MOST, places


def line(rng, n, gaps):
    y = rng.normal(size=n).cumsum()
    y[rng.random(n) < 0.001] += 50  # peaks of one value
    if gaps:
        y[rng.random(n) < gaps] = rng.choice([np.nan, np.inf])
        y[n // 3 : n // 3 + n // 10] = np.nan
    return y


@pytest.mark.parametrize("lines", [1, 2, 3])
@pytest.mark.parametrize("gaps", [0, 0.001, 0.4, 1.0])
@pytest.mark.parametrize(("n", "most"), [(101, 100), (999, 40), (4001, 4000), (12_345, 400), (100_000, 4000)])
def test_every_bucket_keeps_its_ends_extremes_and_gaps(lines, gaps, n, most):
    rng = np.random.default_rng(n)
    made = [line(rng, n, gaps) for _ in range(lines)]
    kept = places(*made, most=most)
    assert len(kept) <= most and (np.diff(kept) > 0).all()
    assert kept[0] == 0 and kept[-1] == n - 1
    size = -(-n // (most // (2 + 3 * lines)))
    for first in range(0, n, size):
        last = min(first + size, n)
        here = kept[(kept >= first) & (kept < last)]
        assert here[0] == first and here[-1] == last - 1
        for y in made:
            bucket, chosen = y[first:last], y[here]
            good, left = bucket[np.isfinite(bucket)], chosen[np.isfinite(chosen)]
            assert len(left) == 0 if len(good) == 0 else (left.min(), left.max()) == (good.min(), good.max())
            assert np.isfinite(bucket).all() == np.isfinite(chosen).all()


@pytest.mark.parametrize("n", [0, 1, 2, MOST])
def test_a_short_line_is_left_as_it_is(n):
    assert places(np.arange(float(n))).tolist() == list(range(n))


def test_a_line_without_values_keeps_its_ends():
    assert places(np.full(50_000, np.nan))[[0, -1]].tolist() == [0, 49_999]


def test_whole_numbers_and_lists_are_lines_too():
    assert places([1, 5, 2, 9, 3, 4, 1, 0], most=5).tolist() == [0, 3, 7]
