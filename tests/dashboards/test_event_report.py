"""The report of an event run is whole, harmless and honest, whatever the run left behind."""

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
from forecast.dashboards.events.report import render
from forecast.dashboards.events.scores import advantage, columns, event_rows, headline, rival, score_table, tiles
from forecast.dashboards.events.summary import distribution, summarise_events
from forecast.dashboards.events.timeline import sequences
from forecast.dashboards.figures import figures
from forecast.dashboards.report import write_report
from forecast.errors import ArtifactError
from tests.dashboards.events import make_event_run
from tests.dashboards.test_report import FETCHING, Page, change

Copy = Callable[[str], Path]
ALL = {"loss", "pit", "rescaling", "gaps", "ratio", "confusion", "accuracies", "position"}
ALL |= {"timeline-1", "timeline-2", "timeline-3"}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("events")
    return {
        "shop": make_event_run(root / "shop"),
        "rides": make_event_run(root / "rides", shop=False, sequences=60),
        "one": make_event_run(root / "one", one=True, sequences=30, horizon=False),
    }


@pytest.fixture(scope="session")
def reports(made: dict[str, Path]) -> dict[str, str]:
    """The untouched reports."""
    return {name: write_report(path).read_text(encoding="utf-8") for name, path in made.items()}


@pytest.fixture
def copy(made: dict[str, Path], tmp_path: Path) -> Copy:
    return lambda name: Path(shutil.copytree(made[name], tmp_path / name))


def model_row(path: Path, **values: object) -> None:
    """Change the scores of the model."""
    metrics = json.loads((path / "metrics.json").read_text())
    metrics["rows"][0].update(values)
    (path / "metrics.json").write_text(json.dumps(metrics))


@pytest.mark.parametrize("name", ["shop", "rides", "one"])
def test_report_is_one_file_that_asks_for_nothing(reports: dict[str, str], name: str) -> None:
    html, parsed = reports[name], Page(reports[name])
    assert parsed.open == []
    assert len(html.encode()) < 1_000_000
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {tag for tag, _ in parsed.tags}
    for _, attrs in parsed.tags:
        assert all(attrs[key].startswith("#") for key in FETCHING & set(attrs))
        assert not [key for key in attrs if key.startswith("on")]
    assert set(re.findall(r"url\(([^)]{0,2})", html)) <= {"#p"}
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"][1:] for _, attrs in parsed.tags if "href" in attrs} <= set(ids)
    assert "nan" not in re.sub(r"<style.*?</style>", "", html, flags=re.S).lower().split()
    drawn = re.findall(r'<svg class="wide".*?</svg>', html, flags=re.S)
    colours = {*re.findall(r"#[0-9a-f]{6}\b", " ".join(drawn))}
    assert not colours, "every colour of a figure follows the reader's scheme"


def test_the_same_run_gives_the_same_report(made: dict[str, Path], reports: dict[str, str]) -> None:
    assert render(load.read(made["shop"])) == reports["shop"]


def test_the_figures_there_are(made: dict[str, Path], copy: Copy) -> None:
    assert set(figures(made["shop"])) == set(figures(made["rides"])) == ALL
    assert set(figures(made["one"])) == ALL - {"confusion", "accuracies"}
    assert style.png(figures(made["one"])["timeline-1"]).startswith(b"\x89PNG")
    bare = copy("shop")
    for name in ("predictions.parquet", "history.csv", "timeline.parquet"):
        (bare / name).unlink()
    assert set(figures(bare)) == {"pit"}  # the shares are among the scores


@pytest.mark.parametrize("missing", ["predictions.parquet", "timeline.parquet", "timeline_events.parquet",
                                     "history.csv", "data.json", "env.json", "config.json"])  # fmt: skip
def test_what_is_missing_is_said(copy: Copy, missing: str) -> None:
    path = copy("shop")
    (path / missing).unlink()
    html = write_report(path).read_text(encoding="utf-8")
    assert Page(html).open == []
    assert missing in html or missing == "timeline_events.parquet"


def test_a_run_without_anything_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"task": "event"}')
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert "This run has no scores." in html
    assert Page(html).open == []


def test_an_empty_test_part(copy: Copy) -> None:
    path = copy("shop")
    for name in ("predictions.parquet", "timeline.parquet", "timeline_events.parquet"):
        pl.read_parquet(path / name).clear().write_parquet(path / name)
    assert "No events to show" in write_report(path).read_text(encoding="utf-8")


