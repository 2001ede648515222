"""Frames of pandas in, frames of forecasts out, one after another: what Spark's mapInPandas and its like call.

    function, schema = map_in_pandas(run), spark_schema(run)
    table.repartition("unique_id").sortWithinPartitions("unique_id", "ds").mapInPandas(function, schema)

Rows of a series must come after each other; a frame may end within a series, whose rows wait for the next frame.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pandas as pd
import polars as pl

from forecast.artifacts import Run, find
from forecast.errors import DataError
from forecast.inference.frame import AS_TRAINED, Asked, forecast_frame, load
from forecast.interop.table_facts import AnyPredictor, needed, outcome
from forecast.where import RUNS

Frames = Iterator[pd.DataFrame]
SPARK = {pl.String: "STRING", pl.Int32: "INT", pl.Float32: "FLOAT", pl.Float64: "DOUBLE"}


def map_in_pandas(run: str | Path, asked: Asked = AS_TRAINED, *, runs: str | Path = RUNS) -> Callable[[Frames], Frames]:
    """A function that travels to other processes, which read the run folder there: `run` by path, id or latest.

    What it yields is `forecast_frame` of the series of each frame, with `step` as a nullable integer. DataError for a
    series whose rows are not next to each other, or a frame without the columns; one that cannot be forecast is told.
    """
    place = str(find(str(run), runs).path)

    def function(frames: Frames) -> Frames:
        yield from forecasts(frames, _loaded(place), asked)

    return function


def spark_schema(run: str | Path, asked: Asked = AS_TRAINED, *, runs: str | Path = RUNS) -> str:
    """The columns that come out, as Spark wants to be told them."""
    made = outcome(_loaded(str(find(str(run), runs).path)), asked)
    return ", ".join(f"`{name}` {_spark(dtype)}" for name, dtype in made.items())


def forecasts(frames: Frames, predictor: AnyPredictor, asked: Asked = AS_TRAINED) -> Frames:
    """The same with a run that is loaded."""
    names = [each.name for each in needed(predictor)]
    own = getattr(predictor.recipe, "columns", predictor.recipe.card).id
    waiting: list[pl.DataFrame] = []
    done: set[str] = set()
    for frame in frames:
        table = pl.from_pandas(frame[[name for name in names if name in frame.columns]])
        if not table.height:
            continue
        whole, last = _apart([*waiting, table], own)
        waiting = [last]
        if whole.height:
            yield _told(whole, own, predictor, asked, done)
    if waiting:
        yield _told(waiting[0], own, predictor, asked, done)


def _apart(tables: list[pl.DataFrame], own: str | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The series that are whole, and the rows of the last one, which may go on."""
    table = pl.concat(tables, how="vertical_relaxed")
    if own is None or own not in table.columns:
        return table.clear(), table
    ids = table[own]
    differs = ids.ne_missing(ids[-1])
    border = 0 if not differs.any() else table.height - int(differs.reverse().arg_max() or 0)
    return table[:border], table[border:]


def _told(table: pl.DataFrame, own: str | None, predictor: AnyPredictor, asked: Asked, done: set[str]) -> pd.DataFrame:
    if own is not None and own in table.columns:
        names = set(table[own].cast(pl.String).unique().drop_nulls().to_list())
        if again := sorted(names & done):
            raise DataError(
                f"rows of series '{again[0]}' come apart", "expected those of a series next to each other",
                "sort by the id within each partition",
            )  # fmt: skip
        done |= names
    made = forecast_frame(table, predictor, asked).to_pandas()
    return made.astype({"step": "Int32"}) if "step" in made else made


@lru_cache(maxsize=2)
def _loaded(place: str) -> AnyPredictor:
    """Once in a process."""
    return load(Run(Path(place)))


def _spark(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return "TIMESTAMP_NTZ" if dtype.time_zone is None else "TIMESTAMP"
    return SPARK[type(dtype)]
