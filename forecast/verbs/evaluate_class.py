"""forecast evaluate of a run of classification: its scores, computed again from its folder and its data."""

import sys
from typing import Any

from forecast import build
from forecast.artifacts import Run
from forecast.inference.class_ensemble import ensemble
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.class_scoring import score
from forecast.inference.insight.sequences import write_class_insight
from forecast.verbs.checks import meaningless, run_at
from forecast.verbs.class_tables import class_scores
from forecast.verbs.evaluate import looked, same_data

OTHERS = ("baseline", "baseline_windows", "batch_size")  # keys that are about forecasts


def evaluate_class(asked: dict[str, Any], run: Run, config: dict[str, Any]) -> None:
    """Score a run on one part of its data and say whether the numbers are those it was saved with."""
    meaningless(asked, OTHERS, "a run of classification", "it is about forecasts")
    saved = run.read("metrics.json")
    predictor = ClassPredictor.load(run)
    data = build.label_data(config).prepare()
    same_data(run, data)
    part = asked["split"]
    found = score(data, predictor, part=part, rival=config["task"]["rival"])
    count = len(data.part(part).ids)
    if asked["ensemble"] is not None:
        given = asked["ensemble"] if isinstance(asked["ensemble"], list) else [asked["ensemble"]]
        found["rows"] += ensemble([run_at(str(each), asked["runs"]) for each in given], part)
    sys.stdout.write(f"{run.id}: {predictor.name} on {data.card.name}, {count:,} series of {part}\n\n")
    sys.stdout.write(f"{class_scores(found['rows'])}\n")
    if part == "test":
        sys.stdout.write(f"\n{_compared(saved, found)}\n")
    if asked["insight"]:
        with looked(run):
            write_class_insight(run, data, predictor, part=part)
    if asked["save"]:
        run.add(f"metrics_{part}.json", {"part": part, **found})


def _compared(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The scores that were saved beside those of now."""
    saved, now = before["rows"][0], after["rows"][0]
    if saved == now and before["confusion"] == after["confusion"]:
        return "equal to the scores saved with the run, to the last bit"
    worst = max(abs((now[key] or 0.0) - (saved[key] or 0.0)) for key in ("accuracy", "log_loss"))
    return f"differs from the scores saved with the run by up to {worst:.1e} (another machine or thread count)"
