"""What is wrong with data or with what is asked, said before anything is written."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from forecast.artifacts import Run, find
from forecast.errors import DataError, UsageError

if TYPE_CHECKING:
    from forecast.data.module import SeriesModule
    from forecast.inference.named import Named


FOREIGN: Final = ("models:/", "runs:/")  # runs that MLflow keeps


def run_of(asked: Mapping[str, Any]) -> Run:
    """The finished run that `asked["run"]` names, see `run_at`."""
    return run_at(asked["run"], asked["runs"])


def run_at(wanted: str, runs: str | Path) -> Run:
    """A finished run by id, path or `latest`, or by what MLflow calls it: models:/NAME@ALIAS, models:/NAME/VERSION,
    runs:/ID/model. The latter is asked of MLFLOW_TRACKING_URI (mlflow.db here) and kept in RUNS/models."""
    if not wanted.startswith(FOREIGN):
        return find(wanted, runs)
    from forecast.store import registered  # MLflow takes seconds to import

    return registered(wanted, None, Path(runs) / "models").run


def meaningless(asked: Mapping[str, Any], keys: tuple[str, ...], run: str, why: str) -> None:
    """UsageError for a key that is set and says nothing of `run`."""
    for key in keys:
        if asked[key] not in (None, 0):
            raise UsageError(f"{key}={asked[key]} with {run}", why, "leave it out")


def something_to_learn(data: "SeriesModule") -> None:
    """Windows in every part, and something observed to score in each; said before anything is written."""
    for part in ("train", "val", "test"):
        data.windows(part)
        ranges = getattr(data.split, part).tolist()
        if not any(data.observed[first:last, : data.spec.targets].any() for first, last in ranges):
            raise DataError(f"no target was observed in the {part} part", do="change data.splits")


def named(config: Mapping[str, Any]) -> "list[Named]":
    """The models beside ours; a wrong name is said before an hour of training."""
    from forecast.inference.named import parse

    return parse(config.get("baseline"), config.get("baseline_windows"))  # not in the record of an older run


def levels_of(given: Any) -> list[float] | None:
    """A number or a list of numbers, as a config has them."""
    if given is None:
        return None
    given = [given] if isinstance(given, int | float) else given
    if not isinstance(given, list) or not all(isinstance(each, int | float) for each in given):
        raise UsageError(f"levels is {given!r}", "expected numbers between 0 and 1, e.g. [0.05,0.5,0.95]")
    return [float(each) for each in given]
