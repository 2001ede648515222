"""forecast evaluate: the scores of a finished run, computed again from its folder and its data."""

import sys
from typing import TYPE_CHECKING, Any

from forecast import build
from forecast.artifacts import Run, find
from forecast.errors import DataError, UsageError, fits_in_memory
from forecast.inference.predictor import Predictor
from forecast.inference.scoring import BATCH, score
from forecast.inference.streamed import score_stream
from forecast.verbs import tables

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from forecast.data.module import SeriesModule


def evaluate(cfg: "DictConfig", overrides: list[str]) -> None:
    """Score a run on one part of its data and say whether the numbers are those it was saved with."""
    from forecast import config as schema

    asked: dict[str, Any] = schema.plain(cfg)
    run = find(asked["run"], asked["runs"])
    config, saved = run.read("config.json"), run.read("metrics.json")["rows"]  # before an hour of scoring
    predictor = Predictor.load(run)
    data = build.data(config).remember(predictor.recipe.holidays).prepare()
    _same_data(run, data)
    part, size = asked["split"], asked["batch_size"]
    if size is not None and size < 1:
        raise UsageError(f"batch_size is {size}", "expected at least 1")
    size = size or BATCH
    with fits_in_memory("batch_size", size):
        rows = score(data, predictor.forecast, predictor.name, part=part, batch_size=size)
    streamed, stream = score_stream(data, predictor.chain, predictor.name, rows[0], part=part)
    rows += streamed
    sys.stdout.write(f"{run.id}: {predictor.name} on {data.card.name}, {len(data.windows(part)):,} {part} windows\n\n")
    sys.stdout.write(f"{tables.scores(rows)}\n\n{tables.streamed(stream)}\n")
    if part == "test":
        sys.stdout.write(f"\n{_compared(saved, rows)}\n")
    if asked["save"]:
        run.add(f"metrics_{part}.json", {"part": part, "stream": stream, "rows": rows})


def _same_data(run: Run, data: "SeriesModule") -> None:
    """Refuse to compare scores over other data than the run was trained on."""
    saved, now = run.read("data.json")["source"], data.source
    if saved["sha256"] != now["sha256"]:
        raise DataError(
            f"{now['path']} is not the file that run {run.id} was trained on (its sha256 differs)",
            do="restore the file, or use: forecast predict",
        )


def _compared(saved: list[dict[str, Any]], rows: list[dict[str, Any]]) -> str:
    before, after = saved[0]["scaled"], rows[0]["scaled"]
    if before == after:
        return "equal to the scores saved with the run, to the last bit"
    worst = max(abs(after[key] - before[key]) for key in before)
    why = "another machine, thread count or batch size"
    return f"differs from the scores saved with the run by up to {worst:.1e} ({why})"
