"""Scores of horizons against what is worked out by hand, assignments of scipy, and laws that hold for any events."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from forecast.metrics.event_horizon import Marked, counted, crps, marked, precision, transport

ONE = torch.tensor([1.0])


def events(*rows: tuple, scores: bool = False) -> Marked:
    """(horizon, mark, time[, score]) each."""
    table = np.array(rows, dtype=float).reshape(len(rows), 4 if scores else 3)
    whole = torch.from_numpy(table)
    return Marked(whole[:, 0].long(), whole[:, 1].long(), whole[:, 2], whole[:, 3] if scores else None)


def drawn(seed: int, *, horizons: int = 4, marks: int = 3, most: int = 25, scored: bool = False) -> Marked:
    g = torch.Generator().manual_seed(seed)
    n = int(torch.randint(0, most, (), generator=g))
    horizon, mark = (torch.randint(0, top, (n,), generator=g) for top in (horizons, marks))
    time = 4 * torch.rand(n, generator=g, dtype=torch.float64)
    return Marked(horizon, mark, time, torch.randint(0, 9, (n,), generator=g).double() if scored else None)


def test_a_distance_by_hand():
    ours = events((0, 0, 1.0), (0, 0, 2.0), (0, 1, 1.0), (1, 0, 5.0))
    came = events((0, 0, 1.25), (0, 2, 1.0), (1, 0, 5.0))
    # mark 0: 1.0 is moved by 0.25, 2.0 deleted; mark 1 deleted; mark 2 inserted
    assert transport(ours, came, 3, torch.tensor([1.0, 0.1])).tolist() == [[3.25, 0.0, 0.0], [pytest.approx(0.5), 0, 0]]
    # at 0.1 it is cheaper to delete both of a pair that is 0.25 apart: 3 of mark 0, and 2 more


def test_nothing_and_nothing():
    none = events()
    assert transport(none, none, 2, ONE).tolist() == [[0.0, 0.0]]
    assert transport(none, events((1, 0, 3.0)), 2, ONE).tolist() == [[0.0, 1.0]]
    scored = Marked(*none[:3], torch.zeros(0))
    assert precision(scored, events((1, 0, 3.0)), 2, ONE, 2).mean == 0.0
    assert math.isnan(precision(scored, none, 2, ONE, 2).mean)


def assigned(ours: Marked, came: Marked, horizon: int, cost: float) -> float:
    a, b = ours.where(ours.horizon == horizon), came.where(came.horizon == horizon)
    apart = (a.time[:, None] - b.time).abs().clamp(max=2 * cost)
    apart = torch.where(a.mark[:, None] == b.mark, apart, 2 * cost).numpy()
    rows, columns = linear_sum_assignment(apart)
    return float(apart[rows, columns].sum() + cost * abs(len(a.time) - len(b.time)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_the_distance_is_that_of_the_best_assignment(seed):
    ours, came = drawn(seed), drawn(seed + 1)
    costs = (0.05, 0.5, 2.0)
    found = transport(ours, came, 4, torch.tensor(costs))
    for row, cost in zip(found.tolist(), torch.tensor(costs).tolist(), strict=True):
        assert row == pytest.approx([assigned(ours, came, b, cost) for b in range(4)], abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_it_is_a_metric(seed):
    a, b, c = (drawn(3 * seed + i) for i in range(3))
    costs = torch.tensor([0.1, 1.0])
    ab, bc, ac = (transport(x, y, 4, costs) for x, y in ((a, b), (b, c), (a, c)))
    assert transport(a, a, 4, costs).abs().max() < 1e-12
    torch.testing.assert_close(ab, transport(b, a, 4, costs))
    assert (ac <= ab + bc + 1e-9).all()
    order = torch.randperm(len(a.time), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(transport(a.where(order), b, 4, costs), ab)


def test_average_precision_by_hand():
    came = events((0, 0, 1.0), (0, 0, 2.0), (1, 1, 1.0))
    ours = events((0, 0, 1.1, 0.9), (0, 0, 5.0, 0.8), (0, 0, 2.1, 0.7), (1, 0, 1.0, 0.6), (1, 1, 1.3, 0.5), scores=True)
    found = precision(ours, came, 2, torch.tensor([0.2]), 3)
    # mark 0: right, wrong, right: 1/2 · 1 + 1/2 · 2/3; mark 1: 0.3 away; mark 2 did not come
    assert found.mean == pytest.approx((0.5 + 1 / 3 + 0) / 2)
    assert found.weighted == pytest.approx((0.5 + 1 / 3) * 2 / 3)
    assert found.each[0].isnan().tolist() == [False, False, True]
    both = precision(ours, came, 2, torch.tensor([0.2, 0.4]), 3)
    assert both.mean == pytest.approx(((0.5 + 1 / 3) + (0 + 1) / 2) / 2)


def test_the_surer_of_two_is_matched_and_both_where_they_can_be():
    came = events((0, 0, 1.0), (0, 0, 2.0))
    # the surest could take either event; the other one reaches the first only
    ours = events((0, 0, 1.4, 0.9), (0, 0, 0.7, 0.1), scores=True)
    assert precision(ours, came, 1, torch.tensor([0.6]), 1).mean == 1.0
    crowd = events((0, 0, 1.1, 0.2), (0, 0, 1.0, 0.1), (0, 0, 1.05, 0.9), scores=True)
    assert precision(crowd, came, 1, torch.tensor([0.2]), 1).mean == 0.5  # one of two came, by the surest


def test_forecasts_of_equal_score_are_one_threshold():
    came = events((0, 0, 1.0))
    ours = events((0, 0, 1.0, 0.5), (0, 0, 9.0, 0.5), scores=True)
    assert precision(ours, came, 1, ONE, 1).mean == 0.5
    assert precision(ours.where(torch.tensor([1, 0])), came, 1, ONE, 1).mean == 0.5


def by_scipy(ours: Marked, came: Marked, tolerance: float) -> float:
    """Each mark by itself: the heaviest assignment by powers of ranks, then the sum over thresholds."""
    found = []
    for mark in came.mark.unique().tolist():
        scores, hits, there = [], [], 0
        for horizon in range(4):
            a = ours.where((ours.horizon == horizon) & (ours.mark == mark))
            b = came.where((came.horizon == horizon) & (came.mark == mark))
            gain = torch.where((a.time[:, None] - b.time).abs() <= tolerance, 20 + a.score[:, None], 0.0).numpy()
            rows, columns = linear_sum_assignment(gain, maximize=True)
            right = np.zeros(len(a.time), dtype=bool)
            right[rows] = gain[rows, columns] > 0
            scores += a.score.tolist()
            hits += right.tolist()
            there += len(b.time)
        score, hit = np.array(scores), np.array(hits, dtype=float)
        total, recall = 0.0, 0.0
        for level in sorted(set(scores), reverse=True):
            some = score >= level
            total += (hit[some].sum() / there - recall) * hit[some].mean()
            recall = hit[some].sum() / there
        found.append(total)
    return float(np.mean(found))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6))
def test_it_is_what_assignments_give(seed):
    """Any weights that rank forecasts alike give the same matched scores: a matroid."""
    ours, came = drawn(seed, scored=True, most=60), drawn(seed + 1, most=40)
    for tolerance in (0.1, 0.5, 2.0):
        found = precision(ours, came, 4, torch.tensor([tolerance], dtype=torch.float64), 3).mean
        if len(came.time):
            assert found == pytest.approx(by_scipy(ours, came, tolerance), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_perfect_forecasts_have_1_and_no_tolerance_takes_away(seed):
    came, ours = drawn(seed), drawn(seed + 1, scored=True)
    if not len(came.time):
        return
    same = came._replace(score=torch.rand(len(came.time)))
    assert precision(same, came, 4, torch.tensor([1e-9]), 3).mean == pytest.approx(1.0)
    each = precision(ours, came, 4, torch.tensor([0.1, 0.5, 5.0]), 3).each
    assert ((each[1:] >= each[:-1] - 1e-12) | each[1:].isnan()).all()


def test_labels_are_one_event_each_and_unknown_marks_are_left_out():
    times, mask = torch.tensor([[1.0, 2.0]]), torch.tensor([[True, True]])
    labels = torch.tensor([[[True, False, True], [False, True, False]]])
    assert counted(marked(times, labels, mask), 1, 3).tolist() == [[1, 1, 1]]
    came = marked(times, torch.tensor([[0, 3]]), mask)
    assert counted(came, 1, 3).tolist() == [[1, 0, 0]]
    assert transport(came, marked(times, torch.tensor([[0, 0]]), mask), 1, ONE).tolist() == [[2.0]]


def test_crps_is_the_integral_of_squares_and_the_error_of_one_forecast():
    g = torch.Generator().manual_seed(0)
    sampled, came = torch.randint(0, 9, (5, 32), generator=g), torch.randint(0, 9, (5,), generator=g)
    grid = torch.arange(0, 10)
    below = (sampled[:, None] <= grid[:, None]).double().mean(-1)  # F at 0 … 9, of whole numbers
    exact = (below - (came[:, None] <= grid).double()).square().sum(-1)
    torch.testing.assert_close(crps(sampled, came), exact)
    torch.testing.assert_close(crps(sampled[:, :1], came), (sampled[:, 0] - came).abs().double())
