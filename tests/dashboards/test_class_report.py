"""The report of a classification run is whole, harmless and honest, whatever the run left behind."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecast.dashboards import load
from forecast.dashboards.charts import style
from forecast.dashboards.charts.chart import Cells
from forecast.dashboards.charts.sheet import HALF, NARROW, WIDE, draw
from forecast.dashboards.classes.confusion import OTHERS, WHOLE, WORST, confusion, worst
from forecast.dashboards.classes.report import render
from forecast.dashboards.classes.scores import (
    class_rows,
    class_table,
    confused,
    headline,
    pair_table,
    pairs,
    score_table,
    tiles,
    wilson,
)
from forecast.dashboards.classes.wrong import _thinned, examples
from forecast.dashboards.figures import figures
from forecast.dashboards.report import write_report
from forecast.errors import ArtifactError
from tests.dashboards.classes import make_class_run, names_of
from tests.dashboards.test_report import FETCHING, Page, change

Copy = Callable[[str], Path]
ALL = {"confusion", "recalls", "reliability", "early", "wrong", "loss"}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("classes")
    return {
        "gestures": make_class_run(root / "gestures"),
        "two": make_class_run(root / "two", classes=2, channels=1, series=80),
        "letters": make_class_run(root / "letters", classes=26, channels=7, series=400),
        "many": make_class_run(root / "many", classes=60, channels=1, series=900),
        "right": make_class_run(root / "right", classes=4, right=True, series=60),
    }


@pytest.fixture(scope="session")
def reports(made: dict[str, Path]) -> dict[str, str]:
    """The untouched reports."""
    return {name: write_report(path).read_text(encoding="utf-8") for name, path in made.items()}


@pytest.fixture
def copy(made: dict[str, Path], tmp_path: Path) -> Copy:
    return lambda name: Path(shutil.copytree(made[name], tmp_path / name))


def scored(path: Path, *accuracies: float) -> load.Run:
    """The run with other accuracies of the model, the rival and the floor."""
    metrics = json.loads((path / "metrics.json").read_text())
    for row, value in zip(metrics["rows"], accuracies, strict=True):
        row["accuracy"] = value
    (path / "metrics.json").write_text(json.dumps(metrics))
    return load.read(path)


@pytest.mark.parametrize("name", ["gestures", "two", "letters", "many", "right"])
def test_report_is_one_file_that_asks_for_nothing(reports: dict[str, str], name: str) -> None:
    html, parsed = reports[name], Page(reports[name])
    assert parsed.open == []
    assert len(html.encode()) < 1_000_000
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in parsed.tags}
    for _, attrs in parsed.tags:
        assert all(attrs[key].startswith("#") for key in FETCHING & set(attrs))
        assert not [key for key in attrs if key.startswith("on")]
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for _, attrs in parsed.tags if "href" in attrs} <= set(ids)
    assert "nan" not in re.sub(r"<style.*?</style>", "", html, flags=re.S).lower().split()
    drawn = re.findall(r'<svg class="wide".*?</svg>', html, flags=re.S)
    colours = {*re.findall(r"#[0-9a-f]{6}\b", " ".join(drawn))}
    assert not colours, "every colour of a figure follows the reader's scheme"


def test_the_same_run_gives_the_same_report(made: dict[str, Path], reports: dict[str, str]) -> None:
    assert render(load.read(made["two"])) == reports["two"]


def test_the_figures_there_are(made: dict[str, Path], copy: Copy) -> None:
    assert set(figures(made["gestures"])) == set(figures(made["two"])) == ALL
    assert set(figures(made["letters"])) == ALL - {"recalls"}  # a table has them
    assert set(figures(made["right"])) == ALL - {"wrong"}
    assert style.png(figures(made["many"])["confusion"]).startswith(b"\x89PNG")
    bare = copy("gestures")
    for name in ("examples.parquet", "history.csv"):
        (bare / name).unlink()
    change(bare, "metrics.json", reliability=[], early=None)
    assert set(figures(bare)) == {"confusion", "recalls"}


@pytest.mark.parametrize("missing", ["examples.parquet", "history.csv", "data.json", "env.json", "config.json"])
def test_what_is_missing_is_said(copy: Copy, missing: str) -> None:
    path = copy("two")
    (path / missing).unlink()
    html = write_report(path).read_text(encoding="utf-8")
    assert Page(html).open == []
    assert missing in html


def test_a_run_without_anything_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"task": "classify"}')
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "This run has no scores." in html
    assert "metrics.json has no table of confusion" in html
    assert Page(html).open == []


def test_what_is_told_rightly_is_not_called_missing(reports: dict[str, str]) -> None:
    assert "No test series was taken for another class." in reports["right"]
    assert "100.0\u00a0% of 60 test series of 4 classes are told rightly" in reports["right"]


def test_names_from_the_data_are_harmless(copy: Copy) -> None:
    path, evil = copy("two"), '<script>alert("$x$")</script>'
    frame = pl.read_parquet(path / "examples.parquet")
    frame.with_columns(pl.lit(evil).alias("label"), pl.lit(evil).alias("channel")).write_parquet(
        path / "examples.parquet"
    )
    metrics = json.loads((path / "metrics.json").read_text())
    per_class = [{**row, "name": evil} for row in metrics["per_class"]]
    change(path, "metrics.json", classes=[evil, "b"], dataset=evil, per_class=per_class)
    html = write_report(path).read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script" in html


def test_damaged_tables_are_named(copy: Copy) -> None:
    path = copy("gestures")
    (path / "report.html").unlink(missing_ok=True)
    pl.read_parquet(path / "examples.parquet").drop("value").write_parquet(path / "examples.parquet")
    with pytest.raises(ArtifactError, match="examples.parquet has no column value; expected"):
        write_report(path)
    (path / "examples.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="examples.parquet cannot be read"):
        write_report(path)
    assert not (path / "report.html").exists()


def test_a_table_of_another_size_is_no_table_of_confusion(copy: Copy) -> None:
    for table in ([[1, 2], [3]], [[1]], None):
        path = copy("gestures")
        change(path, "metrics.json", confusion=table)
        assert confused(load.read(path)) is None
        shutil.rmtree(path)


def test_the_headline_says_what_is_better_and_what_is_not(copy: Copy) -> None:
    path = copy("gestures")
    words, verdict, tone = headline(scored(path, 0.95, 0.9, 0.2))
    assert words == (
        "95.0\u00a0% of 240 test series of 9 classes are told rightly (95\u00a0% interval 91.5 to 97.1\u00a0%)."
    )
    assert (verdict, tone) == ("aaren is better than MiniRocket + ridge by 5.0\u00a0points of accuracy.", "good")
    assert tiles(load.read(path))[1] == ("Over MiniRocket + ridge", "5.0", "points")
    _, verdict, tone = headline(scored(path, 0.8, 0.9, 0.2))
    assert verdict == (
        "aaren is behind MiniRocket + ridge by 10.0\u00a0points of accuracy, and beats most frequent class."
    )
    assert tone == ""
    assert headline(scored(path, 0.1, 0.9, 0.2))[2] == "bad"
    assert headline(scored(path, 0.9, 0.9, 0.2))[1:] == ("aaren is as good as MiniRocket + ridge.", "")


def test_the_table_has_the_model_first_and_its_best_bold(copy: Copy) -> None:
    run = scored(copy("gestures"), 0.8, 0.9, 0.2)
    run.metrics["rows"].reverse()
    assert [row.kind for row in class_rows(run)] == ["model", "rival", "floor"]
    html = score_table(run)[0]
    assert "<strong>90.0\u00a0%</strong>" in html
    assert "▼\u00a0−10.0\u00a0pp" in html
    lower = re.search(r'<tr class="gain">.*', html)
    assert lower is not None and "▲\u00a0−" in lower[0]  # less log loss is better, and is written as less


def test_confused_classes_are_listed_where_there_are_many(made: dict[str, Path]) -> None:
    run = load.read(made["many"])
    found = confused(run)
    assert found is not None
    listed = pairs(found[1])
    assert sum(n for _, _, n in listed) == found[1].sum() - np.trace(found[1])
    assert [n for *_, n in listed] == sorted((n for *_, n in listed), reverse=True)
    assert "Confused most often" in "".join(pair_table(run, 10))
    assert pair_table(load.read(made["gestures"]), 10) == []
    hardest = "".join(class_table(run))
    assert hardest.count("<table>") == 2 and "The 15 hardest of 60 classes" in hardest
    assert "".join(class_table(load.read(made["gestures"]))).count('<th scope="row">') == 9


@pytest.mark.parametrize("classes", [2, 9, 26, 60, 300])
def test_a_table_of_any_size_is_readable(classes: int, tmp_path: Path) -> None:
    make_class_run(tmp_path / "run", classes=classes, channels=1, series=4 * classes)
    chart = confusion(load.read(tmp_path / "run"))
    assert chart is not None and chart.half == (classes <= 10)
    (panel,) = chart.panels
    (cells,) = panel.marks
    assert isinstance(cells, Cells) and 1.5 < panel.height < 9.5
    assert len(set(cells.x)) == len(cells.x) == min(classes, WORST + 1 if classes > WHOLE else classes)
    assert ("the rest as one" in chart.caption) == (classes > WHOLE)
    for width in (HALF if chart.half else WIDE, NARROW):
        assert style.png(draw(chart, width)).startswith(b"\x89PNG")


def test_of_very_many_classes_the_worst_are_drawn_and_none_is_lost() -> None:
    names, rng = list(names_of(200)), np.random.default_rng(3)
    table = np.diag(rng.integers(1, 9, 200)) + (rng.random((200, 200)) < 0.002)
    table[7, 9] += 50
    kept, small = worst(names, table)
    assert (
        kept[-1] == OTHERS
        and {names[7], names[9]} <= set(kept)
        and small[kept.index(names[7]), kept.index(names[9])] >= 50
    )
    lost = table.sum() - small.sum()  # of the others, those taken for another of them
    off = table - np.diag(np.diag(table))
    rest = [k for k, name in enumerate(names) if name not in kept]
    assert lost == off[np.ix_(rest, rest)].sum() and np.trace(small) == np.trace(table)


def test_shares_of_a_column_are_those_of_the_guesses(made: dict[str, Path]) -> None:
    run = load.read(made["gestures"])
    found = confused(run)
    assert found is not None
    for share, axis in (("row", 1), ("column", 0)):
        chart = confusion(run, share, written=True)  # type: ignore[arg-type]
        assert chart is not None
        (cells,) = chart.panels[0].marks
        assert isinstance(cells, Cells)
        np.testing.assert_allclose(np.abs(cells.z).sum(axis), 1)
        assert cells.words[0][0] == f"{100 * abs(cells.z[0, 0]):.0f}"


def test_long_names_keep_both_ends() -> None:
    assert style.short("appliance no. 12", 10) == "appli…. 12"
    assert style.short("tap", 10) == "tap"


def test_intervals_of_a_share() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(1.0, 40)[1] == pytest.approx(1.0)
    assert wilson(0.0, 40)[0] == pytest.approx(0.0)


def test_series_that_were_mistaken_are_as_they_were_written(made: dict[str, Path]) -> None:
    found = examples(load.read(made["gestures"]))
    frame = pl.read_parquet(made["gestures"] / "examples.parquet")
    assert [each.id for each in found] == frame["unique_id"].unique(maintain_order=True).to_list()
    assert all(each.label != each.guess for each in found)
    step, value, ends = found[0].lines["y"]
    assert ends is None
    own = frame.filter(pl.col("unique_id") == found[0].id, pl.col("channel") == "y")
    np.testing.assert_array_equal(step, own["step"])
    np.testing.assert_array_equal(value, own["value"].cast(pl.Float64).fill_null(float("nan")))
    assert np.isnan(value[0])


def test_long_lines_are_means_with_all_their_peaks() -> None:
    value = np.sin(np.arange(5003) / 90)
    value[777], value[4001], value[100:170] = 9.0, -9.0, np.nan
    step, middle, ends = _thinned(np.arange(5003.0), value)
    assert ends is not None
    assert len(step) == len(middle) <= 160
    assert (np.nanmin(ends[0]), np.nanmax(ends[1])) == (-9.0, 9.0)
    assert (np.diff(step) > 0).all() and step[-1] <= 5002
    assert np.isnan(middle[4]) and np.isnan(ends[0][4])  # steps 128 to 159
    assert middle[1] == pytest.approx(value[32:64].mean())
    assert (ends[0][5:] <= middle[5:]).all() and (middle[5:] <= ends[1][5:]).all()
    drawn = _thinned(np.arange(300.0), value[:300])
    assert drawn.ends is None and drawn.value is not None and len(drawn.step) == 300


def test_the_task_of_a_run_is_known(made: dict[str, Path]) -> None:
    run = load.read(made["gestures"])
    assert (run.kind, run.classes, run.events, run.monitor) == ("classes", True, False, "val/nll")
    assert run.score("accuracy") == run.metrics["rows"][0]["accuracy"]
    assert np.isnan(run.score("mse"))
    assert run.best_epoch == run.curve("val/nll").sort("value").row(0, named=True)
