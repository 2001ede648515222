"""What pages read from: runs in any state, outputs of jobs, and MLflow's server, there or not."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from forecast.dashboards.app import sources as module
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.app.tracked import Tracker
from forecast.errors import ArtifactError
from tests.dashboards.classes import make_class_run
from tests.dashboards.conftest import make_run, write
from tests.dashboards.events import make_event_run

ID = "20141123T101500Z-0a1b2c3d"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are made anew each time: tests change files within a second."""
    monkeypatch.setattr(module, "FRESH_S", -1.0)
    monkeypatch.setattr(module, "LOOKED_S", -1.0)


@pytest.fixture
def home(tmp_path: Path, run_dir: Callable[[int], Path]) -> Path:
    (tmp_path / "runs" / "train").mkdir(parents=True)
    write(run_dir(1).rename(tmp_path / "runs" / "train" / ID), "MANIFEST.json", {})
    return tmp_path / "runs"


def test_a_card_has_what_a_list_shows(home: Path) -> None:
    (card,) = Sources(home).cards()
    assert (card.id, card.kind, card.dataset, card.model, card.seed) == (ID, "series", "electricity", "informer", 1)
    assert (card.horizon, card.context, card.started, card.finished) == (24, 168, "2014-11-23T10:15:00+00:00", True)
    assert [row.kind for row in card.rows] == ["model", "naive", "naive", "naive"]
    assert card.scores["mse"] < card.rows[1].scaled["mse"]
    assert (card.parameters, card.seconds, card.memory, card.damage) == (1_204_881, 191.4, None, "")
    assert card.validation == 0.0216


def test_scores_of_events_and_classes_stand_in_a_row(tmp_path: Path) -> None:
    make_event_run(tmp_path / "train" / "20141124T101500Z-00000001")
    make_class_run(tmp_path / "train" / "20141125T101500Z-00000002", series=40)
    classes, events = Sources(tmp_path).cards()
    assert (classes.kind, events.kind) == ("classes", "events")
    assert 0 < classes.scores["accuracy"] <= 1
    assert {"nats_total", "nats_time", "rmse"} <= events.scores.keys()
    assert not events.finished  # it is not sealed


def test_seeds_of_one_setting_are_a_group(home: Path) -> None:
    for seed, width in ((1, 64), (2, 64), (1, 32)):
        path = make_run(home / "train" / f"20141201T101500Z-{seed}{width:07d}", {"load": "kWh"}, windows=40)
        config = json.loads((path / "config.json").read_text())
        config["seed"] = seed
        config["model"]["d_model"] = width
        write(path, "config.json", config)
    made = {card.id[-8:]: card for card in Sources(home).cards()}
    assert made["10000064"].group == made["20000064"].group
    assert made["10000064"].group != made["10000032"].group
    assert made["10000064"].setting == made["10000032"].setting


def test_a_damaged_run_is_named_and_the_others_stay(home: Path) -> None:
    broken = home / "train" / "20141124T101500Z-00000001"
    broken.mkdir()
    (broken / "metrics.json").write_text('{"rows": [')
    odd = home / "train" / "20141125T101500Z-00000002"
    odd.mkdir()
    write(odd, "metrics.json", [1])
    strange = home / "train" / "20141126T101500Z-00000003"
    strange.mkdir()
    write(strange, "metrics.json", {"rows": [{"scaled": 3, "name": None}, "x"], "seconds": [], "best": 1, "seed": "x"})
    newer = home / "train" / "20141127T101500Z-00000004"
    newer.mkdir()
    write(newer, "metrics.json", {"schema": 999, "rows": []})
    (home / "train" / "note.txt").write_text("no run")
    (home / "train" / "empty").mkdir()
    found = {card.id: card.damage for card in Sources(home).cards()}
    assert list(found) == [newer.name, strange.name, odd.name, broken.name, ID]
    assert found[broken.name].startswith("metrics.json cannot be read: ")
    assert found[odd.name] == "metrics.json cannot be read: it holds a list, not an object"
    assert found[strange.name] == "metrics.json: seed holds a str, expected a number"
    assert "schema 999" in found[newer.name]
    assert found[ID] == ""


def test_a_run_that_has_only_begun(home: Path) -> None:
    path = home / "train" / "20141124T101500Z-00000001"
    path.mkdir()
    write(path, "config.json", {
        "task": {"name": "event"}, "seed": 3, "name": None, "data": {"card": "taxi"},
        "model": {"_target_": "forecast.models.Aaren"},
    })  # fmt: skip
    card = Sources(home).cards()[0]
    assert (card.kind, card.dataset, card.model, card.seed, card.finished) == ("events", "taxi", "aaren", 3, False)
    assert (card.damage, card.rows) == ("", ())


