"""What the page of a run says: curves, what differs, files."""

import json
from pathlib import Path

import polars as pl
import pytest

from forecast.artifacts import Run as Folder
from forecast.dashboards import load
from forecast.dashboards.app.run_parts import described, differences, elsewhere, held
from forecast.dashboards.charts.chart import Line, Points, Rule
from forecast.dashboards.charts.sheet import draw
from forecast.dashboards.curves import MOST, curves
from tests.dashboards.classes import make_class_run
from tests.dashboards.conftest import make_run
from tests.dashboards.events import make_event_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("parts") / "20141123T101500Z-0a1b2c3d", {"load": "kWh"}, windows=60)


def test_curves_hold_all_of_the_history(run) -> None:
    known = load.read(run)
    chart = curves(known)
    assert chart is not None and chart.shared
    assert [panel.y.label for panel in chart.panels] == ["loss (scaled)", "learning rate"]
    loss = chart.panels[0]
    lines = {mark.name: mark for mark in loss.marks if isinstance(mark, Line)}
    assert set(lines) == {"training loss", "val/mse"}
    assert len(lines["training loss"].x) <= MOST < known.curve("train/loss").height
    best = known.best_epoch
    assert best is not None
    assert [mark.x[0] for mark in loss.marks if isinstance(mark, Points)] == [best["step"]]
    assert all(any(isinstance(mark, Rule) for mark in panel.marks) for panel in chart.panels)
    assert chart.panels[0].x.label == "" and chart.panels[-1].x.label == "optimiser step"
    draw(chart, 7.0)


def test_whatever_a_history_has_is_drawn(run) -> None:
    rows = [(k, k // 5, name, float(k + 1)) for k in range(10) for name in ("train/grad_norm", "val/other")]
    history = pl.DataFrame(rows, schema=load.HISTORY, orient="row")
    chart = curves(load.read(run)._replace(history=history))
    assert chart is not None
    assert [panel.y.label for panel in chart.panels] == ["val/other", "gradient norm"]
    draw(chart, 7.0)
    assert curves(load.read(run)._replace(history=None)) is None


@pytest.mark.parametrize(("make", "unit"), [(make_event_run, "nats per event"), (make_class_run, "nats per series")])
def test_curves_of_other_tasks(tmp_path, make, unit) -> None:
    chart = curves(load.read(make(tmp_path / "run")))
    assert chart is not None and chart.panels[0].y.label == f"loss ({unit})"
    draw(chart, 7.0)


def test_only_what_differs_is_told() -> None:
    mine = {"model": {"d_model": 16, "layers": 2}, "seed": 1, "on": True, "same": [1, 2]}
    other = {"model": {"d_model": 32, "layers": 2}, "seed": 1, "on": False, "same": [1, 2], "more": None, "x": {"y": 1}}
    assert differences(mine, other) == [("model.d_model", "16", "32"), ("on", "true", "false"), ("x.y", "–", "1")]
    assert differences(mine, mine) == []


def test_files_and_their_digests(tmp_path) -> None:
    folder = Folder(tmp_path / "run")
    folder.path.mkdir()
    for name in ("config.json", "metrics.json", "data.json"):
        folder.write(name, {"a": name})
    assert all(each.sha256 == each.state == "" for each in held(folder.path))  # not finished
    folder.seal()
    assert {each.name: each.state for each in held(folder.path, check=True)} == {
        "MANIFEST.json": "", "config.json": "", "data.json": "", "metrics.json": "",
    }  # fmt: skip
    (folder.path / "data.json").unlink()
    (folder.path / "metrics.json").write_text("{}")
    (folder.path / "notes.txt").write_text("mine")
    found = {each.name: each for each in held(folder.path, check=True)}
    assert found["data.json"].state == "missing" and found["data.json"].size is None
    assert found["metrics.json"].state == "changed" and len(found["metrics.json"].sha256) == 64
    assert found["notes.txt"].state == "not in the manifest"
    assert {each.name: each.state for each in held(folder.path)}["metrics.json"] == ""  # nothing was read
    (folder.path / "MANIFEST.json").write_text('{"files": [')
    assert {each.state for each in held(folder.path)} == {""}


def test_where_mlflow_has_it(tmp_path) -> None:
    assert elsewhere(tmp_path) == []
    (tmp_path / "mlflow.json").write_text(json.dumps({"http://127.0.0.1:5000": {"run_id": "ab"}, "x": {}, "y": 1}))
    assert elsewhere(tmp_path) == [("http://127.0.0.1:5000", "ab")]
    (tmp_path / "mlflow.json").write_text("[")
    assert elsewhere(tmp_path) == []


def test_a_run_without_scores_has_the_kind_that_its_settings_say(run) -> None:
    known = load.read(run)._replace(metrics={}, config={"task": {"name": "event"}})
    assert described(known).kind == "events"
    assert described(known._replace(config={})).kind == "series"
