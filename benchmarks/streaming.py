"""What a stream costs: `python -m benchmarks streaming` measures one series, ten thousand and a million, what is kept
on disk, a million steps beside a Transformer with its cache of keys, and how far a stream is from one scan.

The model is Aaren of 3 layers, width 64, 4 heads, horizon 24, not trained: its weights do not change what it costs. On
a quiet machine, 15 minutes; writes streaming.json, .md and .png.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import polars as pl
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.measure import Row, machine
from forecast.artifacts import atomic, write_json
from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.heads import Chain, Direct
from forecast.heads.stream import Stream
from forecast.inference.calibration import fit
from forecast.inference.predictor import Predictor
from forecast.models import Aaren, RollingNorm, ValueEmbedding
from forecast.streaming.live import Live
from forecast.streaming.sinks import FileSink
from forecast.streaming.store import Store
from forecast.streaming.streamer import Streamer
from forecast.verbs.tables import table

TARGET: Final = Path(__file__).with_name("streaming.json")
WIDTH, HEADS, LAYERS, HORIZON, CONTEXT = 64, 4, 3, 24, 168
HOUR: Final = 3_600_000_000
START: Final = int(np.datetime64("2025-01-01", "us").astype(np.int64))
MANY, MILLION = 10_000, 1_000_000
MARKS: Final = (10, 100, 1_000, 10_000, 100_000, 1_000_000)  # steps at which a cache is measured


def predictor(folder: Path) -> Predictor:
    """The model, on a sine with noise."""
    draw, n = np.random.default_rng(0), 1000
    time_ = np.datetime64("2024-01-01", "us") + np.arange(n) * np.timedelta64(1, "h")
    y = np.sin(np.arange(n) / 4) + 0.3 * draw.standard_normal(n)
    pl.DataFrame({"unique_id": "a", "ds": time_, "y": y}).write_parquet(folder / "f.parquet")
    data = SeriesModule(
        path=str(folder / "f.parquet"), time="ds", id="unique_id", target="y", freq="h", gaps="mask", context=CONTEXT,
        horizon=HORIZON,
    ).prepare()  # fmt: skip
    torch.manual_seed(0)
    spec = data.spec
    chain = Chain(
        norm=RollingNorm(24.0), embed=ValueEmbedding(spec=spec, d_model=WIDTH, causal=True, position=False),
        encoder=Aaren(d_model=WIDTH, heads=HEADS, d_ff=2 * WIDTH, layers=LAYERS),
        head=Direct(spec=spec, d_memory=WIDTH, length=CONTEXT, tokens=1), masked=True,
    )  # fmt: skip
    calibration = fit(torch.randn(400, HORIZON, 1), torch.zeros(400, HORIZON, dtype=torch.long), 24)
    return Predictor(chain, Recipe.from_state(data.state()), "aaren", calibration=calibration)


def quantiles(spent: list[float]) -> Row:
    return {"p50 ms": 1e3 * float(np.median(spent)), "p99 ms": 1e3 * float(np.quantile(spent, 0.99))}


def one(made: Predictor) -> list[Row]:
    """A reading of one series, in the process."""
    rows = []
    for name, options in (
        ("frozen", {}), ("correcting itself", {"correct": True}), ("rewind=48", {"rewind": 48}),
        ("frozen, by torch", {"engine": "torch"}),
    ):  # fmt: skip
        live, spent, draw = Live(made, "w", **options), [], np.random.default_rng(0)
        for i, y in enumerate(draw.standard_normal(6000).tolist()):
            when = np.datetime64(START + i * HOUR, "us")
            began = time.perf_counter()
            live.push("meter", when, {"y": y})
            spent.append(time.perf_counter() - began)
        rows.append({"stream": name, **quantiles(spent[1000:]), "bytes per series": live.states.size()})
    return rows


def many(made: Predictor) -> list[Row]:
    """A reading of each of 10,000 series: computed in the process, and as JSON lines on disk."""
    rows, names, draw = [], [f"meter-{i}" for i in range(MANY)], np.random.default_rng(0)
    for name, options in (("computed", {}), ("computed, correcting itself", {"correct": True})):
        live, spent = Live(made, "w", **options), []
        for i in range(12):
            values, at = draw.standard_normal((MANY, 1)), np.full(MANY, START + i * HOUR)
            began = time.perf_counter()
            live.take(names, at, values)
            spent.append(time.perf_counter() - began)
        rows.append({"10,000 series at once": name, "updates/s": MANY / float(np.median(spent[2:]))})
    for name, sync, output in (
        ("computed, JSON lines in and out", None, True), ("states on disk, sync=normal", "normal", False),
        ("states on disk, sync=full", "full", False), ("states and output on disk, sync=full", "full", True),
    ):  # fmt: skip
        rows.append({"10,000 series at once": name, "updates/s": durable(made, names, sync, output)})
    return rows


def durable(made: Predictor, names: list[str], sync: Any, output: bool) -> float:
    """Updates a second of JSON lines, their states and, if asked for, their output on disk."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        live, place, draw, spent = Live(made, "w"), Path(folder), np.random.default_rng(0), []
        store = None if sync is None else Store(place / "s.db", live.stamp, sync=sync)
        sink = FileSink(place / "out.jsonl", sync=sync == "full") if output else None
        streamer = Streamer(live, store=store, sink=sink)
        for i in range(12):
            ds = str(np.datetime64(START + i * HOUR, "us"))
            lines = [
                orjson.dumps({"unique_id": name, "ds": ds, "y": y})
                for name, y in zip(names, draw.standard_normal(MANY).tolist(), strict=True)
            ]
            began = time.perf_counter()
            streamer.process(lines, i)
            spent.append(time.perf_counter() - began)
        streamer.close()
    return MANY / float(np.median(spent[2:]))


