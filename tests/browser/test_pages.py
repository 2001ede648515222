"""Every page with no run, one of each kind and a thousand."""

import pytest
from playwright.sync_api import Page

from forecast.dashboards.app.app import PAGES
from tests.browser.look import faults, shown

PATHS = [each.path for each in PAGES]


@pytest.mark.parametrize("path", PATHS)
def test_without_a_run(site, page: Page, none, path: str) -> None:
    text = shown(page, site(none), path)
    assert "could not be drawn" not in text
    assert faults(page) == []
