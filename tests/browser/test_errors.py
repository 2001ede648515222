"""The page of errors in a browser: one run, two beside each other, a choice of channel and series, and what is missing."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Page

from tests.browser.look import drawn, faults, shown, too_wide
from tests.dashboards.conftest import make_run, write

ONE, TWO, BARE = "20141123T101500Z-00000001", "20141123T111500Z-00000002", "20141123T121500Z-00000003"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of two series with two channels and intervals, and one that wrote no predictions."""
    home = tmp_path_factory.mktemp("errors")
    for id, skill, model in ((ONE, 0.8, "informer"), (TWO, 1.1, "aaren")):
        path = make_run(home / "train" / id, {"load": "kWh", "<b>heat</b>": "Wh"}, windows=120, skill=skill)
        frame = pl.read_parquet(path / "predictions.parquet").with_columns(
            (pl.col("y_hat") - 40).alias("lo"), (pl.col("y_hat") + 40).alias("hi")
        )
        other = frame.with_columns(pl.lit("<i>two</i>").alias("unique_id"), pl.col("y_hat") * 1.02)
        pl.concat([frame, other]).write_parquet(path / "predictions.parquet")
        metrics = json.loads((path / "metrics.json").read_text())
        write(path, "metrics.json", metrics | {"model": model})
        write(path, "MANIFEST.json", {})
    shutil.copytree(home / "train" / ONE, home / "train" / BARE)
    (home / "train" / BARE / "predictions.parquet").unlink()
    return home


def test_one_run_and_its_choices(site, page: Page, runs: Path) -> None:
    text = shown(page, site(runs), "/errors", run=ONE)
    for title in ("By step ahead", "Intervals", "By the calendar", "Over time", "What errors are like", "By series"):
        assert title in text
    assert page.locator(".js-plotly-plot").count() >= 12
    assert "forecast − actual" in text
    assert faults(page) == []
    page.get_by_role("link", name="<i>two</i>", exact=True).first.click()
    page.wait_for_url("**series=**")
    drawn(page)
    page.wait_for_function("!document.querySelector('#errors-series')")
    page.get_by_role("link", name="<b>heat</b>", exact=True).first.click()
    page.wait_for_url("**channel=**")
    page.wait_for_function("!document.querySelector('#errors-channel')")
    assert "(Wh)" in drawn(page)


def test_two_runs_beside_each_other(site, page: Page, runs: Path) -> None:
    page.set_viewport_size({"width": 320, "height": 700})
    text = shown(page, site(runs), "/errors", run=[ONE, TWO, BARE], channel="load")
    assert "Mean error, informer" in text
    assert "Mean error, aaren" in text
    assert "wrote no predictions" in text
    names = page.locator("#figure-horizon .legendtext").all_inner_texts()
    assert {"informer · 00000001", "aaren", "seasonal naive"} <= set(names) or {"informer", "aaren"} <= set(names)
    assert too_wide(page) == []
    assert faults(page) == []


@pytest.mark.parametrize(
    ("query", "told"),
    [({"run": "nothing"}, "no run nothing"), ({"run": ONE, "channel": "heat"}, "has no channel heat"),
     ({"run": ONE, "series": "loat"}, "no scored series loat"), ({"run": BARE}, "Train it with predictions=true"),
     ({"run": ONE, "find": "zzz"}, "No series has"), ({"run": ONE, "seriessort": "rubbish"}, "Errors by series")],
)  # fmt: skip
def test_what_is_not_there_is_said(site, page: Page, runs: Path, query: dict[str, str], told: str) -> None:
    shown(page, site(runs), "/errors", **query)
    assert told in page.text_content("#content")


def test_damaged_predictions_are_one_sentence(site, page: Page, runs: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(runs, tmp_path / "runs"))
    path = home / "train" / ONE / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    shown(page, site(home), "/errors", run=ONE)
    assert "predictions.parquet cannot be read" in page.text_content("#content")
