"""Figures of where a model errs: by step ahead, by the calendar, over time, by size, by series; of one or several."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import Axis, Cells, Chart, Histogram, Line, Mark, Panel, Points, Rule
from forecast.dashboards.charts.shared import DASHES, array, spread
from forecast.dashboards.charts.style import number, role_of, short, steps
from forecast.dashboards.load import Row, Run
from forecast.dashboards.series.residuals import Residuals

ROLES: Final = ("model", "other", "ridge")  # of runs beside each other
EDGES: Final = 61  # of the histogram
RANKED: Final = 8  # hardest and easiest series that are drawn
CALENDAR: Final = {
    "hour": ("hour of day", tuple(map(str, range(24)))),
    "weekday": ("weekday", ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")),
    "month": ("month", tuple(["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"])),
}


class Subject(NamedTuple):
    """A run in a figure: what is known of its errors, its name and its colour's role."""

    run: Run
    found: Residuals | None
    name: str
    role: str = "model"


Subjects = Sequence[Subject]


def subject(run: Run, found: Residuals | None) -> list[Subject]:
    """A run alone."""
    return [Subject(run, found, run.model)]


def unit(subjects: Subjects) -> tuple[list[float], str]:
    """Factors that turn scaled errors into those of the axis, and its unit: `(kWh)` where one factor does for each run
    and their units agree, else `(scaled)`."""
    found = [each.found for each in subjects if each.found is not None]
    names = {
        each.run.units.get(each.found.choice.channel or each.found.channels[0], "")
        for each in subjects
        if each.found is not None
    }
    factors = [each.unit_scale for each in found]
    if len(names) != 1 or any(factor is None for factor in factors):
        return [1.0] * len(found), "(scaled)"
    word = names.pop()
    return [float(factor or 1) for factor in factors], f"({word})" if word else ""


def pairs(subjects: Subjects, frames: Iterable[pl.DataFrame], x: str, key: str, factors: Iterable[float],
          shift: int = 0, dots: bool = True) -> list[Line]:  # fmt: skip
    """A line for each run over the naive forecast of the first."""
    lines: list[Line] = []
    for each, frame, factor in zip(subjects, frames, factors, strict=True):
        place: Any = frame[x] - shift if shift else frame[x]
        if not lines and f"naive_{key}" in frame.columns and frame[f"naive_{key}"].is_finite().any():
            naive = array(frame[f"naive_{key}"]) * factor
            lines.append(Line(place, naive, each.run.naive, role_of(each.run.naive), width=1.1, dots=dots))
        lines.append(Line(place, array(frame[key]) * factor, each.name, each.role, width=1.8, dots=dots))
    return lines


def measured(subjects: Subjects) -> list[tuple[Subject, Residuals]]:
    """Those runs whose errors are known."""
    return [(each, each.found) for each in subjects if each.found is not None]


def horizon(subjects: Subjects) -> Chart | None:
    """MSE at each step ahead: of one run every row of the score table, else the runs over the naive forecast."""
    lines = _rows(subjects[0].run) if len(subjects) == 1 and whole(subjects[0]) else []
    held = measured(subjects)
    if not lines and held:
        frames = [found.step for _, found in held]
        lines = pairs([each for each, _ in held], frames, "step", "mse", [1.0] * len(held), dots=False)
    if not lines:
        return None
    ahead, freq = max(len(line.y) for line in lines), subjects[0].run.freq
    words = f"MSE (scaled) at each of the {steps(ahead, freq)} ahead, over every test window."
    alt = words + "".join(
        f" {line.name}: {number(float(line.y[0]))} at the first step, {number(float(line.y[-1]))} at the last."
        for line in lines
    )
    scale = spread(*(line.y for line in lines))
    x = Axis(f"steps ahead{f' (each {steps(1, freq)})' if freq else ''}", whole=True)
    panel = Panel(tuple(lines), x, Axis("MSE (scaled)", scale, zero=scale == "linear"))
    return Chart("horizon", "Error by step ahead", words, alt, (panel,), half=True)


def whole(each: Subject) -> bool:
    """Whether it is about all channels and series, as the scores of the run are."""
    return each.found is None or not any(each.found.choice)


def _rows(run: Run) -> list[Line]:
    """The rows of the score table, the model last so that it lies above the others."""
    shown = [row for row in run.rows if row.kind != "streamed"]  # it would hide the model's line
    rows: list[Row] = [row for row in shown if any(map(math.isfinite, row.horizon.get("mse", [])))]
    lines = []
    for row in sorted(rows, key=lambda row: row.kind == "model"):
        y, role = np.array(row.horizon["mse"], np.float64), role_of(row.name, row.kind)
        width = 2.0 if role == "model" else 1.2
        lines.append(Line(np.arange(1, len(y) + 1), y, row.name, role, DASHES[role], width))
    return lines


