"""What MLflow hears of a run of events: names that it takes, one value each, and no horizon."""

import json
import re
from typing import Any

import pytest

from forecast.artifacts import Run
from forecast.data.event_module import EventModule
from forecast.spool import Journal, lines
from forecast.told import final_metrics, inputs
from forecast.track import MLflowTracker
from tests.dashboards.events import make_event_run

HAWKES: dict[str, Any] = {"base": [0.5, 0.2], "excite": [[0.2, 0.1], [0.3, 0.1]], "decay": 2.0, "end": 20.0,
                          "sequences": [20, 5, 5], "seed": 1}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(make_event_run(tmp_path_factory.mktemp("runs") / "train" / "20261123T101500Z-0a1b2c3d", sequences=20))


def test_names_and_values(run: Run) -> None:
    metrics = run.read("metrics.json")
    found = final_metrics({**metrics, "metatpp": {"protocol": "metatpp", "nll": 1.5, "rmse": 2.0, "accuracy": None}})
    assert all(re.fullmatch(r"[\w./ -]+", name) for name in found)
    assert all(isinstance(value, int | float) for value in found.values())
    model = metrics["rows"][0]
    assert found["test/nats_total"] == model["nats"]["total"]
    assert found["test/ks"] == model["ks"]
    assert "test_mixture_and_Markov_marks/nats_total" in found
    assert "test_constant_gap/nats_total" not in found
    assert (found["test_ahead/tmap"], found["test_metatpp/nll"]) == (0.412, 1.5)
    assert "test_ahead_aaren_likeliest_events/otd" in found
    assert not any("pit" in name or name.endswith(("events", "metatpp/accuracy")) for name in found)


def test_what_is_created_has_no_horizon(run: Run) -> None:
    tracker = MLflowTracker(uri="sqlite:///x.db")
    made = tracker._create(run, run.read("config.json"), "retail")
    assert (made["name"], made["experiment"]) == ("aaren-s1", "event/retail")
    assert "horizon" not in made["tags"]
    assert made["tags"]["task"] == "event"


def test_the_end_is_journalled(run: Run) -> None:
    tracker = MLflowTracker(uri="sqlite:///x.db")
    tracker.journal = Journal(run.path)
    tracker.finish(run, run.read("metrics.json"))
    told = [line for _, line in lines(run.path)]
    assert [line["do"] for line in told][0 :: len(told) - 1] == ["scores", "end"]
    assert {step for _, _, step in told[0]["rows"]} == {0}
    files = {line["name"] for line in told if line["do"] == "file"}
    assert {"predictions.parquet", "timeline.parquet", "metrics.json"} <= files


def test_parts_of_the_data() -> None:
    data = EventModule(hawkes=HAWKES).prepare()
    found = inputs(data)
    assert found["channels"] == ["0", "1"]
    assert {part: facts["rows"] for part, facts in found["parts"].items()} == {
        part: int(data.part(part).target.sum()) for part in ("train", "val", "test")
    }
    other = inputs(EventModule(hawkes={**HAWKES, "end": 21.0}).prepare())
    assert all(found["parts"][part]["digest"] != other["parts"][part]["digest"] for part in found["parts"])
    json.dumps(found)


def test_series_are_told_as_before() -> None:
    row = {"name": "linear", "kind": "model", "scaled": {"mse": 1.0}, "original": {"mae": 2.0}}
    assert final_metrics({"rows": [row]}) == {"test/mse_z": 1.0, "test/mae": 2.0}
