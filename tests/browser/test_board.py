"""Leaderboard, run and jobs in a browser."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from forecast.dashboards.app.page import address
from tests.browser.look import Site, faults, shown, too_wide
from tests.browser.runs import IDS
from tests.dashboards.test_jobs import made, working

expect.set_options(timeout=20_000)  # a machine that runs other tests is slow
NARROW: ViewportSize = {"width": 320, "height": 700}


def narrow(page: Page, place: Site, path: str, **query: object) -> list[str]:
    """What sticks out of a page on a telephone."""
    page.set_viewport_size(NARROW)
    shown(page, place, path, **query)
    return too_wide(page)


def test_the_leaderboard_has_every_kind(site, page: Page, one: Path) -> None:
    text = shown(page, site(one), "/")
    assert "most frequent class" in text  # the newest run is one of classes
    assert faults(page) == []
    text = shown(page, site(one), "/", kind="series")
    assert "seasonal naive" in text and "last value" in text
    assert page.locator(".js-plotly-plot").count() == 1
    page.get_by_role("link", name="test MSE").click()
    page.wait_for_url("**sort=mse")
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("test MSE ↓ ↑")
    page.get_by_role("link", name="1", exact=True).click()
    page.wait_for_url(f"**/run?run={IDS['series']}")


def test_a_thousand_runs(site, page: Page, thousand: Path) -> None:
    text = shown(page, site(thousand), "/", kind="series")
    assert "series 3" in text
    page.get_by_text("without scores").first.click()
    expect(page.locator("details")).to_contain_text("Damaged: metrics.json")
    rows = page.locator("table").nth(1).locator("tbody tr")
    assert rows.count() > 5 and page.locator("td", has_text="seasonal naive").count() > 0
    page.get_by_role("searchbox", name="Model").fill("aaren")
    page.keyboard.press("Enter")
    page.wait_for_url("**model=aaren**")
    expect(page.locator("#content")).to_contain_text("outside the search")
    names = page.locator("[id^=setting] tbody th").all_inner_texts()
    assert any("aaren" in name for name in names) and any("none" in name for name in names)
    assert not any("lstm" in name for name in names)
    assert narrow(page, site(thousand), "/", kind="series") == []


def test_a_run(site, page: Page, one: Path) -> None:
    text = shown(page, site(one), "/run", run=IDS["series"], against=IDS["events"])
    assert "beats" in text and "Make it again" in text and "metrics.json" in text
    assert page.locator(".js-plotly-plot").count() == 1
    assert f"forecast reproduce run={IDS['series']}" in text
    assert "Settings that differ" in page.locator("#against caption").all_inner_texts()
    assert faults(page) == []
    assert narrow(page, site(one), "/run", run=IDS["series"], against=IDS["events"]) == []


@pytest.mark.parametrize("kind", ["events", "classes"])
def test_a_run_of_another_kind(site, page: Page, one: Path, kind: str) -> None:
    text = shown(page, site(one), "/run", run=IDS[kind])
    assert "Training curves" in text and "nats" in text


def test_the_report_of_a_run_can_do_nothing(site, page: Page, one: Path) -> None:
    folder = one / "train" / IDS["series"]
    (folder / "report.html").write_text("<h1>mine</h1><script>document.title = 'run'</script>")
    shown(page, site(one), "/run", run=IDS["series"])
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Report").click()
    expect(opened.value.locator("h1")).to_have_text("mine")
    assert opened.value.title() == ""
    opened.value.close()
    (folder / "report.html").unlink()


def test_runs_that_are_not_there_or_damaged(site, page: Page, thousand: Path) -> None:
    assert "no run '../../etc'" in shown(page, site(thousand), "/run", run="../../etc")
    lost = next(card for card in site(thousand).sources.cards() if card.damage)
    assert "metrics.json is not JSON" in shown(page, site(thousand), "/run", run=lost.id)
    begun = next(card for card in site(thousand).sources.cards() if not card.finished and not card.damage)
    assert "Not finished" in shown(page, site(thousand), "/run", run=begun.id)


def test_jobs(site, page: Page, none: Path, tmp_path: Path) -> None:
    made(tmp_path / "finished", 60, 60, bad=2)
    (tmp_path / "finished" / "_SUCCESS").write_text("{}")
    running = made(tmp_path / "running", 2, 4)
    with working(running):
        place = site(none, below=tmp_path)
        text = shown(page, place, "/jobs")
        assert "2 of 4 shards are done" in text and "conserved" in text
        assert faults(page) == []
        line = json.loads((running / "_manifest.jsonl").read_text().splitlines()[-1])
        with open(running / "_manifest.jsonl", "a") as file:  # it goes on, and the page with it
            file.write(json.dumps(line | {"number": 2, "key": "key2"}) + "\n")
        expect(page.locator("#jobs-now")).to_contain_text("3 of 4 shards are done")
    expect(page.locator("#jobs-now")).to_contain_text("Nobody is at work on it")
    page.goto(place.url + address("/jobs"))
    page.get_by_role("link", name="finished").click()
    page.wait_for_url("**job=**")
    expect(page.locator("#content")).to_contain_text("give a longer history")
    page.get_by_text("A few of them").click()
    expect(page.locator("details")).to_contain_text("0 of the 48 steps <b>")
    page.get_by_role("link", name="after").click()
    expect(page.locator("#content")).to_contain_text("51 to 60 of 60")
    assert narrow(page, place, "/jobs") == []
