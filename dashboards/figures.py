"""The figures of a run: drawn once for a wide page and once for a narrow one, and as PNG for the tracker.

Nothing here touches pyplot: every figure is a `matplotlib.figure.Figure` of its own, safe beside training.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from forecast.dashboards import errors, load
from forecast.dashboards.canvas import (
    NARROW,
    Picture,
    Shown,
    array,
    dates,
    legend,
    moment,
    scale,
    sheet,
    with_unit,
)
from forecast.dashboards.chart import Chart
from forecast.dashboards.class_figures import class_pictures
from forecast.dashboards.event_figures import event_pictures
from forecast.dashboards.event_summary import summarise_events
from forecast.dashboards.intervals import reliability
from forecast.dashboards.load import Run
from forecast.dashboards.sheet import across, draw
from forecast.dashboards.style import LIGHT, number, role_of, styled, tick
from forecast.dashboards.summary import Summary, summarise
from forecast.dashboards.windows import Window


def figures(run_dir: Path) -> dict[str, Figure]:
    """The figures of a run by name: loss, forecasts, channels, horizon, residuals, calendar, time; of an event run
    loss, pit, timelines, rescaling, gaps, confusion, accuracies, position; of classes confusion, recalls,
    reliability, early, wrong, loss.

    A figure whose data the run does not have is left out. `style.png` turns one into the bytes of a PNG file.
    """
    run = load.read(run_dir)
    found: Sequence[Shown]
    if run.kind == "series":
        found = pictures(run, summarise(run))
    else:
        found = event_pictures(run, summarise_events(run)) if run.events else class_pictures(run)
    with styled():
        return {
            each.name: draw(each, across(each)) if isinstance(each, Chart) else each.draw(across(each))
            for each in found
        }


def pictures(run: Run, summary: Summary | None) -> list[Shown]:
    """Every picture there is data for."""
    found: list[Shown | None] = [loss(run), reliability(run), errors.horizon(run, summary)]
    if summary is not None:
        for make in (forecasts, channels, errors.sizes, errors.calendar, errors.over_time):
            found.append(make(run, summary))
    return [picture for picture in found if picture is not None]


# Training ---------------------------------------------------------------------------------------------------


def loss(run: Run) -> Picture | None:
    """Training loss and validation MSE, the best epoch marked."""
    if run.history is None:
        return None
    train, val, best = run.curve("train/loss"), run.curve(run.monitor), run.best_epoch
    if not train.height and not val.height:
        return None
    words = "Training loss by optimiser step"
    words += f"; validation MSE after each of {val.height:,d} epochs." if val.height else "."
    if best is not None:
        words += f" The best is epoch {best['epoch'] + 1} with {number(best['value'])}."

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, 2.7)
        if train.height:
            thin = _thinned(train)
            axes.plot(thin["step"], thin["value"], color=LIGHT["other"], lw=1, label="training loss")
        if val.height:
            dots: dict[str, Any] = {"marker": "o", "ms": 3} if val.height <= 60 else {}
            axes.plot(val["step"], val["value"], color=LIGHT["model"], lw=1.8, label="validation MSE", **dots)
        if best is not None:
            axes.axvline(best["step"], color=LIGHT["muted"], lw=0.9, ls=(0, (3, 2)), zorder=1)
            axes.plot(best["step"], best["value"], "o", ms=7, mfc=LIGHT["card"], mec=LIGHT["model"], mew=1.8,
                      label=f"best: epoch {best['epoch'] + 1}")  # fmt: skip
        scale(axes, np.concatenate([array(train["value"]), array(val["value"])]), floor=False)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("loss (scaled units)")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(tick))
        legend(figure, axes, run, columns=2)
        return figure

    return Picture("loss", "Loss", words, words, True, draw)


def _thinned(curve: pl.DataFrame, most: int = 240) -> pl.DataFrame:
    """Means of neighbouring values: what a step's batch happened to hold is noise."""
    each = max(1, -(-curve.height // most))
    index = (pl.int_range(pl.len()) // each).alias("bucket")
    return curve.group_by(index, maintain_order=True).agg(pl.col("step", "value").mean())


# Forecasts --------------------------------------------------------------------------------------------------


def forecasts(run: Run, summary: Summary) -> Picture | None:
    """The best, the median and the worst window of the first target, with what came before."""
    if not summary.picked:
        return None
    of = f" of {summary.channels[0]}" if len(summary.channels) > 1 else ""
    words = (
        f"The best, the median and the worst of {summary.windows:,d} test windows by MSE (scaled){of}. "
        "The shaded part was unknown to the model."
    )
    alt = words + "".join(f" {w.role}: MSE {number(w.mse)}, after {moment(w.cutoff)}." for w in summary.picked)

    def draw(width: float) -> Figure:
        figure, panels = sheet(width, len(summary.picked), 1.85)
        for axes, window in zip(panels, summary.picked, strict=True):
            _window(axes, window, run, 9 if width > NARROW else 5)
            after = f"{f'{window.id} · ' if summary.ids > 1 else ''}after {moment(window.cutoff)}"
            role, score = window.role.capitalize(), f"MSE {number(window.mse, 3)}"
            wide = f"{role} · {after} · {score}"
            axes.set_title(wide if width > NARROW else f"{role} · {score}\n{after}")
            axes.set_ylabel(with_unit(run, window.channel, 20))
        panels[-1].set_xlabel(f"time{' (UTC)' if run.zone else ''}")
        legend(figure, panels[0], run)
        return figure

    return Picture("forecasts", "Forecasts and what came", words, alt, False, draw)


def channels(run: Run, summary: Summary) -> Picture | None:
    """The median window once for each channel, where there are several."""
    if len(summary.typical) < 2:
        return None
    shown, there, first = len(summary.typical), len(summary.channels), summary.typical[0]
    which = "every channel" if shown == there else f"{shown} of {there} channels, from easy to hard"
    where = f" of {first.id}" if summary.ids > 1 else ""
    words = f"The median test window by MSE over all channels{where}, after {moment(first.cutoff)}: {which}."

    def draw(width: float) -> Figure:
        figure, panels = sheet(width, shown, 1.5, 1 if width <= NARROW else 2)
        for axes, window in zip(panels, summary.typical, strict=True):
            _window(axes, window, run, 5)
            axes.set_title(with_unit(run, window.channel))
        legend(figure, panels[0], run)
        return figure

    return Picture("channels", "One window, every channel", words, words, False, draw)


def _window(axes: Axes, window: Window, run: Run, most_dates: int) -> None:
    """History and actuals in ink, the model over them, the naive forecast thin beneath."""
    past, future = window.past, window.future
    known, last = date2num([window.cutoff, future["ds"][-1]])
    axes.axvspan(known, last, color=LIGHT["shade"], lw=0, zorder=0)
    ds, hat = future["ds"].to_list(), array(future["y_hat"])
    mark = "o" if len(ds) == 1 else None
    if future["naive"].count():
        colour = LIGHT[role_of(run.naive)]
        axes.plot(ds, array(future["naive"]), color=colour, lw=0.9, marker=mark, label=run.naive)
    if future["lo"].count():
        low, high = array(future["lo"]), array(future["hi"])
        axes.fill_between(ds, low, high, color=LIGHT["model"], alpha=0.16, lw=0, label="90 % interval")
    actual = pl.concat([past.select("ds", "y"), future.select("ds", "y")])
    axes.plot(actual["ds"], array(actual["y"]), color=LIGHT["ink"], lw=1.2, label="actual")
    axes.plot(ds, hat, color=LIGHT["model"], lw=1.9, marker=mark, label=run.model)
    if past.height and past["ds"][-1] == window.cutoff:  # a hairline from the last known value
        ends = array(past["y"])[-1], hat[0]
        axes.plot([window.cutoff, ds[0]], ends, color=LIGHT["model"], lw=0.8, ls=(0, (2, 2)))
    axes.margins(x=0.01)
    dates(axes, most_dates)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
