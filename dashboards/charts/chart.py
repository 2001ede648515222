"""What a figure is, before anyone draws it: marks on panels with axes that name their units.

A `Chart` is data and words. `forecast.dashboards.charts.sheet` draws it with matplotlib, for reports, paper and PNG;
`forecast.dashboards.app.plot` makes of it what Plotly shows in a browser. So a report and a dashboard never differ.

Values are arrays of numbers, datetimes, or (categories) strings; a number that is not finite is a gap in a line.
Colours are roles (`style.COLOURS`), each with a light and a dark value; series differ in dash or symbol too.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

Values = np.ndarray | Sequence[Any] | pl.Series  # (n,) numbers, datetimes or words
Dash = Literal["solid", "dash", "dot", "dashdot"]
Symbol = Literal["dot", "ring", "square", "triangle", "diamond", "cross", "tick"]  # tick: a short upright stroke
Scale = Literal["linear", "log", "time", "category"]


class Axis(NamedTuple):
    """A direction of a panel. `label` carries the unit: `MAE (kWh)`; empty only where a category names itself."""

    label: str
    scale: Scale = "linear"
    zero: bool = False  # begins at zero
    whole: bool = False  # ticks at whole numbers only
    percent: bool = False  # values are shares: 0.9 is written 90 %
    range: tuple[Any, Any] | None = None
    ticks: tuple[tuple[float, str], ...] = ()  # where these words stand, instead of numbers
    down: bool = False  # grows downwards, as rows of a table do


class Line(NamedTuple):
    x: Values
    y: Values
    name: str = ""  # in the legend, once for each name; "" is not listed
    role: str = "model"
    dash: Dash = "solid"
    width: float = 1.4
    dots: bool = False  # a dot at each value
    stairs: bool = False  # a value holds until the next x
    opacity: float = 1.0


class Band(NamedTuple):
    """Between `low` and `high`."""

    x: Values
    low: Values
    high: Values
    name: str = ""
    role: str = "model"
    opacity: float = 0.16


class Bars(NamedTuple):
    """A bar from zero at each x; `across`: x are its lengths and y its places."""

    x: Values
    y: Values
    name: str = ""
    role: str = "model"
    across: bool = False
    opacity: float = 1.0


class Histogram(NamedTuple):
    """Counts already made: `height` (n,) between `edges` (n + 1,)."""

    edges: Values
    height: Values
    name: str = ""
    role: str = "model"
    filled: bool = True


class Points(NamedTuple):
    x: Values
    y: Values
    name: str = ""
    role: str = "model"
    symbol: Symbol = "dot"
    size: float = 5.0  # points
    words: Sequence[str] = ()  # of each, beside the pointer
    opacity: float = 1.0
    hollow: bool = False  # only the outline of its symbol


class Cells(NamedTuple):
    """A table of shades: z (rows, columns) at y (rows,) and x (columns,); `label` names what a shade means, with its
    unit; "" where the caption says it. `diverging` has its middle at zero. `words` (rows, columns) are written into
    the cells where there is room."""

    x: Values
    y: Values
    z: np.ndarray
    label: str
    diverging: bool = False
    low: float | None = None
    high: float | None = None
    words: Sequence[Sequence[str]] = ()


class Rule(NamedTuple):
    """A straight line across the panel: upright at an x, or level at a y. `label` stands beside it."""

    at: Any
    level: bool = False
    role: str = "muted"
    dash: Dash = "dash"
    label: str = ""


class Span(NamedTuple):
    """A shaded part of the x axis: what was unknown to a model, what is chosen."""

    start: Any
    stop: Any
    role: str = "shade"


Mark = Line | Band | Bars | Histogram | Points | Cells | Rule | Span


class Panel(NamedTuple):
    """One pair of axes; marks are drawn in their order. `height` in inches at the width of a page."""

    marks: tuple[Mark, ...]
    x: Axis
    y: Axis
    title: str = ""
    height: float = 2.7


class Chart(NamedTuple):
    """A figure with its words. `name` is unique in a run (file names, ids); `alt` says to those who cannot see it what
    it shows, with numbers; `half`: two of them stand side by side on a wide page."""

    name: str
    title: str
    caption: str
    alt: str
    panels: tuple[Panel, ...]
    half: bool = False
    columns: int = 1  # panels beside each other on a wide page; below each other on a narrow one
    shared: bool = False  # panels have one x axis: zooming one zooms all
    legend: bool = True


def named(chart: Chart) -> list[tuple[str, str]]:
    """(name, role) of each entry of its legend, in order of first appearance."""
    found: dict[str, str] = {}
    for panel in chart.panels:
        for mark in panel.marks:
            name = getattr(mark, "name", "")
            if name:
                found.setdefault(name, mark.role)  # type: ignore[union-attr]
    return list(found.items())
