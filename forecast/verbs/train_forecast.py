"""forecast train task=forecast: windows of series, an error of the horizon, naive rows beside it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forecast import build
from forecast.artifacts import CALIBRATION, Run, atomic
from forecast.data.recipe import SCALER, Recipe
from forecast.inference.training import chain, task, warm
from forecast.verbs import tables
from forecast.verbs.checks import named, something_to_learn

if TYPE_CHECKING:
    from forecast.data.module import SeriesModule


def data(config: dict[str, Any], run: Run | None) -> "SeriesModule":
    """Read, and checked; `config` names it absolutely from then on: the run is read from other directories too."""
    named(config)
    before = Recipe.from_state(run.read("data.json"), run.checked).holidays if run else None
    made = build.data(config).remember(before).prepare()
    config["data"].update(card=made.name, path=made.path, holidays=made.holidays, covariates=made.covariates)
    something_to_learn(made)
    return made


def settle(*_: Any) -> dict[str, Any]:
    """The weights of the best validation are those that are kept."""
    return {}


def finish(config: dict[str, Any], run: Run, made: "SeriesModule", fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Score the saved run, not the one in memory; write its predictions. Returns what metrics.json is to hold."""
    from forecast.inference.beside import beside
    from forecast.inference.insight.write import Extremes, learned_from, write_insight
    from forecast.inference.intervals import score_intervals
    from forecast.inference.predictor import Predictor
    from forecast.inference.record import Recorder
    from forecast.inference.sample import sample
    from forecast.inference.scoring import both, score
    from forecast.inference.streamed import score_stream

    predictor = Predictor.load(run)
    name, part = predictor.name, sample(made, predictor)
    if config["task"].get("calibrate", True):
        run.save_tensors(CALIBRATION, part.calibrate(predictor).tensors())
    extremes, looked = Extremes(name), bool(config.get("insight"))
    if config["predictions"]:
        with Recorder(run.path / "predictions.parquet", part.data, part.predictor) as recorder:
            watch = both(recorder.watch, extremes.watch) if looked else recorder.watch
            rows = part.score(made, predictor, watch)
    else:
        rows = part.score(made, predictor, extremes.watch) if looked else score(made, predictor.forecast, name)
    streamed, stream = score_stream(part.data, predictor.chain, name, part.row(rows))
    few, quiet = config.get("baseline_windows"), config["quiet"]
    others, records = beside(part.data, part.predictor.forecast, name, named(config), few=few, quiet=quiet)
    if looked:
        write_insight(
            run, part.data, part.predictor, extremes, seed=config["seed"], trained=learned_from(config, fitted)
        )
    metrics = {
        "task": config["task"]["name"], "dataset": made.card.name, "model": name,
        "context": made.spec.context, "horizon": made.spec.horizon, "season": made.spec.season, "seed": config["seed"],
        "part": "test", "windows": {part: len(made.windows(part)) for part in ("train", "val", "test")},
        "parameters": build.parameters(predictor.chain), **fitted, "stream": stream,
        "rows": [*rows, *streamed, *others], **({"baselines": records} if records else {}),
        **({"sampled": part.facts} if part.facts else {}),
    }  # fmt: skip
    if predictor.calibration is not None:
        clip = part.predictor.clip
        metrics["intervals"] = score_intervals(part.data, predictor.chain, predictor.calibration, clip)
    return metrics


def begin(run: Run, made: "SeriesModule") -> None:
    """What is known of the data before the training."""
    state = made.state()
    run.write("data.json", {**state, "findings": made.findings, "source": made.source})
    if "file" in state["scaler"]:
        with atomic(run.path / SCALER) as temporary:
            made.scaler.write(temporary)
    run.write("gaps.json", made.gap_list)


opening, closing = tables.opening, tables.closing

__all__ = ["begin", "chain", "closing", "data", "finish", "opening", "settle", "task", "warm"]
