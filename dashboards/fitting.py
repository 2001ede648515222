"""The loss of a training: of series the validation MSE beside it, of events and classes what counts in nats."""

from typing import Any, Final

import polars as pl

from forecast.dashboards.charts.chart import Axis, Chart, Line, Mark, Panel, Points, Rule
from forecast.dashboards.charts.shared import array, spread
from forecast.dashboards.charts.style import number
from forecast.dashboards.load import Run

DOTS: Final = 60  # epochs up to which each has a dot
TALL: Final = 2.7  # inches
STEP: Final = Axis("optimiser step", whole=True)


def loss(run: Run) -> Chart | None:
    """Training loss and validation MSE, the best epoch marked."""
    train, val = run.curve("train/loss"), run.curve(run.monitor)
    if not train.height and not val.height:
        return None
    words = "Training loss by optimiser step"
    words += f"; validation MSE after each of {val.height:,d} epochs." if val.height else "."
    marks: list[Mark] = []
    if train.height:
        thin = thinned(train)
        marks.append(Line(thin["step"], thin["value"], "training loss", "other", width=1.0))
    marks += validated(val, "validation MSE")
    y = Axis("loss (scaled units)", spread(array(train["value"]), array(val["value"])))
    panel = Panel((*marks, *best(run)), STEP, y, height=TALL)
    return Chart("loss", "Loss", words + _told(run), words + _told(run), (panel,), half=True)


def likelihood(run: Run, score: str, unit: str, *, share: str = "", named: str = "") -> Chart | None:
    """Training loss and the validation `score` in nats, the best epoch marked; nats may be negative, so the axis is
    linear. `share`: a validation score between 0 and 1 that is drawn beneath, `named` so."""
    train, val = run.curve("train/loss"), run.curve(run.monitor)
    if not train.height and not val.height:
        return None
    beneath = run.curve(share) if share else val.clear()
    words = "Training loss by optimiser step, pale, and its mean over each epoch"
    words += f"; {score} after each of {val.height:,d} epochs, in {unit}" if val.height else ""
    words += f"; beneath, {named}." if beneath.height else "."
    marks = (*_training(train), *validated(val, score), *best(run))
    panels = [Panel(marks, STEP, Axis(f"loss ({unit})"), height=2.2 if beneath.height else TALL)]
    if beneath.height:
        line = Line(beneath["step"], beneath["value"], width=1.6, dots=beneath.height <= DOTS)
        rules = [mark for mark in best(run) if isinstance(mark, Rule)]
        axis = Axis(named.removeprefix("validation "), percent=True)
        panels.append(Panel((*rules, line), STEP, axis, height=1.2))
    words += _told(run)
    return Chart("loss", "Loss", words, words, tuple(panels), half=True, shared=True)


def best(run: Run) -> tuple[Mark, ...]:
    """The best epoch: an upright line and a ring."""
    found = run.best_epoch
    if found is None:
        return ()
    at, value, name = found["step"], found["value"], f"best: epoch {found['epoch'] + 1}"
    return Rule(at), Points([at], [value], name, symbol="ring", size=7, words=[f"{name}, {number(value)}"])


def validated(val: pl.DataFrame, name: str) -> list[Mark]:
    """The score on the validation part after each epoch."""
    return [Line(val["step"], val["value"], name, width=1.8, dots=val.height <= DOTS)] if val.height else []


def thinned(curve: pl.DataFrame, most: int = 240) -> pl.DataFrame:
    """Means of neighbouring values: what a step's batch happened to hold is noise."""
    each = max(1, -(-curve.height // most))
    index = (pl.int_range(pl.len()) // each).alias("bucket")
    return curve.group_by(index, maintain_order=True).agg(pl.col("step", "value").mean())


def _training(train: pl.DataFrame) -> tuple[Mark, ...]:
    """Pale what single batches happened to hold, over it the means of epochs."""
    if not train.height:
        return ()
    means = train.group_by("epoch").agg(pl.col("step").max(), pl.col("value").mean()).sort("step")
    thin, alone = thinned(train), means.height < 2
    look: dict[str, Any] = {"name": "training loss"} if alone else {"opacity": 0.35}
    single = Line(thin["step"], thin["value"], role="other", width=0.9, **look)
    if alone:
        return (single,)
    line = Line(means["step"], means["value"], "training loss", "other", width=1.6)
    return single, line, Points(means["step"], means["value"], role="other", symbol="square", size=2.5)


def _told(run: Run) -> str:
    found = run.best_epoch
    return f" The best is epoch {found['epoch'] + 1} with {number(found['value'])}." if found else ""
