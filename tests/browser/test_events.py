"""The page of events in a browser: it steps through events by keys, follows links, and has no faults."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import TIMEOUT_MS
from tests.browser.look import drawn, faults, shown, too_wide
from tests.browser.runs import IDS

RUN = IDS["events"]


def test_events_are_stepped_through_by_keys_and_links(site, page: Page, one) -> None:
    text = shown(page, site(one), "/events", run=RUN)
    assert "Model and floors" in text and "constant gap" in text
    assert page.locator("#figure-density .js-plotly-plot").count() == 1
    assert page.locator("#figure-timeline-2 .js-plotly-plot").count() == 1
    where = page.get_by_label("Events", exact=True)
    last = next(word for word in where.inner_text().split("\n") if " of " in word)
    thumb = page.locator("#event [role=slider]")
    thumb.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**event=**")
    expect(where).not_to_contain_text(last, timeout=TIMEOUT_MS)
    drawn(page)
    page.get_by_role("link", name="event after →").click()
    expect(where).to_contain_text(last, timeout=TIMEOUT_MS)
    assert faults(page) == []


def test_a_sequence_is_added_and_parts_have_addresses(site, page: Page, one) -> None:
    shown(page, site(one), "/events", run=RUN)
    page.get_by_role("link", name="add").first.click()
    page.wait_for_selector("#figure-timeline-3 .main-svg")
    page.get_by_role("link", name="When", exact=True).click()
    page.wait_for_selector("#figure-rescaling .main-svg")
    assert "show=when" in page.url and "p of a true model" in drawn(page)
    page.go_back()
    page.wait_for_selector("#figure-timeline-3 .main-svg")


@pytest.mark.long
@pytest.mark.parametrize("show", ["when", "marks", "ahead"])
def test_every_part_is_without_faults_on_a_phone(site, page: Page, one, show: str) -> None:
    page.set_viewport_size({"width": 320, "height": 700})
    shown(page, site(one), "/events", run=RUN, show=show)
    assert too_wide(page) == []
    assert faults(page) == []
