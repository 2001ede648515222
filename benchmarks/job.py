"""Jobs end to end: `forecast predict` as a process of its own, from parquet to parquet; `python -m benchmarks.job`.

    python -m benchmarks.job                       everything, into benchmarks/job.json
    python -m benchmarks.job size --series 10000   one size; --engine ray for the other engine
    python -m benchmarks.job memory --gib 3        the peak RSS of the whole tree on a folder of so many GiB
    python -m benchmarks.job kills --count 20      SIGKILL of the tree at random, run again, compare all bytes

The model is an Aaren of d_model 64, two layers, context 168, horizon 24, with the 90 % interval, trained for a moment.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil

HERE = Path(__file__).parent
CONTEXT, HORIZON = 168, 24
START = datetime(2024, 1, 1)


def series(first: int, count: int, rows: int) -> pl.DataFrame:
    """Hourly series with a daily season, sorted by id and time."""
    draw = np.random.default_rng(first)
    time = pl.datetime_range(START, START + timedelta(hours=rows - 1), "1h", eager=True)
    wave = 10 + 3 * np.sin(2 * np.pi * np.arange(rows) / 24)
    values = wave[None] * draw.uniform(0.5, 2, (count, 1)) + draw.normal(size=(count, rows))
    ids = pl.Series([f"s{number:07d}" for number in range(first, first + count)])
    return pl.DataFrame({
        "unique_id": ids.gather(np.repeat(np.arange(count), rows)),
        "ds": time.gather(np.tile(np.arange(rows), count)),
        "y": values.reshape(-1),
    })  # fmt: skip


def folder(home: Path, count: int, rows: int = CONTEXT, each: int = 5000) -> Path:
    """So many series in files of `each`; made once."""
    place = home / f"series-{count}-{rows}"
    if not (place / "_MADE").is_file():
        place.mkdir(parents=True, exist_ok=True)
        for number, first in enumerate(range(0, count, each)):
            series(first, min(each, count - first), rows).write_parquet(place / f"{number:05d}.parquet")
        (place / "_MADE").write_text("")
    return place


def trained(home: Path) -> Path:
    """The run folder."""
    runs = home / "runs" / "train"
    if not runs.is_dir():
        series(0, 40, 1200).write_parquet(home / "train.parquet")
        words = [
            "train", "model=aaren", "data=series", "data.path=train.parquet", "data.id=unique_id", "data.time=ds",
            "data.target=y", f"task.context={CONTEXT}", f"task.horizon={HORIZON}", "model.d_model=64", "model.layers=2",
            "trainer.max_epochs=1", "trainer.limit_train_batches=20", "predictions=false", "track=none",
        ]  # fmt: skip
        subprocess.run([sys.executable, "-m", "forecast", *words], cwd=home, check=True, env=environment())
    (run,) = runs.iterdir()
    return run


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE.parent)}


def started(run: Path, source: Path, output: Path, *words: str) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "forecast", "predict", f"run={run}", f"input={source}", f"output={output}", *words]
    return subprocess.Popen(
        line, env=environment(), start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


class Watched:
    """Peak RSS in MiB of a process with all that it starts, looked at 20 times a second; pages that several processes
    share count for each."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.root, self.peak, self.largest = psutil.Process(process.pid), 0.0, 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.over.wait(0.05):
            with suppress(psutil.Error):
                sizes = []
                for one in [self.root, *self.root.children(recursive=True)]:
                    with suppress(psutil.Error):
                        sizes.append(one.memory_info().rss / 2**20)
                self.peak, self.largest = max(self.peak, sum(sizes)), max([self.largest, *sizes])

    def end(self) -> dict[str, float]:
        self.over.set()
        self.thread.join()
        return {"peak_rss_mib": round(self.peak), "largest_process_mib": round(self.largest)}


def timed(run: Path, source: Path, *words: str) -> dict[str, Any]:
    """One job, from the start of the process to its end."""
    with tempfile.TemporaryDirectory() as home:
        output, began = Path(home) / "out", time.perf_counter()
        process = started(run, source, output, *words)
        watched = Watched(process)
        said, err = process.communicate()
        seconds = time.perf_counter() - began
        memory = watched.end()
        assert process.returncode == 0, said + err
        held = json.loads((output / "_SUCCESS").read_text())
        spent = [json.loads(line) for line in (output / "_manifest.jsonl").read_text().splitlines()]
        work = sum(line["seconds"] for line in spent if line["kind"] == "shard")
        return {
            "series": held["series"], "seconds": round(seconds, 2), "series_per_s": round(held["series"] / seconds),
            "shards": held["shards"], "work_s": round(work, 2), **memory, "said": said.strip().splitlines()[-1],
        }  # fmt: skip


