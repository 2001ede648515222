"""The server of a stream: milliseconds of a request with one reading, readings a second in requests of a thousand.

A tiny run is trained, served by `forecast stream feed=http` in a process of its own, and asked over one connection
that is kept. Three times: nothing kept, a state that outlives a kill (sync=normal), one that outlives a power cut
(full). The series are 1,000, each request of one reading is for the next of them.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measure import Row, machine
from forecast.artifacts import write_json
from forecast.verbs.tables import table

RESULTS = Path(__file__).with_name("http.json")
REPO = Path(__file__).parents[1]
SERIES, ONES, WARMUP, MANY = 1000, 2000, 200, 30
STATES = {"nothing kept": [], "sync=normal": ["state.sync=normal"], "sync=full": ["state.sync=full"]}
TRAIN = [
    "experiment=smoke", "+experiment@_global_=stream", "trainer.limit_train_batches=2", "predictions=false",
    "data.splits={train: 1000, val: 200, test: 200}", "quiet=true",
]  # fmt: skip


def forecast(*words: str, cwd: Path, **options: Any) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "forecast", *words]
    return subprocess.Popen(line, cwd=cwd, env={**os.environ, "PYTHONPATH": str(REPO)}, text=True, **options)


@contextmanager
def served(home: Path, *words: str) -> Iterator[httpx.Client]:
    """A server of the run, and a client with one connection."""
    process = forecast("stream", "run=latest", "feed=http", "feed.port=0", *words, cwd=home, stderr=subprocess.PIPE)
    assert process.stderr is not None
    address = next(found[1] for line in process.stderr if (found := re.match(r"listening on (\S+)", line)))
    try:
        with httpx.Client(base_url=address, timeout=60) as client:
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=60)


def readings(count: int, first: int) -> list[dict[str, Any]]:
    """The next `count` readings of all series in turn, from the `first` on."""
    found = []
    for number in range(first, first + count):
        hour = number // SERIES
        stamp = f"2024-{1 + hour // 672:02}-{1 + hour // 24 % 28:02}T{hour % 24:02}:00"
        found.append({"unique_id": f"meter {number % SERIES}", "ds": stamp, "y": 2000 + hour % 24})
    return found


def measured(client: httpx.Client) -> Row:
    def post(some: list[dict[str, Any]]) -> float:
        body = json.dumps(some[0] if len(some) == 1 else some)
        began = time.perf_counter()
        reply = client.post("/v1/update", content=body)
        took = time.perf_counter() - began
        assert reply.status_code == 200 and reply.json()["refused"] == 0, reply.text[:500]
        return took

    post(readings(SERIES, 0))
    at = SERIES
    ones = []
    for _ in range(WARMUP + ONES):
        ones.append(1000 * post(readings(1, at)))
        at += 1
    at += -at % SERIES
    many = []
    for _ in range(MANY):
        many.append(post(readings(SERIES, at)))
        at += SERIES
    ones = sorted(ones[WARMUP:])
    return {
        "p50 ms": statistics.median(ones), "p99 ms": ones[int(0.99 * len(ones))], "most ms": ones[-1],
        "readings/s": SERIES / statistics.median(many),
    }  # fmt: skip


def main() -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=REPO) as folder:  # on the disk of the repository, not in memory
        home = Path(folder)
        assert forecast("train", *TRAIN, cwd=home).wait() == 0
        for number, (name, words) in enumerate(STATES.items()):
            kept = [f"state.path=state-{number}.db", *words] if words else []
            with served(home, *kept) as client:
                rows.append({"state": name, **measured(client)})
    header = list(rows[0])
    cells = [[f"{row[key]:.4g}" if isinstance(row[key], float) else str(row[key]) for key in header] for row in rows]
    print(table(header, cells), flush=True)
    write_json(RESULTS, {"command": "python -m benchmarks http", "machine": machine(), "requests": ONES, "rows": rows})


if __name__ == "__main__":
    main()
