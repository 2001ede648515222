"""How fast a panel is forecast: `forecast_frame`, the whole command, and neuralforecast's `predict` on the same frame.

python -m benchmarks predict                    10,000 series
python -m benchmarks.predict 100000 --python /path/to/venv/bin/python

Context 168, horizon 24, hourly, one target, the 90 % interval. The runs are trained on a few batches: speed does not
depend on what was learned. neuralforecast is run by `--python`, in an environment of its own; both sides have the same
frame, the same sizes of Informer (d 64, 4 heads, 2 + 1 layers, feed-forward 64, factor 5) and a head of quantiles, the
same threads, and take turns in one run; ratios are of medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.measure import Row, machine
from forecast.artifacts import Run, write_json
from forecast.inference.frame import forecast_frame, load
from forecast.verbs.tables import table

HERE = Path(__file__)
ROOT = HERE.parents[1]
CONTEXT, HORIZON, ROUNDS = 168, 24, 5
START = np.datetime64("2024-01-01T00:00", "us")
SIZES = {
    "aaren": ["model=aaren", "model.d_model=64"],
    "informer": ["model=informer", "model.d_model=64", "task.output=quantiles", "task.levels=[0.05,0.5,0.95]"],
}  # fmt: skip


def panel(series: int, hours: int = CONTEXT, *, seed: int = 0) -> pl.DataFrame:
    """unique_id, ds, y: series of a level, a day and noise."""
    draw, at = np.random.default_rng(seed), np.arange(hours)
    level, phase = draw.lognormal(3, 1, (series, 1)), draw.uniform(0, 24, (series, 1))
    y = level * (1 + 0.5 * np.sin((at + phase) * (np.pi / 12)) + 0.2 * draw.standard_normal((series, hours)))
    ids = pl.Series([f"s{n:07d}" for n in range(series)])
    return pl.DataFrame({
        "unique_id": ids[np.repeat(np.arange(series), hours)],
        "ds": np.tile(START + at * np.timedelta64(1, "h"), series),
        "y": np.round(y.reshape(-1), 3),
    })  # fmt: skip


def run_of(folder: Path, model: str) -> Run:
    """A run of a few batches on 40 series of the kind."""
    panel(40, 600, seed=1).write_parquet(folder / "train.parquet")
    words = [
        "train", *SIZES[model], "data=series", "data.path=train.parquet", "data.id=unique_id", "data.time=ds",
        "data.target=y", "data.freq=h", "data.splits={train: 0.7, val: 0.1, test: 0.2}", "trainer=smoke", "track=none",
        "quiet=true", "predictions=false", f"runs={model}",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "forecast", *words], cwd=folder, env=environment(), check=True,
                   capture_output=True)  # fmt: skip
    (path,) = (folder / model / "train").iterdir()
    return Run(path)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def command(folder: Path, run: Run) -> float:
    """Seconds of a whole `forecast predict` of the panel, from a process's start to its end."""
    words = ["predict", f"run={run.path}", "input=panel.parquet", "output=made.parquet", "overwrite=true"]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "forecast", *words], cwd=folder, env=environment(), check=True,
                   capture_output=True)  # fmt: skip
    return time.perf_counter() - began


def ours(frame: pl.DataFrame, run: Run) -> tuple[float, pl.DataFrame]:
    """Seconds of `forecast_frame`, and what it gives."""
    predictor = load(run)
    began = time.perf_counter()
    made = forecast_frame(frame, predictor)
    return time.perf_counter() - began, made


