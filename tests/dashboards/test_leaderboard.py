"""What the leaderboard says in words: of runs that stand in no table, and of those that MLflow alone knows."""

import json
from pathlib import Path

import pytest
from dash._utils import to_json

from forecast.dashboards.app.page import View
from forecast.dashboards.app.pages import leaderboard
from forecast.dashboards.app.sources import Card, Sources, Tracked
from forecast.dashboards.app.unscored import why
from forecast.dashboards.load import Row
from tests.dashboards.conftest import make_run, write

ELSEWHERE = Card("20260102T000000Z-0a1b2c3d", None, "series", "etth1", "informer", 2, 24, None, "2026-01-02", True,
                 "mlflow/a", (Row("informer", "model", {"mse": 0.41}, {}, {}, {}),), None, None, None)  # fmt: skip


class Asked:
    """A tracker whose server has answered so."""

    def __init__(self, said: Tracked) -> None:
        self.said = said

    def now(self) -> Tracked:
        return self.said


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("board")
    write(make_run(home / "train" / "20141123T101500Z-0a1b2c3d", {"load": "kWh"}, windows=60), "MANIFEST.json", {})
    return home


def words(sources: Sources, **query: str) -> str:
    drawn = to_json(leaderboard.render(View(sources, {k: (v,) for k, v in query.items()}, "light")))
    return str(drawn).replace("\\u002f", "/")


def test_runs_known_to_mlflow_only(runs) -> None:
    sources = Sources(runs, below=runs)
    assert "MLflow" not in words(sources)
    links = {ELSEWHERE.id: "http://127.0.0.1:5000/#/experiments/1/runs/ab"}
    sources._tracker = Asked(Tracked("ok", "", (ELSEWHERE,), links))  # type: ignore[assignment]
    text = words(sources)
    assert "Known to MLflow only" in text and links[ELSEWHERE.id] in text and "MSE 0.41" in text
    sources._tracker = Asked(Tracked("down", "MLflow at x does not answer.", ()))  # type: ignore[assignment]
    assert "MLflow at x does not answer." in words(sources)


def test_no_link_to_an_address_that_is_none_of_the_web(runs) -> None:
    sources = Sources(runs, below=runs)
    said = Tracked("ok", "", (ELSEWHERE,), {ELSEWHERE.id: "javascript:alert(1)"})
    sources._tracker = Asked(said)  # type: ignore[assignment]
    assert "javascript" not in words(sources)


def test_what_the_address_asks_for(runs) -> None:
    sources = Sources(runs, below=runs)
    assert "seasonal naive" in words(sources)
    assert "Better than every model" not in words(sources)
    assert "Nothing fits" in words(sources, dataset="another")
    assert "Nothing fits" in words(sources, setting="0")
    assert "1 line outside the search" in words(sources, model="nobody")
    assert "seasonal naive" in words(sources, model="nobody", sort="-mae", kind="<b>")


def test_why_a_run_stands_in_no_table(runs) -> None:
    card = Sources(runs, below=runs).cards()[0]
    assert "Damaged: torn" in why(card._replace(damage="torn"))
    assert "forecast train resume=" in why(card._replace(finished=False))
    assert "no test scores" in why(card._replace(rows=()))
    assert "data.json" in why(card._replace(setting=""))


def test_more_lines_than_a_page_keep_what_they_are_compared_to_in_sight(runs, tmp_path) -> None:
    base = runs / "train" / "20141123T101500Z-0a1b2c3d"
    for k in range(60):
        path = tmp_path / "train" / f"20141123T1015{k:02d}Z-0a1b2c3d"
        path.mkdir(parents=True)
        for name in ("metrics.json", "data.json", "MANIFEST.json"):
            (path / name).write_bytes((base / name).read_bytes())
        config = json.loads((base / "config.json").read_text())
        write(path, "config.json", config | {"model": {"_target_": "Aaren", "d_model": k}})
    text = words(Sources(tmp_path, below=tmp_path))
    assert "what is always compared to" in text and "1 to 50 of 63" in text
    assert text.count("seasonal naive") >= 2
