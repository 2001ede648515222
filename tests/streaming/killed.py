"""A stream in a process of its own that is killed where chance wants it, and gone on with until it has ended."""

import os
import random
import signal
import sqlite3
import time
from pathlib import Path

from tests import forked
from tests.streaming.conftest import lines
from tests.verbs.conftest import REPO, command

SERIES = ("engine=torch", "rewind=4")  # settings of a stream of series


def words(home: Path, *more: str) -> list[str]:
    return [
        "stream", "run=latest", f"runs={home}/runs", "feed=file", "feed.path=in.jsonl", "feed.batch=50",
        "output=out.jsonl", "rejects=rejects.jsonl", "state.path=s.db", "state.most=60", *more,
    ]  # fmt: skip


def outcome(place: Path) -> tuple[bytes, bytes, list, str]:
    """All that a stream leaves."""
    with sqlite3.connect(place / "s.db") as db:
        states = db.execute("SELECT name, at, record FROM series ORDER BY name").fetchall()
        counts = db.execute("SELECT value FROM facts WHERE key = 'counts'").fetchone()
    db.close()
    return (place / "out.jsonl").read_bytes(), (place / "rejects.jsonl").read_bytes(), states, counts[0]


def batches(place: Path) -> int:
    if not (place / "s.db").exists():
        return 0
    with sqlite3.connect(place / "s.db") as db:
        there = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'facts'").fetchone()
        found = there and db.execute("SELECT value FROM facts WHERE key = 'counts'").fetchone()
    db.close()
    return 0 if found is None else int(found[0].partition('"batches":')[2].partition("}")[0].partition(",")[0])


def killed(
    home: Path, folder: Path, kills: int, *more: str, seed: int = 0, settings: tuple[str, ...] = SERIES,
    given: list[bytes] | None = None,
) -> int:  # fmt: skip
    """Two streams of the same lines, one of them killed; asserts that they left the same. How many kills hit."""
    given = lines(70, 10 * kills + 40, seed=seed) if given is None else given
    draw, hits, more = random.Random(seed), 0, (*settings, *more)
    for name in ("whole", "killed"):
        (folder / name).mkdir()
        (folder / name / "in.jsonl").write_bytes(b"\n".join([*given, b""]))
    command(*words(home, *more), cwd=folder / "whole")
    place = folder / "killed"
    env = {**os.environ, "PYTHONPATH": str(REPO), "FORECAST_TRACEBACK": "", "OMP_NUM_THREADS": "1"}
    for _ in range(kills):
        began = batches(place)

        def kill(pid: int, began: int = began) -> None:
            """At some moment after it has committed a few batches of its own."""
            until = time.monotonic() + 60
            while time.monotonic() < until and batches(place) < began + draw.randint(1, 6):
                time.sleep(0.002)
            time.sleep(draw.uniform(0, 0.02))
            os.kill(pid, signal.SIGKILL)

        code, _, _ = forked.forecast(tuple(words(home, *more)), place, env, 120, kill)
        hits += code == -signal.SIGKILL
    command(*words(home, *more), cwd=place)
    whole, cut = outcome(folder / "whole"), outcome(place)
    assert whole[0].count(b"\n") > 100 and whole[0] == cut[0]
    assert whole[1:] == cut[1:]
    return hits
