"""forecast predict of a run of events: the next event of each sequence of a file, and what comes in a window."""

import sys
from pathlib import Path
from typing import Any

from forecast.artifacts import Run
from forecast.errors import UsageError, fits_in_memory
from forecast.inference.event_predictor import EventPredictor
from forecast.verbs.checks import levels_of, meaningless
from forecast.verbs.predict import beside, free, whole, write

OTHERS = ("covariates", "adapt", "short", "hierarchy", "reconcile", "batch_size")  # keys that are about series


def predict_event(asked: dict[str, Any], run: Run, source: Path, output: Path) -> None:
    """Read, forecast, write; each output appears whole or not at all."""
    meaningless(asked, OTHERS, "a run of events", "it is about series")
    for key in ("paths", "events", "hazard"):
        whole(key, asked[key])
    window = asked["window"]
    if window is not None and not 0 < window < float("inf"):
        raise UsageError(f"window is {window}", "expected a time above 0, in the unit of the run")
    if asked["events"] and window is not None:
        raise UsageError("events= with window=", "futures end after so many events or after a time", "give one of them")
    if asked["events"] and not asked["paths"]:
        raise UsageError(f"events={asked['events']} without paths=", "they are sampled", "set paths=100")
    if asked["paths"] and not asked["events"] and window is None:
        raise UsageError(f"paths={asked['paths']} without events= or window=", "futures of events have an end",
                         "set events=10, or window= to a time")  # fmt: skip
    others = {key: output.with_suffix(f".{key}{output.suffix}") for key in ("hazard",) if asked[key]}
    others |= {"paths": beside(output)} if asked["paths"] else {}
    for path in others.values():
        free(path, asked["overwrite"])
    predictor, levels = EventPredictor.load(run), levels_of(asked["levels"])
    with fits_in_memory("paths", max(asked["paths"], 1)):
        ready = predictor.ahead(source, now=asked["now"], tell=lambda note: sys.stderr.write(f"{note}\n"))
        sampled = asked["paths"] or 256
        made = predictor.frame(ready, [0.05, 0.95] if levels is None else levels, window=window, paths=sampled)
        if "hazard" in others:
            write(predictor.hazards(ready, asked["hazard"]), others["hazard"])
        if "paths" in others:
            ahead = {"events": asked["events"] or None, "window": window}
            write(predictor.futures(ready, paths=asked["paths"], **ahead), others["paths"])
    write(made, output)
    unit = predictor.recipe.spec.unit
    said = (
        f"{output}: the next event of {made.height:,} sequences by {predictor.name}, times in {unit}s from the cutoff"
    )
    for key, path in others.items():
        said += f"\n{path}: " + ("hazards" if key == "hazard" else f"{asked['paths']:,} futures of each")
    sys.stdout.write(f"{said}\n{made.head(5)}\n")
