"""A weighted mean of runs: weights by validation alone, on the simplex."""

import json
import os
import sys

import numpy as np
import polars as pl
import pytest

from forecast import __main__ as program
from forecast.artifacts import Run
from forecast.errors import UsageError
from forecast.inference.ensemble import members, on_simplex, weigh
from forecast.inference.scoring import score


def test_the_weights_are_the_best_of_the_simplex():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 5):
        for _ in range(10):
            f, y = rng.normal(size=(n, 40)) + rng.normal(size=40), rng.normal(size=40)
            weights = on_simplex(f @ f.T, f @ y)
            assert weights.min() >= 0
            assert weights.sum() == pytest.approx(1)
            best = ((weights @ f - y) ** 2).sum()
            others = np.concatenate([rng.dirichlet(np.ones(n), 500), np.eye(n)])
            assert best <= ((others @ f - y) ** 2).sum(1).min() + 1e-9


def test_equal_runs_share_and_a_perfect_one_takes_all():
    y = np.arange(9.0)
    f = np.stack([y + 3, y, -y])
    np.testing.assert_allclose(on_simplex(f @ f.T, f @ y), [0, 1, 0], atol=1e-9)
    same = np.stack([y, y])
    assert on_simplex(same @ same.T, same @ y).sum() == pytest.approx(1)


def test_an_ensemble_is_weighed_on_val_and_scored_on_test(tmp_path, monkeypatch, capfd):
    t = np.arange(300)
    start = np.datetime64("2024-01-01T00", "us")
    y = np.sin(t / 4) + np.random.default_rng(0).normal(0, 0.3, 300)
    pl.DataFrame({"ds": start + t * np.timedelta64(1, "h"), "y": y}).write_csv(tmp_path / "f.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def call(*words):
        monkeypatch.delenv("FORECAST_RUN_DIR", raising=False)
        monkeypatch.setattr(sys, "argv", ["forecast", *words])
        assert program.main() == 0
        os.environ.pop("FORECAST_RUN_DIR", None)

    common = ["train", "experiment=smoke", "data=series", "data.path=f.csv", "model=linear", "quiet=true", "track=none"]
    for k, words in enumerate((["task.context=12", "task.horizon=3"], ["task.context=24", "task.horizon=3"],
                               ["task.context=12", "task.horizon=2"])):  # fmt: skip
        call(*common, f"runs=r{k}", *words)
    runs = [next((tmp_path / f"r{k}" / "train").iterdir()) for k in range(3)]
    call("evaluate", f"ensemble=[{runs[0]},{runs[1]}]", "baseline=theta", "save=true")
    out = capfd.readouterr().out
    assert "ensemble (" in out
    assert "theta" in out
    rows = json.loads((runs[0] / "metrics_test.json").read_text())["rows"]
    row = next(row for row in rows if row["kind"] == "ensemble")
    assert sum(row["weights"].values()) == pytest.approx(1)

    found = members([Run(path) for path in runs[:2]])
    made = weigh(found, 64)
    assert made.weights == pytest.approx(list(row["weights"].values()))
    on_val = [score(found[0].data, each, "m", part="val", others={})[0]["scaled"]["mse"] for each in (made, *found)]
    assert on_val[0] <= min(on_val[1:]) + 1e-9
    with pytest.raises(UsageError, match="differ in task.horizon"):
        members([Run(runs[0]), Run(runs[2])])
