"""What all benchmarks share: seconds as medians, the machine, a file of results."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from forecast.artifacts import write_json
from forecast.verbs.provenance import git
from forecast.verbs.tables import table

RESULTS = Path(__file__).with_name("results.json")
Row = dict[str, Any]


def seconds(run: Callable[[], object], repeats: int, *, warmup: int = 1) -> float:
    """Median seconds of a call."""
    for _ in range(warmup):
        run()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def machine() -> Row:
    """Where it was measured, and of which commit."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line[:10] == "model name"]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "python": platform.python_version(), "commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "-s")),
        "load": round(os.getloadavg()[0], 1), "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }  # fmt: skip


def record(benchmark: str, rows: list[Row], part: str = "") -> None:
    """Print the rows of one benchmark, or of a part of it, and put them into results.json beside the others."""
    name = f"{benchmark} {part}".strip()
    header = list(rows[0])
    print(f"\n{name}\n{table(header, [[_cell(row[key]) for key in header] for row in rows])}", flush=True)
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    known[name] = {"command": f"python -m benchmarks {benchmark}", "machine": machine(), "rows": rows}
    write_json(RESULTS, dict(sorted(known.items())))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
