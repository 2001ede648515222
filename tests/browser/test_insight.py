"""The page of what a model looked at, in a browser."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.look import drawn, faults, shown, too_wide
from tests.dashboards.conftest import make_run, write
from tests.dashboards.insight import write_insight

OLD, INFORMER, AAREN, DAMAGED = (f"2015010{k}T000000Z-0000000{k}" for k in range(1, 5))


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with an older run, two that say what they looked at, and one whose file is damaged."""
    home = tmp_path_factory.mktemp("looked")
    for id in (OLD, INFORMER, AAREN, DAMAGED):
        make_run(home / "train" / id, {"load": "kWh"}, windows=20)
        write(home / "train" / id, "MANIFEST.json", {})
    write_insight(home / "train" / INFORMER, "informer")
    write_insight(home / "train" / AAREN, "aaren")
    write_insight(home / "train" / DAMAGED, "lstm")
    (home / "train" / DAMAGED / "insight.json").write_text("{", encoding="utf-8")
    return home


def test_charts_follow_the_run_and_the_window(site, page: Page, looked: Path) -> None:
    text = shown(page, site(looked), "/insight", run=INFORMER)
    assert "Which queries attend" in text and "Length after each layer" in text
    assert "the median test window (load after 2014-11-02 10:00)" in text
    assert "<b>lead</b>" in text
    page.goto(page.url.replace(INFORMER, AAREN) + "&pick=worst")
    text = drawn(page)
    assert "Weights over time" in text and "Which queries attend" not in text
    assert "the worst test window" in text
    page.get_by_role("link", name="Input").click()
    page.wait_for_url("**sort=column**")
    assert drawn(page)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_on_a_phone(site, page: Page, looked: Path, scheme) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 320, "height": 640})
    shown(page, site(looked), "/insight", run=AAREN)
    assert too_wide(page) == []
    assert faults(page) == []


def test_what_is_not_there_is_told(site, page: Page, looked: Path) -> None:
    assert f"forecast evaluate run={OLD} insight=true" in shown(page, site(looked), "/insight", run=OLD)
    assert "insight.json cannot be read" in shown(page, site(looked), "/insight", run=DAMAGED)
    assert "no run" in shown(page, site(looked), "/insight", run="none_such")
    assert "the median test window" in shown(page, site(looked), "/insight", run=AAREN, pick="<b>")
