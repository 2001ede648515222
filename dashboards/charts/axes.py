"""Axes of a drawn chart: where values lie, what stands at their ticks, and what there is room for."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.axis import Axis as Side
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from forecast.dashboards.charts.chart import Axis, Bars, Cells, Panel, Rule, Span, Values
from forecast.dashboards.charts.style import short, tick

POINTS = 72.0  # in an inch
LEAST = 1e-290  # of a logarithmic axis
LINES = 3  # of a title
FINEST = 5.0  # points: smaller letters are left out
WHOLE = [1, 2, 3, 4, 6, 10]  # between whole numbers: 24 hours fall on them
STEPS = [1, 2, 2.5, 5, 10]


class Days(AutoDateLocator):
    """Every second day of a month is its 31st too: no tick stands next to that of a new month."""

    def tick_values(self, vmin: Any, vmax: Any) -> Any:
        at = np.asarray(super().tick_values(vmin, vmax))
        if len(at) < 3:
            return at
        apart = np.diff(at)
        return at[np.append(apart > 0.6 * np.median(apart), True)]


class Place(NamedTuple):
    """Where marks are drawn: the axes, what they mean, and their size in inches."""

    axes: Axes
    panel: Panel
    xs: list[str]  # categories of x
    ys: list[str]
    width: float
    height: float

    def x(self, values: Values) -> np.ndarray:
        return places(values, self.panel.x, self.xs)

    def y(self, values: Values) -> np.ndarray:
        return places(values, self.panel.y, self.ys)


def words(panel: Panel, across: bool) -> list[str]:
    """The categories of an axis in order of first appearance."""
    if (panel.x if across else panel.y).scale != "category":
        return []
    found: dict[str, None] = {}
    for mark in panel.marks:
        if isinstance(mark, Rule | Span):
            continue
        held = getattr(mark, "x" if across else "y", ())
        found.update(dict.fromkeys(map(str, held)))
    return list(found)


def places(values: Values, axis: Axis, names: list[str]) -> np.ndarray:
    """(n,) floats: where values lie on an axis; NaN where they do not."""
    if axis.scale == "category":
        at = {name: float(k) for k, name in enumerate(names)}
        return np.array([at.get(str(value), _number(value)) for value in values], np.float64)
    series = values if isinstance(values, pl.Series) else pl.Series(values=_plain(values), strict=False)
    if axis.scale == "time" and (series.dtype.is_temporal() or series.dtype == pl.Null):
        kept = series.cast(pl.Datetime("us", getattr(series.dtype, "time_zone", None)))
        if getattr(kept.dtype, "time_zone", None):
            kept = kept.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return np.asarray(date2num(kept.to_numpy().astype("datetime64[us]")), np.float64)
    at_ = series.cast(pl.Float64).fill_null(math.nan).to_numpy().astype(np.float64)
    good = np.isfinite(at_) & ((at_ > LEAST) if axis.scale == "log" else True)
    return np.where(good, at_, np.nan)


def place(value: Any, axis: Axis, names: list[str]) -> float:
    """Where one value lies."""
    return float(places([value], axis, names)[0])


def _plain(values: Values) -> Any:
    """What polars takes: arrays, dates in microseconds, lists of Python's own values."""
    held = values if isinstance(values, np.ndarray) else list(values)
    if isinstance(held, list) and held and isinstance(held[0], np.generic):
        held = np.array(held)
    is_date = isinstance(held, np.ndarray) and held.dtype.kind == "M"
    return held.astype("datetime64[us]") if is_date else held  # type: ignore[union-attr]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def dress(axes: Axes, panel: Panel, width: float, height: float, drawn: bool) -> None:
    """Scales, limits, ticks and labels; `width` and `height` in inches, `drawn`: whether it has values."""
    tiled = any(isinstance(mark, Cells) for mark in panel.marks)
    barred = any(isinstance(mark, Bars) for mark in panel.marks)
    axes.margins(x=0.0 if tiled else 0.03 if barred else 0.015, y=0.0 if tiled else 0.05)
    axes.autoscale_view()
    letters = letters_of(panel, width)
    _side(axes.xaxis, panel.x, words(panel, True), drawn, min(max(3, int(width * 1.6)), 9), width)
    _side(axes.yaxis, panel.y, words(panel, False), drawn, min(max(3, round(height * 2)), 6), height)
    _limits(axes, panel)
    axes.set_xlabel(panel.x.label)
    axes.set_ylabel(cut(panel.y.label, max(16, int(height * 15))))
    names = words(panel, True) or [word for _, word in panel.x.ticks]
    if names:
        _fit(axes.xaxis, names, letters, width, True)
    names = words(panel, False) or [word for _, word in panel.y.ticks]
    if names:
        _fit(axes.yaxis, names, letters, height, False)
    if tiled:
        bare(axes)
    for side, axis in (("x", panel.x), ("y", panel.y)):
        if axis.scale == "category":
            axes.grid(visible=False, axis=side)  # type: ignore[arg-type]
            axes.tick_params(axis=side, length=0)  # type: ignore[arg-type]


