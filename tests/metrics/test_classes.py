"""Scores of classes, beside scikit-learn's."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn import metrics as theirs
from sklearn.calibration import calibration_curve

from forecast.metrics import classes


def problem(n: int = 200, k: int = 5, seed: int = 0, sharp: float = 1.5) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, k, (n,), generator=g)
    logits = sharp * torch.randn(n, k, generator=g) + 1.2 * torch.nn.functional.one_hot(labels, k)
    return logits, labels


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), k=st.integers(2, 7), seed=st.integers(0, 10**6))
def test_scores_are_those_of_scikit_learn(n, k, seed):
    logits, labels = problem(n, k, seed)
    guess = logits.argmax(1)
    table = classes.confusion(labels, guess, k)
    assert table.tolist() == theirs.confusion_matrix(labels, guess, labels=range(k)).tolist()
    got = classes.scores(logits, labels)
    recall = theirs.recall_score(labels, guess, labels=labels.unique(), average="macro", zero_division=0)
    want = {
        "accuracy": theirs.accuracy_score(labels, guess),
        "balanced_accuracy": recall,
        "macro_f1": theirs.f1_score(labels, guess, average="macro", zero_division=0),
        "log_loss": theirs.log_loss(labels, logits.double().softmax(1), labels=range(k)),
    }
    assert {key: got[key] for key in want} == pytest.approx(want, abs=1e-12)
    each = classes.per_class(table)
    parts = theirs.precision_recall_fscore_support(labels, guess, labels=range(k), zero_division=0)
    for ours, other in zip((each.precision, each.recall, each.f1, each.series), parts, strict=True):
        assert ours.tolist() == pytest.approx(other.tolist(), abs=1e-12)


def test_the_reliability_of_two_classes_is_the_calibration_curve():
    logits, labels = problem(3000, 2)
    p, guess = logits.double().softmax(1).max(1)
    right = (guess == labels).long()
    share, mean = calibration_curve(right, p, n_bins=classes.BINS)
    found = classes.reliability(logits, labels)
    assert found.accuracy.tolist() == pytest.approx(share.tolist())
    assert found.confidence.tolist() == pytest.approx(mean.tolist())
    assert int(found.series.sum()) == 3000


def test_the_calibration_error_of_two_bins_by_hand():
    p = torch.tensor([0.9, 0.9, 0.6, 0.6])
    logits = torch.stack([p, 1 - p], 1).log()
    labels = torch.tensor([0, 1, 0, 0])
    assert classes.scores(logits, labels)["ece"] == pytest.approx((abs(0.5 - 0.9) + abs(1 - 0.6)) / 2)


def test_a_probability_of_one_and_one_on_an_edge_have_a_bin():
    found = classes.reliability(torch.tensor([[1e9, 0.0], [0.0, 0.0]]), torch.tensor([0, 1]), bins=2)
    assert found.series.tolist() == [1, 1]  # (0, 0.5] and (0.5, 1]
    assert found.confidence.tolist() == [0.5, 1.0]


def test_series_without_a_label_are_left_out():
    logits, labels = problem(20)
    more = torch.cat([labels, torch.full((3,), -1)]), torch.cat([logits, torch.randn(3, 5)])
    assert classes.scores(more[1], more[0]) == classes.scores(logits, labels)
    grid = classes.temperatures(3)
    assert classes.nll_at(more[1], more[0], grid).equal(classes.nll_at(logits, labels, grid))
    nothing = classes.scores(logits, torch.full((20,), -1))
    assert set(nothing.values()) == {None}
    with pytest.raises(ValueError, match="known label"):
        classes.fit_temperature(logits, torch.full((20,), -1))


def test_the_grid_of_temperatures_and_what_it_costs():
    grid = classes.temperatures()
    assert len(grid) == 33
    assert (float(grid[0]), float(grid[16]), float(grid[-1])) == pytest.approx((0.05, 1.0, 20.0))
    logits, labels = problem()
    sums = classes.nll_at(logits, labels, grid)
    for t, total in zip(grid, sums, strict=True):
        assert float(total) == pytest.approx(200 * classes.log_loss(logits.double() / t, labels), rel=1e-12)
    parts = classes.nll_at(logits[:70], labels[:70], grid) + classes.nll_at(logits[70:], labels[70:], grid)
    torch.testing.assert_close(parts, sums)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), sharp=st.floats(0.5, 8.0))
def test_the_temperature_is_the_best_one(seed, sharp):
    logits, labels = problem(120, 4, seed, sharp)
    found = math.log(classes.fit_temperature(logits, labels))

    def loss(log_t: float) -> float:
        return classes.log_loss(logits.double() / math.exp(log_t), labels)

    best = minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded", options={"xatol": 1e-9})
    assert loss(found) <= best.fun + 1e-12

    def slope(log_t: float) -> float:
        at = torch.tensor(log_t, dtype=torch.float64, requires_grad=True)
        torch.nn.functional.cross_entropy(logits.double() / at.exp(), labels).backward()
        return float(at.grad)

    assert math.log(20) - abs(found) < 1e-6 or slope(found - 1e-6) < 0 < slope(found + 1e-6)


def test_temperatures_at_the_ends():
    right = torch.eye(3).repeat(4, 1) * 5
    assert classes.fit_temperature(right, torch.arange(3).repeat(4)) == pytest.approx(0.05)
    assert classes.fit_temperature(right, torch.tensor([1, 2, 0] * 4)) == pytest.approx(20.0)
    assert classes.fit_temperature(torch.zeros(5, 3), torch.arange(5) % 3) == 1.0
    assert classes.fit_temperature(torch.full((5, 3), 1e9), torch.arange(5) % 3) == 1.0


def test_scaling_logits_scales_the_temperature():
    logits, labels = problem()
    once, twice = classes.fit_temperature(logits, labels), classes.fit_temperature(logits.double() * 3, labels)
    assert math.log(twice / once) == pytest.approx(math.log(3), abs=1e-6)


def test_a_temperature_of_few_series_that_are_all_right_stays_near_one():
    logits, labels = 3 * torch.eye(2, dtype=torch.float64).repeat(7, 1), torch.arange(2).repeat(7)
    assert classes.fit_temperature(logits, labels) < 0.06
    assert 0.3 < classes.fit_temperature(logits, labels, 0.5) < 1
    generator = torch.Generator().manual_seed(0)
    many = 3 * torch.randn(5000, 4, generator=generator, dtype=torch.float64)
    told = torch.distributions.Categorical(logits=many / 2).sample()
    assert classes.fit_temperature(many, told, 0.5) == pytest.approx(classes.fit_temperature(many, told), rel=0.01)
    t = classes.fit_temperature(many[:40], told[:40], 0.5)
    around = torch.tensor([t * 0.99, t, t * 1.01], dtype=torch.float64)
    losses = classes.nll_at(many[:40], told[:40], around) + around.log().square() / (2 * 0.5**2)
    assert losses.argmin() == 1
