"""Stand-in with the agreed signature, until the real one is merged: no check, no quarantine."""

from typing import Any, Literal, NamedTuple

import polars as pl

from forecast.artifacts import Run
from forecast.build import task_of


class Asked(NamedTuple):
    levels: tuple[float, ...] | None = None
    batch_size: int = 256
    short: str | None = None
    on_bad: Literal["quarantine", "fallback", "error"] = "quarantine"
    horizon: int | None = None
    now: str | None = None


def load(run: Run) -> Any:
    from forecast.inference.class_predictor import ClassPredictor
    from forecast.inference.event_predictor import EventPredictor
    from forecast.inference.predictor import Predictor

    kinds: dict[str, Any] = {"event": EventPredictor, "classify": ClassPredictor}
    return kinds.get(task_of(run.read("config.json")), Predictor).load(run)


def forecast_frame(table: pl.DataFrame, predictor: Any, asked: Asked = Asked()) -> pl.DataFrame:
    card = predictor.recipe.card
    rising = table if card.time is None else table.sort(getattr(card.time, "column", card.time), maintain_order=True)
    made = predictor.predict(rising)
    none = pl.lit(None, pl.String)
    return made.with_columns(pl.lit("forecast").alias("status"), none.alias("reason"), none.alias("detail"))


def nixtla(frame: pl.DataFrame, name: str, levels: Any = None) -> pl.DataFrame:
    ends = {"y_hat": name, "q05": f"{name}-lo-90", "q95": f"{name}-hi-90"}
    found = {was: now for was, now in ends.items() if was in frame.columns}
    return frame.select("unique_id", "ds", *found).rename(found)
