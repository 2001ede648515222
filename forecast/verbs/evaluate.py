"""forecast evaluate: the scores of a finished run, computed again from its folder and its data."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from forecast import build
from forecast.artifacts import Run
from forecast.errors import DataError, UsageError, fits_in_memory
from forecast.inference.baseline import Forecaster
from forecast.inference.beside import beside
from forecast.inference.insight.write import FACTS, TABLE, Extremes, learned_from, write_insight
from forecast.inference.intervals import score_intervals
from forecast.inference.named import parse
from forecast.inference.predictor import Predictor
from forecast.inference.sample import Sample, sample
from forecast.inference.scoring import BATCH, score
from forecast.inference.streamed import score_stream
from forecast.verbs import tables
from forecast.verbs.checks import run_at

if TYPE_CHECKING:
    from omegaconf import DictConfig


def evaluate(cfg: "DictConfig", overrides: list[str]) -> None:
    """Score a run on one part of its data and say whether the numbers are those it was saved with."""
    from forecast import config as schema

    asked: dict[str, Any] = schema.plain(cfg)
    runs = _several(asked)
    run = run_at(asked["run"] or runs[0], asked["runs"])
    config = run.read("config.json")
    if build.task_of(config) == "event":
        from forecast.verbs.evaluate_event import evaluate_event

        return evaluate_event(asked, run, config)
    if build.task_of(config) == "classify":
        from forecast.verbs.evaluate_class import evaluate_class

        return evaluate_class(asked, run, config)
    named = parse(asked["baseline"], asked["baseline_windows"])
    saved = run.read("metrics.json")["rows"]  # before an hour of scoring
    predictor = Predictor.load(run)
    data = build.data(config).remember(predictor.recipe.holidays).prepare()
    same_data(run, data)
    part, size = asked["split"], asked["batch_size"]
    if size is not None and size < 1:
        raise UsageError(f"batch_size is {size}", "expected at least 1")
    size = size or BATCH
    with fits_in_memory("batch_size", size):
        rows = score(data, predictor.forecast, predictor.name, part=part, batch_size=size)
    some = sample(data, predictor)
    if asked["insight"]:
        _watched(run, some, config, part, size)
    streamed, stream = score_stream(
        some.data, predictor.chain, predictor.name, some.row(rows, part=part, batch_size=size), part=part
    )
    rows += streamed
    if runs:
        rows += _ensemble([run_at(each, asked["runs"]) for each in runs], size)
    others, records = beside(
        some.data, some.predictor.forecast, predictor.name, named, part=part, few=asked["baseline_windows"],
        quiet=False,
    )  # fmt: skip
    rows += others
    sys.stdout.write(f"{run.id}: {predictor.name} on {data.card.name}, {len(data.windows(part)):,} {part} windows\n\n")
    sys.stdout.write(f"{tables.scores(rows)}\n\n{tables.streamed(stream)}\n{tables.fitted(rows, records)}")
    found: dict[str, Any] = {}
    if predictor.calibration is not None:
        clip = some.predictor.clip
        found["intervals"] = score_intervals(some.data, predictor.chain, predictor.calibration, clip, part=part)
        sys.stdout.write(f"\n{tables.intervals(found['intervals'], tables.one_unit(rows[0]))}\n")
    if part == "test":
        sys.stdout.write(f"\n{_compared(saved, rows)}\n")
    if asked["save"]:
        run.add(f"metrics_{part}.json", {"part": part, "stream": stream, "rows": rows,
                                          **({"baselines": records} if records else {}), **found})  # fmt: skip


def _watched(run: Run, some: Sample, config: dict[str, Any], part: str, size: int) -> None:
    """What the model looked at, into the run's folder."""
    extremes = Extremes(some.predictor.name)
    model = some.predictor
    score(some.data, model.forecast, model.name, part=part, batch_size=size, watch=extremes.watch, others={})
    with looked(run):
        trained = learned_from(config, run.read("metrics.json"))
        write_insight(run, some.data, model, extremes, seed=config["seed"], trained=trained, part=part)


@contextmanager
def looked(run: Run) -> Iterator[None]:
    """What the model looked at is written in this block; then comes a report that shows it, and the manifest vouches
    for all three."""
    from forecast.dashboards.report import write_report

    run.manifest()  # a damaged one is said before anything is written
    yield
    write_report(run.path)
    run.vouch(FACTS, TABLE, "report.html")


def _several(asked: dict[str, Any]) -> list[str]:
    """The runs of an ensemble. Its weights are chosen on val: it is scored on test alone."""
    given = asked["ensemble"]
    if given is not None and asked["split"] != "test":
        raise UsageError(
            f"split={asked['split']} with ensemble=",
            "its weights are chosen on val, its scores are of test",
            "leave split out",
        )
    return [] if given is None else [str(each) for each in given] if isinstance(given, list) else [str(given)]


def _ensemble(runs: list[Run], size: int) -> list[dict[str, Any]]:
    """A row for each member and one for their weighted mean, all on the test windows."""
    from forecast.inference.ensemble import members, weigh

    found = members(runs)
    made = weigh(found, size)
    alone: dict[str, Forecaster] = {each.name: each for each in found}
    rows = score(found[0].data, made, made.name, batch_size=size, others=alone)
    for row in rows:
        row["kind"] = "ensemble" if row["name"] == made.name else "member"
    return [rows[0] | {"weights": {each.run: w for each, w in zip(found, made.weights, strict=True)}}, *rows[1:]]


def same_data(run: Run, data: Any) -> None:
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
