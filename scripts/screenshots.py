"""Pictures of every page of the dashboard, light and dark, into docs/dashboard: python -m scripts.screenshots [OUTPUT].

What is shown is made first, in build/screenshots, and kept there: small runs of three kinds on the data that come
along, a batch job and a stream. That takes about ten minutes; with it there, one.
"""

import json
import os
import shlex
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket

import polars as pl
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from forecast.dashboards.app.cards import Card
from forecast.dashboards.app.page import address
from forecast.dashboards.app.sources import Sources
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.browser.look import DRAWN

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "build" / "screenshots"
OUTPUT = ROOT / "docs" / "dashboard"
WIDTH, HEIGHT, LONGEST = 1280, 900, 2400  # pixels
SMALL = "trainer.max_steps=120 trainer.max_epochs=3 predictions=true track=none quiet=true"
SERIES = "data=electricity task.context=96 task.horizon=24 'data.splits={train: .9, val: .05, test: .05}'"
RUNS = [
    *(f"train model={model} seed={seed} {SERIES} {SMALL}"
      for model in ("none", "aaren", "informer") for seed in (1, 2)),
    *(f"train task=event model={model} task.paths=16 task.origins=64 {SMALL}" for model in ("aaren", "lstm")),
    *(f"train task=classify model={model} trainer.max_epochs=40 predictions=true track=none quiet=true"
      for model in ("aaren", "lstm")),
    f"train experiment=stream 'data.splits={{train: .9, val: .05, test: .05}}' {SMALL}",
    f"train experiment=shop model=lstm {SMALL}",
]  # fmt: skip
JOB = "predict run=latest input=shop.csv output=next shard_rows=4000"


def forecast(words: str) -> list[str]:
    return [sys.executable, "-m", "forecast", *shlex.split(words)]


def environment() -> dict[str, str]:
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def made() -> None:
    """What the pages show; each command is run once."""
    HOME.mkdir(parents=True, exist_ok=True)
    kept = HOME / "done.json"
    done = json.loads(kept.read_text()) if kept.is_file() else []
    if not (HOME / "shop.csv").is_file():
        shop = pl.read_parquet(ROOT / "datasets" / "shop" / "shop.parquet")
        shop = shop.with_columns(pl.when(pl.col("customer") == pl.col("customer").min()).then(None).otherwise("orders"))
        shop.write_csv(HOME / "shop.csv")
    for words in [*RUNS, JOB]:
        if words not in done:
            sys.stderr.write(f"forecast {words}\n")
            subprocess.run(forecast(words), cwd=HOME, env=environment(), check=True, stdout=subprocess.DEVNULL)
            done.append(words)
            kept.write_text(json.dumps(done))


@contextmanager
def running(words: list[str], health: str) -> Iterator[None]:
    """A server, from when it answers until the block ends."""
    process = subprocess.Popen(words, cwd=HOME, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with suppress(OSError), urllib.request.urlopen(health, timeout=5):
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def port() -> int:
    with socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def fed(url: str, stop: threading.Event) -> None:
    """Readings of two meters, first a fortnight at once, then ten a second."""
    load = pl.read_parquet(ROOT / "datasets" / "electricity" / "electricity.parquet").tail(3000)
    for number, (stamp, value) in enumerate(load.iter_rows()):
        rows = [{"unique_id": f"meter {k}", "ds": stamp.isoformat(), "load": value * (1 + k / 9)} for k in (1, 2)]
        asked = urllib.request.Request(f"{url}/v1/update", json.dumps(rows).encode())
        with suppress(OSError), urllib.request.urlopen(asked, timeout=10) as reply:
            reply.read()
        if stop.wait(0.1 if number > 336 else 0):
            return


def chosen(cards: list[Card]) -> dict[str, dict[str, str | list[str]]]:
    """Page to the keys of its address."""

    def run(kind: str, *models: str) -> str:
        found = [card for card in cards if card.kind == kind and card.finished and card.dataset != "shop"]
        return next((card.id for model in models for card in found if card.parts[0] == model), found[0].id)

    best = run("series", "informer")
    both = [best, run("series", "aaren")]
    return {
        "/": {}, "/run": {"run": best}, "/explorer": {"run": both}, "/errors": {"run": both},
        "/insight": {"run": best}, "/events": {"run": run("events", "aaren")},
        "/classification": {"run": run("classes", "aaren")}, "/live": {}, "/jobs": {},
    }  # fmt: skip


def picture(browser: Browser, url: str, theme: str, path: Path) -> None:
    """One page in one theme, as long as it is, up to LONGEST; in 256 colours, since they are kept with the source."""
    scheme = "dark" if theme == "dark" else "light"
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce"
    )
    page: Page = context.new_page()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("#content h1", timeout=60_000)
    page.wait_for_function(DRAWN, timeout=60_000)
    page.wait_for_timeout(4000 if "/live" in url else 500)
    tall = min(int(page.evaluate("document.documentElement.scrollHeight")), LONGEST)
    page.screenshot(path=path, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": tall})
    context.close()
    with Image.open(path) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    output.mkdir(parents=True, exist_ok=True)
    made()
    cards = Sources(HOME / "runs", below=HOME).cards()
    streamed = next(card.id for card in cards if card.parts[0] == "aaren" and card.kind == "series")
    stream, dashboard = (f"http://127.0.0.1:{number}" for number in (port(), port()))
    feed = forecast(f"stream run={streamed} feed=http feed.port={stream.rpartition(':')[2]}")
    words = [sys.executable, "-m", "forecast.dashboards.app", "--runs", "runs", "--stream", stream]
    stop = threading.Event()
    sender = threading.Thread(target=fed, args=(stream, stop), daemon=True)
    with (
        running(feed, f"{stream}/readyz"),
        running([*words, "--port", dashboard.rpartition(":")[2]], f"{dashboard}/healthz"),
        sync_playwright() as playwright,
    ):
        sender.start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for path, query in chosen(cards).items():
            for theme in ("light", "dark"):
                target = output / f"{path.strip('/') or 'leaderboard'}-{theme}.png"
                picture(browser, dashboard + address(path, **query), theme, target)
                sys.stderr.write(f"{target}\n")
        stop.set()
        sender.join()
        browser.close()


if __name__ == "__main__":
    main()
