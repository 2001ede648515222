"""A chart on a sheet: `draw` makes of it a matplotlib figure for reports, paper and PNG files.

It is drawn for a width, WIDE, HALF or NARROW: there titles break, panels stand below each other, and fewer dates and
smaller letters are used. Nothing here touches pyplot: every figure is one of its own, safe beside training.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import text_to_path

from forecast.dashboards.charts.axes import dress, wrapped
from forecast.dashboards.charts.cells import key, letter_size
from forecast.dashboards.charts.chart import Band, Cells, Chart, Line, Mark, Panel
from forecast.dashboards.charts.marks import marks
from forecast.dashboards.charts.style import LIGHT, styled

WIDE, HALF, NARROW = 9.0, 4.35, 3.0  # inches: across the page, half of it, on a phone
SPACE: Any = {"h_pad": 0.06, "w_pad": 0.04, "hspace": 0.06, "wspace": 0.06}  # inches; shares of a panel
HEAD = 0.35  # inches above the panels, for the legend and what axes need
GLYPH = 0.427  # inches of what stands before a name of the legend, and between names
TITLE = 0.079  # of one in a title
LEFT = 0.5  # inches of what stands left of a panel
LINE = 0.16  # inches of a further line of a title
MANY = 4  # columns, from which on a narrow sheet has two


def across(chart: Chart) -> float:
    """Inches of a chart on a wide page."""
    return HALF if chart.half else WIDE


def draw(chart: Chart, width: float) -> Figure:
    """The chart at a width in inches: each panel as tall as it asks for, the legend above them."""
    with styled(chart.name):
        columns = _columns(chart, width)
        broad = width / columns
        rows = [chart.panels[k : k + columns] for k in range(0, len(chart.panels), columns)]
        titles = [wrapped(panel.title, int((broad - LEFT) / TITLE)) for panel in chart.panels]
        more = [max(title.count("\n") for title in titles[k : k + columns]) for k in range(0, len(titles), columns)]
        heights = [
            max(_height(chart, panel, width) for panel in row) + LINE * lines
            for row, lines in zip(rows, more, strict=True)
        ]
        fit, lines = _legend_columns(chart, width)
        figure = Figure(
            figsize=(width, sum(heights) + HEAD + 0.17 * max(0, lines - 1)), layout=ConstrainedLayoutEngine(**SPACE)
        )
        if not rows:
            return figure
        grid = figure.add_gridspec(len(rows), columns, height_ratios=[each / heights[0] for each in heights])
        first: Axes | None = None
        for k, (panel, title) in enumerate(zip(chart.panels, titles, strict=True)):
            row, column = divmod(k, columns)
            axes = figure.add_subplot(grid[row, column], sharex=first if chart.shared else None)
            first = first or axes
            _panel(figure, axes, panel, title, broad, heights[row])
            _spare(axes, chart, k, columns)
        if fit:
            _legend(figure, chart, fit)
    return figure


def _columns(chart: Chart, width: float) -> int:
    narrow = 2 if chart.columns >= MANY else 1
    most = narrow if width <= NARROW else chart.columns if width > HALF else 2
    return max(1, min(chart.columns, most, len(chart.panels)))


def _height(chart: Chart, panel: Panel, width: float) -> float:
    """As the panel asks; a table gets lower where it gets narrower."""
    if width >= across(chart) or not any(isinstance(mark, Cells) for mark in panel.marks):
        return panel.height
    return max(min(panel.height, 1.6), panel.height * (0.85 if chart.half else 0.6))


def _panel(figure: Figure, axes: Axes, panel: Panel, title: str, width: float, height: float) -> None:
    drawn = marks(axes, panel, width, height)
    dress(axes, panel, width, height, drawn)
    if title:
        axes.set_title(title, fontsize=9 if width > 2.5 else 7.5)
    if not drawn:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=LIGHT["muted"])
    tables = [mark for mark in panel.marks if isinstance(mark, Cells) and mark.label]
    if tables and drawn and not letter_size(panel, tables[0], width, height):
        key(figure, axes, tables[0])


def _spare(axes: Axes, chart: Chart, k: int, columns: int) -> None:
    """No words twice: those of x are said by the panel beneath, of many small panels those of y by the one before."""
    panel, beneath = chart.panels[k], chart.panels[k + columns : k + columns + 1]
    if beneath and (chart.shared or beneath[0].x.label == panel.x.label):
        axes.set_xlabel("")
        if chart.shared:
            axes.tick_params(axis="x", labelbottom=False, length=0)
    if chart.columns >= MANY and k % columns and chart.panels[k - 1].y.label == panel.y.label:
        axes.set_ylabel("")


# The legend --------------------------------------------------------------------------------------------------------


def _first(chart: Chart) -> list[tuple[str, Mark]]:
    """Each name of the legend with its first mark: what came, the model and its band, then the others."""
    found: dict[str, Mark] = {}
    for panel in chart.panels:
        for mark in panel.marks:
            if name := getattr(mark, "name", ""):
                found.setdefault(name, mark)
    return sorted(found.items(), key=lambda each: _rank(each[1]))


def _rank(mark: Mark) -> tuple[int, bool]:
    role, solid = getattr(mark, "role", ""), getattr(mark, "dash", "solid") == "solid"
    actual = isinstance(mark, Line) and role == "ink" and solid
    return 0 if actual else 1 if role == "model" else 2, isinstance(mark, Band) or not solid and role == "model"


def _legend_columns(chart: Chart, width: float) -> tuple[int, int]:
    """Columns and lines of the legend; 0 columns: there is none."""
    names = [name for name, _ in _first(chart)] if chart.legend else []
    if not names:
        return 0, 0
    for columns in range(min(len(names), 6), 1, -1):
        # matplotlib fills the first column, then the next
        wide = sum(max(map(_inches, part)) for part in np.array_split(names, columns))
        if wide + GLYPH * columns + 0.1 <= width:
            return columns, -(-len(names) // columns)
    return 1, len(names)


def _inches(name: str) -> float:
    """The length of a name in the legend."""
    found, _, _ = text_to_path.get_text_width_height_descent(name, FontProperties(size=8.5), False)
    return float(found) / 72


def _legend(figure: Figure, chart: Chart, columns: int) -> None:
    """Above the axes, where it covers nothing."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    names = [name for name, _ in _first(chart) if name in found]
    figure.legend(
        [found[name] for name in names],
        names,
        loc="outside upper left",
        ncols=columns,
        columnspacing=1.2,
        handlelength=1.6,
    )