class Rival:
    """neuralforecast's Informer, trained for a few steps, in a process that waits to be asked for the seconds of a
    `predict`."""

    def __init__(self, folder: Path, python: str) -> None:
        words = [python, "-P", str(HERE.with_name("predict_nf.py")), str(folder), str(torch.get_num_threads())]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder)
        self.facts: dict[str, Any] = self._line()

    def _line(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError("neuralforecast gave no answer")

    def seconds(self) -> Row:
        assert self.process.stdin is not None
        print("predict", file=self.process.stdin, flush=True)
        return dict(self._line())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measured(series: int, python: str | None, rounds: int) -> Row:
    """One size: medians in turns."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        runs = {model: run_of(folder, model) for model in SIZES}
        frame = panel(series)
        frame.write_parquet(folder / "panel.parquet")
        rival = Rival(folder, python) if python else None
        took: dict[str, list[float]] = {}
        for _ in range(rounds):
            for model, run in runs.items():
                seconds, made = ours(frame, run)
                assert made.height == series * HORIZON and made["status"].unique().to_list() == ["forecast"]
                took.setdefault(f"forecast_frame, {model}", []).append(seconds)
            took.setdefault("forecast predict, aaren", []).append(command(folder, runs["aaren"]))
            if rival is not None:
                answer = rival.seconds()
                assert answer["rows"] == series * HORIZON
                took.setdefault("neuralforecast predict, informer", []).append(answer["seconds"])
        facts = rival.facts if rival is not None else None
        if rival is not None:
            rival.close()
    rows = [
        {"what": name, "median s": round(statistics.median(all_of), 3), "least s": round(min(all_of), 3),
         "series/s": round(series / statistics.median(all_of), 1)}
        for name, all_of in took.items()
    ]  # fmt: skip
    return {"series": series, "rounds": rounds, "rows": rows, "seconds": took, "neuralforecast": facts}


def ratio(found: Row) -> float | None:
    """How many times the series/s of neuralforecast, for Informer."""
    rate = {row["what"]: row["series/s"] for row in found["rows"]}
    theirs = rate.get("neuralforecast predict, informer")
    return None if theirs is None else round(rate["forecast_frame, informer"] / theirs, 2)


def page(sizes: list[Row], where: Row, said: str) -> str:
    """What was measured, as text."""
    lines = [
        "# How fast a panel is forecast", "",
        f"Hourly series, context {CONTEXT}, horizon {HORIZON}, the 90 % interval, d 64; {where['cpu']}, "
        f"{where['threads']} threads, torch {where['torch']}, {where['date']}, load {where['load']}, "
        f"commit {where['commit'][:7]}. Medians of rounds in turns; `{said}`.", "",
    ]  # fmt: skip
    for found in sizes:
        header = ["what", "median s", "least s", "series/s"]
        lines += [f"## {found['series']:,} series, {found['rounds']} rounds", "", "| " + " | ".join(header) + " |",
                  "|---|---|---|---|"]  # fmt: skip
        lines += ["| " + " | ".join(str(row[key]) for key in header) + " |" for row in found["rows"]]
        if (times := ratio(found)) is not None:
            facts = found["neuralforecast"]
            lines += ["", f"Informer: {times} times the series/s of neuralforecast {facts['neuralforecast']} "
                          f"(torch {facts['torch']})."]  # fmt: skip
        lines.append("")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict")
    parser.add_argument("series", type=int, nargs="*", default=[10_000])
    parser.add_argument("--python", help="of an environment that has neuralforecast")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    asked = parser.parse_args([] if words is None else words)
    torch.set_num_threads(asked.threads)
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    where, sizes = machine(), []
    for series in asked.series:
        found = measured(series, asked.python, asked.rounds)
        sizes.append(found)
        header = list(found["rows"][0])
        print(f"\n{series:,} series\n{table(header, [[str(row[key]) for key in header] for row in found['rows']])}")
        print(f"times neuralforecast: {ratio(found)}", flush=True)
    if not asked.dry:
        given = ["--python VENV/bin/python" if word == asked.python else word for word in words or []]
        said = " ".join(["python -m benchmarks.predict", *(word for word in given if word != "--python")])
        write_json(HERE.with_suffix(".json"), {"command": said, "machine": where, "sizes": sizes})
        HERE.with_suffix(".md").write_text(page(sizes, where, said), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
