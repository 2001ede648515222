"""What the page of events is made of: the list of sequences, densities, the page itself over good and bad runs."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import kstest

from forecast.dashboards import load
from forecast.dashboards.app import event_held
from forecast.dashboards.app.event_held import Readers
from forecast.dashboards.app.page import View
from forecast.dashboards.app.pages import events
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.events.ahead import ahead_chart, ahead_rows
from forecast.dashboards.events.figures import chance, distance, ratio
from forecast.dashboards.events.marks import brief
from forecast.dashboards.events.next import density, kept, likely, stretch, way
from forecast.dashboards.events.sequences import chosen, events_of, listed, overview, ranked
from forecast.dashboards.events.summary import distribution, scan, summarise_events
from tests.dashboards.conftest import make_run, write
from tests.dashboards.events import make_event_run

Copy = Callable[[str], Path]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("runs")
    for name, words in {"shop": {}, "rides": {"shop": False, "sequences": 40},
                        "one": {"one": True, "sequences": 30, "horizon": False}}.items():  # fmt: skip
        write(make_event_run(home / "train" / name, **words), "MANIFEST.json", {})
    write(make_run(home / "train" / "series", {"load": "kWh"}, windows=40), "MANIFEST.json", {})
    return home


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Copy:
    def one(name: str) -> Path:
        return Path(shutil.copytree(made / "train" / name, tmp_path / "runs" / "train" / name))

    return one


def words(node: Any) -> Iterator[str]:
    """All texts of a page."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, list | tuple):
        for each in node:
            yield from words(each)
    elif node is not None and not isinstance(node, int | float):
        if built := getattr(node, "data-light", ""):
            yield built
        yield from words(getattr(node, "children", None))


def page(home: Path, **query: Any) -> str:
    """The text of the page, once predictions are read."""
    view = View(Sources(home), {key: value if isinstance(value, tuple) else (value,) for key, value in query.items()},
                "light")  # fmt: skip
    for _ in range(60):
        text = " ".join(words(events.render(view)))
        if "for the first time" not in text:
            return text
        time.sleep(0.1)
    raise AssertionError("the predictions were never read")


def graphs(node: Any) -> list[Any]:
    """The ids of the figures on a page."""
    if isinstance(node, list | tuple):
        return [found for each in node for found in graphs(each)]
    own = [str(node.id)] if str(getattr(node, "id", "")).startswith("figure-") else []
    return own + (graphs(node.children) if getattr(node, "children", None) is not None else [])


# The list of sequences --------------------------------------------------------------------------------------


def test_sequences_are_ranked_by_what_an_event_of_them_is_worth(made: Path) -> None:
    frame = pl.read_parquet(made / "train" / "shop" / "predictions.parquet")
    found = listed(scan(made / "train" / "shop" / "predictions.parquet"))
    assert found["n"].sum() == frame.height and found["whole"].all()
    one = frame.filter(pl.col("unique_id") == found["unique_id"][3])
    assert found["nats"][3] == pytest.approx(float((one["nats_time"] + one["nats_mark"]).mean()), abs=1e-5)
    worst, best = ranked(found, "worst"), ranked(found, "best")
    assert worst["nats"].is_sorted() and best["unique_id"].to_list() == worst["unique_id"].to_list()[::-1]
    assert worst["n"].min() >= 5 and ranked(found, "longest")["n"][0] == found["n"].max()
    assert ranked(found, "name")["unique_id"].is_sorted()
    first, again = ranked(found, "random", seed=1), ranked(found, "random", seed=2)
    assert set(first["unique_id"]) == set(again["unique_id"]) and first["unique_id"][0] != again["unique_id"][0]
    assert ranked(found, "worst", "345").height == sum("345" in name for name in found["unique_id"])
    picked = chosen(found, 4)
    assert picked[:4] == worst["unique_id"].head(4).to_list() and len(picked) == len(set(picked)) <= 12


def test_a_sequence_too_short_to_say_is_neither_worst_nor_best_but_is_found() -> None:
    n = [2] * 30 + [9] * 30
    found = pl.DataFrame({"unique_id": [f"s{k}" for k in range(60)], "n": n, "nats": np.linspace(-9, 0, 60)})
    assert ranked(found, "worst")["unique_id"][0] == "s30"
    assert ranked(found, "worst", "S3").height == 11 and ranked(found.head(32), "worst").height == 32


