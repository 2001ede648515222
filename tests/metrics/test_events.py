"""Scores of events against plain numpy, and their independence from batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from forecast.metrics.events import EDGES, EventScores, MetaTpp, Told

M = 4


def told(rows: int = 40, length: int = 9, seed: int = 0, *, grid: bool = False, labels: bool = False) -> Told:
    """Rows of 1 to `length` events after the first, whatever behind them, a survival each."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(length) < torch.randint(0, length + 1, (rows, 1), generator=g)
    real = [torch.randn(rows, length, generator=g).masked_fill(~mask, math.nan) for _ in range(5)]
    low = torch.rand(rows, length, generator=g) ** 1.3
    high = (low + 0.2 * torch.rand(rows, length, generator=g)).clamp(max=1.0) if grid else low
    shape = (rows, length, M) if labels else (rows, length)
    mark, guess = (torch.randint(0, 2 if labels else M, shape, generator=g) for _ in range(2))
    if labels:
        mark, guess = mark.bool(), guess.bool()
    return Told(mask, *real[:2], real[2].exp(), real[3].exp(), real[4].exp(), (low, high), mark, guess,
                -torch.rand(rows, generator=g))  # fmt: skip


def cut(whole: Told, cuts: list[int]) -> list[Told]:
    parts = []
    for first, last in zip([0, *cuts], [*cuts, len(whole.mask)], strict=True):
        some = slice(first, last)
        cells = tuple(end[some] for end in whole.pit)
        rest = {key: None if x is None else x[some] for key, x in whole._asdict().items() if key != "pit"}
        parts.append(Told(**rest, pit=cells))
    return parts


def score(whole: Told, cuts: list[int] = [], of=lambda: EventScores(M, unit="h")):  # noqa: B006
    made = of()
    for part in cut(whole, cuts):
        made.update(part)
    return made.result()


def test_equals_numpy():
    whole = told()
    got, m = score(whole), whole.mask.numpy()
    time, mark, gap, mean, median = (part.double().numpy()[m] for part in whole[1:6])
    y, f = whole.mark.numpy()[m], whole.guess.numpy()[m]
    assert got["events"] == m.sum() and got["sequences"] == 40 and got["unit"] == "h"
    assert got["nats"] == pytest.approx({"time": time.mean(), "mark": mark.mean(), "total": (time + mark).mean()})
    assert got["rmse"] == pytest.approx(np.sqrt(np.mean((mean - gap) ** 2)))
    assert got["mae"] == pytest.approx(np.mean(np.abs(median - gap)))
    assert got["survival"] == pytest.approx(whole.survival.double().mean().item())
    assert got["accuracy"] == pytest.approx((y == f).mean())
    f1 = [2 * ((y == k) & (f == k)).sum() / ((y == k).sum() + (f == k).sum()) for k in range(M)]
    assert got["macro_f1"] == pytest.approx(np.mean(f1))
    u = whole.pit[0].double().numpy()[m]
    np.testing.assert_allclose(got["pit"], np.histogram(u, 20, (0, 1))[0] / len(u))
    levels = np.arange(1, EDGES) / EDGES
    assert got["calibration"] == pytest.approx(np.mean(np.abs((u[:, None] <= levels).mean(0) - levels)), abs=1e-9)
    assert got["ks"] == pytest.approx(kstest(u, "uniform").statistic, abs=1 / EDGES)
    assert kstest(-np.log1p(-u), "expon").statistic == pytest.approx(kstest(u, "uniform").statistic)


@pytest.mark.parametrize("words", [{}, {"grid": True}, {"labels": True}], ids=str)
@given(cuts=st.lists(st.integers(0, 40), max_size=5))
def test_batches_do_not_matter(words, cuts):
    whole = told(**words)
    for of in (lambda: EventScores(M), MetaTpp):
        a, b = score(whole, sorted(cuts), of), score(whole, [], of)
        assert a.keys() == b.keys()
        for key in a:
            assert a[key] == (b[key] if isinstance(b[key], str) else pytest.approx(b[key], rel=1e-11, abs=1e-12)), key


