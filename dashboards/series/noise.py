"""Figures of what errors are like: mean and spread over time, memory, shape, and how they follow the level."""

from statistics import NormalDist
from typing import Final

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import Axis, Band, Bars, Chart, Line, Mark, Panel, Points, Rule
from forecast.dashboards.charts.shared import array
from forecast.dashboards.charts.style import number, steps
from forecast.dashboards.series.errors import Subjects, each_point, measured, time_axis, unit
from forecast.dashboards.series.residuals import Residuals

FARTHEST: Final = 4.5  # normal scores drawn at most
PLACES: Final = 181  # points of a line of quantiles
BEYOND: Final = 3.0  # standard deviations
NORMAL: Final = 2 * NormalDist().cdf(-BEYOND)


def bias(subjects: Subjects) -> Chart | None:
    """Mean error and its spread along the test span."""
    held = [(each, found) for each, found in measured(subjects) if found.time.height >= 3]
    if not held:
        return None
    factors, word = unit([each for each, _ in held])
    marks: list[Mark] = [Rule(0.0, level=True)]
    for (each, found), factor in zip(held, factors, strict=True):
        middle, sd = array(found.time["bias"]) * factor, array(found.time["sd"]) * factor
        if len(held) == 1:
            marks.append(Band(found.time["ds"], middle - sd, middle + sd, "mean ± standard deviation", each.role))
        else:
            marks += [Line(found.time["ds"], middle + k * sd, role=each.role, dash="dot", width=0.8) for k in (-1, 1)]
        marks.append(Line(found.time["ds"], middle, each.name, each.role, width=1.6))
    first = held[0][1]
    words = (
        f"Mean error, forecast − actual {word}, by the stamp that was forecast, {each_point(first, held[0][0].run)}; "
        f"{'shaded' if len(held) == 1 else 'dotted'}, one standard deviation of single errors about it."
    )
    alt = words + "".join(
        f" {each.name}: {number(found.bias * factor, 3)} ± {number(found.sd * factor, 3)} over all."
        for (each, found), factor in zip(held, factors, strict=True)
    )
    panel = Panel(tuple(marks), time_axis(held[0][0]), Axis(f"forecast − actual {word}".strip()), height=2.2)
    return Chart("bias", "Mean error over time", words, alt, (panel,))


def memory(subjects: Subjects) -> Chart | None:
    """The autocorrelation of errors one step ahead, with the band of white noise."""
    held = [(each, c) for each, found in measured(subjects) if (c := found.correlation) is not None]
    if not held:
        return None
    each, first = held[0]
    lags = np.arange(1, len(first.r))
    marks: list[Mark] = [Rule(sign * first.noise, level=True) for sign in (1, -1)]
    if len(held) == 1:
        if first.series > 1:
            marks.append(Band(lags, first.low[1:], first.high[1:], "80 % of series", each.role))
        marks.append(Bars(lags, first.r[1:], each.name, each.role, opacity=0.9))
    else:
        marks += [Line(np.arange(1, len(c.r)), c.r[1:], s.name, s.role, dots=len(c.r) < 60) for s, c in held]
    freq = each.run.freq
    words = "Autocorrelation of errors one step ahead" + (
        f", the mean of {first.series:,d} series" if first.series > 1 else ""
    )
    words += f" (of {first.of:,d} series)" if first.of > first.series else ""
    words += f", n = {first.n:,d} errors each. " if first.series > 1 else f", n = {first.n:,d} errors. "
    words += (
        f"Of white noise 95\u00a0% of lags would lie within ±{number(first.noise, 2)} (dashed, ±1.96/√n"
        f"{', one series' if first.series > 1 else ''}); here {first.outside} of {len(lags)} lie outside"
    )
    words += f" for {each.name}." if len(held) > 1 else "."
    top = int(np.argmax(np.abs(first.r[1:]))) + 1
    alt = f"{words} The largest is {number(float(first.r[top]), 2)} at lag {top}."
    x = Axis(f"lag (each {steps(first.each, freq)})", whole=True)
    panel = Panel(tuple(marks), x, Axis("autocorrelation"))
    return Chart("acf", "Do errors remember", words, alt, (panel,), half=True)


