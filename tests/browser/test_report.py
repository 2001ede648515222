"""report.html from the disk, where scripts are forbidden and there is no network: on a screen, a phone, paper."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from forecast.dashboards.report import write_report
from tests.browser.runs import IDS

PAPER = {"width": 703, "height": 1017}  # pixels of A4 without its margins


@pytest.fixture(scope="module")
def reports(one: Path) -> dict[str, str]:
    return {kind: write_report(one / "train" / id).as_uri() for kind, id in IDS.items()}


@pytest.fixture
def reader(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(
        java_script_enabled=False, offline=True, color_scheme="dark", reduced_motion="reduce"
    )
    page = context.new_page()
    told: list[str] = []
    page.on("console", lambda said: told.append(said.text))
    page.on("request", lambda request: told.append(request.url) if not request.url.startswith("file:") else None)
    yield page
    context.close()
    assert told == []


@pytest.mark.parametrize("kind", IDS)
def test_a_report_opens_from_the_disk_and_fits_a_phone(reader: Page, reports: dict[str, str], kind: str) -> None:
    reader.set_viewport_size({"width": 320, "height": 700})
    reader.goto(reports[kind])
    assert reader.evaluate("document.documentElement.scrollWidth") <= 320
    figures = reader.locator("figure")
    assert figures.count() >= 5
    for k in range(figures.count()):
        assert figures.nth(k).locator("svg.narrow").is_visible()
        assert not figures.nth(k).locator("svg.wide").is_visible()


@pytest.mark.parametrize("kind", IDS)
def test_a_report_prints_in_light_colours_and_breaks_between_figures(
    reader: Page, reports: dict[str, str], kind: str
) -> None:
    reader.set_viewport_size(PAPER)  # type: ignore[arg-type]
    reader.goto(reports[kind])
    reader.emulate_media(media="print")
    ink = reader.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')")
    assert ink == "#18202b"
    assert not reader.locator("nav").is_visible()
    assert reader.evaluate("document.documentElement.scrollWidth") <= PAPER["width"]
    for box in reader.locator("figure").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)"):
        assert box < PAPER["height"]
    breaks = reader.locator("figure").evaluate_all("all => all.map(one => getComputedStyle(one).breakInside)")
    assert set(breaks) == {"avoid"}
    paper = reader.pdf(format="A4", prefer_css_page_size=True, print_background=True)
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 9
