"""What a stream loses to windows over 10⁵ steps: none, lstm, aaren and tcnca, trained alike by experiment=stream.

electricity, 168 -> 24. Its test part has 5,260 hours; the first 31 weeks of them, 5,208, are streamed 20 times in one
go: 104,160 steps. Hour and weekday go on at a seam, level and day of the year jump there. Windows over these rows are
the same in every lap, those across a seam included, so the ratio of a lap says how far the state has drifted by then.

Where a model has several settings the stream over the validation part decides; the laps are of the test part and choose
nothing. Trainings are kept in runs/stream and are not done again. Writes stream-error.json and stream-error.png.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.campaign import finished
from benchmarks.measure import Row, machine
from forecast import build
from forecast.artifacts import Run, atomic, write_json
from forecast.data.batch import Gather, batches
from forecast.data.module import SeriesModule
from forecast.data.window import Windows
from forecast.heads.stream import Stream
from forecast.inference.predictor import Predictor
from forecast.inference.scoring import BATCH, score
from forecast.inference.streamed import forecasts, score_stream
from forecast.models.base import bytes_per_series
from forecast.verbs.tables import table

RUNS = Path("runs/stream")
TARGET = Path(__file__).with_name("stream-error.json")
WEEK, WEEKS, LAPS = 168, 31, 20
COMMON = (
    "experiment=stream data=electricity task.context=168 task.horizon=24 embed.d_model=32 data.batch_size=32 "
    "optim.lr=2e-3 trainer.max_epochs=4 trainer.limit_train_batches=200 trainer.patience=null trainer.save_every=null "
    "trainer.threads=1 track=none predictions=false quiet=true"
)
SETTINGS = {
    "none": ("",),
    "lstm": ("",),
    "tcnca": ("",),
    # decay .02 is the default; a window of 60 in two layers ends, with 48 tokens in the head, where the context does
    "aaren": ("", "model.decay=0.05", "model.decay=0.1", "model.window=60"),
}


class Job(NamedTuple):
    """One training."""

    model: str
    own: str

    @property
    def name(self) -> str:
        return "-".join([self.model, *self.own.replace("model.", "").replace("=", "-").split()])

    def words(self, runs: Path) -> list[str]:
        return ["train", *COMMON.split(), f"model={self.model}", *self.own.split(), f"name={self.name}", f"runs={runs}"]


def validated(data: SeriesModule, job: Job, run: Run) -> Row:
    """Scores over the validation part, by windows and as one stream."""
    predictor = Predictor.load(run)
    (windowed,) = score(data, predictor.forecast, "model", part="val", others={})
    _, stream = score_stream(data, predictor.chain, "model", windowed, part="val")
    return {
        "setting": job.name,
        "windows": windowed["scaled"]["mse"],
        "stream": stream["mse"],
        "ratio": stream["ratio"],
    }


class Laps(NamedTuple):
    """The rows that are streamed: a context before the first lap, the laps, a horizon after them."""

    gather: Gather
    steps: int  # in a lap


def laps(data: SeriesModule) -> Laps:
    (first,), steps = data.split.test[:, 0].tolist(), WEEK * WEEKS
    lap = torch.arange(first, first + steps)
    rows = torch.cat([lap[-data.spec.context :], lap.repeat(LAPS), lap[: data.spec.horizon]])
    sizes: Any = {"targets": data.spec.targets, "context": data.spec.context, "horizon": data.spec.horizon}
    return Laps(Gather(data.gather.values[rows].numpy(), data.gather.clock[rows].numpy(), **sizes), steps)


@torch.inference_mode()
def measured(data: SeriesModule, run: Run) -> Row:
    """Squared errors, scaled, lap by lap."""
    predictor, (gather, steps) = Predictor.load(run), laps(data)
    stream = Stream(predictor.chain, len(data.spec.channels))

    def errors(forecast: Tensor, origin: Tensor) -> Tensor:
        return (forecast - gather.future(origin)).double().square().flatten(1).mean(1)

    one, all_ = (
        Windows(np.array([gather.context]), np.array([0, n]), 1, gather.context, gather.horizon)
        for n in (steps, steps * LAPS)
    )
    windowed = torch.cat([errors(predictor.forecast(batch), batch.origin) for batch in batches(gather, one, BATCH)])
    began = time.perf_counter()
    made = [
        errors(made, origin) for origin, _, made in forecasts(stream, gather, torch.zeros(1, dtype=torch.int64), all_)
    ]
    seconds, by_lap = time.perf_counter() - began, torch.cat(made).unflatten(0, (LAPS, steps)).mean(1)
    mse = windowed.mean()
    return {
        "windows": mse.item(), "stream": by_lap.mean().item(), "ratio": (by_lap.mean() / mse).item(),
        "last lap": (by_lap[-1] / mse).item(), "bytes per series": bytes_per_series(stream.start(1)),
        "µs a step": 1e6 * seconds / (LAPS * steps), "ratio by lap": (by_lap / mse).tolist(),
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    runs = RUNS.resolve()
    jobs = {model: [Job(model, own) for own in settings] for model, settings in SETTINGS.items()}
    done = finished(runs)
    for job in (job for several in jobs.values() for job in several):
        if job.name not in done:
            subprocess.run([sys.executable, "-m", "forecast", *job.words(runs)], check=True)
            print(f"trained  {job.name}", flush=True)
    done = finished(runs)
    data = build.data(done["none"].read("config.json")).prepare()
    tried = {job.name: validated(data, job, done[job.name]) for several in jobs.values() for job in several}
    rows = []
    for several in jobs.values():
        job = min(several, key=lambda job: tried[job.name]["stream"])
        rows.append({"model": job.name, **measured(data, done[job.name])})
    shown = [[_cell(value) for key, value in row.items() if key != "ratio by lap"] for row in rows]
    print(table([key for key in rows[0] if key != "ratio by lap"], shown))
    print(table(list(tried["none"]), [[_cell(value) for value in row.values()] for row in tried.values()]))
    about = f"{LAPS} laps of {WEEK * WEEKS} hours of electricity's test part; scaled MSE; ratio: stream / windows"
    write_json(TARGET, {"command": "python -m benchmarks stream", "machine": machine(), "about": about, "train": COMMON,
                        "rows": rows, "validation": list(tried.values())})  # fmt: skip
    _plot(rows)


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _plot(rows: list[Row]) -> None:
    """The ratio of each lap."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.6))
    at = WEEK * WEEKS * (np.arange(LAPS) + 0.5)
    for row in rows:
        axes.plot(at, row["ratio by lap"], "o-", ms=3, label=row["model"])
    for level in (1.0, 1.005, 1.02):
        axes.axhline(level, color="0.5", lw=0.8, ls="-" if level == 1 else ":")
    axes.set(xlabel="steps in the stream", ylabel="MSE, stream ÷ windows", ylim=(None, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    with atomic(TARGET.with_suffix(".png")) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    pyplot.close(figure)