def quantiles(subjects: Subjects) -> Chart | None:
    """Quantiles of standardised errors against those of the normal distribution."""
    held = [(each, found) for each, found in measured(subjects) if found.sd > 0 and found.n > 1]
    if not held:
        return None
    marks: list[Mark] = []
    words = "Quantiles of errors, less their mean and by their standard deviation, against those of the normal "
    words += "distribution: on the line they are alike."
    far = 0.0
    for k, (each, found) in enumerate(held):
        x, y = against_normal(found)
        far = max(far, float(x[-1]))
        share = beyond(found)
        words += (
            f" {each.name}: {100 * share:.2g}\u00a0% of {found.n:,d} errors lie beyond {BEYOND:g} standard deviations"
        )
        words += f" (normal: {100 * NORMAL:.2g}\u00a0%)." if k == 0 else "."
        marks.append(Points(x, y, each.name, each.role, ("dot", "square", "diamond")[k % 3], 3.5))
    marks.insert(0, Line(np.array([-far, far]), np.array([-far, far]), "normal", "muted", "dash", 1.0))
    panel = Panel(tuple(marks), Axis("normal quantile (std. dev.)"),
                  Axis("quantile of errors (std. dev.)"))  # fmt: skip
    return Chart("qq", "Against the normal distribution", words, words, (panel,), half=True)


def against_normal(found: Residuals) -> tuple[np.ndarray, np.ndarray]:
    """Normal scores, as far as n values reach, and the standardised quantiles of errors there."""
    normal = NormalDist()
    far = min(FARTHEST, -normal.inv_cdf(0.5 / found.n))
    scores = np.linspace(-far, far, PLACES)
    p = np.array([normal.cdf(score) for score in scores])
    return scores, (found.errors.quantiles(p) - found.bias) / found.sd


def beyond(found: Residuals) -> float:
    """The share of errors farther than BEYOND standard deviations from their mean."""
    low, high = found.errors.below(found.bias + np.array([-BEYOND, BEYOND]) * found.sd)
    return float(low + 1 - high)


def level(subjects: Subjects) -> Chart | None:
    """Mean error and spread at each level of the forecast."""
    held = [(each, found) for each, found in measured(subjects) if found.level.height > 2]
    if not held:
        return None
    marks: list[Mark] = [Rule(0.0, level=True)]
    for each, found in held:
        frame = found.level.filter(pl.col("n") > 1)
        x, middle, sd = (array(frame[key]) for key in ("level", "bias", "sd"))
        if len(held) == 1:
            marks.append(Band(x, middle - sd, middle + sd, "mean ± standard deviation", each.role))
        else:
            marks += [Line(x, middle + k * sd, role=each.role, dash="dot", width=0.8) for k in (-1, 1)]
        marks.append(Line(x, middle, each.name, each.role, width=1.6, dots=True))
    first = held[0][1].level
    words = (
        "Mean error (forecast − actual, scaled) at each level of the forecast, in groups of about equally many "
        f"forecasts; {'shaded' if len(held) == 1 else 'dotted'}, one standard deviation about it. Level 0 is the mean "
        "of the training part, 1 lies a standard deviation above. A spread that grows with the level asks for a "
        "transformation or an output whose width does."
    )
    low, high = first.row(0, named=True), first.row(-1, named=True)
    alt = f"{words} Spread {number(low['sd'], 3)} at the lowest level, {number(high['sd'], 3)} at the highest."
    panel = Panel(tuple(marks), Axis("level of the forecast (scaled)"), Axis("forecast − actual (scaled)"))
    return Chart("level", "Errors against level", words, alt, (panel,), half=True)
