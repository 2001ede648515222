"""forecast predict of a run of classification: the class of each series of a file."""

import sys
from pathlib import Path
from typing import Any

from forecast.artifacts import Run
from forecast.errors import fits_in_memory
from forecast.inference.class_predictor import ClassPredictor
from forecast.verbs.checks import meaningless
from forecast.verbs.predict import write

OTHERS = (
    "covariates", "levels", "adapt", "short", "hierarchy", "reconcile", "batch_size", "paths", "now", "window",
    "events", "hazard",
)  # fmt: skip
SHOWN = 5  # classes that have a column on the terminal


def predict_class(asked: dict[str, Any], run: Run, source: Path, output: Path) -> None:
    """Read, tell, write; the output appears whole or not at all."""
    meaningless(asked, OTHERS, "a run of classification", "it is about forecasts")
    predictor = ClassPredictor.load(run)
    with fits_in_memory("input", 1):
        made = predictor.predict(source, tell=lambda note: sys.stderr.write(f"{note}\n"))
    write(made, output)
    counts = made["label"].value_counts(sort=True).head(3)
    most = ", ".join(f"{row['count']:,} {row['label']}" for row in counts.iter_rows(named=True))
    more = made["label"].n_unique() - counts.height
    said = f"{output}: the classes of {made.height:,} series by {predictor.name}: {most}"
    said += f" and {more} more" if more > 0 else ""
    sys.stdout.write(f"{said}\n{made.head(5)}\n")
