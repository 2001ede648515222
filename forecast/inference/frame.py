"""A table of series, events or labelled series → a table of forecasts: the one function behind jobs and servers.

It is pure: the same table gives the same bytes, it reads and writes no file, draws no random number. What is said of a
series depends on its own rows alone, not on what else is in the table nor on the order of series; one that cannot be
forecast is set aside with a reason (reasons.py) and touches no other.
"""

from typing import Any, Final, Literal, NamedTuple

import numpy as np
import polars as pl
import torch

from forecast import build
from forecast.artifacts import Run
from forecast.data.batch import batches
from forecast.data.recipe import Ready
from forecast.errors import UsageError, nearest
from forecast.inference.aside import WHERE, by_halves, joined, quarantined
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.event_predictor import EventPredictor
from forecast.inference.fallback import NEVER, naive
from forecast.inference.predictor import Ahead, Predictor, column, local, long_frame, named
from forecast.inference.reasons import Faults
from forecast.inference.screens import History, columns, history, screen, sound
from forecast.ledger import FALLBACK

ON_BAD: Final = ("quarantine", "fallback", "error")


class Asked(NamedTuple):
    """What to forecast and how; plain values, which travel to other processes."""

    levels: tuple[float, ...] | None = None  # of the quantiles; None: the 90 % interval, where the run has one
    batch_size: int = 256  # series at once
    short: str | None = None  # a series shorter than the context: error, mask, or None: as in training
    on_bad: Literal["quarantine", "fallback", "error"] = "quarantine"  # what becomes of a series that is bad
    horizon: int | None = None  # fewer steps than the run's; None: all
    now: str | None = None  # of events: nothing came between the last event and then


AS_TRAINED: Final = Asked()


def load(run: Run) -> Predictor | EventPredictor | ClassPredictor:
    """The predictor of the run's task."""
    task = build.task_of(run.read("config.json"))
    if task == "event":
        return EventPredictor.load(run)
    return ClassPredictor.load(run) if task == "classify" else Predictor.load(run)


def forecast_frame(
    table: pl.DataFrame, predictor: Predictor | EventPredictor | ClassPredictor, asked: Asked = AS_TRAINED
) -> pl.DataFrame:
    """What comes after the end of each series of a table with the columns of the training.

    Series: unique_id, channel, cutoff, ds, step, y_hat, a column for each quantile, status, reason, detail; a row for
    each step and channel, in the order in which series first appear. Events and labelled series: a row each, with what
    their predictors give in place of channel … q95. status is forecast, fallback (the seasonal naive, no interval) or
    quarantined: one row in which only unique_id, status, reason and detail are set. Rows of a series are sorted by
    time; those of covariates known ahead may go on after its end.

    UsageError for what is asked wrongly; DataError for a table without the columns, or with on_bad=error for the first
    series that is bad.
    """
    if asked.on_bad not in ON_BAD:
        raise UsageError(f"on_bad is '{asked.on_bad}'", f"expected {', '.join(ON_BAD)}", nearest(asked.on_bad, ON_BAD))
    if isinstance(predictor, EventPredictor):
        from forecast.inference.frame_events import event_frame

        return event_frame(table, predictor, asked)
    if isinstance(predictor, ClassPredictor):
        from forecast.inference.frame_classes import class_frame

        return class_frame(table, predictor, asked)
    return series_frame(table, predictor, asked)


def series_frame(table: pl.DataFrame, predictor: Predictor, asked: Asked) -> pl.DataFrame:
    """`forecast_frame` of a run of series."""
    recipe, spec = predictor.recipe, predictor.recipe.spec
    levels = predictor.asked(asked.levels)
    horizon = spec.horizon if asked.horizon is None else asked.horizon
    if not 1 <= horizon <= spec.horizon:
        raise UsageError(f"horizon is {horizon}", f"expected 1 to {spec.horizon}, the horizon of the run")
    masked = recipe.masks(asked.short)
    card = recipe.card
    channels = {c.name: c.source for c in card.channels}
    columns(table, (card.time.column, card.id, *(channels[name] for name in spec.channels)), WHERE)
    past, table, faults = history(table, recipe, WHERE)
    past = screen(past, faults, recipe, table, masked)
    parts = by_halves(
        faults,
        lambda some: recipe.future(sound(past.take(some), table, recipe, WHERE), (), asked.short),
        lambda ready: _made(predictor, ready, levels, asked.batch_size),
        spec.horizon * spec.targets,
    )
    if asked.on_bad == "error":
        faults.refuse(past.ids)
    stand = _fallbacks(predictor, past, faults) if asked.on_bad == "fallback" else []
    saved = {number for part in stand for number in part["number"].unique().to_list()}
    made = joined([*parts, *stand, *quarantined(faults, past.ids, saved)], schema(predictor, levels))
    return made if horizon == spec.horizon else made.filter(pl.col("step").is_null() | (pl.col("step") <= horizon))


def schema(predictor: Predictor, levels: list[float]) -> dict[str, Any]:
    """The columns of forecasts of series, and their types."""
    time = pl.Datetime("us", predictor.recipe.card.time.zone)
    numbers = dict.fromkeys(("y_hat", *map(column, levels)), pl.Float64)
    first = {"unique_id": pl.String, "channel": pl.String, "cutoff": time, "ds": time, "step": pl.Int32}
    return {**first, **numbers}


@torch.inference_mode()
def _made(predictor: Predictor, ready: Ready, levels: list[float], batch_size: int) -> pl.DataFrame:
    """What `Predictor.predict` gives for series that are sound."""
    ahead, made = Ahead(ready, predictor.calibration, predictor.clip_for(ready.scaler)), []
    for batch in batches(ready.gather, ready.windows, batch_size):
        values = predictor.numbers(ahead, batch, levels)
        made.append({**values, "number": batch.series.numpy(), "origin": batch.origin.numpy()})
    whole = {key: np.concatenate([part[key] for part in made]) for key in made[0]}
    number, origin = whole.pop("number"), whole.pop("origin")
    return long_frame(ready.series, number, origin, whole, predictor.recipe.spec.channels)


def _fallbacks(predictor: Predictor, past: History, faults: Faults) -> list[pl.DataFrame]:
    """Of the series with a fault that leaves them a last season."""
    numbers = [n for n in sorted(faults.of) if faults.of[n].reason not in NEVER]
    if not numbers:
        return []
    found = naive(past, np.array(numbers), predictor.recipe)
    count, h, t = found.values.shape
    zone, low, high = predictor.recipe.card.time.zone, *predictor.bounds
    each = np.repeat(found.series, h * t)
    values = np.clip(found.values, -np.inf if low is None else low, np.inf if high is None else high)
    return [pl.DataFrame({
        "number": each,
        "unique_id": past.ids.gather(each),
        "channel": named("channel", predictor.recipe.spec.channels[:t], count * h),
        "cutoff": local(np.repeat(found.cutoff, h * t), zone),
        "ds": local(np.repeat(found.time.reshape(-1), t), zone),
        "step": np.tile(np.repeat(np.arange(1, h + 1, dtype=np.int32), t), count),
        "y_hat": values.reshape(-1),
        "status": pl.Series([FALLBACK], dtype=pl.String).new_from_index(0, len(each)),
        "reason": [faults.of[n].reason for n in each.tolist()],
        "detail": [faults.of[n].detail for n in each.tolist()],
    })]  # fmt: skip