# The calendar --------------------------------------------------------------------------------------------------------


def calendar(subjects: Subjects) -> Chart | None:
    """MAE by hour, weekday and month of the stamp that was forecast."""
    held = measured(subjects)
    keys = [key for key in CALENDAR if held and all(getattr(found, key) is not None for _, found in held)]
    if not keys:
        return None
    factors, word = unit(subjects)
    zone = _zone(held[0][0].run)
    by = " and by ".join(CALENDAR[key][0] for key in keys)
    words = f"Mean absolute error by {by}{zone} of the stamp that was forecast."
    panels, alt = [], words
    for key in keys:
        label, names = CALENDAR[key]
        first = 0 if key == "hour" else 1
        frames = [getattr(found, key) for _, found in held]
        lines = pairs([each for each, _ in held], frames, key, "mae", factors, first)
        ticks = tuple((float(k), names[k]) for k in range(0, len(names), 3 if key == "hour" else 1))
        x = Axis(label + (zone if key == "hour" else ""), ticks=ticks)
        panels.append(Panel(tuple(lines), x, Axis(f"MAE {word}".strip(), zero=True), height=2.5))
        alt += f" {_extremes(frames[0], key, factors[0], names, first)}"
    return Chart("calendar", "Error by the calendar", words, alt, tuple(panels), columns=len(panels))


def _extremes(frame: pl.DataFrame, key: str, factor: float, names: Sequence[str], first: int) -> str:
    worst, best = frame.sort("mae", descending=True).row(0, named=True), frame.sort("mae").row(0, named=True)
    most, least = (number(row["mae"] * factor) for row in (worst, best))
    label = CALENDAR[key][0].capitalize()
    return f"{label}: most {most} at {names[worst[key] - first]}, least {least} at {names[best[key] - first]}."


def _zone(run: Run) -> str:
    return f" ({run.zone})" if run.zone else ""


def week(subjects: Subjects) -> Chart | None:
    """MAE of each hour of the week as a table of shades: of each run, of one alone also what it saves against the naive
    forecast."""
    held = measured(subjects)
    if not held or any(found.week is None for _, found in held):
        return None
    factors, word = unit(subjects)
    tables = [grid(found.week, "mae") * factor for (_, found), factor in zip(held, factors, strict=True)]
    low, high = float(np.nanmin(tables)), float(np.nanmax(tables))
    label = f"MAE {word}".strip()
    panels = [_shades(table, each.name, label, low, high, each.run)
              for (each, _), table in zip(held, tables, strict=True)]  # fmt: skip
    first = held[0][0]
    words = f"Mean absolute error {word}".strip() + f" by hour and weekday{_zone(first.run)} of the stamp forecast."
    saved = grid(held[0][1].week, "naive_mae") * factors[0] - tables[0]
    if len(held) == 1 and np.isfinite(saved).any():
        panels.append(_shades(saved, f"Saved against {first.run.naive}", f"MAE saved {word}".strip(), run=first.run))
        words += f" Beside it, by how much it lies below that of {first.run.naive}; orange where it lies above."
    at = np.unravel_index(int(np.nanargmax(tables[0])), tables[0].shape)
    day, alt = CALENDAR["weekday"][1][at[0]], number(float(tables[0][at]))
    return Chart("week", "Error by hour of the week", words, f"{words} Most of {first.name}: {alt}, {day} {at[1]} h.",
                 tuple(panels), columns=len(panels), legend=False)  # fmt: skip


def grid(frame: pl.DataFrame | None, key: str) -> np.ndarray:
    """(7, 24) of a frame by weekday and hour, NaN where nothing was forecast."""
    table = np.full((7, 24), np.nan)
    if frame is not None:
        table[frame["weekday"].to_numpy() - 1, frame["hour"].to_numpy()] = array(frame[key])
    return table


def _shades(
    table: np.ndarray,
    title: str,
    label: str,
    low: float | None = None,
    high: float | None = None,
    run: Run | None = None,
) -> Panel:
    days = CALENDAR["weekday"][1]
    cells = Cells(np.arange(24), np.arange(7), table, label, diverging=low is None, low=low, high=high)
    zone = _zone(run) if run else ""
    x = Axis(f"hour of day{zone}", ticks=tuple((float(k), str(k)) for k in range(0, 24, 3)))
    y = Axis("weekday", ticks=tuple((float(k), day) for k, day in enumerate(days)), down=True)
    return Panel((cells,), x, y, title, height=2.4)


# Time, sizes, series -------------------------------------------------------------------------------------------------


