"""The figures of a run as charts; of a run of series its loss, its forecasts, its channels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl
from matplotlib.figure import Figure

from forecast.dashboards import errors, load
from forecast.dashboards.canvas import Shown
from forecast.dashboards.chart import Axis, Band, Chart, Line, Mark, Panel, Points, Rule, Span
from forecast.dashboards.class_figures import class_pictures
from forecast.dashboards.event_figures import event_charts
from forecast.dashboards.event_summary import summarise_events
from forecast.dashboards.intervals import reliability
from forecast.dashboards.load import Run
from forecast.dashboards.shared import array, moment, spread, with_unit
from forecast.dashboards.sheet import across, draw
from forecast.dashboards.style import number, role_of, styled
from forecast.dashboards.summary import Summary, summarise
from forecast.dashboards.windows import Window

DOTS: Final = 60  # epochs up to which each has a dot


def figures(run_dir: Path) -> dict[str, Figure]:
    """The figures of a run by name: loss, forecasts, channels, horizon, residuals, calendar, time; of an event run
    loss, pit, timeline-1 to timeline-4, rescaling, gaps, ratio, confusion, accuracies, position; of classes
    confusion, recalls, reliability, early, wrong, loss.

    A figure whose data the run does not have is left out. `style.png` turns one into the bytes of a PNG file.
    """
    run = load.read(run_dir)
    found: Sequence[Shown]
    if run.kind == "series":
        found = pictures(run, summarise(run))
    else:
        found = event_charts(run, summarise_events(run)) if run.events else class_pictures(run)
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


def loss(run: Run) -> Chart | None:
    """Training loss and validation MSE, the best epoch marked."""
    if run.history is None:
        return None
    train, val, best = run.curve("train/loss"), run.curve(run.monitor), run.best_epoch
    if not train.height and not val.height:
        return None
    words = "Training loss by optimiser step"
    words += f"; validation MSE after each of {val.height:,d} epochs." if val.height else "."
    marks: list[Mark] = []
    if train.height:
        thin = thinned(train)
        marks.append(Line(thin["step"], thin["value"], "training loss", "other", width=1.0))
    if val.height:
        marks.append(Line(val["step"], val["value"], "validation MSE", width=1.8, dots=val.height <= DOTS))
    if best is not None:
        epoch, value = best["epoch"] + 1, number(best["value"])
        words += f" The best is epoch {epoch} with {value}."
        marks.append(Rule(best["step"]))
        marks.append(
            Points([best["step"]], [best["value"]], f"best: epoch {epoch}", symbol="ring", size=7, words=[value])
        )
    y = Axis("loss (scaled units)", spread(array(train["value"]), array(val["value"])))
    panel = Panel(tuple(marks), Axis("optimiser step", whole=True), y)
    return Chart("loss", "Loss", words, words, (panel,), half=True)


def thinned(curve: pl.DataFrame, most: int = 240) -> pl.DataFrame:
    """Means of neighbouring values: what a step's batch happened to hold is noise."""
    each = max(1, -(-curve.height // most))
    index = (pl.int_range(pl.len()) // each).alias("bucket")
    return curve.group_by(index, maintain_order=True).agg(pl.col("step", "value").mean())


# Forecasts --------------------------------------------------------------------------------------------------


def forecasts(run: Run, summary: Summary) -> Chart | None:
    """The best, the median and the worst window of the first target, with what came before."""
    if not summary.picked:
        return None
    of = f" of {summary.channels[0]}" if len(summary.channels) > 1 else ""
    words = (
        f"The best, the median and the worst of {summary.windows:,d} test windows by MSE (scaled){of}. "
        "The shaded part was unknown to the model."
    )
    alt = words + "".join(f" {w.role}: MSE {number(w.mse)}, after {moment(w.cutoff)}." for w in summary.picked)
    panels = []
    for window in summary.picked:
        after = f"{f'{window.id} · ' if summary.ids > 1 else ''}after {moment(window.cutoff)}"
        title = f"{window.role.capitalize()} · {after} · MSE {number(window.mse, 3)}"
        panels.append(_panel(window, run, title, with_unit(run, window.channel, 20), 1.85))
    return Chart("forecasts", "Forecasts and what came", words, alt, tuple(panels))


def channels(run: Run, summary: Summary) -> Chart | None:
    """The median window once for each channel, where there are several."""
    if len(summary.typical) < 2:
        return None
    shown, there, first = len(summary.typical), len(summary.channels), summary.typical[0]
    which = "every channel" if shown == there else f"{shown} of {there} channels, from easy to hard"
    where = f" of {first.id}" if summary.ids > 1 else ""
    words = f"The median test window by MSE over all channels{where}, after {moment(first.cutoff)}: {which}."
    panels = tuple(
        _panel(window, run, window.channel, with_unit(run, window.channel, 20), 1.5) for window in summary.typical
    )
    return Chart("channels", "One window, every channel", words, words, panels, columns=2)


def _panel(window: Window, run: Run, title: str, label: str, height: float) -> Panel:
    time = Axis(f"time{' (UTC)' if run.zone else ''}", "time")
    return Panel(_window(window, run), time, Axis(label), title, height)


def _window(window: Window, run: Run) -> tuple[Mark, ...]:
    """History and actuals in ink, the model over them, the naive forecast thin beneath."""
    past, future = window.past, window.future
    ds, hat = future["ds"], array(future["y_hat"])
    marks: list[Mark] = [Span(window.cutoff, ds[-1])]
    if future["naive"].count():
        marks.append(Line(ds, array(future["naive"]), run.naive, role_of(run.naive), width=0.9))
    if future["lo"].count():
        marks.append(Band(ds, array(future["lo"]), array(future["hi"]), "90 % interval"))
    actual = pl.concat([past.select("ds", "y"), future.select("ds", "y")])
    marks.append(Line(actual["ds"], array(actual["y"]), "actual", "ink", width=1.2))
    marks.append(Line(ds, hat, run.model, width=1.9))
    if past.height and past["ds"][-1] == window.cutoff:  # a hairline from the last known value
        ends = [array(past["y"])[-1], hat[0]]
        marks.append(Line([window.cutoff, ds[0]], ends, dash="dot", width=0.8))
    return tuple(marks)
