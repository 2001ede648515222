"""What a run of classification leaves behind for people to look at.

predictions.parquet   unique_id, label, guess, p (of the guess), p_label (of the truth), steps, p_NAME of each class
examples.parquet      unique_id, label, guess, p, step, channel, value: some series that were taken for another class
"""

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from forecast.artifacts import atomic
from forecast.data.label_module import LabelModule
from forecast.inference.class_predictor import ClassPredictor

DRAWN: Final = 300  # wrong ones, the surest first
VALUES: Final = 300_000  # of their channels, beyond the first one


def write_records(data: LabelModule, predictor: ClassPredictor, folder: Path, part: str = "test") -> None:
    """Both tables of a part."""
    made = record(data, predictor, part)
    for name, frame in (("predictions", made), ("examples", examples(data, made, part))):
        with atomic(folder / f"{name}.parquet") as temporary:
            frame.write_parquet(temporary)


def record(data: LabelModule, predictor: ClassPredictor, part: str) -> pl.DataFrame:
    """A row for each series of a part, in its order."""
    of = data.part(part)
    chance = predictor.chances(data.gather(part))
    rows, guess = np.arange(len(of.ids)), chance.argmax(1)
    return pl.DataFrame({
        "unique_id": pl.Series(of.ids, dtype=pl.String),
        "label": predictor.recipe.names(of.label),
        "guess": predictor.recipe.names(guess),
        "p": chance[rows, guess].astype(np.float32),
        "p_label": chance[rows, of.label].astype(np.float32),
        "steps": np.diff(of.offsets).astype(np.int32),
        **predictor.columns(chance),
    })  # fmt: skip


def examples(data: LabelModule, made: pl.DataFrame, part: str) -> pl.DataFrame:
    """The values of the surest mistakes, in original units, a row for each step and channel."""
    of, channels = data.part(part), data.spec.channels
    wrong = made.with_row_index("number").filter(pl.col("label") != pl.col("guess"))
    wrong = wrong.sort("p", "number", descending=[True, False]).head(DRAWN)
    held = pl.col("steps").cast(pl.Int64).cum_sum() * len(channels)
    wrong = wrong.filter((held <= VALUES) | (pl.int_range(pl.len()) == 0))
    parts = [
        pl.DataFrame(of.values[of.offsets[row["number"]] : of.offsets[row["number"] + 1]], schema=list(channels))
        .with_columns(pl.all().cast(pl.Float32).fill_nan(None))
        .with_row_index("step")
        .with_columns(pl.lit(row[key], made.schema[key]).alias(key) for key in ("unique_id", "label", "guess", "p"))
        .unpivot(channels, index=["unique_id", "label", "guess", "p", "step"], variable_name="channel")
        for row in wrong.iter_rows(named=True)
    ]  # fmt: skip
    told = ["unique_id", "label", "guess", "p"]
    if not parts:
        return made.select(told).clear().with_columns(
            step=pl.lit(None, pl.Int32), channel=pl.lit(None, pl.String), value=pl.lit(None, pl.Float32)
        )  # fmt: skip
    return pl.concat(parts).with_columns(pl.col("step").cast(pl.Int32))