def test_rows_of_a_sequence_wherever_they_lie(copy: Copy) -> None:
    path = copy("shop")
    frame = pl.read_parquet(path / "predictions.parquet")
    for shuffled in (False, True):
        if shuffled:
            frame.sample(fraction=1, shuffle=True, seed=1).sort("event").write_parquet(path / "predictions.parquet")
        run = load.read(path)
        row = listed(scan(path / "predictions.parquet")).sort("n").row(-1, named=True)
        assert row["whole"] is not shuffled
        own = frame.filter(pl.col("unique_id") == row["unique_id"])
        assert events_of(run, row)["event"].to_list() == own["event"].to_list()
        assert events_of(run, row, 2, 3)["event"].to_list() == own["event"].to_list()[2:5]


def test_a_long_sequence_keeps_its_extremes_in_few_parts() -> None:
    rng = np.random.default_rng(0)
    nats = rng.normal(-2, 1, 10_001)
    frame = pl.DataFrame({"nats_time": nats, "nats_mark": np.zeros(len(nats)), "mark": "a", "guess": "a"})
    found = overview(frame)
    assert found.height <= 300 and found["first"][0] == 0 and found["last"][-1] == 10_000
    assert found["lowest"].min() == nats.min() and found["highest"].max() == nats.max()


# Figures ----------------------------------------------------------------------------------------------------


def test_names_stay_apart_when_they_are_cut() -> None:
    long = [f"a mark with quite a long name that is number {k:03d} of three hundred" for k in range(300)]
    assert brief(["buy", "look"]) == ["buy", "look"]
    assert brief(long)[7] == "…007…"
    same = brief(["x" * 40, "x" * 60, "y"])
    assert len(set(same)) == 3 and max(map(len, same)) <= 16


@pytest.mark.parametrize("n", [30, 400, 20_000])
def test_the_probability_of_so_large_a_distance_is_that_of_kolmogorov(n: int) -> None:
    parts = np.random.default_rng(n).beta(1.05, 1, n)
    exact = kstest(parts, "uniform")
    assert chance(float(exact.statistic), n) == pytest.approx(exact.pvalue, abs=0.01)
    assert distance(distribution(parts, parts)) == pytest.approx(exact.statistic, abs=1 / 200)


def test_a_density_has_its_truth_its_median_and_its_interval(made: Path) -> None:
    run = load.read(made / "train" / "shop")
    found = kept(run)
    assert found is not None and len(found) > 6
    name, ahead = next(iter(found.items()))
    own = scan(run.path / "predictions.parquet").filter(pl.col("unique_id") == name).collect()
    assert sorted(ahead) == own["event"].to_list()
    row = own.row(3, named=True)
    chart = density(row, ahead[row["event"]], way(own, ahead), "day")
    panel = chart.panels[0]
    points = {mark.name: mark for mark in panel.marks if getattr(mark, "name", "")}
    assert points["what came"].x == [row["gap"]] and points["median"].x == [row["median"]]  # type: ignore[union-attr]
    assert panel.marks[0][:2] == (row["q05"], row["q95"]) and panel.x.scale == "log" and "(days)" in panel.x.label
    marks = likely(row, ahead[row["event"]])
    assert marks is not None and len(marks.panels[0].y.ticks) == 4
    lost = likely({**row, "mark": "never seen"}, ahead[row["event"]])
    assert lost is not None and "never seen, which came, is none of the 4 likeliest" in lost.caption
    both = likely({**row, "mark": "large;small"}, ahead[row["event"]], ";")
    assert both is not None and len(both.panels[0].marks[1].x) == 2  # type: ignore[union-attr]
    gaps = stretch(own, "day", row["event"])
    assert gaps is not None and "of these gaps lie inside" in gaps.caption


def test_a_factor_two_and_the_window_ahead(made: Path) -> None:
    run = load.read(made / "train" / "shop")
    summary, frame = summarise_events(run), pl.read_parquet(made / "train" / "shop" / "predictions.parquet")
    assert summary is not None and summary.gaps is not None
    times = frame["gap"] / frame["median"]
    assert summary.gaps.twice == pytest.approx(float(((times >= 0.5) & (times <= 2)).mean()), abs=1e-9)
    assert summary.gaps.ratio.sum() == frame.height and ratio(run, summary) is not None
    chart = ahead_chart(run)
    assert chart is not None and [len(panel.y.ticks) for panel in chart.panels] == [3, 4]
    assert {row.kind for row in ahead_rows(run)} == {"model", "floor"}
    assert ahead_chart(load.read(made / "train" / "one")) is None


# The page ---------------------------------------------------------------------------------------------------


def test_without_a_run_it_says_what_to_run(tmp_path: Path) -> None:
    assert "forecast train experiment=smoke_events" in page(tmp_path)