def over_time(subjects: Subjects) -> Chart | None:
    """MSE along the test span."""
    held = [(each, found) for each, found in measured(subjects) if found.time.height >= 3]
    if not held:
        return None
    first, run = held[0][1], held[0][0].run
    words = f"When the model was wrong: MSE (scaled) by the stamp that was forecast, {each_point(first, run)}."
    lines = pairs([each for each, _ in held], [found.time for _, found in held], "ds", "mse", [1.0] * len(held),
                  dots=False)  # fmt: skip
    panel = Panel(tuple(lines), time_axis(held[0][0]), Axis("MSE (scaled)", zero=True), height=2.1)
    worst = first.time.drop_nulls("n").sort("mse", descending=True).row(0, named=True)
    alt = f"{words} The most, {number(worst['mse'])}, around {worst['ds']:%Y-%m-%d %H:%M}."
    return Chart("time", "Error over time", words, alt, (panel,))


def each_point(found: Residuals, run: Run) -> str:
    return f"each point the mean of {steps(found.each, run.freq)}" if found.each > 1 else "step by step"


def time_axis(of: Subject) -> Axis:
    """The span of what was forecast."""
    found = of.found
    assert found is not None
    first, last = (f"{at:%b %Y}" if isinstance(at, datetime) else "" for at in (found.first, found.last))
    return Axis(f"time forecast, {first} to {last}{' (UTC)' if of.run.zone else ''}", "time")


def sizes(subjects: Subjects) -> Chart | None:
    """A histogram of errors, each run's over the naive forecast's."""
    held = measured(subjects)
    rmse = max((math.hypot(found.bias, found.sd) for _, found in held), default=0.0)
    if not rmse > 0 or not math.isfinite(rmse):
        return None
    factors, word = unit(subjects)
    edges = np.linspace(-3.5 * rmse, 3.5 * rmse, EDGES) * factors[0]
    marks: list[Mark] = [Rule(0.0, dash="solid")]
    naive = held[0][1].naive
    words = "How often an error of each size occurs (forecast − actual)."
    for (each, found), factor in zip(held, factors, strict=True):
        below = found.errors.below(edges / factor)
        marks.append(Histogram(edges, np.diff(below), each.name, each.role, filled=len(held) == 1))
        words += f" {f'{each.name}: m' if len(held) > 1 else 'M'}ean error "
        words += f"{number(found.bias * factor, 3)} {word.strip('()')}".strip() + "."
        outside = 1 - float(below[-1] - below[0])
        if outside >= 0.0005:
            words += f" {outside * 100:.1f}\u00a0% of them lie beyond the edges."
    if naive is not None:
        name = held[0][0].run.naive
        marks.append(Histogram(edges, np.diff(naive.below(edges / factors[0])), name, role_of(name), filled=False))
    y = Axis("share of steps", zero=True, percent=True)
    panel = Panel(tuple(marks), Axis(f"forecast − actual {word}".strip()), y)
    return Chart("residuals", "Sizes of errors", words, words, (panel,), half=True)


def series(subjects: Subjects) -> Chart | None:
    """The hardest and the easiest series by the MSE of the first run."""
    held = measured(subjects)
    if not held or held[0][1].series.height < 2:
        return None
    first = held[0][1].series.filter(pl.col("mse").is_finite())
    ends = first if first.height <= 2 * RANKED else pl.concat([first.head(RANKED), first.tail(RANKED)])
    ends = ends.reverse()
    marks: list[Mark] = []
    name = held[0][0].run.naive
    if ends["naive_mse"].is_finite().any():
        marks.append(Points(array(ends["naive_mse"]), ends["unique_id"].to_list(), name, role_of(name), "ring", 6))
    for (each, found), symbol in zip(held, ("dot", "square", "diamond"), strict=False):
        mine = ends.select("unique_id").join(found.series, on="unique_id", how="left", maintain_order="left")
        marks.append(Points(array(mine["mse"]), mine["unique_id"].to_list(), each.name, each.role, symbol, 6))  # type: ignore[arg-type]
    shown = f"The {first.height:,d} series"
    if ends.height < first.height:
        shown = f"The {RANKED} hardest and the {RANKED} easiest of {first.height:,d} series"
    words = f"{shown} by MSE (scaled) of {held[0][0].name}, the hardest above."
    top, bottom = ends.row(0, named=True), ends.row(-1, named=True)
    alt = f"{words} {top['unique_id']}: {number(top['mse'])}; {bottom['unique_id']}: {number(bottom['mse'])}."
    scale = spread(*(mark.x for mark in marks if isinstance(mark, Points)))
    x = Axis("MSE (scaled)", scale, zero=scale == "linear")
    ticks = tuple((float(k), short(str(name), 24)) for k, name in enumerate(ends["unique_id"]))
    panel = Panel(tuple(marks), x, Axis("", "category", ticks=ticks, down=True), height=0.7 + 0.2 * ends.height)
    return Chart("series", "Hardest and easiest series", words, alt, (panel,))