def _side(side: Side, axis: Axis, names: list[str], drawn: bool, most: int, size: float) -> None:
    """Scale, locator and formatter of one direction."""
    if axis.scale == "category":
        side.set_major_locator(FixedLocator(list(range(len(names)))))
        return
    if axis.ticks:
        side.set_major_locator(FixedLocator([at for at, _ in axis.ticks]))
        return
    if not drawn and axis.range is None:
        side.set_major_locator(NullLocator())
        return
    if axis.scale == "time":
        dates(side, 9 if size > 6 else 5 if size > 2.6 else 4)
        return
    if axis.scale == "log":
        _logarithmic(side, most)
    else:
        whole: dict[str, Any] = {"integer": True, "steps": WHOLE} if axis.whole else {"steps": STEPS}
        side.set_major_locator(MaxNLocator(most, **whole))
    side.set_major_formatter(FuncFormatter(_share if axis.percent else tick))


def _share(value: float, _: object = None) -> str:
    return f"{tick(round(value * 100, 8))}\u00a0%"


def _logarithmic(side: Side, most: int) -> None:
    """Ticks at 1, 2 and 5 where there are few powers of ten."""
    low, high = side.get_view_interval()
    few = low > 0 and high < 300 * low
    side.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=max(most, 5) + 3 * few))
    side.set_minor_locator(NullLocator())
    side.set_minor_formatter(NullFormatter())


def dates(side: Side, most: int) -> None:
    """Days as `18 Aug`, months as `Aug`, hours as `06:00`; the year is said in words beside the figure."""
    # With fewer than seven ticks the locator must be free to draw only two, else it finds no step that fits.
    locator = Days(minticks=3 if most > 6 else 2, maxticks=most)
    formats = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
    zeros = ["%Y", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
    side.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, formats=formats, zero_formats=zeros, show_offset=False)
    side.set_major_formatter(formatter)


def _limits(axes: Axes, panel: Panel) -> None:
    """What the axes ask for: a range, zero, categories whole, upside down."""
    for across, axis in ((True, panel.x), (False, panel.y)):
        get, put = (axes.get_xlim, axes.set_xlim) if across else (axes.get_ylim, axes.set_ylim)
        names = words(panel, across)
        low, high = get()
        if names:
            low, high = -0.5, len(names) - 0.5
        if axis.zero and axis.scale == "linear":
            low, high = min(low, 0.0) if low < -0.06 * abs(high) else 0.0, max(high, 0.0)
        if axis.range is not None:
            low, high = (place(at, axis, names) for at in axis.range)
        shown = math.isfinite(low) and math.isfinite(high) and low != high
        if shown and (axis.scale != "log" or min(low, high) > 0):
            put(*((high, low) if axis.down else (low, high)))


def bare(axes: Axes) -> None:
    """A table has no grid, no lines and no strokes at its labels."""
    axes.grid(visible=False)
    axes.tick_params(length=0, pad=2)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


# What there is room for ------------------------------------------------------------------------------------------


def letters_of(panel: Panel, width: float) -> int:
    """How long a category may be written."""
    names = [*words(panel, True), *words(panel, False), *(word for _, word in panel.y.ticks)]
    tiled = any(isinstance(mark, Cells) for mark in panel.marks)
    room = (10 if tiled else 15) if width < 3.2 else 16 if width < 6 else 20
    return min(max(map(len, names), default=0), room) if names else 0


def _fit(side: Side, names: list[str], letters: int, size: float, across: bool) -> None:
    """Categories written out, cut, upright, or only every second, third, … of them."""
    at = list(side.get_majorticklocs())
    said = [short(name, max(letters, 6)) for name in names]
    inside = max(size - (0.5 if across else 0.6), 0.4)
    room = POINTS * inside / max(len(said), 1)  # points for each
    longest = max(map(len, said))
    upright = across and longest * 4.4 > room - 3
    line = 8.0 if across and not upright else min(8.0, 0.86 * room)
    every = 1 if line >= FINEST else math.ceil((FINEST + 0.5) / max(line, 0.1))
    side.set_ticks(at[::every], said[::every], rotation=90 if upright else 0, fontsize=max(line, FINEST))


def wrapped(title: str, letters: int) -> str:
    """A title in lines of at most so many letters, broken between its parts (` · `) first, then between words; of a
    long one the beginning, of a long word both ends."""
    lines: list[str] = []
    for given in title.split("\n"):
        parts = _packed(given.split(" · "), " · ", letters)
        words = ([short(word, letters) for word in part.split()] for part in parts)
        lines += [line for part in words for line in _packed(part, " ", letters)]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"{lines[LINES - 1][: letters - 1]}…"]
    return "\n".join(lines)


def _packed(parts: Iterable[str], between: str, letters: int) -> list[str]:
    found: list[str] = []
    for part in parts:
        if found and len(found[-1]) + len(between) + len(part) <= letters:
            found[-1] += between + part
        else:
            found.append(part)
    return found


def cut(text: str, most: int) -> str:
    """`a long name (kWh)` in at most so many letters; the unit is what stays."""
    if len(text) <= most:
        return text
    name, bracket, unit = text.rpartition(" (")
    if bracket and len(unit) + 5 < most:
        return f"{name[: most - len(unit) - 3]}… ({unit}"
    return f"{text[: most - 1]}…"
