"""How long 10 million rows of predictions take to look at: python -m benchmarks.browse [rows].

Two runs are made up in a folder that is deleted afterwards, written as a run writes them: one series of 7 channels with
a horizon of 96, and 300 series with a horizon of 24. Measured at the server, in milliseconds: the index (once for each
run), the page with the first chart, moves of the cutoff to random windows, other series and channels with the whole
test span, each until what the browser gets is JSON; and the memory of the process.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from plotly.utils import PlotlyJSONEncoder

from benchmarks.measure import Row, machine
from forecast.artifacts import write_json
from forecast.dashboards.app.page import View
from forecast.dashboards.app.pages import explorer, explorer_look
from forecast.dashboards.app.sources import Sources
from forecast.dashboards.series.index import Index
from forecast.inference import record
from forecast.verbs.tables import table

ROWS = 10_000_000
MOVES = 40
RESULTS = Path(__file__).with_suffix(".json")
SHAPES = {"1 series, 7 channels, 96 steps": (1, 7, 96), "300 series, 24 steps": (300, 1, 24)}


def make(folder: Path, ids: int, channels: int, horizon: int, rows: int) -> Path:
    """A run folder with so many rows of predictions, window by window."""
    count = max(rows // (ids * channels * horizon), 2)
    names, draw = [f"c{k}" for k in range(channels)], np.random.default_rng(0)
    path = folder / f"{ids}-{channels}-{horizon}"
    path.mkdir(parents=True)
    writer, each = None, max(1, record.GROUP // (channels * horizon))
    for id in range(ids):
        truth = np.cumsum(draw.normal(size=(count + horizon + 1, channels)), 0).astype(np.float32)
        for first in range(0, count, each):
            table = part(
                f"s{id:04}", names, truth, np.arange(first, min(first + each, count)), horizon, draw
            ).to_arrow()
            writer = writer or record.opened(path / "predictions.parquet", table.schema)
            writer.write_table(table)
    assert writer is not None
    writer.close()
    facts = {"task": "forecast", "model": "made up", "dataset": "made up", "horizon": horizon, "context": 3 * horizon,
             "season": 24, "rows": []}  # fmt: skip
    spec = {"channels": names, "targets": channels, "units": ["kW"] * channels, "freq": "h", "horizon": horizon}
    (path / "metrics.json").write_text(json.dumps(facts))
    (path / "config.json").write_text("{}")
    (path / "data.json").write_text(json.dumps({"spec": spec, "card": {"name": "made up", "season": 24}}))
    return path


def part(
    id: str, names: list[str], truth: np.ndarray, windows: np.ndarray, horizon: int, draw: np.random.Generator
) -> pl.DataFrame:
    """The rows of some windows of a series."""
    shape = (len(windows), horizon, len(names))
    at = windows[:, None] + 1 + np.arange(horizon)
    time_ = np.datetime64("2020-01-01", "us") + at * np.timedelta64(1, "h")
    hat = truth[at] + draw.normal(size=shape).astype(np.float32)
    wide = np.float32(1) + np.arange(horizon, dtype=np.float32)[None, :, None] / horizon
    whole = {
        "channel": np.array(names), "cutoff": time_[:, :1, None] - np.timedelta64(1, "h"), "ds": time_[..., None],
        "step": np.arange(1, horizon + 1, dtype=np.int32)[None, :, None], "y": truth[at], "y_hat": hat,
        "naive": np.broadcast_to(truth[windows][:, None], shape),
    }  # fmt: skip
    for name, level in record.QUANTILES.items():
        whole[name] = hat + wide * np.float32(NormalDist().inv_cdf(level))
    frame = pl.DataFrame({key: np.broadcast_to(value, shape).reshape(-1) for key, value in whole.items()})
    return frame.select(pl.lit(id).alias("unique_id"), pl.all())


def sent(made: Any) -> int:
    """What the browser would get, in bytes."""
    return len(json.dumps(made, cls=PlotlyJSONEncoder))


def timed(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - began)


def measured(path: Path) -> Row:
    """One run, from the first look at it."""
    sources = Sources(path.parent)

    def view(**query: str) -> View:
        return View(sources, {"run": (path.name,), **{key: (value,) for key, value in query.items()}}, "light")

    run, draw = sources.run(path.name), np.random.default_rng(1)
    before = resident()
    index_ms = timed(lambda: explorer_look.indices.get(run, 600.0))
    index = explorer_look.indices.get(run)
    assert isinstance(index, Index)
    first = timed(lambda: sent(explorer.body(view())))
    windows = index.of(0, 0).height
    moves = [timed(lambda: sent(explorer.move(view(), int(draw.integers(windows))))) for _ in range(MOVES)]
    others = [
        timed(
            lambda: sent(
                explorer.body(view(series=str(draw.choice(index.ids)), channel=str(draw.choice(index.channels))))
            )
        )
        for _ in range(MOVES // 2)
    ]
    return {
        "rows": int(index.file.starts[-1]), "MB": path.joinpath("predictions.parquet").stat().st_size / 1e6,
        "windows": index.windows.height, "index s": index_ms / 1000, "first ms": first,
        "move p50 ms": statistics.median(moves), "move most ms": max(moves),
        "other p50 ms": statistics.median(others), "other most ms": max(others),
        "page kB": sent(explorer.body(view())) / 1000, "index MB": index.windows.estimated_size() / 1e6,
        "more MB": resident() - before, "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }  # fmt: skip


def resident() -> float:
    """MB that the process holds now, mapped pages of files among them."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def main(rows: int) -> None:
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in SHAPES.items():
            found.append({"run": name, **measured(make(Path(folder) / "train", *shape, rows))})
    header = list(found[0])
    print(
        table(["", *[row["run"] for row in found]], [[key, *[cell(row[key]) for row in found]] for key in header[1:]])
    )
    write_json(RESULTS, {"command": f"python -m benchmarks.browse {rows}", "machine": machine(), "rows": found})


def cell(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
