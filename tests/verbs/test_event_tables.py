"""What the terminal shows of a run of events."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forecast.artifacts import Run
from forecast.verbs.event_tables import event_closing, event_horizon, event_opening, event_scores
from tests.dashboards.events import make_event_run

CONFIG = {"model": {"_target_": "forecast.models.Aaren"}, "head": {"_target_": "NextEvent"}, "seed": 1,
          "track": {"uri": "x"}}  # fmt: skip


@pytest.fixture(scope="module", params=["shop", "rides", "one"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    path = tmp_path_factory.mktemp("events") / "run"
    make_event_run(path, shop=request.param != "rides", one=request.param == "one", sequences=20)
    return path, json.loads((path / "metrics.json").read_text())


def test_the_model_is_marked_and_stands_beside_every_floor(made: tuple[Path, dict[str, Any]]) -> None:
    _, metrics = made
    shown = event_scores(metrics["rows"], metrics["unit"])
    head, rule, *lines = shown.splitlines()
    assert head.split("  ")[0] == "nats per event"
    assert f"RMSE {metrics['unit']}" in head
    assert set(rule) == {"─", " "}
    one = len(metrics["marks"]) == 1
    assert len(lines) == (4 if one else len(metrics["rows"]))
    assert ("accuracy" in head) != one
    assert next(line for line in lines if "◀" in line).startswith("aaren ◀")
    assert f"{metrics['rows'][0]['nats']['time' if one else 'total']:.3f}" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_the_likelier_stands_above() -> None:
    def row(name: str, kind: str, **given: float) -> dict[str, Any]:
        none = dict.fromkeys(("rmse", "mae", "accuracy", "macro_f1"))
        nats = {part: given.pop(part, None) for part in ("time", "mark", "total")}
        return {"name": name, "kind": kind, "nats": nats, **none, **given}

    rows = [row("aaren", "model", total=-2.0), row("both", "floor", total=-1.0)]
    rows += [row("marks", "floor", accuracy=0.5), row("exponential", "floor", time=-3.0)]
    rows += [row("mixed", "floor", time=-2.5), row("flat", "floor", rmse=3.0)]
    lines = event_scores(rows, "day").splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["both", "aaren", "mixed", "exponential", "flat", "marks"]
    assert "macro-F1" not in event_scores(rows, "day")  # nobody has it


def test_what_was_not_scored_is_left_out(made: tuple[Path, dict[str, Any]]) -> None:
    path, metrics = made
    told = event_closing({**metrics, "horizon": None}, Run(path), CONFIG)
    assert "the next" not in told
    assert "metatpp" not in told
    told = event_closing({**metrics, "metatpp": {"nll": 1.0, "rmse": 2.0, "accuracy": 0.5}}, Run(path), CONFIG)
    assert "protocol=metatpp, to be compared with papers that count so: NLL 1, RMSE 2, accuracy 50.0 %" in told
    assert f"a density per {metrics['unit']}" in told
    assert ("cell of the clock's" in told) == (metrics["grid"] > 0)
    assert "compare   forecast ui" in told
    assert max(map(len, told.replace(str(path), "").splitlines())) <= 100


def test_the_window_ahead_and_the_opening(made: tuple[Path, dict[str, Any]]) -> None:
    path, metrics = made
    told = event_horizon({**metrics["horizon"], "unit": metrics["unit"]})
    head, _, first, *_ = told.splitlines()
    assert max(map(len, told.splitlines())) <= 100
    assert head.split("  ")[0] == f"the next 28 {metrics['unit']}s"
    assert first.startswith("aaren ◀")
    line = "1,400 train sequences, 51,854 events to forecast"
    data = SimpleNamespace(findings=[line], card=SimpleNamespace(name="retail"))
    told = event_opening(CONFIG, data, 58_321, Run(path)).splitlines()
    assert told[:3] == ["retail", f"  {line}", "aaren"]
    assert told[3] == "  58,321 parameters, head nextevent, seed 1"
