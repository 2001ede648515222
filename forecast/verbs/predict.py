"""forecast predict: the steps after the end of every series of a file; no labels, no training data needed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.artifacts import atomic
from forecast.errors import DataError, UsageError, fits_in_memory
from forecast.inference.predictor import Predictor

if TYPE_CHECKING:
    from omegaconf import DictConfig

WRITERS = (".csv", ".parquet")


def predict(cfg: "DictConfig", overrides: list[str]) -> None:
    """Read, forecast, write; the output appears whole or not at all."""
    from forecast import config as schema

    asked: dict[str, Any] = schema.plain(cfg)
    output = Path(asked["output"]).expanduser()
    if output.suffix not in WRITERS:
        raise UsageError(f"output={output}", f"expected a name ending in {' or '.join(WRITERS)}")
    if output.exists() and not asked["overwrite"]:
        raise UsageError(f"{output} exists", do="name another file, or set overwrite=true")
    source = Path(asked["input"]).expanduser()
    if not source.is_file():
        raise DataError(f"{source} is no file", "expected a csv or parquet file with the columns of the training data")
    size = 256 if asked["batch_size"] is None else asked["batch_size"]
    if size < 1:
        raise UsageError(f"batch_size is {size}", "expected at least 1")
    predictor = Predictor.load(asked["run"], runs=asked["runs"])
    with fits_in_memory("batch_size", size):
        made = predictor.predict(
            source, asked["covariates"], batch_size=size, tell=lambda note: sys.stderr.write(f"{note}\n")
        )
    try:
        with atomic(output) as temporary:
            made.write_csv(temporary) if output.suffix == ".csv" else made.write_parquet(temporary)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}", do="name another place") from error
    series = made["unique_id"].n_unique()
    span = f"{stamp(made['ds'].min())} to {stamp(made['ds'].max())}"
    said = f"{output}: {made.height:,} forecasts by {predictor.name}, {series:,} series, {span}"
    sys.stdout.write(f"{said}\n{made.head(5)}\n")


def stamp(value: Any) -> str:
    """A date and time without what is zero."""
    return str(value).removesuffix(":00")
