"""What is printed of a classification run reads well: aligned, honest, and short where there are many classes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forecast.artifacts import Run
from forecast.verbs.class_tables import class_closing, class_confusion, class_early, class_opening, class_scores
from tests.dashboards.classes import make_class_run

ROWS: list[dict[str, Any]] = [
    {"name": "most frequent class", "kind": "floor", "accuracy": 0.2, "balanced_accuracy": 0.1, "macro_f1": 0.03,
     "log_loss": 2.0, "ece": None},
    {"name": "MiniRocket + ridge", "kind": "rival", "accuracy": 0.9, "balanced_accuracy": 0.8, "macro_f1": 0.85,
     "log_loss": None, "ece": None},
    {"name": "aaren", "kind": "model", "accuracy": 0.875, "balanced_accuracy": 0.8, "macro_f1": 0.85, "log_loss": 0.4,
     "ece": 0.021},
]  # fmt: skip


def test_scores_have_the_model_first() -> None:
    _, _, model, rival, floor = class_scores(ROWS).splitlines()
    assert model.split() == ["aaren", "◀", "87.5", "%", "80.0", "%", "0.850", "0.400", "2.1", "%"]
    assert rival.startswith("MiniRocket + ridge") and rival.split()[-2:] == ["–", "–"]
    assert floor.startswith("most frequent class")


def test_few_classes_are_a_table_and_many_the_pairs_most_confused() -> None:
    few = class_confusion(["up", "down"], [[5, 0], [2, 3]]).splitlines()
    assert [line.split() for line in few[2:]] == [["up", "5", "·"], ["down", "2", "3"]]
    names = [f"c{k}" for k in range(12)]
    table = [[9 * (a == b) for b in range(12)] for a in range(12)]
    assert class_confusion(names, table) == "no class was taken for another"
    for k in range(1, 11):
        table[k][0] = k
    many = class_confusion(names, table).splitlines()
    assert many[2].split() == ["c10", "c0", "10", "52.6", "%"]
    assert many[-1] == "2 more pairs of 12 classes"
    assert len(many) == 2 + 8 + 1


def test_what_is_about_to_happen(tmp_path: Path) -> None:
    data = SimpleNamespace(findings=["2 channels"], card=SimpleNamespace(name="gestures"))
    config = {"model": {"_target_": "forecast.models.Aaren"}, "head": {"_target_": "forecast.heads.Pool"}, "seed": 3}
    assert class_opening(config, data, 1234, Run(tmp_path / "r")).splitlines() == [
        "gestures", "  2 channels", "aaren", "  1,234 parameters, head pool, seed 3", f"  run {tmp_path / 'r'}",
    ]  # fmt: skip


@pytest.mark.parametrize(("classes", "refit"), [(4, True), (26, False)])
def test_what_came_of_it(tmp_path: Path, classes: int, refit: bool) -> None:
    run = Run(make_class_run(tmp_path / "r", classes=classes, series=90))
    metrics = {**run.read("metrics.json"), "refit": refit}
    said = class_closing(metrics, run, {"track": {"uri": "http://127.0.0.1:5000"}})
    assert f"90 test series of {classes} classes, each scored once" in said
    assert ("fitted again on train and validation" in said) == refit
    assert "the temperature 1.31, fitted on validation" in said
    assert "compare   forecast ui" in said
    assert all(len(line) < 121 for line in said.splitlines())
    bare = class_closing({**metrics, "early": [], "temperature": None}, run, {"track": {"uri": None}})
    assert "early" not in bare and "temperature" not in bare and "forecast ui" not in bare


def test_early_is_told_at_what_was_measured() -> None:
    early = [{"fraction": k / 10, "accuracy": k / 20, "log_loss": None} for k in range(1, 11)]
    assert (
        class_early(early)[0] == "early: accuracy 10.0 % with 20 %, 25.0 % with 50 %, 40.0 % with 80 % of a series seen"
    )
    assert class_early([{"fraction": 1.0, "accuracy": 0.5}]) == []
