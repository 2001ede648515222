"""What MLflow hears of a classification run: names that it takes, one value each, and the series of each part."""

import json
import re

import numpy as np
import pytest

from forecast.artifacts import Run
from forecast.data.label_module import LabelModule
from forecast.data.labelled import Labelled
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


def module(values: float = 1.0, classes: tuple[str, ...] = ("up", "down"), channel: str = "x") -> LabelModule:
    """Series in memory: three to learn from, one to validate on, two to test."""

    def part(first: int, n: int) -> Labelled:
        ids, steps = tuple(f"s{k}" for k in range(first, first + n)), np.arange(0, 5 * n + 1, 5)
        label = np.arange(n) % len(classes)
        return Labelled(ids, steps, np.full((5 * n, 1), values) + np.arange(5 * n)[:, None], label, classes, (channel,))

    return LabelModule.of({"train": part(0, 3), "val": part(3, 1), "test": part(4, 2)}, name="gestures")


def test_parts_of_the_data() -> None:
    found = inputs(module())
    assert (found["name"], found["channels"]) == ("gestures", ["x"])
    assert {part: facts["rows"] for part, facts in found["parts"].items()} == {"train": 3, "val": 1, "test": 2}
    assert len({facts["digest"] for facts in found["parts"].values()}) == 3
    assert inputs(module()) == found
    for changed in (module(values=2.0), module(classes=("up", "left")), module(channel="y")):
        other = inputs(changed)
        assert all(found["parts"][part]["digest"] != other["parts"][part]["digest"] for part in found["parts"])
    json.dumps(found)
