"""What a run takes and gives as a table, for programs that must know it before they call: columns and their kinds, what
may be asked, an example. Plain values; nothing here knows of MLflow or Spark.

The example is made up from what the run remembers of its data (names, means, deviations), so no row of the training
leaves with it.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import polars as pl

from forecast.data.coding import Column
from forecast.data.events import UNITS
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.event_predictor import EventPredictor
from forecast.inference.frame import AS_TRAINED, Asked, forecast_frame
from forecast.inference.predictor import Predictor

AnyPredictor = Predictor | EventPredictor | ClassPredictor

FIRST: Final = "2024-01-01"  # of the example's stamps
SERIES: Final = 2  # in the example
EVENTS: Final = 6  # of each sequence in it
STEPS: Final = 512  # of a labelled series in it, at most
NUMBER, TEXT, STAMP = "number", "text", "stamp"


class Needed(NamedTuple):
    """A column of the table that goes in."""

    name: str
    kind: str  # number, text or stamp
    required: bool = True


def needed(predictor: AnyPredictor) -> list[Needed]:
    """The columns of a table to forecast, those of the training; a covariate of a second table may be left out."""
    if isinstance(predictor, Predictor):
        card = predictor.recipe.card
        found = [] if card.id is None else [Needed(card.id, TEXT)]
        found.append(Needed(card.time.column, STAMP))
        found += [Needed(name, NUMBER) for name in _channels(predictor)]
        for name, column in _covariates(predictor).items():
            found.append(Needed(name, NUMBER if column.words is None else TEXT, not column.beside))
        return found
    if isinstance(predictor, EventPredictor):
        events = predictor.recipe.card.columns
        found = [] if events.id is None else [Needed(events.id, TEXT)]
        found.append(Needed(events.time, STAMP if predictor.recipe.stamps else NUMBER))
        found += [] if events.mark is None else [Needed(events.mark, TEXT)]
        return found + [Needed(name, NUMBER) for name in events.beside]
    labelled = predictor.recipe.columns
    found = [Needed(labelled.id, TEXT)]
    if labelled.time is not None:
        found.append(Needed(labelled.time, STAMP if predictor.recipe.stamps else NUMBER))
    return found + [Needed(name, NUMBER) for name in labelled.channels]


def askable(predictor: AnyPredictor) -> dict[str, Any]:
    """What may be asked beside the table, with what holds when nothing is said; "" stands for nothing."""
    asked: dict[str, Any] = {"on_bad": AS_TRAINED.on_bad}
    if isinstance(predictor, Predictor):
        return asked | {"levels": predictor.asked(None), "horizon": predictor.recipe.spec.horizon, "short": ""}
    return asked | {"levels": [0.05, 0.95], "now": ""} if isinstance(predictor, EventPredictor) else asked


def asked_of(given: dict[str, Any]) -> Asked:
    """The inverse: what was said, as `forecast_frame` takes it."""
    made: dict[str, Any] = {key: None if value == "" else value for key, value in given.items()}
    made = {key: value for key, value in made.items() if key in Asked._fields}
    if made.get("levels") is not None:
        made["levels"] = tuple(float(each) for each in made["levels"])
    return AS_TRAINED._replace(**made)


def example(predictor: AnyPredictor) -> pl.DataFrame:
    """A small table that the run can forecast."""
    if isinstance(predictor, Predictor):
        return _series(predictor)
    return _sequences(predictor) if isinstance(predictor, EventPredictor) else _labelled(predictor)


def outcome(predictor: AnyPredictor, asked: Asked = AS_TRAINED) -> pl.Schema:
    """The columns that come out, and their types."""
    return forecast_frame(example(predictor), predictor, asked).schema


def _channels(predictor: Predictor) -> list[str]:
    """Columns of the channels, in the order of the spec."""
    sources = {channel.name: channel.source for channel in predictor.recipe.card.channels}
    return [sources[name] for name in predictor.recipe.spec.channels]


def _covariates(predictor: Predictor) -> dict[str, Column]:
    """Columns of the covariates that are no channels."""
    recipe, own = predictor.recipe, set(_channels(predictor))
    sources = {channel.name: channel.source for channel in recipe.card.channels}
    found = {sources[column.name]: column for column in (recipe.coding.columns if recipe.coding else ())}
    return {name: column for name, column in found.items() if name not in own}


def _series(predictor: Predictor) -> pl.DataFrame:
    """A context of two series of the training, a wave about the mean of each; then the steps whose covariates are
    known."""
    recipe, spec = predictor.recipe, predictor.recipe.spec
    steps = spec.context + (spec.horizon if spec.known else 0)
    time = pd.date_range(FIRST, periods=steps, freq=spec.freq).to_numpy().astype("datetime64[us]")
    wave = 0.5 * np.sin(np.arange(steps) * 2 * np.pi / max(spec.season, 4))
    low, high = predictor.bounds
    parts = []
    for number, name in enumerate(recipe.scaler.ids[: SERIES if recipe.card.id is not None else 1]):
        row = min(number, len(recipe.scaler.mean) - 1)  # one row where all series share a scale
        columns: dict[str, Any] = {} if recipe.card.id is None else {recipe.card.id: [name] * steps}
        columns[recipe.card.time.column] = time
        for place, source in enumerate(_channels(predictor)):
            values = recipe.scaler.mean[row, place] + recipe.scaler.std[row, place] * (
                wave + (recipe.scaler.kind != "standard")
            )
            if place < spec.targets:
                values = np.clip(values, -np.inf if low is None else low, np.inf if high is None else high)
            values = np.round(values) if predictor.chain.output.counts else _short(values)
            columns[source] = np.where(np.arange(steps) < spec.context, values, np.nan)
        for source, column in _covariates(predictor).items():
            columns[source] = [column.mean if column.words is None else column.words[0]] * steps
        parts.append(pl.DataFrame(columns, nan_to_null=True))
    return pl.concat(parts)


def _sequences(predictor: EventPredictor) -> pl.DataFrame:
    """Events at the usual distance, all marks in turn."""
    recipe, spec = predictor.recipe, predictor.recipe.spec
    card = recipe.card.columns
    gap = max(float(np.exp(spec.log_mean)), spec.floor, spec.grid)
    number = np.arange(1, EVENTS + 1)
    parts = []
    for sequence in range(SERIES if card.id is not None else 1):
        at: Any = np.round(number * gap, 6)
        if recipe.stamps:
            at = np.datetime64(FIRST, "us") + np.round(number * gap * UNITS[spec.unit]).astype("timedelta64[us]")
        columns: dict[str, Any] = {} if card.id is None else {card.id: [f"s{sequence}"] * EVENTS}
        columns[card.time] = at
        if card.mark is not None:
            columns[card.mark] = [spec.marks[(place + sequence) % len(spec.marks)] for place in range(EVENTS)]
        parts.append(pl.DataFrame(columns | {name: np.ones(EVENTS) for name in card.beside}))
    return pl.concat(parts)


def _labelled(predictor: ClassPredictor) -> pl.DataFrame:
    """A wave about the mean of each channel."""
    recipe, spec = predictor.recipe, predictor.recipe.spec
    card, steps = recipe.columns, min(spec.longest, STEPS)
    wave = 0.5 * np.sin(np.arange(steps) * 2 * np.pi / 12)
    parts = []
    for number in range(SERIES):
        columns: dict[str, Any] = {card.id: [f"s{number}"] * steps}
        if card.time is not None:
            stamps = np.datetime64(FIRST, "us") + np.arange(steps) * np.timedelta64(1, "s")
            columns[card.time] = stamps if recipe.stamps else np.arange(steps, dtype=float)
        for place, name in enumerate(card.channels):
            columns[name] = _short(recipe.scale.mean[place] + recipe.scale.std[place] * wave * (number + 1))
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts)


def _short(values: Any) -> Any:
    """Rounded to about six digits of the largest."""
    largest = float(np.abs(values).max(initial=0.0))
    return np.round(values, max(0, 6 - int(np.floor(np.log10(largest))) - 1)) if largest > 0 else values
