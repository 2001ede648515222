"""The dashboard as people see it: the real server, and a real Chromium that says what it does not like.

    def test_my_page(site, page, one):
        shown(page, site(one), "/explorer", run=IDS["series"])
        assert page.locator(".js-plotly-plot").count() == 1

A page fails its test at the end where the browser complained in its console, or asked another host for anything.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from forecast.dashboards.app.server import guarded, made
from forecast.dashboards.app.sources import Sources
from tests.browser.look import Site
from tests.browser.runs import many as many_runs
from tests.browser.runs import one_of_each

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
TIMEOUT_MS = 20_000  # of one step: a machine that runs other tests is slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Served:
    """A dashboard in a thread of this process, until it is closed."""

    def __init__(self, sources: Sources, token: str | None = None) -> None:
        self.socket = socket()
        self.socket.bind(("127.0.0.1", 0))
        port = self.socket.getsockname()[1]
        self.server = made(guarded(sources, (), port, token), "127.0.0.1", port)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
        self.site = Site(f"http://127.0.0.1:{port}", sources)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()


@pytest.fixture(scope="session")
def site() -> Iterator[Callable[..., Site]]:
    """A function of a folder of runs (and what else Sources takes) that gives its dashboard, begun once for each."""
    served: dict[str, Served] = {}

    def begin(runs: Path, *, token: str | None = None, below: Path | None = None, **more: Any) -> Site:
        key = repr((runs, token, below, sorted(more.items())))
        if key not in served:
            served[key] = Served(Sources(runs, below=below or runs, **more), token)
        return served[key].site

    yield begin
    for each in served.values():
        each.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser; tests are skipped on a machine that has none. Of a module: while it is open there is a running
    event loop, and tests of other files start their own."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page of 1280 × 900. Its test fails if the console had an error or a warning, a script failed, or another host
    was asked for anything; what a test expects of these it removes from `page.complaints`."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    found = context.new_page()
    complaints: list[str] = []
    found.complaints = complaints  # type: ignore[attr-defined]
    found.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    found.on("pageerror", lambda fault: complaints.append(str(fault)))

    def here(route: Route) -> None:
        if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost"):
            route.continue_()
        else:
            complaints.append(f"asked {route.request.url}")
            route.abort()

    found.route("**/*", here)
    yield found
    context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with one run of each kind, ids in tests.browser.runs.IDS."""
    return one_of_each(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="session")
def none(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/ with nothing in it."""
    return tmp_path_factory.mktemp("none")


@pytest.fixture(scope="session")
def thousand(tmp_path_factory: pytest.TempPathFactory, one: Path) -> Path:
    """runs/ with 1,000 runs."""
    return many_runs(tmp_path_factory.mktemp("thousand"), one)
