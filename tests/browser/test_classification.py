"""The page of classes in the browser: filters, pages of drawn mistakes, the probabilities of one series."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.look import drawn, faults, shown
from tests.dashboards.classes import make_class_run
from tests.dashboards.conftest import write

MANY = "20141126T101500Z-00000300"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("classes")
    make_class_run(home / "train" / MANY, classes=300, channels=2, series=1500)
    write(home / "train" / MANY, "MANIFEST.json", {})
    return home


def test_hundreds_of_classes_stay_usable(site, page: Page, runs: Path) -> None:
    text = shown(page, site(runs), "/classification")
    assert "the 40 with the most mistakes are drawn" in text
    shown(page, site(runs), "/classification", part="each")
    assert page.locator("#each tbody tr").count() == 50 and page.locator("#content *").count() < 5000
    assert faults(page) == []
    page.locator("#each tbody td a").first.click()
    page.wait_for_function("() => location.search.includes('label=')")
    drawn(page)
    assert page.locator("#series tbody tr").count() > 0
    page.locator("#series tbody th a").first.click()
    page.wait_for_function("() => location.search.includes('id=')")
    assert "How likely each class was" in drawn(page)
