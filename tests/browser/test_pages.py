"""Every page in a real browser: with no run, one of each kind, a thousand; by pointer, by keyboard, on a phone."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from forecast.dashboards.app.app import PAGES
from tests.browser.look import Site, drawn, faults, shown, too_wide
from tests.browser.runs import IDS

KIND = {"/events": "events", "/classification": "classes"}  # what a page is about, where it is not series
PATHS = [page.path for page in PAGES]
PHONE = {"width": 320, "height": 700}


def of(path: str) -> dict[str, str]:
    """The keys of the address that show a run on this page."""
    return {} if path in ("/", "/live", "/jobs") else {"run": IDS[KIND.get(path, "series")]}


@pytest.mark.parametrize("path", PATHS)
def test_without_a_run(site, page: Page, none: Path, path: str) -> None:
    text = shown(page, site(none), path)
    assert "could not be drawn" not in text
    assert page.locator("#content .code").count() or "forecast " in text  # what to run
    assert faults(page) == []


@pytest.mark.parametrize("path", PATHS)
def test_with_a_run(site, page: Page, one: Path, path: str) -> None:
    text = shown(page, site(one), path, **of(path))
    assert "could not be drawn" not in text
    assert faults(page) == []
    page.click("#theme-button")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    drawn(page)
    assert faults(page) == []
    page.set_viewport_size(PHONE)
    drawn(page)
    assert too_wide(page) == []


@pytest.mark.parametrize("path", PATHS)
def test_with_a_thousand_runs(site, page: Page, thousand: Path, path: str) -> None:
    text = shown(page, site(thousand), path)
    assert "could not be drawn" not in text
    assert page.locator("#content *").count() < 5000  # a table shows a part at a time


def test_the_keyboard_reaches_everything(site, page: Page, one: Path) -> None:
    here: Site = site(one)
    shown(page, here, "/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.focus("#menu a")
    for each in PAGES[1:]:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == each.title
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"  # one sees where one is
    page.focus(f"#menu a[href^='{PAGES[1].path}']")
    page.keyboard.press("Enter")
    page.wait_for_function("title => document.querySelector('#content h1').textContent === title", arg=PAGES[1].title)
    drawn(page)
    assert page.evaluate("document.activeElement.id") == "content"  # the new page is read from its beginning
    page.go_back()
    page.wait_for_function("title => document.querySelector('#content h1').textContent === title", arg=PAGES[0].title)


def test_a_run_stays_chosen_from_page_to_page(site, page: Page, one: Path) -> None:
    shown(page, site(one), "/run", run=IDS["series"])
    page.click("#menu a:has-text('Forecasts')")
    page.wait_for_function("location.pathname === '/explorer'")
    assert IDS["series"] in page.url


def test_a_dead_mlflow_stops_no_page(site, page: Page, one: Path) -> None:
    here = site(one, mlflow="http://127.0.0.1:9")
    for path in ("/", "/run"):
        text = shown(page, here, path, **of(path))
        assert "could not be drawn" not in text


def test_an_address_that_is_no_page(site, page: Page, one: Path) -> None:
    assert "There is no such page" in shown(page, site(one), "/nowhere")


def test_the_theme_is_kept(site, page: Page, none: Path) -> None:
    here = site(none)
    shown(page, here, "/jobs")
    before = page.evaluate("document.documentElement.dataset.theme")
    page.click("#theme-button")
    page.wait_for_function("before => document.documentElement.dataset.theme !== before", arg=before)
    shown(page, here, "/jobs")
    assert page.evaluate("document.documentElement.dataset.theme") != before
