"""The leaderboard of event runs, and the interval of a difference in nats."""

import csv
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecast import __main__ as program
from forecast.artifacts import Run
from forecast.dashboards import load
from forecast.dashboards.boards import events as event_board
from forecast.dashboards.boards import events_page as event_board_page
from forecast.dashboards.boards import events_paired as event_paired
from forecast.dashboards.boards import series_paired as paired
from forecast.dashboards.boards.events_paired import Nats, interval
from tests.dashboards.conftest import make_run
from tests.dashboards.events import make_event_run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two models, one with two seeds; a run of other data; one of series."""
    place = tmp_path_factory.mktemp("board")
    train = place / "runs" / "train"
    for k, (model, skill, seed) in enumerate([("Identity", 0.0, 1), ("Aaren", 0.75, 1), ("Aaren", 0.8, 2)]):
        make_event_run(train / f"20261123T10150{k}Z-0a1b2c3d", model=model, skill=skill, seed=seed, sequences=40)
    make_event_run(train / "20261123T101509Z-0a1b2c3d", shop=False, sequences=20)
    make_run(train / "20261123T111500Z-0a1b2c3d", {"load": "kWh"}, windows=40)
    for path in train.iterdir():
        Run(path).seal()
    return place


def main(place: Path, words: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("HYDRA_FULL_ERROR", "0")
        patch.setattr(sys, "argv", ["forecast", *shlex.split(words)])
        return program.main()


def test_a_board_of_events(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(home, "evaluate compare=event/retail output=o") == 0
    with open(home / "o" / "leaderboard.csv", newline="", encoding="utf-8") as file:
        made = list(csv.DictReader(file))
    best, control = [row for row in made if row["kind"] == "model"]
    assert (best["model"], best["seeds"], best["chosen"]) == ("aaren", "1 2", "true")
    assert (control["model"], control["delta_total"], control["against"]) == ("none", "", "")
    assert best["against"].startswith("none · event")
    assert best["interval"] == "sequences and seeds"
    for key in ("total", "time", "mark"):
        difference = float(best[f"test_{key}"]) - float(control[f"test_{key}"])
        assert float(best[f"delta_{key}"]) == pytest.approx(difference, abs=1e-12)
        low, high = (float(best[f"delta_{key}_{end}"]) for end in ("low", "high"))
        assert low <= difference + 1e-6 and difference - 1e-6 <= high  # stored as float32
    assert float(best["delta_total_low"]) > 0  # the skill is real
    floors = {row["model"]: row for row in made if row["kind"] == "floor"}
    assert floors["mixture and Markov marks"]["test_total"] != ""
    assert floors["constant gap"]["test_total"] == ""
    assert {"constant gap", "Markov marks"} < set(floors)
    out = capsys.readouterr().out
    assert "retail, the next event: " in out
    assert " ▲" in out
    page = (home / "o" / "leaderboard.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1 and 'stroke="var(--ridge)"' in page  # more nats are better
    table = [line for line in (home / "o" / "leaderboard.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1


def test_series_and_events_have_no_score_in_common(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(home, "evaluate compare=all output=mixed") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        "forecast: the 5 runs are 4 of events and 1 of series; expected runs of one task; "
        "name fewer: compare=EXPERIMENT, a sweep, or runs"
    )
    assert not (home / "mixed").exists()


def test_other_data_stands_apart_and_without_none_the_first_is_the_control(home: Path) -> None:
    runs = [load.read(path) for path in sorted((home / "runs" / "train").iterdir())[:4]]
    assert [group.setting.title for group in event_board.groups(runs)] == [
        "retail, the next event",
        "taxi, the next event",
    ]
    other = runs[2]._replace(config={**runs[2].config, "optim": {"lr": 0.1}})
    (group,) = event_board.groups([runs[1], other])
    assert [line.delta == {} for line in group.lines] == [True, False]
    assert group.lines[1].basis == "sequences"
    assert "No run of model=none is among them: differences are to aaren · event · none · nextevent" in group.notes[-1]
    bare = other._replace(predictions=None)
    (group,) = event_board.groups([runs[1], bare])
    assert group.lines[1].delta["total"].low is None
    assert group.notes[-1].startswith("1 without an interval: ")
    (table,) = event_board_page.tables([group])
    assert {len(cells) for _, cells in table.rows} == {len(table.titles)}


def test_other_units_are_another_setting(home: Path) -> None:
    run = load.read(min((home / "runs" / "train").iterdir()))
    hours = run._replace(metrics={**run.metrics, "unit": "hour"})
    assert len(event_board.groups([run, hours])) == 2


def sums(rng: np.random.Generator, shift: float, hard: np.ndarray, events: np.ndarray) -> Nats:
    total = np.array([(h + shift + rng.normal(0, 0.3, n)).sum() for h, n in zip(hard, events, strict=True)])
    return Nats(np.arange(len(events)), events, events, total, total, np.zeros(len(events)))


def test_the_interval_holds_the_true_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "REPEATS", 300)
    rng, held, widths = np.random.default_rng(0), 0, []
    for _ in range(150):
        events = rng.integers(1, 60, 40)
        hard = rng.normal(-4, 2, 40)  # for both, so it cancels
        own = hard + rng.normal(0, 0.2, 40)
        found = interval([sums(rng, 0.1, own, events)], [sums(rng, 0.0, hard, events)], "total")
        assert found is not None
        held += found[0] <= 0.1 <= found[1]
        widths.append(found[1] - found[0])
    assert held / 150 >= 0.88
    assert np.mean(widths) < 0.3  # that of scores alone would be 1.5 wide


def test_few_sequences_and_other_events_have_no_interval(home: Path) -> None:
    rng = np.random.default_rng(0)
    five = sums(rng, 0, np.zeros(5), np.full(5, 3))
    assert interval([five], [five], "total") is None
    six = sums(rng, 0, np.zeros(6), np.full(6, 3))
    assert interval([six], [six], "total") == (0, 0)
    assert not event_paired.same([six, six._replace(numbers=six.numbers + 1)])
    path = min((home / "runs" / "train").iterdir())
    made, frame = event_paired.read(path / "predictions.parquet"), pl.read_parquet(path / "predictions.parquet")
    metrics = json.loads((path / "metrics.json").read_text())
    assert made.events.sum() == frame.height
    np.testing.assert_allclose(made.total.sum() / frame.height, metrics["rows"][0]["nats"]["total"], rtol=1e-6)
    assert event_paired.same([made, event_paired.read(path / "predictions.parquet")])
