"""forecast predict: the steps after the end of every series of a file; no labels, no training data needed.

An output that is a folder is a job, see predict_job.py, and loads nothing of torch here.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from forecast.artifacts import atomic
from forecast.errors import DataError, UsageError, fits_in_memory
from forecast.verbs.checks import levels_of, meaningless, run_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from forecast.data.hierarchy import Hierarchy

WRITERS = (".csv", ".parquet")
JOBS = (
    "rename", "layout", "columns", "horizon", "on_bad", "max_bad_fraction", "shard_rows", "shard_bytes", "dry_run",
    "progress",
)  # fmt: skip


def predict(cfg: "DictConfig", overrides: list[str]) -> None:
    """Read, forecast, write; the output appears whole or not at all."""
    from forecast import config as schema

    asked: dict[str, Any] = schema.plain(cfg)
    output = Path(asked["output"]).expanduser()
    if folder(asked["output"]):
        from forecast.verbs.predict_job import predict_job

        return predict_job(asked)
    if output.suffix not in WRITERS:
        raise UsageError(f"output={output}", f"expected a name ending in {' or '.join(WRITERS)}, or in / for a folder")
    _of_a_file(asked)
    free(output, asked["overwrite"])
    source = Path(asked["input"]).expanduser()
    if source.is_dir():
        raise UsageError(f"input={source} is a folder", "its forecasts go to a folder too", "set output=FOLDER")
    if not source.is_file():
        raise DataError(f"{source} is no file", "expected a csv or parquet file with the columns of the training data")
    from forecast.build import task_of
    from forecast.data.hierarchy import Hierarchy
    from forecast.inference import reconcile
    from forecast.inference.predictor import Predictor

    reconcile.check(asked["hierarchy"], asked["reconcile"])
    hierarchy = Hierarchy.read(asked["hierarchy"]) if asked["hierarchy"] is not None else None
    size = 256 if asked["batch_size"] is None else asked["batch_size"]
    if size < 1:
        raise UsageError(f"batch_size is {size}", "expected at least 1")
    run = run_of(asked)
    kind = task_of(run.read("config.json"))
    if kind == "event":
        from forecast.verbs.predict_event import predict_event

        return predict_event(asked, run, source, output)
    if kind == "classify":
        from forecast.verbs.predict_class import predict_class

        return predict_class(asked, run, source, output)
    meaningless(asked, ("now", "window", "events", "hazard"), "a run of series", "it is about events")
    predictor, levels = Predictor.load(run), _levels(asked["levels"], hierarchy)
    wanted = predictor.asked(levels)
    for key in ("paths", "adapt"):
        whole(key, asked[key])
    if asked["paths"]:
        free(beside(output), asked["overwrite"])
    with fits_in_memory("batch_size", size):
        ahead = predictor.ahead(
            source, asked["covariates"], adapt=asked["adapt"], tell=lambda note: sys.stderr.write(f"{note}\n"),
            short=asked["short"],
        )  # fmt: skip
        made = pl.concat(predictor.frames(ahead, wanted, size))
        paths = pl.concat(predictor.paths(ahead, asked["paths"], batch_size=size)) if asked["paths"] else None
    if hierarchy is not None:
        made = reconcile.reconcile(made, hierarchy, asked["reconcile"], run.path / "predictions.parquet")
    if paths is not None:
        write(paths, beside(output))
    write(made, output)
    series = made["unique_id"].n_unique()
    span = f"{stamp(made['ds'].min())} to {stamp(made['ds'].max())}"
    said = f"{output}: {made.height:,} forecasts by {predictor.name}, {series:,} series, {span}"
    if paths is not None:
        said += f"\n{beside(output)}: {asked['paths']:,} joint paths of each"
    sys.stdout.write(f"{said}\n{made.head(5)}\n")


def folder(output: str) -> bool:
    """Whether an output is that of a job: a folder that is there, or a name that ends in / or has no ending."""
    path = Path(output).expanduser()
    return path.suffix not in WRITERS and (path.is_dir() or output.endswith(("/", os.sep)) or not path.suffix)


def _of_a_file(asked: dict[str, Any]) -> None:
    """UsageError for a key that is about jobs."""
    from forecast import schemas

    usual = schemas.Predict()
    given = {key: (asked[key], getattr(usual, key)) for key in JOBS}
    given |= {f"engine.{key}": (value, getattr(usual.engine, key)) for key, value in asked["engine"].items()}
    for key, (value, default) in given.items():
        if value != default:
            raise UsageError(f"{key}={value} with an output that is a file", "it is about jobs", "set output=FOLDER")


def beside(output: Path) -> Path:
    """Where joint paths go."""
    return output.with_suffix(f".paths{output.suffix}")


def _levels(given: Any, hierarchy: "Hierarchy | None") -> list[float] | None:
    if hierarchy is None:
        return levels_of(given)
    if given:
        raise UsageError("levels= with hierarchy=", "quantiles do not add up", "leave one of them out")
    return []


def whole(key: str, value: int) -> None:
    if value < 0:
        raise UsageError(f"{key} is {value}", "expected a count, 0 for none")


def free(output: Path, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists", do="name another file, or set overwrite=true")


def write(made: pl.DataFrame, output: Path) -> None:
    try:
        with atomic(output) as temporary:
            made.write_csv(temporary) if output.suffix == ".csv" else made.write_parquet(temporary)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", do="name another place") from error


def stamp(value: Any) -> str:
    """A date and time without what is zero."""
    return str(value).removesuffix(":00")
