"""The leaderboard's figures: which runs are a line, which lines a table, what is best, what is always there."""

import json
import math
import statistics
from pathlib import Path

import pytest

from forecast.dashboards.app.cards import Card, card
from forecast.dashboards.app.standing import boards, comparable, shortened
from forecast.dashboards.app.standing_charts import against, standing
from forecast.dashboards.charts.chart import Line, Points
from forecast.dashboards.charts.sheet import draw
from tests.dashboards.classes import make_class_run
from tests.dashboards.conftest import make_run, write
from tests.dashboards.events import make_event_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("standing")
    made = {
        "series": make_run(home / "series", {"load": "kWh"}, windows=60),
        "events": make_event_run(home / "events"),
        "classes": make_class_run(home / "classes", series=40),
    }
    for path in made.values():
        write(path, "MANIFEST.json", {})
    return made


def a_card(path: Path, model: str, seed: int, mse: float, *, started: str = "2026-01-01", **more: object) -> Card:
    """The card of the run with other parts and scores."""
    made = card(path)
    rows = tuple(row._replace(scaled={**row.scaled, "mse": mse}) if row.kind == "model" else row for row in made.rows)
    id, parts = f"{model}-{seed}-{mse}", (model, "value", "none", "direct")
    given = {"rest": {}, "validation": mse, **more}
    group = json.dumps([parts, given["rest"]], default=str)
    return made._replace(id=id, model=model, seed=seed, rows=rows, parts=parts, group=group, started=started, **given)


def test_seeds_are_one_line_and_settings_another(base) -> None:
    runs = [a_card(base["series"], "aaren", seed, mse) for seed, mse in ((1, 0.2), (2, 0.3), (3, 0.4))]
    runs += [a_card(base["series"], "aaren", 1, 0.5, rest={"optim.lr": 0.1}), a_card(base["series"], "none", 1, 0.6)]
    (board,) = boards(runs)
    assert [line.name for line in board.lines] == [
        "aaren · value · none · direct · optim.lr=null", "aaren · value · none · direct · optim.lr=0.1",
        "none · value · none · direct",
    ]  # fmt: skip
    first = board.lines[0]
    assert [each.seed for each in first.cards] == [1, 2, 3]
    assert first.score("mse") == pytest.approx(0.3)
    assert statistics.stdev(first.values["mse"]) == pytest.approx(0.1)
    assert (first.gain, board.lines[-1].gain) == (pytest.approx(0.3), None)
    assert [line.chosen for line in board.lines] == [True, False, True]
    assert [line.best for line in board.lines] == [True, False, False]
    assert shortened(board)[first.name] == "aaren · optim.lr=null"
    assert board.runs == 5


def test_of_a_repeated_seed_the_newest_counts(base) -> None:
    old, new = (a_card(base["series"], "aaren", 1, mse, started=at)
                for mse, at in ((0.2, "2026-01-01"), (0.9, "2026-01-02")))  # fmt: skip
    (board,) = boards([new, old])
    assert (board.repeated, board.lines[0].score("mse")) == (1, 0.9)


def test_the_control_is_that_of_the_same_parts(base) -> None:
    runs = [a_card(base["series"], "none", 1, 0.1), a_card(base["series"], "none", 1, 0.4),
            a_card(base["series"], "aaren", 1, 0.3)]  # fmt: skip
    parts = ("none", "patch", "none", "direct")
    runs[0] = runs[0]._replace(parts=parts, group="other")
    (board,) = boards(runs)
    assert next(line for line in board.lines if line.parts[0] == "aaren").gain == pytest.approx(0.1)


def test_naive_rows_stand_in_every_table(base) -> None:
    (board,) = boards([a_card(base["series"], "aaren", 1, 0.3), a_card(base["series"], "aaren", 2, 0.3)])
    assert {row.name for row in board.others} == {"seasonal naive", "last value", "ridge"}
    assert all(len(row.values["mse"]) == 1 and row.control for row in board.others)  # the same for both seeds
    assert board.yardstick is not None and board.yardstick.name == "seasonal naive"


@pytest.mark.parametrize("kind", ["events", "classes"])
def test_of_events_and_classes_more_is_better(base, kind) -> None:
    known = card(base[kind])
    key = "nats_total" if kind == "events" else "accuracy"

    def scored(value: float, model: str) -> Card:
        rows = tuple(row._replace(original={**row.original, key: value}) if row.kind == "model" else row
                     for row in known.rows)  # fmt: skip
        return known._replace(rows=rows, parts=(model, "v", "n", "h"), group=model, id=model)

    (board,) = boards([scored(0.5, "aaren"), scored(0.25, "none")])
    best = board.best
    assert best is not None and best.parts[0] == "aaren" and best.gain == pytest.approx(0.25)
    assert board.others and board.measures[0].key == key
    assert board.yardstick is not None
    assert standing(board) is not None


def test_tables_of_one_title_are_told_apart(base) -> None:
    one = a_card(base["series"], "aaren", 1, 0.3)
    found = boards([one, one._replace(id="b", setting="another")])
    assert len(found) == 2 and all(board.twin for board in found)
    assert len({board.title for board in found}) == 2


def test_what_has_no_scores_stands_in_no_table(base) -> None:
    one = a_card(base["series"], "aaren", 1, 0.3)
    lost = [one._replace(damage="torn"), one._replace(finished=False), one._replace(path=None), one._replace(rows=()),
            one._replace(setting="")]  # fmt: skip
    assert not any(comparable(each) for each in lost) and boards(lost) == []


def test_the_chart_shows_spread_and_who_is_beside(base) -> None:
    runs = [a_card(base["series"], "aaren", seed, mse) for seed, mse in ((1, 0.2), (2, 0.4))]
    (board,) = boards([*runs, a_card(base["series"], "none", 1, 0.6)])
    chart = standing(board)
    assert chart is not None
    (panel,) = chart.panels
    spread = next(mark for mark in panel.marks if isinstance(mark, Line))
    assert list(spread.x[:2]) == pytest.approx([0.3 - math.sqrt(0.02), 0.3 + math.sqrt(0.02)])
    drawn = sum(len(mark.x) for mark in panel.marks if isinstance(mark, Points))
    assert drawn == len(board.lines) + len(board.others)
    assert "Best: ridge" in chart.alt
    draw(chart, 7.0)


def test_many_lines_are_drawn_in_part_the_control_always(base) -> None:
    runs = [a_card(base["series"], "aaren", 1, 0.2 + k / 1000, rest={"model.d_model": k}) for k in range(60)]
    (board,) = boards([*runs, a_card(base["series"], "none", 1, 0.9)])
    chart = standing(board)
    assert chart is not None and "40 more lines" in chart.caption
    assert any(word == "none" for _, word in chart.panels[0].y.ticks)
    draw(chart, 7.0)


def test_tables_against_their_simplest_forecast(base) -> None:
    one = a_card(base["series"], "aaren", 1, 0.3)
    other = one._replace(setting="b", dataset="b")
    chart = against(boards([one, other]))
    assert chart is not None and against(boards([one])) is None
    rod = boards([one])[0].yardstick
    assert rod is not None
    points = next(mark for mark in chart.panels[0].marks if isinstance(mark, Points))
    assert list(points.x) == pytest.approx([0.3 / rod.score("mse")] * 2)
    draw(chart, 7.0)
