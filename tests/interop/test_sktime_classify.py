"""Classifiers of sktime: part of its own checks (all of them: `make conformance`), and what those do not ask."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from sktime.base import load
from sktime.classification.compose import ClassifierPipeline
from sktime.datasets import load_japanese_vowels, load_unit_test
from sktime.transformations.series.exponent import ExponentTransformer
from sktime.utils.estimator_checks import check_estimator

from forecast import spool
from forecast.errors import DataError, UsageError
from forecast.inference.class_predictor import ClassPredictor
from forecast.interop.sktime import AarenClassifier, InformerClassifier, LSTMClassifier, TCNCAClassifier
from forecast.interop.sktime_config import settings

SMALL: dict[str, Any] = {"d_model": 8, "layers": 1, "max_epochs": 1, "random_state": 1}
QUICK = ["test_constructor", "test_valid_object_class_tags", "test_random_tags", "test_clone", "test_set_params",
         "test_get_test_params"]  # fmt: skip
SLOWER = ["test_fit_idempotent", "test_classifier_output", "test_multioutput", "test_handles_single_class"]
ALL = [AarenClassifier, InformerClassifier, LSTMClassifier, TCNCAClassifier]
Panel = tuple[pd.DataFrame, Any]


@pytest.fixture(scope="module")
def panel() -> Panel:
    return load_unit_test(split="train")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def fitted(panel: Panel) -> LSTMClassifier:
    return LSTMClassifier(**SMALL).fit(*panel)


@pytest.mark.parametrize("kind", [ALL[0], *(pytest.param(kind, marks=pytest.mark.long) for kind in ALL[1:])])
@pytest.mark.filterwarnings("ignore")  # the checks provoke them
def test_a_part_of_the_checks(kind: Any) -> None:
    found = check_estimator(kind, tests_to_run=[*QUICK, *(SLOWER if kind is LSTMClassifier else ())], verbose=False)
    assert found and {name: result for name, result in found.items() if result != "PASSED"} == {}


def test_it_learns() -> None:
    """Slow waves and fast ones, of two channels and unequal length, with missing values."""
    rng = np.random.default_rng(0)
    pieces, y = [], []
    for i in range(40):
        steps = np.arange(int(rng.integers(20, 40)))
        wave = np.sin((0.3 + 0.9 * (i % 2)) * steps + rng.uniform(0, 6))
        frame = pd.DataFrame({"wave": wave, "noise": rng.normal(size=len(steps))})
        frame.iloc[rng.integers(0, len(steps), 3), 0] = np.nan
        pieces.append(frame)
        y.append(["slow", "fast"][i % 2])
    X = pd.concat(pieces, keys=range(40), names=["i", "t"])
    made = AarenClassifier(d_model=16, max_epochs=20, random_state=1).fit(X.loc[:29], np.array(y[:30]))
    assert made.score(X.loc[30:], np.array(y[30:])) >= 0.9
    chance = made.predict_proba(X.loc[30:])
    np.testing.assert_allclose(chance.sum(1), 1)
    np.testing.assert_allclose(made.predict_proba(X.loc[35:35])[0], chance[5], atol=1e-6)  # alone or among others
    with pytest.raises(DataError, match="X has 1 channels; the classifier was fitted on 2"):
        made.predict(X.loc[30:, ["wave"]])


def test_labels_keep_their_kind(panel: Panel) -> None:
    X, y = panel
    made = LSTMClassifier(**SMALL).fit(X, y.astype(int) * 10)
    assert made.predict(X).dtype == int and set(made.predict(X)) <= {10, 20}
    again = load(made.save())
    assert (again.predict(X) == made.predict(X)).all() and again.predict(X).dtype == int


def test_the_same_seed_gives_the_same_classifier(panel: Panel) -> None:
    found = [
        TCNCAClassifier(**{**SMALL, "random_state": seed}).fit(*panel).predict_proba(panel[0]) for seed in (3, 3, 4)
    ]
    assert (found[0] == found[1]).all() and not (found[0] == found[2]).all()


def test_too_few_series_are_told(panel: Panel) -> None:
    X, y = panel
    two = [int(np.flatnonzero(y == name)[0]) for name in np.unique(y)]
    with pytest.warns(UserWarning, match="no class has two series"):
        made = LSTMClassifier(**SMALL).fit(X.iloc[two], y[two])
    assert made.predict_proba(X).shape == (len(X), 2)
    LSTMClassifier(**SMALL, validation=0).fit(X, y)  # asked for: nothing is told


def test_what_cannot_be_saved_is_told(panel: Panel, fitted: LSTMClassifier) -> None:
    X, y = panel
    many = LSTMClassifier(**SMALL).fit(X, pd.DataFrame({"a": y, "b": y}))
    with pytest.raises(UsageError, match="it tells several outputs"):
        many.save()
    with pytest.raises(UsageError, match="the series of the training were not saved"):
        load(fitted.save()).to_run("nowhere")


def test_in_a_pipeline(panel: Panel) -> None:
    made = ClassifierPipeline(LSTMClassifier(**SMALL), [ExponentTransformer()]).fit(*panel)
    assert made.predict_proba(panel[0]).shape == (20, 2)


# Runs --------------------------------------------------------------------------------------------------------


def test_a_fit_becomes_a_run_and_comes_back(fitted: LSTMClassifier, panel: Panel, tmp_path: Path) -> None:
    folder = fitted.to_run(tmp_path / "run")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["part"] == "val" and metrics["rows"][0]["series"] == 4 and (folder / "report.html").is_file()
    again = LSTMClassifier.from_run(folder)
    assert (again.predict_proba(panel[0]) == fitted.predict_proba(panel[0])).all()
    table = pd.concat([pd.DataFrame({"id": i, "dim_0": s}) for i, s in enumerate(panel[0].iloc[:, 0])])
    found = ClassPredictor.load(folder).predict(table.reset_index(drop=True))
    np.testing.assert_allclose(found["p_1"].to_numpy(), fitted.predict_proba(panel[0])[:, 0], atol=1e-6)
    with pytest.raises(UsageError, match="is of model=lstm, not of aaren"):
        AarenClassifier.from_run(folder)


def test_a_run_of_the_command_line_is_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forecast.verbs.train import train

    monkeypatch.delenv("FORECAST_RUN_DIR", raising=False)
    keys = {"trainer.max_epochs": 1, "runs": str(tmp_path / "runs"), "task.rival": False}
    words = ("data=japanese_vowels", "embed.tokens=8", "task.refit=false")
    config = settings("lstm", "classify", words, keys)
    train(OmegaConf.create(config), ["model=lstm", *words])
    made = LSTMClassifier.from_run("latest", runs=tmp_path / "runs")
    assert made.overrides == ["embed.tokens=8", "task.refit=false"] and made.n_classes_ == 9
    X, y = load_japanese_vowels(split="TEST")
    (row, *_) = json.loads((next((tmp_path / "runs" / "train").iterdir()) / "metrics.json").read_text())["rows"]
    assert made.score(X, y) == pytest.approx(row["accuracy"])
    with pytest.raises(UsageError, match="is of model=lstm, not of tcnca"):
        TCNCAClassifier.from_run("latest", runs=tmp_path / "runs")


def test_a_fit_is_logged_to_mlflow(fitted: LSTMClassifier, tmp_path: Path) -> None:
    """As trainings are: the journal is what a store is told (tests/test_track.py), here one that is not there."""
    told = [line for _, line in spool.lines(fitted.log("http://127.0.0.1:9", "ours", runs=tmp_path / "runs"))]
    assert {line["do"] for line in told} == {"create", "data", "log", "scores", "file", "figures", "end"}
    logged = {name: value for line in told if line["do"] in ("log", "scores") for name, value, _ in line["rows"]}
    assert "validation/accuracy" in logged and not any(name.startswith("test") for name in logged)
