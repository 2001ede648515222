"""What MLflow hears of a classification run: names that it takes, one value each, and the series of each part."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from forecast.artifacts import Run
from forecast.spool import Journal, lines
from forecast.told import final_metrics, inputs
from forecast.track import MLflowTracker
from tests.dashboards.classes import make_class_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(make_class_run(tmp_path_factory.mktemp("runs") / "train" / "20261123T101500Z-0a1b2c3d", series=60))


def test_names_and_values(run: Run) -> None:
    metrics = run.read("metrics.json")
    found = final_metrics(metrics)
    assert all(re.fullmatch(r"[\w./ -]+", name) for name in found)
    assert all(isinstance(value, int | float) for value in found.values())
    model, rival, floor = metrics["rows"]
    for key in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece"):
        assert found[f"test/{key}"] == model[key]
    assert (found["rival/accuracy"], found["floor/log_loss"]) == (rival["accuracy"], floor["log_loss"])
    assert "rival/log_loss" not in found
    assert found["test/temperature"] == metrics["temperature"]
    assert found["test_early_50/accuracy"] == metrics["early"][4]["accuracy"]
    second = {**rival, "name": "1-NN, DTW", "accuracy": 0.25}
    assert final_metrics({**metrics, "rows": [*metrics["rows"], second]})["rival_1-NN_DTW/accuracy"] == 0.25


def test_what_is_created(run: Run) -> None:
    tracker = MLflowTracker(uri="sqlite:///x.db")
    made = tracker._create(run, run.read("config.json"), "gestures")
    assert (made["name"], made["experiment"]) == ("aaren-s1", "classify/gestures")
    assert "horizon" not in made["tags"]
    assert made["params"]["head.how"] == "mean"


def test_the_end_is_journalled(run: Run) -> None:
    tracker = MLflowTracker(uri="sqlite:///x.db")
    tracker.journal = Journal(run.path)
    tracker.finish(run, run.read("metrics.json"))
    told = [line for _, line in lines(run.path)]
    assert [told[0]["do"], told[-1]["do"]] == ["scores", "end"]
    assert {"predictions.parquet", "examples.parquet", "temperature.json"} <= {
        line["name"] for line in told if line["do"] == "file"
    }


def labelled(**change: Any) -> Any:
    """The parts of a module that are told."""
    ids = {"train": ("a", "b", "c"), "val": ("d",), "test": ("e", "f")}
    part: Callable[[str], Any] = lambda name: SimpleNamespace(ids=ids[name])  # noqa: E731
    facts: dict[str, Any] = {"channels": ("x", "y"), "classes": ("up", "down"), "source": {"sha256": "0a"}, **change}
    spec = SimpleNamespace(channels=facts["channels"], classes=facts["classes"])
    card = SimpleNamespace(kind="labelled", name="gestures")
    return SimpleNamespace(card=card, spec=spec, source=facts["source"], part=part)


def test_parts_of_the_data() -> None:
    found = inputs(labelled())
    assert {part: facts["rows"] for part, facts in found["parts"].items()} == {"train": 3, "val": 1, "test": 2}
    assert found["channels"] == ["x", "y"]
    assert len({facts["digest"] for facts in found["parts"].values()}) == 3
    for change in ({"classes": ("up", "left")}, {"channels": ("x",)}, {"source": {"sha256": "0b"}}):
        other = inputs(labelled(**change))
        assert all(found["parts"][part]["digest"] != other["parts"][part]["digest"] for part in found["parts"])