def test_files_are_read_again_only_when_they_change(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = module.card
    monkeypatch.setattr(module, "card", lambda path: opened.append(path.name) or real(path))
    sources = Sources(home)
    sources.cards()
    sources.cards()
    assert opened == [ID]
    metrics = json.loads((home / "train" / ID / "metrics.json").read_text())
    time.sleep(0.01)
    write(home / "train" / ID, "metrics.json", {**metrics, "model": "other"})
    assert sources.cards()[0].model == "other"
    assert sources.run(ID).model == "other"
    (home / "train" / ID).rename(home / "away")
    assert sources.cards() == []


def test_a_summary_is_made_once_by_whoever_asks_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = module.summarise
    monkeypatch.setattr(module, "summarise", lambda run: made.append(run.path.name) or time.sleep(0.05) or real(run))
    sources = Sources(home)
    run = sources.run(ID)
    threads = [threading.Thread(target=sources.summary, args=(run,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [ID]


@pytest.mark.parametrize("id", ["nothing", "..", "../train", "", ".", f"{ID}/..", "a\0b", "x" * 300])
def test_a_run_that_is_not_here(home: Path, id: str) -> None:
    with pytest.raises(ArtifactError, match="no run "):
        Sources(home).run(id)
    with pytest.raises(ArtifactError, match=f"did you mean {ID}"):
        Sources(home).run(ID[:-1])


def test_outputs_of_jobs_and_backtests_are_found(tmp_path: Path) -> None:
    jobs = [(name, "_manifest.jsonl") for name in ("out/a", "deep/b/c/d", ".hidden/e", "away/f")]
    backtests = [("back", "forecasts.parquet"), ("half", "forecasts.parquet"), ("back", "metrics.json")]
    for name, file in jobs + backtests:
        root = tmp_path / ("elsewhere" if name.startswith("away") else "here")
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / file).write_text("{}")
    sources = Sources(tmp_path / "runs", jobs=(tmp_path / "elsewhere",), below=tmp_path / "here")
    assert {path.name for path in sources.outputs()} == {"a", "d", "f"}
    assert [path.name for path in sources.backtests()] == ["back"]


@contextmanager
def mlflow(answers: dict[str, Any], pause: float = 0.0) -> Iterator[str]:
    """A server that answers POSTs as MLflow's does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(pause)
            body = json.dumps(answers[self.path.rsplit("/2.0/mlflow/")[1]]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def run_there(id: str, **tags: str) -> dict[str, Any]:
    held = {"forecast.run": id, "task": "forecast", "dataset": "electricity", "model": "aaren", "seed": "2", **tags}
    return {
        "info": {"run_id": "abc", "experiment_id": "1", "run_name": "mine", "status": "FINISHED", "start_time": 1.4e12},
        "data": {"tags": [{"key": key, "value": value} for key, value in held.items()],
                 "metrics": [{"key": "test/mse_z", "value": 0.2}, {"key": "test/mae", "value": 4.0}]},
    }  # fmt: skip


def test_runs_that_only_mlflow_knows_are_listed_too(home: Path) -> None:
    runs = [run_there(ID), run_there("20130101T000000Z-00000009", horizon="24"), run_there("sweep/x")]
    answers = {"experiments/search": {"experiments": [{"experiment_id": "1"}]}, "runs/search": {"runs": runs}}
    with mlflow(answers) as url:
        sources = Sources(home, url)
        wait(lambda: sources.tracked().state == "ok")
        own, there = sources.cards()
        assert (own.id, own.path is not None) == (ID, True)
        assert (there.path, there.model, there.horizon, there.scores) == (None, "mine", 24, {"mse": 0.2})
        assert sources.tracked().links[there.id] == f"{url}/#/experiments/1/runs/abc"
        with pytest.raises(ArtifactError, match="known to MLflow only"):
            sources.run(there.id)


def test_a_dead_or_slow_mlflow_keeps_no_page_waiting(home: Path) -> None:
    assert Sources(home).tracked().state == "none"
    dead = Sources(home, "http://127.0.0.1:9")
    wait(lambda: "nobody listens there" in dead.tracked().words)
    assert [card.id for card in dead.cards()] == [ID]
    with mlflow({"experiments/search": {}}, pause=1.0) as url:
        slow = Tracker(url)
        began = time.monotonic()
        assert slow.now().state == "down"
        assert slow.now().state == "down"
        assert time.monotonic() - began < 0.9


@pytest.mark.parametrize("answer", [[], {"experiments": 3}, {"experiments": [{}]}, {"experiments": [None]}])
def test_what_is_no_answer_of_mlflow(home: Path, answer: Any) -> None:
    with mlflow({"experiments/search": answer}) as url:
        sources = Sources(home, url)
        wait(lambda: "not answered yet" not in sources.tracked().words)
        assert sources.tracked().state == "down"


def wait(until: Callable[[], bool]) -> None:
    stop = time.monotonic() + 10
    while not until():
        assert time.monotonic() < stop
        time.sleep(0.02)