def size(home: Path, count: int, engine: str, repeats: int = 1) -> dict[str, Any]:
    run, source = trained(home), folder(home, count)
    found = [timed(run, source, f"engine={engine}", "progress=none") for _ in range(repeats)]
    best = min(found, key=lambda one: one["seconds"])
    return {"engine": engine, **best, "all_s": [one["seconds"] for one in found]}


def memory(home: Path, gib: float, layout: str) -> dict[str, Any]:
    """Of a folder of so many GiB on the disk. sorted: files of whole series of 10,000 rows; dates: each series in each
    file, so that they are spread first. 1 GiB are about 120 million rows."""
    source = home / f"memory-{layout}-{gib:g}"
    wanted, made = int(gib * 2**30), 0
    if not (source / "_MADE").is_file():
        source.mkdir(parents=True, exist_ok=True)
        number = 0
        while made < wanted:
            frame = series(number * 200, 200, 10_000)  # compressed, noise has about 8 bytes a row
            if layout == "dates":
                hour = timedelta(hours=500 * number)
                frame = series(0, 4000, 500).with_columns(pl.col("ds") + hour)
            path = source / f"{number:05d}.parquet"
            frame.write_parquet(path)
            made, number = made + path.stat().st_size, number + 1
        (source / "_MADE").write_text("")
    found = timed(trained(home), source, "progress=none")
    size = sum(path.stat().st_size for path in source.glob("*.parquet"))
    return {"layout": layout, "gib": round(size / 2**30, 2), **found}


def kills(home: Path, count: int, series_: int = 10_000) -> dict[str, Any]:
    """SIGKILL of the whole tree at random moments; each time the same command again, the last one to its end."""
    run, source, draw = trained(home), folder(home, series_), random.Random(0)
    words = ("shard_rows=50000", "progress=none")
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        process = started(run, source, Path(place) / "whole", *words)
        assert process.wait() == 0
        whole, expected = time.perf_counter() - began, digests(Path(place) / "whole")
        output, killed, ended = Path(place) / "out", 0, 0
        while killed < count:
            process = started(run, source, output, *words)
            with suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(0.2, 1.1) * whole)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                killed += 1
            else:  # it was done: what a kill may cost, some parts, is taken away
                ended += 1
                assert digests(output) == expected
                parts = sorted(output.glob("part-*"))
                for path in draw.sample(parts, len(parts) // 2):
                    path.unlink()
            process.communicate()
        assert started(run, source, output, *words).wait() == 0
        return {"kills": killed, "ended_between": ended, "parts": len(expected), "equal": digests(output) == expected}


def digests(output: Path) -> dict[str, str]:
    paths = sorted([*output.glob("part-*"), *output.glob("quarantine/part-*")])
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def everything(home: Path) -> dict[str, Any]:
    """All that the page says."""
    made: dict[str, Any] = {"machine": {"cores": os.cpu_count(), "memory_gib": psutil.virtual_memory().total >> 30}}
    made["size"] = [size(home, 10_000, "local", 3), size(home, 100_000, "local", 2)]
    with suppress(ImportError):
        import ray  # type: ignore[import-not-found, unused-ignore]  # noqa: F401

        made["size"].append(size(home, 100_000, "ray", 2))
        made["ray_over_local"] = round(made["size"][2]["seconds"] / made["size"][1]["seconds"], 3)
    made["million_projected_s"] = round(made["size"][1]["seconds"] * 10)
    made["memory"] = [memory(home, 3, "sorted"), memory(home, 3, "dates")]
    made["kills"] = kills(home, 20)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="jobs, end to end")
    parser.add_argument("what", nargs="?", default="all", choices=["all", "size", "memory", "kills"])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--engine", default="local")
    parser.add_argument("--gib", type=float, default=3)
    parser.add_argument("--layout", default="sorted", choices=["sorted", "dates"])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "forecast-job")
    parser.add_argument("--out", type=Path, default=None, help="a file for the JSON; of all: benchmarks/job.json")
    asked = parser.parse_args()
    home = asked.home.absolute()
    home.mkdir(parents=True, exist_ok=True)
    found = {
        "all": lambda: everything(home),
        "size": lambda: size(home, asked.series, asked.engine),
        "memory": lambda: memory(home, asked.gib, asked.layout),
        "kills": lambda: kills(home, asked.count, asked.series),
    }[asked.what]()
    text = json.dumps(found, indent=1)
    print(text)
    out = asked.out or (HERE / "job.json" if asked.what == "all" else None)
    if out is not None:
        out.write_text(text + "\n")


if __name__ == "__main__":
    main()
