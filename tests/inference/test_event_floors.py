"""The floors of events: against their definitions on made data, and their numbers on the bench sets where these are."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecast.errors import DataError
from forecast.inference.event_floors import Targets, fit, floors, log_prob, mark_floors, poisson, targets

COLUMNS = {"id": int, "time": float, "mark": int}


def made(n: int = 4000, seed: int = 0, *, grid: float = 0.0) -> Targets:
    """Gaps of two log-normals; marks 0, 1, 2 that mostly go on to the next one."""
    g = np.random.default_rng(seed)
    gap = np.exp(np.where(g.random(n) < 0.3, g.normal(-2, 0.3, n), g.normal(1, 0.8, n)))
    step = np.where(g.random(n) < 0.8, 1, g.integers(0, 3, n))
    mark = np.cumsum(step) % 3
    return Targets(np.round(gap / grid) * grid if grid else gap, mark, np.r_[0, mark[:-1]])


def truth(gap: np.ndarray) -> np.ndarray:
    parts = [
        math.log(w) - 0.5 * ((np.log(gap) - m) / s) ** 2 - math.log(s) - 0.5 * math.log(2 * math.pi) - np.log(gap)
        for w, m, s in ((0.3, -2, 0.3), (0.7, 1, 0.8))
    ]
    return np.logaddexp(*parts)


def test_the_mixture_comes_close_to_the_truth_and_does_not_beat_it():
    train, test = made(), made(seed=1)
    found, best = log_prob(fit(train.gap), test.gap).mean(), truth(test.gap).mean()
    assert best - 0.01 < found < best + 0.002
    assert floors(train, test, marks=3)["Poisson"]["time"] < found - 0.1


def test_nothing_is_drawn_and_the_order_does_not_matter():
    train = made()
    mixed = np.random.default_rng(1).permutation(train.gap)
    one, other = fit(train.gap), fit(mixed)
    for a, b in zip(one[:3], other[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_each_floor_is_its_definition():
    train, test = made(), made(600, seed=1)
    got, mean = floors(train, test, marks=3), train.gap.mean()
    assert got["constant gap"]["rmse"] == pytest.approx(np.sqrt(np.mean((test.gap - mean) ** 2)))
    assert got["constant gap"]["mae"] == pytest.approx(np.abs(test.gap - np.median(train.gap)).mean())
    assert got["Poisson"]["time"] == pytest.approx(
        np.mean(-np.log(mean) - np.maximum(test.gap, train.gap.min()) / mean)
    )
    assert got["mixture"]["mae"] == pytest.approx(got["constant gap"]["mae"], rel=0.01)
    share = (np.bincount(train.mark, minlength=3) + 1) / (len(train.mark) + 3)
    assert got["majority mark"]["mark"] == pytest.approx(np.log(share[test.mark]).mean())
    assert got["majority mark"]["accuracy"] == pytest.approx((test.mark == share.argmax()).mean())
    assert got["repeat-last mark"]["accuracy"] == pytest.approx((test.mark == test.previous).mean())
    table = np.zeros((3, 3))
    np.add.at(table, (train.previous, train.mark), 1)
    p = (table + share) / (table.sum(1, keepdims=True) + 1)
    assert got["Markov marks"]["mark"] == pytest.approx(np.log(p[test.previous, test.mark]).mean())
    guess = table.argmax(1)[test.previous]
    assert got["Markov marks"]["accuracy"] == pytest.approx((test.mark == guess).mean())
    f1 = [2 * ((test.mark == k) & (guess == k)).sum() / ((test.mark == k).sum() + (guess == k).sum()) for k in range(3)]
    assert got["Markov marks"]["macro_f1"] == pytest.approx(np.mean(f1))
    both = got["mixture and Markov marks"]
    assert both["total"] == pytest.approx(got["mixture"]["time"] + got["Markov marks"]["mark"])


def test_gaps_on_a_grid_are_scored_by_their_cells():
    """Every likelihood is below that of a cell, and that of all cells together is 1."""
    train, test = made(grid=0.5), made(seed=1, grid=0.5)
    assert (train.gap == 0).mean() > 0.2
    mixture = fit(train.gap, grid=0.5)
    assert log_prob(mixture, test.gap).max() <= -math.log(0.5)
    steps = np.arange(20_000) * 0.5
    assert (np.exp(log_prob(mixture, steps)) * 0.5).sum() == pytest.approx(1, abs=1e-3)
    got = floors(train, test, marks=3, grid=0.5)
    share = np.unique(np.r_[train.gap], return_counts=True)
    entropy = dict(zip(share[0], share[1] / len(train.gap), strict=True))
    bound = np.mean([math.log(entropy.get(gap, 1e-6) / 0.5) for gap in test.gap])
    assert got["Poisson"]["time"] < got["mixture"]["time"] < bound + 0.05
    cells = np.exp(poisson(steps[:200], train.gap.mean(), 0.5)) * 0.5
    assert cells.sum() == pytest.approx(1, abs=1e-6)


def test_without_a_grid_gaps_of_zero_and_spikes_have_a_floor():
    train, test = made(grid=0.5), made(seed=1, grid=0.5)
    free, floored = (floors(train, test, marks=3, least=least)["mixture"]["time"] for least in (None, 0.5))
    assert math.isfinite(free) and floored < free - 0.5


def test_targets_have_one_before_them_in_their_sequence():
    sequence, time, mark = np.array([1, 1, 1, 2, 3, 3]), np.array([0.0, 1, 3, 5, 2, 2.5]), np.arange(6)
    found = targets(sequence, time, mark)
    np.testing.assert_array_equal(found.gap, [1, 2, 0.5])
    np.testing.assert_array_equal(found.mark, [1, 2, 5])
    np.testing.assert_array_equal(found.previous, [0, 1, 4])
    late = targets(sequence, time, mark, time >= 2.5)
    np.testing.assert_array_equal(late.gap, [2, 0.5])
    np.testing.assert_array_equal(late.previous, [1, 4])


def test_marks_that_train_never_saw_and_unknown_ones():
    train = Targets(np.ones(3), np.array([0, 1, 4]), np.array([1, 0, 0]))
    test = Targets(np.ones(4), np.array([3, 0, 4, 1]), np.array([2, 4, 0, 0]))
    got = mark_floors(train, test, 4)
    share = np.array([2, 2, 1, 1]) / 6
    assert got["majority mark"]["mark"] == pytest.approx(np.log(share[[3, 0, 1]]).mean())
    p = [share[3], share[0], (1 + share[1]) / 2]
    assert got["Markov marks"]["mark"] == pytest.approx(np.log(p).mean())
    assert got["Markov marks"]["accuracy"] == pytest.approx(2 / 3)


def test_ten_thousand_marks():
    g = np.random.default_rng(0)
    mark = g.integers(0, 10_000, 5001)
    train = Targets(np.ones(5000), mark[1:], mark[:-1])
    assert mark_floors(train, train, 10_000)["Markov marks"]["accuracy"] > 0.7


def test_gaps_that_are_all_the_same():
    one = Targets(np.ones(5), np.zeros(5, np.int64), np.zeros(5, np.int64))
    got = floors(one, one, marks=1)
    assert got["constant gap"] == {"rmse": 0.0, "mae": 0.0} and math.isfinite(got["mixture"]["time"])
    assert got["Markov marks"]["mark"] == 0.0


def test_events_without_one_before_them_are_told():
    none = Targets(np.ones(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
    with pytest.raises(DataError, match="no event of train has another before it"):
        floors(none, made(), marks=3)
    with pytest.raises(DataError, match="no event of test has another before it"):
        floors(made(), none, marks=3)
    with pytest.raises(DataError, match="all events of train are at the same time"):
        floors(made()._replace(gap=np.zeros(4000)), made(), marks=3)


def bench(path: Path) -> Targets:
    table = pl.read_parquet(path)
    return targets(*(table[name].to_numpy().astype(kind) for name, kind in COLUMNS.items()))


# rmse of the constant; accuracy of majority, repeat-last, Markov; time nats of Poisson and mixture; mark nats of Markov
BENCH = {
    "taxi": (0.298, 0.443, 0.000, 0.905, 0.507, 0.576, -0.303),
    "taobao": (2.514, 0.427, 0.591, 0.591, -0.511, 2.001, -1.604),
    "earthquake": (1.373, 0.472, 0.336, 0.472, -0.947, -0.653, -1.339),
    "stackoverflow": (1.040, 0.429, 0.306, 0.445, -0.796, -0.725, -1.721),
}


@pytest.mark.parametrize("name", BENCH)
def test_floors_of_the_bench_sets(name, bench_data):
    folder = bench_data / "events" / name
    if not folder.is_dir():
        pytest.skip(f"no {name} here")
    train, test = (bench(folder / f"{part}.parquet") for part in ("train", "test"))
    check(floors(train, test, marks=1 + int(max(x.max() for part in (train, test) for x in part[1:]))), BENCH[name])


def check(got, want) -> None:
    rmse, majority, repeat, markov, poisson, mixture, mark = want
    assert got["constant gap"]["rmse"] == pytest.approx(rmse, rel=2e-3)
    for floor, accuracy in (("majority mark", majority), ("repeat-last mark", repeat), ("Markov marks", markov)):
        assert got[floor]["accuracy"] == pytest.approx(accuracy, abs=6e-4), floor
    assert got["Poisson"]["time"] == pytest.approx(poisson, abs=6e-4)
    assert got["Markov marks"]["mark"] == pytest.approx(mark, abs=1.5e-3)
    assert got["mixture"]["time"] == pytest.approx(mixture, abs=0.02)  # fits differ where gaps lie on a grid: taobao


def test_floors_of_retail(bench_data):
    """Days; train to June, test from September 2011; invoices are stamped to the minute, the floor is half of one."""
    path = bench_data.parent / "embedded" / "retail.parquet"
    if not path.is_file():
        pytest.skip("no retail here")
    table = pl.read_parquet(path)
    day = table["time"].dt.epoch("us").to_numpy() / 86_400e6
    mark = table["mark"].rank("dense").to_numpy().astype(np.int64) - 1
    spring, autumn = (np.datetime64(date).astype(int) for date in ("2011-06-01", "2011-09-01"))
    train, test = (targets(table["id"].to_numpy(), day, mark, keep) for keep in (day < spring, day >= autumn))
    half = 0.5 / 1440
    check(floors(train, test, marks=4, least=half), (102.7, 0.289, 0.370, 0.413, -5.200, -4.264, -1.308))
    by_cells = floors(train, test, marks=4, grid=2 * half)
    assert by_cells["mixture"]["time"] == pytest.approx(-4.288, abs=0.01)
