"""How long people wait for the dashboard, in a real Chromium: python -m benchmarks.dashboard [repeats].

The dashboard runs as forecast ui starts it, over made-up runs (tests/browser/runs.py): one of each kind, then 1,000.
For each page: seconds from the request until all is drawn, charts too; `first`: for a browser that has never been there
(and of the first page, a server that has read nothing), `again`: the same browser, the median. Beside it the memory of
the server.
"""

import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket

import psutil
from playwright.sync_api import Browser, sync_playwright

from benchmarks.measure import Row, machine
from forecast.artifacts import write_json
from forecast.dashboards.app.app import PAGES
from forecast.dashboards.app.page import address
from forecast.verbs.tables import table
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.browser.look import DRAWN
from tests.browser.runs import IDS, many, one_of_each

RESULTS = Path(__file__).with_suffix(".json")
KIND = {"/events": "events", "/classification": "classes"}
ALONE = ("/", "/live", "/jobs")  # pages that show no single run


@contextmanager
def served(runs: Path) -> Iterator[tuple[str, psutil.Process, float]]:
    """(address, process, seconds until it answers) of a dashboard over these runs."""
    with socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port = asked.getsockname()[1]
    began = time.monotonic()
    words = [sys.executable, "-m", "forecast.dashboards.app", "--runs", str(runs), "--port", str(port)]
    process = subprocess.Popen(words, cwd=runs)
    try:
        url = f"http://127.0.0.1:{port}"
        while not healthy(f"{url}/healthz"):
            assert process.poll() is None
            time.sleep(0.02)
        yield url, psutil.Process(process.pid), time.monotonic() - began
    finally:
        process.terminate()
        process.wait()


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def look(browser: Browser, url: str, path: str, repeats: int) -> tuple[float, float, int]:
    """Seconds until a page is drawn, the first time and again, and its charts."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    found = []
    for _ in range(1 + repeats):
        began = time.perf_counter()
        page.goto(url + path, wait_until="commit")
        page.wait_for_selector("#content h1")
        page.wait_for_function(DRAWN)
        found.append(time.perf_counter() - began)
    charts = page.locator(".dash-graph").count()
    page.context.close()
    return found[0], statistics.median(found[1:]), charts


def measure(browser: Browser, name: str, runs: Path, ids: dict[str, str], repeats: int) -> list[Row]:
    rows = []
    with served(runs) as (url, process, start):
        for page in PAGES:
            query = {} if page.path in ALONE or not ids else {"run": ids[KIND.get(page.path, "series")]}
            first, again, charts = look(browser, url, address(page.path, **query), repeats)
            rows.append({
                "runs": name, "page": page.path, "first s": round(first, 2), "again s": round(again, 2),
                "charts": charts, "server MiB": round(process.memory_info().rss / 2**20),
                "server starts s": round(start, 2),
            })  # fmt: skip
    return rows


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        one = one_of_each(Path(folder) / "one")
        thousand = many(Path(folder) / "thousand", one)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        rows = measure(browser, "3", one, IDS, repeats) + measure(browser, "1,000", thousand, {}, repeats)
        version = browser.version
        browser.close()
    header = list(rows[0])
    sys.stdout.write(table(header, [[str(row[key]) for key in header] for row in rows]) + "\n")
    command = " ".join(["python -m benchmarks.dashboard", *sys.argv[1:]])
    write_json(RESULTS, {"command": command, "machine": {**machine(), "chromium": version}, "rows": rows})


if __name__ == "__main__":
    main()
