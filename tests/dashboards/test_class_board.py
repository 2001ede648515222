"""The leaderboard of classification runs, and the interval of a difference in accuracy."""

import csv
import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forecast import __main__ as program
from forecast.artifacts import Run
from forecast.dashboards import load
from forecast.dashboards.boards import classes as class_board
from forecast.dashboards.boards import classes_page as class_board_page
from forecast.dashboards.boards import classes_paired as class_paired
from forecast.dashboards.boards import series_paired as paired
from forecast.dashboards.boards.classes_paired import Hits, interval
from forecast.dashboards.boards.lines import Interval
from tests.dashboards.classes import make_class_run
from tests.dashboards.conftest import make_run
from tests.dashboards.events import make_event_run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two models on two data sets, one with two seeds; one of series, one of events."""
    place = tmp_path_factory.mktemp("board")
    train = place / "runs" / "train"
    made: list[dict[str, Any]] = [
        {"model": "Identity", "skill": 1.2, "seed": 1}, {"model": "Aaren", "skill": 2.4, "seed": 1},
        {"model": "Aaren", "skill": 2.2, "seed": 2}, {"model": "Aaren", "classes": 4, "data": "moves"},
        {"model": "Identity", "classes": 4, "data": "moves", "skill": 1.0},
    ]  # fmt: skip
    for k, words in enumerate(made):
        make_class_run(train / f"20261123T10150{k}Z-0a1b2c3d", **words)
    make_run(train / "20261123T111500Z-0a1b2c3d", {"load": "kWh"}, windows=40)
    make_event_run(train / "20261123T121500Z-0a1b2c3d", sequences=12)
    for path in train.iterdir():
        Run(path).seal()
    return place


def main(place: Path, words: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("HYDRA_FULL_ERROR", "0")
        patch.setattr(sys, "argv", ["forecast", *shlex.split(words)])
        return program.main()


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_board_of_classes(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(home, "evaluate compare=classify/gestures output=o") == 0
    made = table(home / "o" / "leaderboard.csv")
    best, control = [row for row in made if row["kind"] == "model"]
    assert (best["model"], best["seeds"], best["chosen"]) == ("aaren", "1 2", "true")
    assert (control["model"], control["delta_accuracy"], control["against"]) == ("none", "", "")
    assert best["against"].startswith("none · series")
    assert best["interval"] == "series and seeds"
    for key in ("accuracy", "log_loss"):
        difference = float(best[f"test_{key}"]) - float(control[f"test_{key}"])
        assert float(best[f"delta_{key}"]) == pytest.approx(difference, abs=1e-12)
        low, high = (float(best[f"delta_{key}_{end}"]) for end in ("low", "high"))
        assert low < difference < high
    assert float(best["delta_accuracy_low"]) > 0  # the skill is real
    others = {row["model"]: row for row in made if row["kind"] in ("rival", "floor")}
    assert list(others) == ["MiniRocket + ridge", "most frequent class"]
    rival = others["MiniRocket + ridge"]
    assert rival["test_log_loss"] == rival["test_accuracy_sd"] == ""  # the same in each run: measured once
    assert float(best["to_rival"]) == pytest.approx(float(best["test_accuracy"]) - float(rival["test_accuracy"]))
    out = capsys.readouterr().out
    assert "gestures: 240 test series of 9 classes." in out
    assert "All 2 data sets" not in out
    assert " ▲" in out
    page = (home / "o" / "leaderboard.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 1 and 'stroke="var(--ridge)"' in page  # more accuracy is better
    lines = [line for line in (home / "o" / "leaderboard.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_several_data_sets_have_a_table_of_means(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(home, "evaluate compare=[classify/gestures,classify/moves] output=both") == 0
    made = table(home / "both" / "leaderboard.csv")
    means = {row["model"]: row for row in made if row["dataset"] == "all"}
    own = {row["dataset"]: row for row in made if row["model"] == "aaren" and row["dataset"] != "all"}
    mean = np.mean([float(row["test_accuracy"]) for row in own.values()])
    assert float(means["aaren"]["test_accuracy"]) == pytest.approx(mean)
    delta = np.mean([float(row["delta_accuracy"]) for row in own.values()])
    assert float(means["aaren"]["delta_accuracy"]) == pytest.approx(delta)
    assert float(means["aaren"]["delta_accuracy_low"]) < delta < float(means["aaren"]["delta_accuracy_high"])
    assert means["none"]["delta_accuracy"] == ""
    assert {means[name]["rank"] != "" for name in ("aaren", "none", "MiniRocket + ridge")} == {True}
    assert means["most frequent class"]["rank"] == ""
    out = capsys.readouterr().out
    assert out.startswith("All 2 data sets: Accuracy on 2 data sets;")
    assert "3 runs in 1 setting" not in (home / "both" / "leaderboard.html").read_text(encoding="utf-8")
    assert "5 runs in 2 settings." in (home / "both" / "leaderboard.html").read_text(encoding="utf-8")


def test_classes_have_no_score_in_common_with_series_and_events(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(home, "evaluate compare=all output=mixed") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "forecast: the 7 runs are 5 of classification, 1 of events and 1 of series; expected runs of one task; "
        "name fewer: compare=EXPERIMENT, a sweep, or runs"
    )
    assert not (home / "mixed").exists()


def runs_of(home: Path) -> list[load.Run]:
    return [load.read(path) for path in sorted((home / "runs" / "train").iterdir())[:5]]


def test_other_classes_splits_and_channels_stand_apart(home: Path) -> None:
    run = runs_of(home)[1]
    for change in ({"metrics": {**run.metrics, "classes": list("abcdefghi")}},
                   {"config": {**run.config, "data": {"val": 0.5}}},
                   {"data": {**run.data, "spec": {**run.spec, "channels": ["q"]}}}):  # fmt: skip
        made = class_board.groups([run, run._replace(**change)])
        assert len(made) == 2
        assert made[0].notes[0].startswith("Apart from another table of this title, for other ")
        assert len(class_board_page.tables(made)) == 2  # of one data set there is no mean


def test_without_predictions_or_none_a_line_says_what_it_lacks(home: Path) -> None:
    runs = runs_of(home)
    other = runs[2]._replace(config={**runs[2].config, "optim": {"lr": 0.1}})
    (group,) = class_board.groups([runs[1], other])
    assert [line.delta == {} for line in group.lines] == [True, False]
    assert group.lines[1].basis == "series"
    assert "No run of model=none is among them: differences are to aaren · series" in group.notes[-1]
    (group,) = class_board.groups([runs[1], other._replace(predictions=None)])
    assert group.lines[1].delta["accuracy"].low is None
    assert group.notes[-1] == (
        "1 without an interval: it needs predictions=true and 6 series of the same test part."
    )  # fmt: skip
    (written,) = class_board_page.tables([group])
    assert {len(cells) for _, cells in written.rows} == {len(written.titles)}


def test_a_model_that_lacks_a_data_set_has_no_mean(home: Path) -> None:
    runs = runs_of(home)
    made = {row.name: row for row in class_board.across(class_board.groups(runs[:4]))}
    assert math.isnan(made["none"].rank)
    assert made["none"].values[1] == []
    assert made["aaren"].delta is None  # there is nothing to compare with on the second
    assert made["aaren"].rank >= 1
    first, *_ = class_board_page.tables(class_board.groups(runs[:4]))
    assert dict(first.rows)["none"][0] == "–"


def test_rivals_of_several_seeds_have_a_spread(home: Path) -> None:
    runs = runs_of(home)
    rows = json.loads(json.dumps(runs[2].metrics["rows"]))
    rows[1]["accuracy"] -= 0.02
    other = runs[2]._replace(metrics={**runs[2].metrics, "rows": rows})
    (group,) = class_board.groups([runs[1], other])
    assert len(group.others[0].values["accuracy"]) == 2
    over = class_board.ahead(group.lines[0])
    assert over[1] == pytest.approx(runs[2].score("accuracy") - rows[1]["accuracy"])


def test_means_of_independent_differences() -> None:
    one = Interval(0.1, 0.0, 0.3)
    found = class_board._pooled([one, one])
    assert found == pytest.approx((0.1, 0.1 - 0.1 / 2**0.5, 0.1 + 0.2 / 2**0.5))
    assert class_board._pooled([one, Interval(0.3, None, None)]) == (pytest.approx(0.2), None, None)
    assert class_board._pooled([one, None]) is None


def hits(rng: np.random.Generator, hard: np.ndarray, level: float) -> Hits:
    right = (hard + rng.normal(0, 0.5, len(hard)) < level).astype(float)
    return Hits(np.arange(len(hard)), np.zeros(len(hard)), right, 1 - right)


@pytest.mark.parametrize(("series", "levels"), [(40, (1.8, 1.8)), (150, (1.8, 1.2)), (300, (0.5, 0.3))])
def test_the_interval_holds_the_true_difference(
    monkeypatch: pytest.MonkeyPatch, series: int, levels: tuple[float, float]
) -> None:
    monkeypatch.setattr(paired, "REPEATS", 300)
    rng, held = np.random.default_rng(0), 0
    wide = 1.25**0.5 * 2**0.5  # of hardness and chance together, and of the error function's argument
    truth = (math.erf(levels[0] / wide) - math.erf(levels[1] / wide)) / 2
    for _ in range(150):
        hard = rng.normal(0, 1, series)  # for both
        found = interval([hits(rng, hard, levels[0])], [hits(rng, hard, levels[1])], "accuracy")
        assert found is not None
        held += found[0] <= truth <= found[1]
    assert held / 150 >= 0.9


def test_models_that_agree_on_few_series_are_not_known_to_be_equal() -> None:
    right = Hits(np.arange(40), np.zeros(40), np.ones(40), np.zeros(40))
    low, high = interval([right], [right], "accuracy") or (0, 0)
    assert -0.08 < low < -0.02 and 0.02 < high < 0.08
    assert interval([right], [right], "log_loss") == (0, 0)
    five = Hits(*(each[:5] for each in right))
    assert interval([five], [five], "accuracy") is None


def test_predictions_are_read_by_series(home: Path) -> None:
    run = runs_of(home)[0]
    assert run.predictions is not None
    found = class_paired.read(run.predictions)
    assert found.accuracy.mean() == pytest.approx(run.score("accuracy"))
    assert found.log_loss.mean() == pytest.approx(run.score("log_loss"), rel=1e-5)
    assert class_paired.same([found, found])
    assert not class_paired.same([found, found._replace(label=np.roll(found.label, 1))])