def test_names_from_the_data_are_harmless(copy: Copy) -> None:
    path, evil = copy("shop"), '<script>alert("$x$")</script>'
    for name, columns_ in (("predictions.parquet", ("mark", "guess")), ("timeline_events.parquet", ("mark",))):
        frame = pl.read_parquet(path / name)
        frame.with_columns(pl.col(columns_).replace("large", evil)).write_parquet(path / name)
    change(path, "metrics.json", marks=[evil, "cancel"], dataset=evil)
    html = write_report(path).read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script" in html


@pytest.mark.parametrize(("name", "column"), [("predictions.parquet", "pit_low"), ("timeline.parquet", "hazard")])
def test_damaged_tables_are_named(copy: Copy, name: str, column: str) -> None:
    path = copy("shop")
    (path / "report.html").unlink(missing_ok=True)
    pl.read_parquet(path / name).drop(column).write_parquet(path / name)
    with pytest.raises(ArtifactError, match=f"{name} has no column {column}; expected"):
        write_report(path)
    (path / name).write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=f"{name} cannot be read"):
        write_report(path)
    assert not (path / "report.html").exists()


def test_the_headline_says_what_is_better_and_what_is_not(copy: Copy) -> None:
    path = copy("shop")
    metrics = json.loads((path / "metrics.json").read_text())
    floor = next(row for row in metrics["rows"] if row["name"] == "mixture and Markov marks")["nats"]["total"]
    model_row(
        path, nats={"time": -1.0, "mark": -0.5, "total": floor + 0.34}, rmse=1.0, mae=2.5, accuracy=0.93, macro_f1=0.9
    )
    words, verdict, tone = headline(load.read(path))
    assert words == (
        "Of the next events, 93.0\u00a0% of the marks are guessed right; the median forecast of the gap is off by "
        "2.50 days on average; +0.340 nats per event over the best floor (mixture and Markov marks)."
    )
    assert verdict.startswith("aaren beats every floor in every column. On average it gives what came 1.40 times")
    assert tone == "good"
    model_row(path, macro_f1=0.01)
    _, verdict, tone = headline(load.read(path))
    assert verdict.startswith("aaren leads by nats; by macro-F1 repeat-last mark is better. ")
    assert tone == ""
    model_row(path, nats={"time": -1.0, "mark": -0.5, "total": floor - 1})
    words, verdict, tone = headline(load.read(path))
    assert "−1.000 nats per event against the best floor" in words
    assert "aaren does not beat every floor; by the nats of total mixture and Markov marks is better" in verdict
    assert "0.368 times" in verdict
    assert tone == "bad"


def test_the_best_of_a_column_is_bold_and_the_model_is_judged_by_each(copy: Copy) -> None:
    path = copy("shop")
    model_row(path, rmse=1e6, accuracy=0.999, macro_f1=0.9)
    run = load.read(path)
    html = "".join(score_table(run))
    model = html[html.index("<tr class=model>") :].split("</tr>")[0]
    assert "<strong>99.90\u00a0%</strong>" in model
    assert "<strong>1,000,000</strong>" not in model
    last = html[html.index('<tr class="gain">') :].split("</tr>")[0]
    for column in columns(run):
        gain = advantage(run, column)
        assert gain is None or (gain < 0) == (column.key == "rmse")
    assert last.count("▼") == 1
    assert last.count('class="bad"') == 1
    assert "a density per day" in html
    assert "cell of its grid" not in html


def test_one_mark_is_not_scored(made: dict[str, Path], reports: dict[str, str]) -> None:
    run = load.read(made["one"])
    assert [column.key for column in columns(run)] == ["time", "rmse", "mae", "calibration", "ks"]
    assert {row.name for row in event_rows(run)} == {"aaren", "mixture", "Poisson", "constant gap"}
    assert "of the marks" not in headline(run)[0]
    assert [name for name, _, _ in tiles(run, 0.9)] == [
        "Log-likelihood per event", "Above the best floor", "Mean error of the gap", "Inside the 90\u00a0% interval"
    ]  # fmt: skip
    assert "Which marks are confused" not in reports["one"]


def test_a_grid_is_told(reports: dict[str, str]) -> None:
    assert "a gap is a cell of its grid of 0.0167 hours" in reports["rides"]
    assert "an event is spread over its cell" in reports["rides"]
    assert "The window ahead" in reports["rides"]
    assert "The window ahead" not in reports["one"]


