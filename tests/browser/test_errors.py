"""The page of errors in a browser: one run, two beside each other, one channel or series, and what is missing."""

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


def test_one_run_part_by_part(site, page: Page, runs: Path) -> None:
    text = shown(page, site(runs), "/errors", run=ONE)
    assert "By step ahead" in text
    assert "By the calendar" in text
    for part, titles in (
        ("Intervals", ("Intervals by step ahead", "Are the quantiles right")),
        ("What errors are like", ("Do errors remember", "Against the normal distribution", "Errors against level")),
        ("Series and channels", ("Hardest and easiest series", "By channel")),
    ):
        page.get_by_role("link", name=part, exact=True).click()
        page.wait_for_selector(f"h2:has-text('{titles[-1]}')")
        text = drawn(page)
        assert all(title in text for title in titles)
    assert faults(page) == []


def test_names_lead_to_their_own_figures(site, page: Page, runs: Path) -> None:
    shown(page, site(runs), "/errors", run=ONE, show="series")
    page.get_by_role("link", name="<i>two</i>", exact=True).first.click()
    page.wait_for_selector("h2:has-text('By series')", state="detached")
    page.get_by_role("link", name="<b>heat</b>", exact=True).first.click()
    page.wait_for_selector("text=there is nothing to rank")
    assert "(Wh)" in page.inner_text("#content")


def test_two_runs_beside_each_other_on_a_phone(site, page: Page, runs: Path) -> None:
    page.set_viewport_size({"width": 320, "height": 700})
    text = shown(page, site(runs), "/errors", run=[ONE, TWO, BARE], channel="load", show="residuals")
    assert "Mean error, aaren" in text
    assert "wrote no predictions" in text
    named = page.locator("#figure-residuals .legendtext").all_text_contents()
    assert any("informer" in name for name in named)
    assert {"aaren", "seasonal naive"} <= set(named)
    assert too_wide(page) == []
    assert faults(page) == []


@pytest.mark.parametrize(
    ("query", "told"),
    [({"run": "nothing"}, "no run 'nothing'"), ({"run": ONE, "channel": "heat"}, "has no channel heat"),
     ({"run": ONE, "series": "loat"}, "no scored series loat"), ({"run": BARE}, "Train it with predictions=true"),
     ({"run": ONE, "find": "zzz", "show": "series"}, "No series has"),
     ({"run": ONE, "seriessort": "rubbish", "show": "series"}, "Errors by series")],
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
