"""A forecast beside what came: one window of one model or of several, and the whole test span."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import polars as pl

from forecast.dashboards.charts.chart import Axis, Chart, Dash, Line, Mark, Panel, Rule, Span
from forecast.dashboards.charts.shared import array, moment
from forecast.dashboards.charts.style import number, role_of
from forecast.dashboards.charts.thin import places
from forecast.dashboards.series.bands import bands, told
from forecast.dashboards.series.browse import Strip
from forecast.dashboards.series.windows import Window

ROLES: Final = ("model", "ridge", "last", "other", "seasonal")  # of overlaid models
DASHES: Final[tuple[Dash, ...]] = ("solid", "dash", "dashdot", "dot", "dash")
MODELS: Final = len(ROLES)


class Drawn(NamedTuple):
    """A model's forecast of the window that is drawn."""

    name: str
    window: Window
    naive: str  # the name of its naive forecast
    banded: bool = True


def marks(shown: Sequence[Drawn], *, median: bool = True) -> tuple[Mark, ...]:
    """History and actuals in ink, the models over them with their intervals, a naive forecast thin beneath. `median`:
    that of the intervals is a line of its own where it is not the forecast."""
    first = shown[0].window
    longest = max(shown, key=lambda each: each.window.future.height).window
    found: list[Mark] = [Span(first.cutoff, longest.future["ds"][-1])] if longest.future.height else []
    if first.future["naive"].count():
        role = role_of(shown[0].naive) if len(shown) == 1 else "muted"
        found.append(_line(first.future, "naive", shown[0].naive, role, dash="dot" if len(shown) > 1 else "solid"))
    for each, role in zip(shown, ROLES, strict=False):
        if each.banded:
            found += bands(each.window.future, role)
    actual = pl.concat([first.past.select("ds", "y"), longest.future.select("ds", "y")], how="vertical_relaxed")
    found.append(_line(actual, "y", "actual", "ink", width=1.2))
    for each, role, dash in zip(shown, ROLES, DASHES, strict=False):
        found.append(_line(each.window.future, "y_hat", each.name, role, width=1.9, dash=dash))
        if median and each.banded and _apart(each.window.future):
            found.append(_line(each.window.future, "median", "median", role, width=1.0, dash="dot"))
    past, future = first.past, first.future
    if past.height and future.height and past["ds"][-1] == first.cutoff:  # a hairline from the last known value
        ends = [array(past["y"])[-1], array(future["y_hat"])[0]]
        found.append(Line([first.cutoff, future["ds"][0]], ends, dash="dot", width=0.8))
    return tuple(found)


def window_chart(shown: Sequence[Drawn], label: str, zone: bool, of: str = "") -> Chart:
    """One window; `label` is the channel with its unit, `of` the series."""
    first = shown[0]
    banded = next((each for each in shown if each.banded), None)
    at = moment(first.window.cutoff)
    words = f"{f'{of}, f' if of else 'F'}orecast from {at}. What lies right of it was unknown then."
    if banded is not None and (shading := told(banded.window.future)):
        words += f" {shading}" if len(shown) == 1 else f" {shading[:-1]}, of {banded.name}."
    errors = ", ".join(f"{each.name} {number(each.window.mse, 3)}" for each in shown)
    steps = first.window.future.height
    alt = f"{label} before and after {at}, {steps:,d} steps. MSE (scaled): {errors}."
    panel = Panel(marks(shown), _time(zone), Axis(label), height=3.4)
    return Chart("window", "Forecast and what came", words, alt, (panel,))


def strip_chart(strip: Strip, name: str, label: str, zone: bool, at: datetime, until: datetime) -> Chart:
    """The whole test span; `at` and `until` are the ends of the window that is looked at."""
    actual, made = strip.actual, strip.forecast
    actual, made = actual[places(actual["y"])], made[places(made["y_hat"])]
    rows = strip.actual["y"].count()
    ahead = f"{strip.ahead:,d} step{'s' * (strip.ahead != 1)} ahead"
    words = f"The whole test span: each value beside its forecast {ahead} by {name}. A click moves the cutoff."
    if actual.height < strip.actual.height:
        of = f"{actual.height:,d} of {strip.actual.height:,d} values"
        words += f" Drawn are {of}: of neighbours the lowest, the highest, the ends and the gaps."
    alt = f"{rows:,d} values of {label}"
    if strip.actual.height:
        alt += f" from {moment(strip.actual['ds'][0])} to {moment(strip.actual['ds'][-1])}"
    alt += f", and forecasts {ahead} by {name}."
    found = (
        *_here(at, until),
        _line(actual, "y", "actual", "ink", width=1.0),
        _line(made, "y_hat", f"{name}, {ahead}", "model", width=1.0),
    )
    return Chart("strip", "All of the test part", words, alt, (Panel(found, _time(zone), Axis(label), height=2.2),))


def here(chart: Chart, at: datetime, until: datetime) -> Chart:
    """A chart of nothing but the window's place: what changes on the strip when the cutoff moves."""
    return chart._replace(panels=(chart.panels[0]._replace(marks=_here(at, until)),))


def _here(at: datetime, until: datetime) -> tuple[Mark, ...]:
    return Span(at, until), Rule(at, role="ink", dash="solid")


def _time(zone: bool) -> Axis:
    return Axis("time (UTC)" if zone else "time", "time")


def _line(frame: pl.DataFrame, column: str, name: str, role: str, width: float = 0.9, dash: Dash = "solid") -> Line:
    return Line(frame["ds"], array(frame[column]), name, role, dash, width)


def _apart(future: pl.DataFrame) -> bool:
    """Whether the median is away from the forecast somewhere, by more than 2 % of the width of the 50 % interval."""
    if not future["median"].count() or not future["hi50"].count():
        return False
    off = (future["median"] - future["y_hat"]).abs().max()
    width = (future["hi50"] - future["lo50"]).mean()
    return bool(off is not None and width is not None and off > 0.02 * width)  # type: ignore[operator]
