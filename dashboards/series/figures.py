"""The figures of a run of series: its loss, its forecasts, its channels, and those of where it errs."""

from forecast.dashboards.charts.chart import Axis, Chart, Panel
from forecast.dashboards.charts.shared import moment, with_unit
from forecast.dashboards.charts.style import number
from forecast.dashboards.fitting import loss
from forecast.dashboards.load import Run
from forecast.dashboards.series import errors, noise
from forecast.dashboards.series.bands import told
from forecast.dashboards.series.intervals import coverage, pit, reliability
from forecast.dashboards.series.residuals import Residuals
from forecast.dashboards.series.summary import Summary
from forecast.dashboards.series.window import Drawn, marks
from forecast.dashboards.series.windows import Window


def series_charts(run: Run, summary: Summary | None, residuals: Residuals | None) -> list[Chart]:
    """Every figure of a report there is data for; the page of errors shows more of them."""
    found = [loss(run), forecasts(run, summary), channels(run, summary)] if summary is not None else [loss(run)]
    mine = errors.subject(run, residuals)
    found += [make(mine) for make in (reliability, pit, coverage, noise.memory, noise.level)]
    found += [make(mine) for make in (errors.horizon, errors.sizes, errors.calendar, errors.week, errors.over_time)]
    return [chart for chart in found if chart is not None]


def forecasts(run: Run, summary: Summary) -> Chart | None:
    """The best, the median and the worst window of the first target, with what came before."""
    if not summary.picked:
        return None
    of = f" of {summary.channels[0]}" if len(summary.channels) > 1 else ""
    words = (
        f"The best, the median and the worst of {summary.windows:,d} test windows by MSE (scaled){of}. "
        f"What lies right of a cutoff was unknown to the model. {told(summary.picked[0].future)}"
    ).rstrip()
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
        _panel(window, run, window.channel, run.units.get(window.channel, ""), 1.5) for window in summary.typical
    )
    return Chart("channels", "One window, every channel", words, words, panels, columns=2)


def _panel(window: Window, run: Run, title: str, label: str, height: float) -> Panel:
    time = Axis(f"time{' (UTC)' if run.zone else ''}", "time")
    return Panel(marks([Drawn(run.model, window, run.naive)], median=False), time, Axis(label), title, height)
