"""Scores against plain numpy, and their independence from batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.metrics import Errors, seasonal_scale


def windows(n: int = 50, h: int = 4, t: int = 2, seed: int = 0):
    g = np.random.default_rng(seed)
    y, f = g.normal(size=(n, h, t)), g.normal(size=(n, h, t))
    return y, f, g.random((n, h, t)) > 0.2


def score(y, f, mask, cuts, mean, std, scale, units=("kW", "kW")):
    errors = Errors(y.shape[1], ("a", "b"), units)
    for part in np.split(np.arange(len(y)), cuts):
        constants = [torch.tensor(v)[None, None].expand(len(part), 1, -1) for v in (mean, std, scale)]
        errors.update(
            torch.tensor(f[part]), torch.tensor(y[part]), torch.tensor(mask[part]),
            mean=constants[0], std=constants[1], scale=constants[2],
        )  # fmt: skip
    return errors.result()


MEAN, STD, SCALE = [10.0, -3.0], [2.0, 0.5], [1.5, 0.25]


def test_equals_numpy():
    y, f, m = windows()
    got = score(y, f, m, [20], MEAN, STD, SCALE)
    e_z = (f - y)[m]
    yo, fo = y * STD + MEAN, f * STD + MEAN
    e = (fo - yo)[m]
    assert got["scaled"]["mse"] == pytest.approx(np.mean(e_z**2), rel=1e-12)
    assert got["scaled"]["mae"] == pytest.approx(np.mean(np.abs(e_z)), rel=1e-12)
    want = {
        "mse": np.mean(e**2), "mae": np.mean(np.abs(e)), "rmse": np.sqrt(np.mean(e**2)), "bias": np.mean(e),
        "wape": np.abs(e).sum() / np.abs(yo[m]).sum(),
        "smape": np.mean(2 * np.abs(e) / (np.abs(yo[m]) + np.abs(fo[m]))),
        "mase": np.mean((np.abs(fo - yo) / SCALE)[m]),
    }  # fmt: skip
    for key, value in want.items():
        assert got["original"][key] == pytest.approx(value, rel=1e-12), key
    for step in range(4):
        assert got["horizon"]["mse"][step] == pytest.approx(np.mean((f - y)[:, step][m[:, step]] ** 2), rel=1e-12)
    only = m[..., 1]
    assert got["channels"]["b"]["mae"] == pytest.approx(np.mean(np.abs(fo - yo)[..., 1][only]), rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 49), max_size=5, unique=True))
def test_batches_do_not_matter(cuts):
    y, f, m = windows()
    a, b = score(y, f, m, sorted(cuts), MEAN, STD, SCALE), score(y, f, m, [], MEAN, STD, SCALE)
    assert a["scaled"]["mse"] == pytest.approx(b["scaled"]["mse"], rel=1e-12)
    assert a["values"] == b["values"]


def test_units_that_do_not_mix_are_not_averaged():
    y, f, m = windows()
    got = score(y, f, m, [], MEAN, STD, SCALE, units=("kW", "V"))
    assert got["original"]["mae"] is None
    assert got["original"]["mase"] is not None
    assert got["original"]["wape"] == pytest.approx((got["channels"]["a"]["wape"] + got["channels"]["b"]["wape"]) / 2)
    assert got["channels"]["a"]["mae"] is not None


def test_nothing_observed_scores_nothing():
    y, f, m = windows()
    got = score(y, f, np.zeros_like(m), [], MEAN, STD, [0.0, 0.0])
    assert got["scaled"]["mse"] is None
    assert got["original"]["mase"] is None
    assert got["horizon"]["mae"] == [None] * 4


def test_the_scale_of_mase():
    values = torch.tensor([[1.0], [2.0], [4.0], [float("nan")], [5.0]])
    assert seasonal_scale(values, 2).item() == pytest.approx((3 + 1) / 2)
    assert seasonal_scale(values, 9).item() == 0
