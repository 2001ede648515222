"""The figures of a run, drawn for a wide page."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from forecast.dashboards import load
from forecast.dashboards.charts.chart import Chart
from forecast.dashboards.charts.sheet import across, draw
from forecast.dashboards.classes.figures import class_charts
from forecast.dashboards.events.figures import event_charts
from forecast.dashboards.events.summary import summarise_events
from forecast.dashboards.series.figures import series_charts
from forecast.dashboards.series.residuals import measure
from forecast.dashboards.series.summary import summarise


def figures(run_dir: Path) -> dict[str, Figure]:
    """The figures of a run by name: loss, forecasts, channels, reliability, pit, coverage, horizon, residuals,
    calendar, week, time, acf, level; of an event run loss, pit, timeline-1 to timeline-4, rescaling, gaps, ratio,
    confusion, accuracies, position; of classes confusion, recalls, reliability, early, wrong, loss.

    A figure whose data the run does not have is left out. `style.png` turns one into the bytes of a PNG file.
    """
    run = load.read(run_dir)
    found: Sequence[Chart]
    if run.kind == "series":
        found = series_charts(run, summarise(run), measure(run))
    else:
        found = event_charts(run, summarise_events(run)) if run.events else class_charts(run)
    return {each.name: draw(each, across(each)) for each in found}
