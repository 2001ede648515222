"""The chart of a backtest: errors by step ahead and by origin, of the model and of what stands beside it."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import Axis, Chart, Dash, Line, Mark, Panel, Rule, Span
from forecast.dashboards.charts.shared import DASHES, array, spread
from forecast.dashboards.charts.sheet import WIDE, draw
from forecast.dashboards.charts.style import number, png, role_of

POINTS: Final = 60  # along the origins at most: each is the mean of its neighbours
OTHERS: Final[tuple[Dash, ...]] = ("dashdot", "dash", "dot", "solid")  # of several named models
TALL: Final = 2.3  # inches of a panel


def picture(steps: pl.DataFrame, origins: pl.DataFrame, facts: Mapping[str, Any]) -> bytes:
    """A PNG. `steps` and `origins`: the tables of a backtest; `facts`: its metrics.json."""
    return png(draw(backtest(steps, origins, facts), WIDE))


def backtest(steps: pl.DataFrame, origins: pl.DataFrame, facts: Mapping[str, Any]) -> Chart:
    """The errors of a backtest, and what its intervals cover where it has any."""
    covered = steps.filter(pl.col("coverage").is_not_null())
    panels = [by_step(steps), by_origin(origins, facts)]
    if covered.height:
        panels.append(coverage(covered, facts))
    first, last = facts["origins"]["first"], facts["origins"]["last"]
    words = f"Errors over {origins['cutoff'].n_unique():,d} origins, {first} to {last}, by step ahead and by origin."
    words += " Shaded: origins in the training part of the run." if _inside(origins).len() else ""
    words += " Dashed: trained again." if facts["refits"] else ""
    means = steps.group_by("name", maintain_order=True).agg(pl.col("mse").mean())
    alt = words + "".join(f" {name}: mean MSE {number(mse)}." for name, mse in means.iter_rows())
    return Chart("backtest", "Rolling origins", words, alt, tuple(panels))


def _order(frame: pl.DataFrame) -> list[tuple[str, str]]:
    """Name and kind of the rows, the model last: its line lies above the others."""
    found = frame.select("name", "kind").unique(maintain_order=True).rows()
    return sorted(found, key=lambda row: {"model": 2, "streamed": 1}.get(row[1], 0))


def _lines(frame: pl.DataFrame, x: str, y: str) -> tuple[Line, ...]:
    lines, others = [], 0
    for name, kind in _order(frame):
        mine, role = frame.filter(pl.col("name") == name), "model" if kind == "streamed" else role_of(name, kind)
        dash: Dash = "dash" if kind == "streamed" else DASHES[role]
        if role == "other":
            dash, others = OTHERS[others % len(OTHERS)], others + 1
        width = {"model": 2.0, "streamed": 1.6}.get(kind, 1.1)
        lines.append(Line(mine[x], array(mine[y]), name, role, dash, width))
    return tuple(lines)


def _errors(lines: tuple[Line, ...]) -> Axis:
    scale = spread(*(line.y for line in lines))
    return Axis("MSE (scaled)", scale, zero=scale == "linear")


def by_step(steps: pl.DataFrame) -> Panel:
    """Errors of each step ahead."""
    lines = _lines(steps, "step", "mse")
    return Panel(lines, Axis("steps ahead", whole=True), _errors(lines), "Error by step ahead", TALL)


def spans(origins: pl.DataFrame, most: int = POINTS) -> pl.DataFrame:
    """The origins of each row in at most so many spans of equally many: name, kind, cutoff (the first), mse."""
    times = origins["cutoff"].unique().sort()
    each = -(-len(times) // most)
    span = origins.with_columns(span=(pl.col("cutoff").rank("dense") - 1) // each)
    found = span.group_by("name", "kind", "span", maintain_order=True).agg(
        pl.col("cutoff").min(), pl.col("values").sum(), mse=(pl.col("mse") * pl.col("values")).sum() / pl.sum("values")
    )
    return found.sort("span", maintain_order=True)


def _inside(origins: pl.DataFrame) -> pl.Series:
    """The origins that lie in the training part of the run."""
    return origins.filter(pl.col("part") == "train")["cutoff"]


def by_origin(origins: pl.DataFrame, facts: Mapping[str, Any]) -> Panel:
    """Errors along the origins; shaded where they lie in the training part of the run."""
    inside, each = _inside(origins), -(-origins["cutoff"].n_unique() // POINTS)
    lines = _lines(spans(origins), "cutoff", "mse")
    marks: list[Mark] = [Rule(np.datetime64(refit["since"])) for refit in facts["refits"]]
    if inside.len():
        marks.insert(0, Span(inside.min(), inside.max()))
    kept = " (UTC)" if getattr(origins["cutoff"].dtype, "time_zone", None) else ""
    title = "Error by origin" + (f", means of {each:,d}" if each > 1 else "")
    title += " · shaded: training part of the run" if inside.len() else ""
    title += " · dashed: trained again" if facts["refits"] else ""
    label = f"cutoff{kept}, {facts['origins']['first']} to {facts['origins']['last']}"
    return Panel((*marks, *lines), Axis(label, "time"), _errors(lines), title, TALL)


def coverage(covered: pl.DataFrame, facts: Mapping[str, Any]) -> Panel:
    """How many of the values lay within the interval, beside how many should have."""
    levels = sorted(facts["levels"])
    pairs = [high - low for low in levels for high in levels if abs(low + high - 1) < 1e-9 and low < high]
    nominal = min(pairs, key=lambda size: abs(size - 0.9))
    lines = _lines(covered, "step", "coverage")
    values = np.concatenate([np.asarray(line.y) for line in lines])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    ends = max(0.0, min(low, nominal) - 0.05), min(1.0, max(high, nominal) + 0.03)
    y = Axis("share of values", percent=True, range=ends)
    title = f"Covered by the {100 * nominal:g} % interval"
    return Panel((Rule(nominal, level=True), *lines), Axis("steps ahead", whole=True), y, title, TALL)
