"""What every figure shares: its sheet, its axes, its legend, its words."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from forecast.dashboards.chart import Chart
from forecast.dashboards.load import Run
from forecast.dashboards.style import LIGHT, role_of, tick

SPACE: Any = {"h_pad": 0.06, "w_pad": 0.04, "hspace": 0.06, "wspace": 0.06}  # inches; shares of a panel
WIDE, HALF, NARROW = 9.0, 4.35, 3.0  # inches: across the page, half of it, on a phone


class Picture(NamedTuple):
    """A figure with its words; `draw(width in inches)` makes it."""

    name: str
    title: str
    caption: str
    alt: str
    half: bool  # two of them stand side by side on a wide page
    draw: Callable[[float], Figure]


Shown = Chart | Picture


def sheet(width: float, n: int, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of n panels, each `height` inches tall."""
    rows = -(-n // columns)
    figure = Figure(figsize=(width, height * rows + 0.35), layout=ConstrainedLayoutEngine(**SPACE))
    return figure, [figure.add_subplot(rows, columns, k + 1) for k in range(n)]


def dates(axes: Axes, most: int) -> None:
    """Days as `18 Aug`, months as `Aug`, hours as `06:00`; the year is said in words beside the figure."""
    # With fewer than seven ticks the locator must be free to draw only two, else it finds no step that fits.
    locator = AutoDateLocator(minticks=3 if most > 6 else 2, maxticks=most)
    formats = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
    zeros = ["%Y", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, formats=formats, zero_formats=zeros, show_offset=False)
    axes.xaxis.set_major_formatter(formatter)


def pair(
    axes: Axes,
    place: Any,
    model: pl.Series,
    naive: pl.Series,
    run: Run,
    dots: bool,
) -> None:
    """The model's error and the naive forecast's over `place`."""
    for values, role, label in ((naive, role_of(run.naive), run.naive), (model, "model", run.model)):
        if values.is_finite().any():
            thick = 1.8 if role == "model" else 1.1
            mark = "o" if dots else None
            axes.plot(place, array(values), color=LIGHT[role], lw=thick, marker=mark, ms=3, label=label)


def legend(figure: Figure, axes: Axes, run: Run, columns: int = 0) -> None:
    """Above the axes, where it covers nothing; actuals first, then the model, then its rivals."""
    handles, labels = axes.get_legend_handles_labels()
    places = {"actual": 0, run.model: 1, run.naive: 2}
    order = sorted(range(len(handles)), key=lambda k: places.get(labels[k], 3))
    columns = columns if columns and figure.get_figwidth() < WIDE else min(len(handles), 4)
    figure.legend(
        [handles[k] for k in order],
        [labels[k] for k in order],
        loc="outside upper left",
        ncols=max(columns, 1),
        columnspacing=1.2,
        handlelength=1.6,
    )


def scale(axes: Axes, values: np.ndarray, floor: bool = True) -> None:
    """A logarithmic axis where the values span more than a factor of twenty, else one from zero."""
    good = values[np.isfinite(values) & (values > 0)]
    if good.size and good.max() > 20 * good.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if good.max() < 300 * good.min() else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
    elif floor:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(tick))


def array(column: pl.Series) -> np.ndarray:
    """Floats, NaN where there is nothing."""
    return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def moment(at: datetime) -> str:
    """A date, and the time of day unless it is midnight."""
    return f"{at:%Y-%m-%d}" if at.hour == at.minute == at.second == 0 else f"{at:%Y-%m-%d %H:%M}"


def with_unit(run: Run, channel: str, most: int = 60) -> str:
    """`load (kWh)`, or what of it fits into `most` letters."""
    unit = run.units.get(channel, "")
    whole = f"{channel} ({unit})" if unit else channel
    return whole if len(whole) <= most else unit or f"{channel[: most - 1]}…"
