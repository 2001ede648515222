"""Training on a folder larger than memory: what it costs in memory, and how fast windows come.

    python -m benchmarks.large --series 1000000 --rows 200 --limit-gib 1.0
    python -m benchmarks.large --series 100000            # a trial

Makes a folder of parquet files (unsorted: one file for a piece of time, all series in it, so that nothing comes series
after series), then, each in a process of its own: reads it once to a cache; takes batches from the cache and, with
--memory, from one file in memory; trains. Peak memory is VmHWM of the whole process, with imports (`base_mib`); `anon`
leaves out pages of files, which the system takes back when others need them. With --limit-gib the training runs in a
control group of that size, which needs systemd.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

PIECES = 8  # files, each a piece of time


def make(place: Path, series: int, rows: int) -> None:
    """Daily series of a level, a week and noise; PIECES files, by time and not by series."""
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    level, swing = rng.lognormal(3, 1, series), rng.uniform(0.1, 0.5, (series, 7))
    ids = pl.Series([f"series-{i:07}" for i in range(series)])
    first = np.datetime64("2024-01-01", "us")
    for piece, days in enumerate(np.array_split(np.arange(rows), PIECES)):
        parts = []
        for some in np.array_split(np.arange(series), max(1, series * len(days) >> 21)):
            factor = 1 + swing[some][:, days % 7] + rng.normal(0, 0.1, (len(some), len(days)))
            parts.append(pl.DataFrame({
                "unique_id": ids[some].gather(np.repeat(np.arange(len(some)), len(days))),
                "ds": np.tile(first + days * np.timedelta64(1, "D"), len(some)),
                "y": (level[some, None] * factor).reshape(-1),
            }))  # fmt: skip
        pl.concat(parts).write_parquet(place / f"part-{piece}.parquet")


def words(place: Path, kind: str) -> dict[str, Any]:
    return {
        "path": str(place), "context": 56, "horizon": 7, "batch_size": 256, "seed": 1, "freq": "D",
        **({"cache": str(place.with_name(f"{place.name}.cache"))} if kind == "folder" else {}),
    }  # fmt: skip


def prepared(place: Path, kind: str) -> Any:
    from forecast.data.folder_module import FolderModule
    from forecast.data.module import SeriesModule

    module: Any = FolderModule if kind == "folder" else SeriesModule
    return module(**words(place, kind)).prepare()


def batches(place: Path, kind: str, limit: int) -> dict[str, Any]:
    """Windows/s of shuffled batches."""
    began = time.perf_counter()
    data = prepared(place, kind)
    opened = time.perf_counter() - began
    loader = iter(data.train_dataloader())
    began, windows = time.perf_counter(), 0
    for batch in loader:
        windows += len(batch.origin)
        if windows >= limit:
            break
    return {"open_s": round(opened, 1), "windows": len(data.windows("train")),
            "windows_per_s": round(windows / (time.perf_counter() - began))}  # fmt: skip


def child(step: str, place: Path, limit: int) -> None:
    """One step in this process; a line of JSON."""
    peak = {"anon": 0, "rss": 0}
    threading.Thread(target=watch, args=(peak,), daemon=True).start()
    import_module("forecast.data.folder_module")  # so that the base is that of any training
    base = status()
    began = time.perf_counter()
    found = {"step": step}
    if step == "cache":
        found["findings"] = prepared(place, "folder").findings
    elif step in ("folder", "memory"):
        path = place if step == "folder" else place.with_suffix(".parquet")
        found |= batches(path, "folder" if step == "folder" else "series", limit)
    found |= {"seconds": round(time.perf_counter() - began, 1), "base_mib": base["VmRSS"] >> 10,
              "peak_mib": status()["VmHWM"] >> 10, "peak_anon_mib": peak["anon"] >> 10}  # fmt: skip
    sys.stdout.write(json.dumps(found) + "\n")


def status(pid: str = "self") -> dict[str, int]:
    """Memory of a process in KiB, by name."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}


def watch(peak: dict[str, int], pid: str = "self") -> None:
    while True:
        try:
            now = status(pid)
        except OSError:
            return
        peak["anon"], peak["rss"] = max(peak["anon"], now.get("RssAnon", 0)), max(peak["rss"], now.get("VmHWM", 0))
        time.sleep(0.02)


def train(place: Path, steps: int, limit_gib: float | None, runs: Path) -> dict[str, Any]:
    """`forecast train data=folder` as people run it, and what its process took."""
    line = [
        sys.executable, "-m", "forecast", "train", "data=folder", f"data.path={place}", "data.freq=D",
        "task.context=56", "task.horizon=7", "model=linear", "data.batch_size=256", "track=none", "quiet=true",
        f"trainer.limit_train_batches={steps}", "trainer.max_epochs=1", "trainer.accelerator=cpu", f"runs={runs}",
    ]  # fmt: skip
    how = "none"
    if limit_gib is not None:
        most = f"MemoryMax={int(limit_gib * 2**30)}"
        group = ["systemd-run", "--scope", "--quiet", "-p", most, "-p", "MemorySwapMax=0"]
        if not shutil.which("systemd-run") or subprocess.run([*group, "true"], capture_output=True).returncode:
            raise SystemExit("systemd-run can make no group here: leave --limit-gib out, and read peak_mib")
        line, how = [*group, *line], f"{limit_gib} GiB"
    began, peak = time.perf_counter(), {"anon": 0, "rss": 0}
    process = subprocess.Popen(line)
    threading.Thread(target=watch, args=(peak, str(process.pid)), daemon=True).start()
    code = process.wait()
    return {"step": "train", "limit": how, "code": code, "seconds": round(time.perf_counter() - began, 1),
            "peak_mib": peak["rss"] >> 10, "peak_anon_mib": peak["anon"] >> 10}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200, help="of the training")
    parser.add_argument("--limit-gib", type=float)
    parser.add_argument("--windows", type=int, default=1_000_000, help="that are taken to measure the loader")
    parser.add_argument("--memory", action="store_true", help="the loader in memory too")
    parser.add_argument("--place", type=Path, default=Path("/tmp/forecast-large"))
    parser.add_argument("--skip-train", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folder = asked.place / f"{asked.series}x{asked.rows}"
    if asked.step:
        child(asked.step, folder, asked.windows)
        return
    if not folder.is_dir():
        make(folder, asked.series, asked.rows)
    single = folder.with_suffix(".parquet")
    if asked.memory and not single.is_file():
        pl.read_parquet(folder / "*.parquet").sort("unique_id", "ds").write_parquet(single)
    size = sum(path.stat().st_size for path in folder.iterdir())
    told = {
        "series": asked.series,
        "rows": asked.series * asked.rows,
        "parquet_mib": size >> 20,
        "cpus": os.cpu_count(),
    }
    sys.stdout.write(json.dumps(told) + "\n")
    for step in ("cache", "folder", *(["memory"] if asked.memory else [])):
        words = ["--series", str(asked.series), "--rows", str(asked.rows), "--windows", str(asked.windows)]
        line = [sys.executable, "-m", "benchmarks.large", "--step", step, *words, "--place", str(asked.place)]
        sys.stdout.flush()
        subprocess.run(line, check=True)
    if not asked.skip_train:
        sys.stdout.write(json.dumps(train(folder, asked.steps, asked.limit_gib, asked.place / "runs")) + "\n")


if __name__ == "__main__":
    main()
