"""The interval of a difference: it holds what it says it holds, on errors with a memory."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from forecast.dashboards.boards import series_paired as paired
from forecast.dashboards.boards.series_paired import Windows, block_length, interval, widened


def windows(errors: np.ndarray, horizon: int) -> Windows:
    """Every window of `errors` (T,): its squares and sizes summed over the horizon."""
    sums = [np.convolve(each, np.ones(horizon), "valid") for each in (errors**2, np.abs(errors))]
    n = len(sums[0])
    return Windows(np.arange(n), np.full(n, horizon), *sums)


def remembering(rng: np.random.Generator, n: int, decay: float) -> np.ndarray:
    noise = rng.standard_normal(n + 200)
    weights = decay ** np.arange(200)
    return np.convolve(noise, weights, "full")[200 : 200 + n]


@pytest.mark.parametrize(("n", "horizon", "decay", "least"), [(3000, 24, 0.0, 0.88), (3000, 24, 0.97, 0.85)])
def test_the_interval_holds_the_true_difference(monkeypatch, n, horizon, decay, least):
    monkeypatch.setattr(paired, "REPEATS", 300)
    rng, block, held = np.random.default_rng(3), block_length(n, horizon, 24, 1), 0
    for _ in range(150):
        a, b = (windows(remembering(rng, n + horizon - 1, decay), horizon) for _ in range(2))
        low, high = interval([a], [b], "mse", block)
        held += low <= 0 <= high
    assert held / 150 >= least


def test_a_common_hardship_cancels_and_a_real_difference_is_seen():
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.uniform(0.2, 3, 100), 30)
    errors = hard * rng.standard_normal(3000)
    a, b = windows(errors, 12), windows(0.98 * errors, 12)
    low, high = interval([b], [a], "mse", block_length(len(a.mse), 12, 24, 1))
    assert low < (b.mse.sum() - a.mse.sum()) / a.targets.sum() < high < 0
    assert interval([a], [a], "mse", 48) == (0, 0)
    assert interval([b], [a], "mse", 48) == interval([b], [a], "mse", 48)


def test_seeds_make_it_wider():
    rng = np.random.default_rng(0)
    errors = rng.standard_normal(2000)
    ours = [windows(errors * size, 6) for size in (0.9, 1.0, 1.1)]
    middle = windows(np.sqrt(np.mean([s**2 for s in (0.9, 1.0, 1.1)])) * errors, 6)
    alone, several = (interval(each, [windows(errors, 6)], "mse", 100) for each in ([middle], ours))
    assert several[1] - several[0] > 2 * (alone[1] - alone[0])


def test_blocks():
    assert block_length(5000, 24, 24, 1) == 312  # a sixteenth
    assert block_length(2785, 96, 24, 1) == 192  # two horizons
    assert block_length(2545, 336, 24, 1) == 424  # never fewer than six
    assert block_length(500, 96, 24, 1) == 0
    assert block_length(500, 96, 24, 24) == 31
    assert interval([windows(np.ones(20), 4)], [windows(np.ones(20), 4)], "mse", 0) is None
    assert widened(6) == pytest.approx(2.571 / 1.96 * 1.2**0.5, rel=2e-2)  # Student, 5 degrees of freedom
    assert widened(1000) == pytest.approx(1, abs=3e-3)


def test_errors_are_summed_by_cutoff_in_scaled_units(tmp_path):
    at = datetime(2024, 1, 1)
    rows = [("a", "x", at, 1.0, 3.0), ("a", "y", at, 10.0, 4.0), ("b", "x", at, None, 4.0), ("b", "y", at, 1.0, 0.0),
            ("a", "x", at + timedelta(hours=1), 0.0, 2.0)]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["unique_id", "channel", "cutoff", "y", "y_hat"], orient="row")
    frame.reverse().write_parquet(tmp_path / "p.parquet")
    made = paired.read(tmp_path / "p.parquet", ["a", "b"], ["x", "y"], [[2.0, 3.0], [1.0, 0.5]])
    assert made.targets.tolist() == [3, 1]
    assert made.mse.tolist() == [1 + 4 + 4, 1]
    assert made.mae.tolist() == [1 + 2 + 2, 1]
    assert paired.same([made, made])
    assert not paired.same([made, made._replace(targets=made.targets + 1)])
