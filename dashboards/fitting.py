"""The loss of a training that counts in nats: of events and of classes."""

import polars as pl

from forecast.dashboards.chart import Axis, Chart, Line, Mark, Panel, Points, Rule
from forecast.dashboards.load import Run
from forecast.dashboards.style import number

FEW = 60  # validations up to which each has a dot
MOST = 240  # means of the training loss


def likelihood(run: Run, score: str, unit: str, *, share: str = "", named: str = "") -> Chart | None:
    """Training loss and the validation `score` in nats, the best epoch marked; nats may be negative, so the axis is
    linear. `share`: a validation score between 0 and 1 that is drawn beneath, `named` so."""
    train, val, best = run.curve("train/loss"), run.curve(run.monitor), run.best_epoch
    if not train.height and not val.height:
        return None
    beneath = run.curve(share) if share else val.clear()
    words = "Training loss by optimiser step, pale, and its mean over each epoch"
    words += f"; {score} after each of {val.height:,d} epochs, in {unit}" if val.height else ""
    words += f"; beneath, {named}." if beneath.height else "."
    if best is not None:
        words += f" The best is epoch {best['epoch'] + 1} with {number(best['value'])}."
    marks: list[Mark] = [Rule(best["step"])] if best is not None else []
    above = [*marks, *_training(run)]
    if val.height:
        above.append(Line(val["step"], val["value"], score, width=1.8, dots=val.height <= FEW))
    if best is not None:
        name = f"best: epoch {best['epoch'] + 1}"
        above.append(Points([best["step"]], [best["value"]], name, symbol="ring", size=7))
    steps = Axis("optimiser step", whole=True)
    panels = [Panel(tuple(above), steps, Axis(f"loss ({unit})"), height=2.2 if beneath.height else 2.7)]
    if beneath.height:
        marks.append(Line(beneath["step"], beneath["value"], width=1.6, dots=beneath.height <= FEW))
        label = named.removeprefix("validation ")
        panels.append(Panel(tuple(marks), steps, Axis(label, percent=True), height=1.1))
    return Chart("loss", "Loss", words, words, tuple(panels), half=True, shared=True)


def _training(run: Run) -> list[Line]:
    """Pale what single batches happened to hold, over it the means of epochs."""
    train = run.curve("train/loss")
    if not train.height:
        return []
    means = train.group_by("epoch").agg(pl.col("step").max(), pl.col("value").mean()).sort("step")
    each = max(1, -(-train.height // MOST))
    thin = train.group_by((pl.int_range(pl.len()) // each).alias("b"), maintain_order=True).agg(
        pl.col("step", "value").mean()
    )
    if means.height < 2:
        return [Line(thin["step"], thin["value"], "training loss", role="other", width=0.9)]
    return [Line(thin["step"], thin["value"], role="grid", width=0.9),
            Line(means["step"], means["value"], "training loss", role="other", width=1.6, dots=True)]  # fmt: skip
