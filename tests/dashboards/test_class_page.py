"""What the page of classes shows, without a browser."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from dash._utils import to_json

from forecast.dashboards import load
from forecast.dashboards.app.class_samples import Rows
from forecast.dashboards.app.page import View
from forecast.dashboards.app.pages.classification import PAGE
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.classes.samples import TOP, chances, samples
from forecast.errors import ArtifactError
from tests.dashboards.classes import make_class_run, names_of
from tests.dashboards.conftest import make_run, write
from tests.dashboards.test_report import change

ID = "20141125T101500Z-0a1b2c3f"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("runs")
    make_class_run(home / "train" / ID, classes=30, series=240)
    make_run(home / "train" / "series", {"load": "kWh"}, windows=4)
    for id in (ID, "series"):
        write(home / "train" / id, "MANIFEST.json", {})
    return home


@pytest.fixture
def own(home: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    shutil.copytree(home, tmp_path / "own")
    return tmp_path / "own"


def page(home: Path, **query: str) -> str:
    return str(to_json(PAGE.render(View(Sources(home), {key: (value,) for key, value in query.items()}, "light"))))


def test_it_shows_what_there_is(home: Path) -> None:
    text = page(home) + page(home, part="each") + page(home, part="mistakes")
    for words in ("Which classes are confused", "Class by class", "Confused most often", "How early it knows",
                  "Mistakes", "How likely each class was"):  # fmt: skip
        assert words in text
    assert "% of the class" not in page(home, shown="nonsense").split("taken for")[1][:20]
    assert "taken for (% of the guesses)" in page(home, shown="column")


def test_another_kind_of_run_and_none_at_all(home: Path, tmp_path: Path) -> None:
    assert "is about series, not classes" in page(home, run="series")
    assert "smoke_classes" in page(tmp_path)
    assert "nothing" in page(home, run="nothing")


def test_what_is_missing_or_damaged_takes_nothing_else_with_it(own: Path) -> None:
    folder = own / "train" / ID
    (folder / "examples.parquet").unlink()
    assert "examples.parquet is missing" in page(own, part="mistakes")
    (folder / "predictions.parquet").write_bytes(b"PAR1")
    assert "predictions.parquet cannot be read" in page(own, part="mistakes")
    assert "Which classes are confused" in page(own)
    (folder / "predictions.parquet").unlink()
    assert "predictions.parquet is missing" in page(own, part="mistakes")
    change(folder, "metrics.json", confusion=None, per_class=None, rows=None, reliability=None, early=None)
    text = page(own)
    assert "no table of confusion" in text and "no scores" in text
    assert "no scores by class" in page(own, part="each")


def test_samples_are_chosen_by_class_guess_and_name(home: Path) -> None:
    run = load.read(home / "train" / ID)
    frame = pl.read_parquet(run.path / "predictions.parquet")
    every, wrong = samples(run, wrong=False), samples(run)
    assert every.height == frame.height
    assert wrong.height == int((frame["label"] != frame["guess"]).sum()) > 12
    assert wrong["p"].to_list() == sorted(wrong["p"].to_list(), reverse=True)
    first = wrong.row(0, named=True)
    some = samples(run, first["label"], first["guess"])
    assert set(some["label"]) == {first["label"]} and set(some["guess"]) == {first["guess"]}
    assert samples(run, find=first["unique_id"].upper()).height >= 1
    assert samples(run, find="[(").height == 0
    text = page(home, part="mistakes", label=first["label"])
    assert first["unique_id"] in text


def test_the_probabilities_of_a_series(home: Path, own: Path) -> None:
    run = load.read(home / "train" / ID)
    frame = pl.read_parquet(run.path / "predictions.parquet").cast({"label": pl.String})
    row = frame.sort("p_label").row(0, named=True)  # its class is far from the likeliest ones
    chart = chances(run, row["unique_id"])
    assert chart is not None and len(chart.panels[0].marks[0].x) == TOP
    assert chart.panels[0].marks[0].x[0] == pytest.approx(max(row[f"p_{name}"] for name in names_of(30)))
    assert chart.panels[0].marks[1].x == [pytest.approx(row["p_label"])]
    assert chances(run, "nobody") is None
    assert "There is no test series nobody" in page(home, part="mistakes", id="nobody")
    path = own / "train" / ID
    frame.drop("p").write_parquet(path / "predictions.parquet")
    with pytest.raises(ArtifactError, match="has no column p;"):
        samples(load.read(path))


def test_rows_are_made_when_they_are_looked_at() -> None:
    asked: list[tuple[int, int]] = []

    def make(first: int, stop: int) -> list[list[str]]:
        asked.append((first, stop))
        return [[str(k)] for k in range(first, stop)]

    rows = Rows(1_000_000, make)
    assert len(rows) == 1_000_000 and rows[999_990:1_000_050][-1] == ["999999"] and rows[7] == ["7"]
    assert asked == [(999_990, 1_000_000), (7, 8)]


def test_numbers_of_many_classes_sort(home: Path) -> None:
    for key in ("class", "-recall", "train", "wrong", "nonsense"):
        assert "Most often taken for" in page(home, part="each", sort=key)
    assert np.isfinite(len(page(home, part="each", page="99")))