def test_a_cell_is_spread_evenly():
    """Nine tenths at 0 and the rest anywhere: calibrated, if the forecast says just that."""
    u = torch.linspace(0, 1, 2001)[None]
    low, high = torch.where(u < 0.9, 0.0, u), torch.where(u < 0.9, 0.9, u)
    zero = torch.zeros_like(u)
    whole = Told(torch.ones_like(u).bool(), *[zero] * 5, (low, high), zero.long(), zero.long())
    got = score(whole)
    assert got["ks"] < 2e-3 and got["calibration"] < 1e-3
    np.testing.assert_allclose(got["pit"], 0.05, atol=2e-3)
    assert score(whole._replace(pit=(high, high)))["ks"] > 0.8
    assert got["survival"] is None


def test_ends_of_the_unit_interval_are_counted():
    u = torch.tensor([[0.0, 1.0, 1.0, 0.5]])
    got = score(Told(torch.ones_like(u).bool(), *[u] * 5, (u, u), u.long(), u.long()))
    assert sum(got["pit"]) == pytest.approx(1) and got["pit"][0] == 0.25 and got["pit"][-1] == 0.5


def test_labels_are_scored_whole_and_one_by_one():
    whole = told(labels=True)
    got, m = score(whole), whole.mask.numpy()
    y, f = whole.mark.numpy()[m], whole.guess.numpy()[m]
    assert got["accuracy"] == pytest.approx((y == f).all(-1).mean())
    assert got["macro_f1"] == pytest.approx(np.mean(2 * (y & f).sum(0) / (y.sum(0) + f.sum(0))))


def test_an_unknown_mark_is_no_miss():
    whole = told()
    got = score(whole._replace(mark=torch.where(whole.mark == 3, M, whole.mark)))
    keep = whole.mask & (whole.mark != 3)
    assert got["accuracy"] == pytest.approx((whole.mark == whole.guess)[keep].double().mean().item())


def test_an_unknown_mark_is_no_certainty():
    """Its 0 nats would be those of a mark that was foreseen."""
    whole = told()
    unknown = whole.mark == 3
    got = score(whole._replace(mark=torch.where(unknown, M, whole.mark), marked=whole.marked.masked_fill(unknown, 0.0)))
    keep = whole.mask & ~unknown
    assert got["nats"]["mark"] == pytest.approx(whole.marked[keep].double().mean().item())
    assert got["nats"]["total"] == pytest.approx(got["nats"]["time"] + got["nats"]["mark"])


def test_nothing_is_none():
    whole = told()
    got = score(whole._replace(mask=whole.mask & False, survival=None))
    assert got["nats"] == {"time": None, "mark": None, "total": None} and got["events"] == 0
    assert all(got[key] is None for key in ("rmse", "mae", "accuracy", "macro_f1", "pit", "calibration", "ks"))


def test_the_protocol_of_meta_tpp():
    """Two sequences of 4 and 2 events: events 2 and 3 of the first are scored, none of the second."""
    mask = torch.tensor([[True, True, True], [True, False, False]])
    time, marked = torch.tensor([[-1.0, -2.0, -4.0], [-8.0, 9, 9]]), torch.full((2, 3), -0.5)
    gap, mean = torch.tensor([[1.0, 5.0, 7.0], [1.0, 9, 9]]), torch.tensor([[2.0, 4.5, 0.0], [3.0, 9, 9]])
    mark, guess = torch.tensor([[1, 2, 3], [0, 0, 0]]), torch.tensor([[1, 3, 3], [0, 0, 0]])
    whole = Told(mask, time, marked, gap, mean, mean, (gap, gap), mark, guess, torch.tensor([-0.25, -0.75]))
    got = score(whole, [], MetaTpp)
    assert got["nll"] == pytest.approx((1 + 2 + 2 * 0.5 + 0.25 + 0.75) / 6)
    assert got["rmse"] == pytest.approx(math.sqrt((1.0 - 0.5) ** 2 / 2))
    assert got["accuracy"] == 0.5 and got["events"] == 6 and got["scored"] == 2 and got["protocol"] == "metatpp"
    assert score(whole._replace(mask=mask & False, survival=None), [], MetaTpp)["rmse"] is None