def disk() -> list[Row]:
    """Ways to keep 10,000 of 200,000 records of 1,200 bytes, fsynced: the choice of the store."""
    size, count = 1200, 200_000
    records, rows = np.random.default_rng(0).integers(0, 256, (MANY, size), np.uint8), []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        mapped = np.memmap(Path(folder) / "map", np.uint8, "w+", shape=(count, size))
        with open(Path(folder) / "log", "wb") as log:
            db = sqlite3.connect(Path(folder) / "s.db", isolation_level=None)
            for line in ("PRAGMA page_size=16384", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=full",
                         "PRAGMA wal_autocheckpoint=4000",
                         "CREATE TABLE series (name TEXT PRIMARY KEY, record BLOB)"):  # fmt: skip
                db.execute(line)

            def sqlite(first: int) -> None:
                db.execute("BEGIN")
                db.executemany(
                    "INSERT INTO series VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET record = excluded.record",
                    ((f"meter-{first + i}", records[i].data) for i in range(MANY)),
                )
                db.execute("COMMIT")

            def memory_map(first: int) -> None:
                mapped[first : first + MANY] = records
                mapped.flush()

            def append(first: int) -> None:
                log.write(records.tobytes())
                log.flush()
                os.fsync(log.fileno())

            for name, way, whole in (
                ("SQLite, one transaction", sqlite, "yes"), ("memory map, flushed", memory_map, "no"),
                ("appended to a file", append, "its end may be torn"),
            ):  # fmt: skip
                spent = []
                for first in list(range(0, count, MANY)) * 2:
                    began = time.perf_counter()
                    way(first)
                    spent.append(time.perf_counter() - began)
                rate = MANY / float(np.mean(spent[len(spent) // 2 :]))
                rows.append({"kept by": name, "records/s": rate, "whole after a kill": whole})
            db.close()
    return rows


def million(made: Predictor) -> Row:
    """A million series, each with a few readings, in a process of its own."""
    code = "from benchmarks.streaming import _million; _million()"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return dict(orjson.loads(done.stdout.splitlines()[-1]))


def _million() -> None:
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        live = Live(predictor(Path(folder)), "w", most=MILLION)
    before, draw = process.memory_info().rss, np.random.default_rng(0)
    names, began = [f"meter-{i:07d}" for i in range(MILLION)], time.perf_counter()
    for i in range(3):
        for first in range(0, MILLION, MANY):
            live.take(names[first : first + MANY], np.full(MANY, START + i * HOUR), draw.standard_normal((MANY, 1)))
    row = {
        "series": len(live.states), "GiB": process.memory_info().rss / 2**30,
        "bytes per series": (process.memory_info().rss - before) / MILLION, "state alone": live.states.size(),
        "updates/s": 3 * MILLION / (time.perf_counter() - began),
    }  # fmt: skip
    sys.stdout.write(orjson.dumps(row).decode() + "\n")


class Cached(nn.Module):
    """The rival: a causal Transformer of the same sizes that attends to all steps so far, their keys and values cached
    in memory that was set aside."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(WIDTH, WIDTH)
        self.qkv = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(LAYERS))
        self.out = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2 * LAYERS))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)) for _ in range(LAYERS)
        )
        self.head = nn.Linear(WIDTH, HORIZON)
        self.cache = [torch.randn(2, 1, HEADS, room, WIDTH // HEADS) for _ in range(LAYERS)]

    def forward(self, x: Tensor, step: int) -> Tensor:
        """x (1, 1, D), the step it is -> (1, H)."""
        x = self.inputs(x)
        for i, cache in enumerate(self.cache):
            q, k, v = self.qkv[i](x).view(1, 1, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            cache[0, :, :, step : step + 1], cache[1, :, :, step : step + 1] = k, v
            mixed = F.scaled_dot_product_attention(q, cache[0, :, :, : step + 1], cache[1, :, :, : step + 1])
            x = self.norms[2 * i](x + self.out[i](mixed.transpose(1, 2).reshape(1, 1, WIDTH)))
            x = self.norms[2 * i + 1](x + self.feed[i](x))
        return self.head(x[:, 0])


@torch.inference_mode()
def long(made: Predictor) -> dict[str, list[Row]]:
    """A million steps of one series, and a cache of as many."""
    live, draw, process, stream = Live(made, "w"), np.random.default_rng(0), psutil.Process(), []
    values, block = draw.standard_normal(MARKS[-1]), 20_000
    for first in range(0, len(values), block):
        spent = []
        for i in range(first, first + block):
            when = np.datetime64(START + (i - 8000) * HOUR, "us")
            began = time.perf_counter()
            live.push("meter", when, {"y": values[i]})
            spent.append(time.perf_counter() - began)
        stream.append({"steps": first + block, **quantiles(spent), "RSS MiB": process.memory_info().rss / 2**20})
    rival, cache = Cached(MARKS[-1] + 100).eval(), []
    for mark in MARKS:
        spent = []
        for i in range(60):
            began = time.perf_counter()
            rival(torch.randn(1, 1, WIDTH), mark + i)
            spent.append(time.perf_counter() - began)
        size = LAYERS * 2 * WIDTH * 4 * mark
        cache.append({"steps": mark, **quantiles(spent[10:]), "cache MiB": size / 2**20})
    return {"stream": stream, "cache": cache}


@torch.inference_mode()
def parallel(made: Predictor, steps: int = 10_000) -> Row:
    """The largest difference between a stream and one scan of 10,000 steps, of states and of forecasts."""
    live, spec, draw = Live(made, "w"), made.recipe.spec, np.random.default_rng(0)
    values = np.sin(np.arange(steps) / 4) + 0.3 * draw.standard_normal(steps)
    at = START + np.arange(steps) * HOUR
    found = live.take(["meter"] * steps, at, values[:, None])
    mean, std = live.fold.mean[-1], live.fold.std[-1]
    past = torch.from_numpy(((values[:, None] - mean) / std).astype(np.float32))[None]
    step, rest = live.calendar.steps(np.append(at, at[-1] + HOUR * np.arange(1, 25)).astype("datetime64[us]"))
    clock = torch.from_numpy(live.calendar.rows(step, rest))[None]
    stream = Stream(made.chain, len(spec.channels)).eval()
    state, made_ = stream.forecasts(stream.start(1), past, torch.ones_like(past, dtype=torch.bool), clock)
    forecast = (found.forecasts.y_hat[:, :, 0] - mean) / std
    own = [part[:1] for part in live.states.rows]
    rows = [row.numpy() for row in live.step.pack(state)]
    pairs = [(a, b) for a, b in zip(own, rows, strict=True) if a.dtype == np.float32]
    worst = [float((np.abs(a - b) / np.maximum(1, np.abs(b))).max()) for a, b in pairs]
    return {
        "steps": steps, "forecasts": float(np.abs(forecast - made_[0, :, :, 0].numpy()).max()),
        "states, relative above 1": max(worst),
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        made = predictor(Path(folder))
    found: dict[str, Any] = {"command": "python -m benchmarks streaming", "machine": machine()}
    parts = {"one": one, "many": many, "disk": lambda _: disk(), "million": million, "parallel": parallel, "long": long}
    for name, part in parts.items():
        found[name] = part(made)
        print(name, "done", flush=True)
    write_json(TARGET, found)
    _page(found)
    _plot(found["long"])


def _page(found: dict[str, Any]) -> None:
    """The tables of streaming.md."""
    stream, cache = found["long"]["stream"], found["long"]["cache"]
    ends = [{"a million steps": name, "first 20,000": first, "last 20,000": last} for name, first, last in (
        ("push, p50 ms", stream[0]["p50 ms"], stream[-1]["p50 ms"]),
        ("memory of the process, MiB", stream[0]["RSS MiB"], stream[-1]["RSS MiB"]),
    )]  # fmt: skip
    parts = [found["one"], found["many"], found["disk"], [found["million"]], [found["parallel"]], ends, cache]
    titles = (
        "One reading of one series", "Batches", "Ways to keep records (10,000 of 1,200 bytes at a time)",
        "A million series", "Stream minus one scan, at most", "A million steps", "A Transformer's cache instead",
    )  # fmt: skip
    text = [
        "# What a stream costs", "",
        f"`{found['command']}`: Aaren, {LAYERS} layers, width {WIDTH}, {HEADS} heads, horizon {HORIZON}; "
        f"{found['machine']['cpu']}, {found['machine']['cores']} cores, {found['machine']['date']}.", "",
    ]  # fmt: skip
    for title, rows in zip(titles, parts, strict=True):
        drawn = table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])
        text += [f"## {title}", "", "```", drawn, "```", ""]
    with atomic(TARGET.with_suffix(".md")) as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")
    print("\n".join(text))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plot(found: dict[str, list[Row]]) -> None:
    """Time of a step and memory, over a million steps."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4))
    stream, cache = found["stream"], found["cache"]
    for axes, own, theirs in ((left, "p50 ms", "p50 ms"), (right, "RSS MiB", "cache MiB")):
        first = stream[0][own] if axes is right else 0.0
        axes.plot(
            [row["steps"] for row in stream], [max(1e-2, row[own] - first) for row in stream], label="Aaren, streamed"
        )
        axes.plot(
            [row["steps"] for row in cache], [row[theirs] for row in cache], "o--", ms=3, label="Transformer, KV cache"
        )
        axes.set(xscale="log", yscale="log", xlabel="steps so far")
        axes.grid(alpha=0.3)
    left.set_ylabel("a step, p50 ms")
    right.set_ylabel("memory that was added, MiB")
    left.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    with atomic(TARGET.with_suffix(".png")) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)
