"""The page of a live stream, fed by a real one: updates are drawn as they come, and a stream that dies comes back."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page

from forecast.dashboards.app.stream import client as module
from tests.browser.look import drawn, faults, shown, too_wide
from tests.streaming.made import made
from tests.streaming.serving import Served, reading, serving

HERE = "+(document.getElementById('live-charts')?.dataset.drawn || 0)"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return made(tmp_path_factory.mktemp("chain"), gaps="mask")[1]


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> Iterator[None]:
    """Clients that come again soon, and are closed after each test."""
    monkeypatch.setattr(module, "WAIT_S", (0.1, 0.3))
    yield
    for client in list(module._CLIENTS.values()):
        client.close()
    module._CLIENTS.clear()


@contextmanager
def fed(served: Served, names: str, rate: float, first: int) -> Iterator[list[float]]:
    """Readings of series that come at so many a second while one is inside; when each was answered."""
    over, sent = threading.Event(), list[float]()

    def feed() -> None:
        began, hour = time.monotonic(), first
        while not over.wait(max(0.0, began + len(sent) / rate - time.monotonic())):
            served.post([reading(name, hour) for name in names])
            sent.append(time.monotonic())
            hour += 1

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join(20)


def said(page: Page, key: str) -> str:
    return page.inner_text(f"#live-{key}")


def test_without_a_stream_it_says_what_to_run(site, page: Page, none: Any) -> None:
    text = shown(page, site(none), "/live")
    assert "No stream is watched" in text and "forecast stream run=latest feed=http" in text


def test_updates_are_drawn_as_they_come(site, page: Page, none: Any, predictor: Any) -> None:
    with serving(predictor) as served:
        served.post([reading(name, hour) for hour in range(30) for name in "abc"])
        served.post([reading("a", 3, 9.0), {}])
        shown(page, site(none, stream=served.feed.address), "/live", key=["a"])
        page.wait_for_function(f"() => {HERE} > 0")
        assert page.locator("#live-charts .dash-graph").count() == 1
        with fed(served, "ab", 10, 30):
            page.wait_for_function(f"() => {HERE} > 5")
            before = int(page.evaluate(HERE))
            page.wait_for_function(f"() => {HERE} > {before + 5}")  # how many a second: python -m benchmarks.live
            page.wait_for_function("() => document.getElementById('live-late').textContent === '1'")
            assert said(page, "bad") == "1" and float(said(page, "updates")) > 1 and said(page, "p99") != "–"
        assert len(served.feed.hub.listeners) == 1
        assert faults(page) == []
        page.set_viewport_size({"width": 320, "height": 700})
        drawn(page)
        assert too_wide(page) == []


def test_a_stream_that_dies_and_comes_back(site, page: Page, none: Any, predictor: Any, tmp_path: Any) -> None:
    with serving(predictor, tmp_path / "s.db") as served:
        port = served.feed.socket.getsockname()[1]
        served.post([reading("a", hour) for hour in range(20)])
        shown(page, site(none, stream=served.feed.address), "/live", key="a")
        page.wait_for_function(f"() => {HERE} > 0")
        assert not page.is_visible("#live-banner")
    page.wait_for_selector("#live-banner.alarm:visible")
    assert "is not heard" in page.inner_text("#live-banner")
    assert page.locator("#live-charts .dash-graph .main-svg").count()  # what was seen stays
    assert faults(page) == []
    before = int(page.evaluate(HERE))
    with serving(predictor, tmp_path / "s.db", at=port) as served:
        served.post([reading("a", hour) for hour in range(20, 23)])
        page.wait_for_function("() => document.getElementById('live-banner').hidden")
        page.wait_for_function(f"() => {HERE} > {before}")


def test_a_stream_that_begins_later_is_shown_by_itself(site, page: Page, none: Any, predictor: Any) -> None:
    with serving(predictor) as served:
        port = served.feed.socket.getsockname()[1]
    text = shown(page, site(none, stream=served.feed.address), "/live")
    assert "The stream does not answer" in text
    with serving(predictor, at=port) as served:
        page.wait_for_selector("text=The stream has no series yet")
        served.post([reading("b", hour) for hour in range(5)])
        page.wait_for_function(f"() => {HERE} > 0")
        assert page.inner_text("#live-charts h2") == "b"


def test_browsers_share_one_connection_and_nothing_grows(site, page: Page, none: Any, predictor: Any) -> None:
    with serving(predictor) as served:
        served.post([reading(name, hour) for hour in range(30) for name in "ab"])
        here = site(none, stream=served.feed.address)
        shown(page, here, "/live", key="a")
        other = page.context.new_page()
        shown(other, here, "/live", key="b")
        for each in (page, other):
            each.wait_for_function(f"() => {HERE} > 0")
        with fed(served, "ab", 20, 30):
            page.wait_for_timeout(1500)
        (client,) = module._CLIENTS.values()
        assert set(client.rings) == {"a", "b"} and len(served.feed.hub.listeners) == 1
        points = page.evaluate("document.querySelector('#live-chart-0 .js-plotly-plot').data.map(d => d.x.length)")
        assert max(points) <= 101
        other.close()
