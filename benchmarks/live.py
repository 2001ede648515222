"""How many updates of a stream the live page draws, in a real Chromium: python -m benchmarks.live RUN [seconds].

`forecast stream run=RUN feed=http`, the dashboard and the feeder are processes of their own. Each series gets 10
readings a second; what the page has drawn after so many seconds, all its charts together, stands beside what was
answered. RUN: any run that streams.
"""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from socket import socket
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks.dashboard import healthy
from benchmarks.measure import Row, machine
from forecast.artifacts import write_json
from forecast.verbs.tables import table
from tests.browser.conftest import CHROMIUM, FLAGS

RESULTS = Path(__file__).with_suffix(".json")
RATE = 10  # readings of a series in a second
DRAWN = "+(document.getElementById('live-charts')?.dataset.drawn || 0)"


@contextmanager
def process(words: list[str], health: str) -> Iterator[None]:
    started = subprocess.Popen([sys.executable, "-m", *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while not healthy(health):
            assert started.poll() is None, words
            time.sleep(0.1)
        yield
    finally:
        started.terminate()
        started.wait()


def free() -> int:
    with socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def ask(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10) as reply:
        return json.load(reply)


class Feeder(threading.Thread):
    """Readings of some series at RATE a second; `sent` says how many updates were answered."""

    def __init__(self, url: str, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.url, self.names, self.sent, self.over = url, names, 0, threading.Event()
        self.channels: list[str] = ask(f"{url}/v1/state")["channels"]

    def run(self) -> None:
        began, k = time.monotonic(), 0
        while not self.over.wait(max(0.0, began + k / RATE - time.monotonic())):
            at = (datetime(2030, 1, 1) + timedelta(hours=k)).isoformat()
            values = {name: 100 + 10 * (k % 24) for name in self.channels}
            ask(f"{self.url}/v1/update", [{"unique_id": name, "ds": at, **values} for name in self.names])
            k += 1
            self.sent += len(self.names)


def look(browser: Browser, stream: str, dashboard: str, names: list[str], seconds: float) -> Row:
    feeder = Feeder(stream, names)
    feeder.start()
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(f"{dashboard}/live?" + "&".join(f"key={name}" for name in names))
    page.wait_for_function(f"() => {DRAWN} > 20", timeout=60_000)
    before, sent, began = int(page.evaluate(DRAWN)), feeder.sent, time.monotonic()
    page.wait_for_timeout(seconds * 1000)
    after, until, took = int(page.evaluate(DRAWN)), feeder.sent, time.monotonic() - began
    feeder.over.set()
    feeder.join()
    page.context.close()
    drawn = (after - before) / (until - sent)
    return {
        "series on the page": len(names), "updates/s": round((until - sent) / took, 1),
        "drawn/s": round((after - before) / took, 1), "share": round(drawn, 3),
    }  # fmt: skip


def main() -> None:
    run, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 10
    stream, dashboard = free(), free()
    urls = [f"http://127.0.0.1:{port}" for port in (stream, dashboard)]
    streaming = ["forecast", "stream", f"run={run}", "feed=http", f"feed.port={stream}"]
    shown = ["forecast.dashboards.app", "--port", str(dashboard), "--stream", urls[0]]
    ready = f"{urls[0]}/readyz", f"{urls[1]}/healthz"
    with process(streaming, ready[0]), process(shown, ready[1]), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        sizes = [["a"], ["b", "c"], ["d", "e", "f"]]
        rows = [look(browser, *urls, names, seconds) for names in sizes]
        version = browser.version
        browser.close()
    header = list(rows[0])
    sys.stdout.write(table(header, [[str(row[key]) for key in header] for row in rows]) + "\n")
    command = " ".join(["python -m benchmarks.live RUN", *sys.argv[2:]])
    write_json(RESULTS, {"command": command, "machine": {**machine(), "chromium": version}, "rows": rows})


if __name__ == "__main__":
    main()
