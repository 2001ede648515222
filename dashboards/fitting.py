"""The loss of a training that counts in nats: of events and of classes."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from forecast.dashboards.canvas import Picture, legend, sheet
from forecast.dashboards.load import Run
from forecast.dashboards.style import LIGHT, number, tick


def likelihood(run: Run, score: str, unit: str, *, share: str = "", named: str = "") -> Picture | None:
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

    def draw(width: float) -> Figure:
        if beneath.height:
            figure, _ = sheet(width, 0, 3.3)
            figure.set_size_inches(width, 3.6)
            axes, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1]})
            below.plot(beneath["step"], beneath["value"], color=LIGHT["model"], lw=1.6, **_dots(beneath.height))
            below.set_ylabel(named.removeprefix("validation "))
            below.yaxis.set_major_formatter(PercentFormatter(1, 0))
            below.yaxis.set_major_locator(MaxNLocator(3))
        else:
            figure, (axes,) = sheet(width, 1, 2.7)
            below = axes
        if train.height:
            _training(axes, run)
        if val.height:
            axes.plot(val["step"], val["value"], color=LIGHT["model"], lw=1.8, label=score, **_dots(val.height))
        if best is not None:
            for each in {axes, below}:
                each.axvline(best["step"], color=LIGHT["muted"], lw=0.9, ls=(0, (3, 2)), zorder=1)
            axes.plot(best["step"], best["value"], "o", ms=7, mfc=LIGHT["card"], mec=LIGHT["model"], mew=1.8,
                      label=f"best: epoch {best['epoch'] + 1}")  # fmt: skip
        below.set_xlabel("optimiser step")
        axes.set_ylabel(f"loss ({unit})")
        below.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        below.xaxis.set_major_formatter(FuncFormatter(tick))
        axes.yaxis.set_major_formatter(FuncFormatter(tick))
        legend(figure, axes, run, columns=2)
        return figure

    return Picture("loss", "Loss", words, words, True, draw)


def _training(axes: Axes, run: Run) -> None:
    """Pale what single batches happened to hold, over it the means of epochs."""
    train = run.curve("train/loss")
    means = train.group_by("epoch").agg(pl.col("step").max(), pl.col("value").mean()).sort("step")
    single: dict[str, Any] = {"label": "training loss"} if means.height < 2 else {"alpha": 0.35}
    each = max(1, -(-train.height // 240))
    thin = train.group_by((pl.int_range(pl.len()) // each).alias("b"), maintain_order=True).agg(
        pl.col("step", "value").mean()
    )
    axes.plot(thin["step"], thin["value"], color=LIGHT["other"], lw=0.9, **single)
    if means.height > 1:
        axes.plot(means["step"], means["value"], color=LIGHT["other"], lw=1.6, marker="s", ms=2.5,
                  label="training loss")  # fmt: skip


def _dots(points: int) -> dict[str, Any]:
    return {"marker": "o", "ms": 3} if points <= 60 else {}
