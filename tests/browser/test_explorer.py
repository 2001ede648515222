"""The explorer in a browser: the cutoff moves by keys, buttons and clicks, the address follows, nothing is stuck."""

import json
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.look import drawn, faults, shown, too_wide
from tests.dashboards.explored import FIRST, OTHER, PANEL, SECOND, make

SAID = "#explorer-said"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("explored"))


def moved(page: Page, before: str) -> str:
    """Wait until another window is drawn; what is said of it."""
    page.wait_for_function("before => document.querySelector('#explorer-said')?.innerText !== before", arg=before)
    drawn(page)
    return page.inner_text(SAID)


def test_the_cutoff_moves_by_keys_buttons_and_clicks(site, page: Page, home: Path) -> None:
    shown(page, site(home), "/explorer", run=[FIRST, SECOND, OTHER])
    assert "is not drawn: it forecasts household" in page.inner_text("#explorer-notes")
    first = page.inner_text(SAID)
    page.focus("#explorer-place [role=slider]")
    page.keyboard.press("ArrowRight")
    second = moved(page, first)
    assert page.evaluate("document.activeElement.getAttribute('role')") == "slider"  # keys go on working
    page.keyboard.press("ArrowRight")
    third = moved(page, second)
    page.click("#explorer-back")
    assert moved(page, third) == second
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Later
    assert moved(page, second) == third
    page.locator("#explorer-strip").scroll_into_view_if_needed()
    box = page.locator("#explorer-strip .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    page.wait_for_selector("#explorer-strip .hoverlayer .legend, #explorer-strip .hoverlayer .hovertext")
    page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    far = moved(page, third)
    assert "cutoff=" in page.url
    page.click("#theme-button")  # the whole page is drawn anew, at the same cutoff
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    drawn(page)
    page.wait_for_timeout(300)
    assert page.inner_text(SAID) == far
    page.reload()
    drawn(page)
    assert page.inner_text(SAID) == far


def test_windows_and_series_are_chosen_by_error(site, page: Page, home: Path) -> None:
    shown(page, site(home), "/explorer", run=PANEL)
    page.get_by_role("link", name="hardest").click()
    page.wait_for_url("**series=shop-149**")
    assert "shop-149" in drawn(page)
    before = page.inner_text(SAID)
    page.get_by_role("link", name="worst").click()
    moved(page, before)
    page.get_by_label("Find a series").fill("shop-07")
    page.keyboard.press("Enter")
    page.wait_for_url("**find=shop-07**")
    page.wait_for_function("() => document.body.innerText.includes('10 of 150')")
    assert "cutoff=" in page.url  # the search keeps what is looked at


def test_models_over_each_other_are_accessible_and_fit_a_phone(site, page: Page, home: Path) -> None:
    shown(page, site(home), "/explorer", run=[FIRST, SECOND])
    assert faults(page) == []
    page.set_viewport_size({"width": 320, "height": 700})
    page.wait_for_function("() => document.documentElement.scrollWidth <= 320")
    assert too_wide(page) == []


def test_names_from_files_are_text(site, page: Page, home: Path, tmp_path: Path) -> None:
    bad = "<img src=x onerror=alert(1)>"
    path = Path(shutil.copytree(home / "train" / FIRST, tmp_path / "train" / FIRST))
    facts = json.loads((path / "metrics.json").read_text())
    (path / "metrics.json").write_text(json.dumps(facts | {"model": bad, "dataset": bad}))
    assert bad in shown(page, site(tmp_path), "/explorer")
    assert page.locator("#content img").count() == 0