@pytest.mark.parametrize("show", ["", "when", "marks", "ahead", "nonsense"])
@pytest.mark.parametrize("name", ["shop", "rides", "one"])
def test_every_part_is_drawn_and_the_floors_are_always_there(made: Path, name: str, show: str) -> None:
    text = page(made, run=name, show=show)
    assert "constant gap" in text and "mixture" in text and "against the best floor" in text
    told = {"when": "p of a true model", "marks": "one mark" if name == "one" else "All marks",
            "ahead": "task.origins=128" if name == "one" else "T-mAP"}  # fmt: skip
    assert told.get(show, "One event of sequence") in text


def test_what_is_asked_for_is_what_is_seen(made: Path) -> None:
    run = load.read(made / "train" / "shop")
    ahead = kept(run)
    assert ahead is not None
    name, held = next(iter(ahead.items()))
    events_ = sorted(held)
    view = View(Sources(made), {"run": ("shop",), "sequence": (name,), "event": (str(events_[1]),)}, "dark")
    page(made, run="shop")
    found = graphs(events.render(view))
    assert found[:3] == ["figure-timeline-1", "figure-density", "figure-likely"]
    text = page(made, run="shop", sequence=name, event=str(events_[1]))
    assert f"Event of sequence {name} number {events_[1]}" in text and f"2 of {len(events_)}" in text
    assert page(made, run="shop", sequence=name, event="99999999").count(f"{len(events_)} of {len(events_)}") == 1
    assert "no sequence of this name" in page(made, run="shop", sequence="nobody")
    assert "No name of a sequence holds" in page(made, run="shop", find="nobody")
    assert "Draw others" in page(made, run="shop", order="random", draw="3")


def test_a_run_of_another_kind_an_unknown_one_and_an_old_one(made: Path, copy: Copy) -> None:
    assert "forecasts series, not events" in page(made, run="series")
    assert "no run" in page(made, run="nothing")
    path = copy("shop")
    (path / "timeline_next.parquet").unlink()
    home = path.parent.parent
    text = page(home)
    assert "of schema 1, kept no densities" in text and "forecast evaluate run=shop insight=true" in text
    assert "Gap that came" in text
    (path / "timeline.parquet").unlink()
    assert "No hazard of" in page(home)
    (path / "predictions.parquet").unlink()
    assert "predictions.parquet is missing" in page(home)


@pytest.mark.parametrize("name", ["predictions.parquet", "timeline.parquet", "timeline_next.parquet"])
def test_a_damaged_file_is_named(copy: Copy, name: str) -> None:
    path = copy("shop")
    (path / name).write_bytes(b"PAR1")
    assert f"{name} cannot be read" in page(path.parent.parent)


def test_a_run_that_has_only_begun(copy: Copy) -> None:
    path = copy("shop")
    for file in path.iterdir():
        if file.name not in ("config.json", "env.json"):
            file.unlink()
    (path / "config.json").write_text(json.dumps({"task": {"name": "event"}, "model": {"_target_": "x.Aaren"}}))
    assert "no scores yet" in page(path.parent.parent)


def test_hundreds_of_marks_of_any_name_and_a_sequence_of_many_events(copy: Copy) -> None:
    path, rng = copy("shop"), np.random.default_rng(2)
    frame = pl.read_parquet(path / "predictions.parquet")
    names = [f"<b>a mark</b> with a long name, number {k} of many" for k in range(400)]
    many = frame[rng.integers(0, frame.height, 100_000)].with_columns(
        pl.lit("the long one").alias("unique_id"), pl.int_range(100_000).alias("event"),
        pl.Series("mark", rng.choice(names, 100_000)), pl.Series("guess", rng.choice(names, 100_000)),
    ).with_columns(pl.col("ds").sort())  # fmt: skip
    pl.concat([many, frame.cast({"event": many.schema["event"]})]).write_parquet(path / "predictions.parquet")
    home = path.parent.parent
    text = page(home, order="longest")
    assert "99,941 to 100,000 of 100,000" in text and "The whole sequence" in text
    assert "61 to 120 of 100,000" not in text
    assert "41 to 100 of 100,000" in page(home, order="longest", part="2")
    marks = page(home, show="marks")
    assert "All marks" in marks and "1 to 50 of 404" in marks


def test_large_predictions_are_read_in_the_background(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers, run = Readers(), load.read(made / "train" / "shop")
    slow = event_held.listed
    monkeypatch.setattr(event_held, "listed", lambda lazy: (time.sleep(0.3), slow(lazy))[1])
    assert isinstance(readers.get(run, 0.01), float)
    assert isinstance(readers.get(run, 20), event_held.Held)
    monkeypatch.setattr(events, "held", lambda run: 0.25)
    text = " ".join(words(events.render(View(Sources(made), {"run": ("shop",)}, "light"))))
    assert "25 % is done" in text and "against the best floor" in text