def test_the_summary_agrees_with_the_predictions(made: dict[str, Path]) -> None:
    run = load.read(made["shop"])
    found, frame = summarise_events(run), pl.read_parquet(made["shop"] / "predictions.parquet")
    assert found is not None
    assert (found.events, found.sequences) == (frame.height, 120)
    assert found.coverage == pytest.approx(((frame["gap"] >= frame["q05"]) & (frame["gap"] <= frame["q95"])).mean())
    assert found.confusion.sum() == frame.height
    assert np.trace(found.confusion) == (frame["mark"] == frame["guess"]).sum()
    assert found.marks["came"].sum() == found.marks["guessed"].sum() == frame.height
    assert found.gaps is not None
    assert found.gaps.cells.sum() == frame.height
    assert found.position["n"].sum() <= frame.height
    everything = (found.position["time"] * found.position["n"]).sum() / found.position["n"].sum()
    assert everything == pytest.approx(frame["nats_time"].mean(), abs=0.05)
    edges = np.linspace(0, 1, len(found.below))
    np.testing.assert_allclose(found.below, [(frame["pit_high"] <= edge).mean() for edge in edges], atol=1e-9)


def test_events_of_a_grid_are_spread_over_their_cells() -> None:
    low, high = np.array([0.0, 0.5, 0.25]), np.array([1.0, 0.5, 0.75])
    found = distribution(low, high, 4)
    np.testing.assert_allclose(found, np.array([0, 0.25, 0.5 + 1 + 0.5, 0.75 + 1 + 1, 3]) / 3)


def test_a_timeline_has_its_events_and_their_history(made: dict[str, Path]) -> None:
    run, frame = load.read(made["shop"]), pl.read_parquet(made["shop"] / "predictions.parquet")
    found = sequences(run)
    assert len(found) == 3
    for each in found:
        own = frame.filter(pl.col("unique_id") == each.id)
        assert each.events["guess"].null_count() == 4  # the context
        assert each.events.drop_nulls().height == own.height
        assert each.events["ds"].is_sorted()
        assert len(each.ds) == len(each.hazard)
    assert not found[0].numbers
    assert sequences(load.read(made["rides"]))[0].numbers


def test_the_best_epoch_is_that_of_what_is_monitored(copy: Copy) -> None:
    path = copy("shop")
    run = load.read(path)
    assert run.monitor == "val/nll"
    assert run.best_epoch == run.curve("val/nll").sort("value").row(0, named=True)
    change(path, "metrics.json", best={"val/time": 1.0})
    assert load.read(path).monitor == "val/time"
    change(path, "metrics.json", best={}, task="forecast", horizon=24)
    assert load.read(path).monitor == "val/mse"


def test_what_survival_and_an_oracle_mean_is_told(copy: Copy) -> None:
    path = copy("shop")
    metrics = json.loads((path / "metrics.json").read_text())
    oracle = {**metrics["rows"][0], "name": "oracle", "kind": "oracle", "nats": {"time": -1, "mark": -1, "total": -2}}
    metrics["rows"].append(oracle)
    metrics["rows"][0]["survival"] = -1.25
    (path / "metrics.json").write_text(json.dumps(metrics))
    run = load.read(path)
    assert event_rows(run)[-1].name == "oracle"
    assert all((row := rival(run, column)) is None or row.kind == "floor" for column in columns(run))
    html = "".join(score_table(run))
    assert html.index('<tr class="gain">') < html.index("<tr class=oracle>")
    assert "<strong>" not in html[html.index("<tr class=oracle>") :].split("</tr>")[0]
    assert "Oracle: the process that the events were simulated from" in html
    assert "−1.250 nats, apart" in html
    assert "still open at the end of the watch" in write_report(path).read_text(encoding="utf-8")


def test_history_that_is_not_scored_stands_among_what_is(copy: Copy) -> None:
    path = copy("shop")
    events = pl.read_parquet(path / "timeline_events.parquet")
    first = events["unique_id"][0]
    own = events.filter(pl.col("unique_id") == first)["ds"]
    line = pl.DataFrame({"unique_id": [first] * 2, "ds": [own[0], own[-1]], "hazard": [0.1, 0.2]})
    line.write_parquet(path / "timeline.parquet")  # from the first event on, as a run writes it
    (found,) = sequences(load.read(path))
    assert found.events.height == len(own)
    assert found.events["guess"].null_count() == 4
    line.with_columns(pl.Series("ds", [own[10], own[-1]])).write_parquet(path / "timeline.parquet")
    (found,) = sequences(load.read(path))
    assert found.events["ds"][0] == own[3]  # eight events before it at most
