"""What a model looked at, through the real command line: beside the scores, the same again by evaluate, for every kind
of run, and without a bit of difference to the run itself."""

import json

import polars as pl
import pytest

from forecast.artifacts import Run, sha256
from forecast.dashboards import load
from forecast.dashboards.insight import stored as insight
from tests.verbs.conftest import command

SAME = ("model.safetensors", "predictions.parquet", "calibration.safetensors", "history.csv")


def timeless(facts: dict) -> dict:
    """Without what a clock said, and what a process took."""
    return {key: value for key, value in facts.items() if key not in ("seconds", "memory")}


def read(path) -> dict:
    return timeless(json.loads(path.read_text()))


def run_of(home, *words: str):
    """A tiny run of series."""
    command("train", "experiment=smoke", *words, cwd=home)
    (run,) = (home / "runs" / "train").iterdir()
    return run


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("looked"))


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """The same run with insight=false."""
    return run_of(tmp_path_factory.mktemp("without"), "insight=false")


def test_a_run_is_bitwise_the_same_without_it(looked, without):
    assert (looked / "insight.json").is_file()
    assert not (without / "insight.json").exists()
    for name in SAME:
        if name != "history.csv":
            assert sha256(looked / name) == sha256(without / name), name
    first, second = (pl.read_csv(run / "history.csv").drop("seconds", strict=False) for run in (looked, without))
    assert first.equals(second)
    assert read(looked / "metrics.json") == read(without / "metrics.json")
    assert next(iter(json.loads((without / "metrics.json").read_text()))) == "schema"


def test_evaluate_writes_what_training_would_have_written(looked, without):
    assert "What it looked at" not in (without / "report.html").read_text()
    command("evaluate", f"run={without}", "insight=true", cwd=without.parent)
    assert sha256(looked / "insight.parquet") == sha256(without / "insight.parquet")
    assert read(looked / "insight.json") == read(without / "insight.json")
    assert "What it looked at" in (without / "report.html").read_text()
    for name in ("insight.json", "insight.parquet", "report.html", "model.safetensors"):
        Run(without).checked(name)  # the manifest vouches for it


def test_a_run_of_series_says_what_an_informer_looked_at(looked):
    found = insight.read(load.read(looked))
    assert found.encoder == "informer"
    assert [row.role for row in found.worth][0] == "own past"
    assert [window["pick"] for window in found.windows] == ["best", "median", "worst"]
    mse = [window["mse"] for window in found.windows]
    assert mse == sorted(mse)
    assert set(found.table["part"]) == {"sparsity", "token", "past", "channel"}


@pytest.mark.parametrize(("words", "layout", "parts"), [
    (["experiment=smoke_events", "model=aaren", "model.d_model=8", "model.heads=2", "model.d_ff=8"], "events",
     {"weight", "newest", "effective", "token"}),
    (["experiment=smoke_classes"], "patches", {"token"}),
])  # fmt: skip
def test_events_and_classes_have_it_too(tmp_path, words, layout, parts):
    command("train", *words, cwd=tmp_path)
    (run,) = (tmp_path / "runs" / "train").iterdir()
    found = insight.read(load.read(run))
    assert found.facts["layout"] == layout
    assert parts <= set(found.table["part"])
    assert set(found.table["window"]) == {0, 1, 2}
    assert "What it looked at" in (run / "report.html").read_text()
    before = sha256(run / "insight.parquet")
    command("evaluate", f"run={run}", "insight=true", cwd=tmp_path)
    assert sha256(run / "insight.parquet") == before
