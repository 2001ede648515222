"""The marks of a chart, drawn on matplotlib's axes in the light colours of `style`."""

import math
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, MaxNLocator

from forecast.dashboards.chart import Band, Bars, Cells, Histogram, Line, Mark, Panel, Points, Rule, Span, Values
from forecast.dashboards.sheet_axes import FINEST, POINTS, STEPS, letters_of, place, places, words
from forecast.dashboards.style import LIGHT, tick

DASHES: dict[str, Any] = {
    "solid": "-",
    "dash": (0, (5, 2)),
    "dot": (0, (1.2, 1.6)),
    "dashdot": (0, (6, 2, 1, 2)),
}
SYMBOLS = {
    "dot": "o",
    "ring": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "cross": "x",
    "tick": "|",
}
LEVELS = 9  # shades of a table, each one path
ROOMY = 30  # rows or columns up to which a table's cells stand apart
_SQUARE = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]


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


def marks(axes: Axes, panel: Panel, width: float, height: float) -> bool:
    """Draw every mark in its order; whether there was any value to draw."""
    where = Place(axes, panel, words(panel, True), words(panel, False), width, height)
    for axis, side in ((panel.x, axes.set_xscale), (panel.y, axes.set_yscale)):
        if axis.scale == "log":
            side("log", nonpositive="mask")
    drawn = False
    for k, mark in enumerate(panel.marks):
        drawn |= _one(where, mark, 1 + k / 100)
    return drawn


def _one(at: Place, mark: Mark, order: float) -> bool:
    match mark:
        case Line():
            return _line(at, mark, order)
        case Band():
            return _band(at, mark, order)
        case Bars():
            return _bars(at, mark, order)
        case Histogram():
            return _histogram(at, mark, order)
        case Points():
            return _points(at, mark, order)
        case Cells():
            return _cells(at, mark, order)
        case Rule():
            return _rule(at, mark, order)
        case Span():
            return _span(at, mark)


def _line(at: Place, mark: Line, order: float) -> bool:
    x, y = at.x(mark.x), at.y(mark.y)
    alone = _alone(np.isfinite(x) & np.isfinite(y))
    look: dict[str, Any] = {"color": LIGHT[mark.role], "alpha": mark.opacity, "zorder": order}
    dots: dict[str, Any] = {"marker": "o", "ms": 3} if mark.dots else {}
    style: dict[str, Any] = {"drawstyle": "steps-post"} if mark.stairs else {}
    at.axes.plot(x, y, lw=mark.width, ls=DASHES[mark.dash], label=mark.name or None, **look, **dots, **style)
    if alone.any() and not mark.dots:  # between gaps a line has no length
        at.axes.plot(x[alone], y[alone], "o", ms=max(3.0, 2 * mark.width), ls="none", **look)
    return bool((np.isfinite(x) & np.isfinite(y)).any())


def _alone(seen: np.ndarray) -> np.ndarray:
    """Values without a neighbour on either side."""
    padded = np.concatenate([[False], seen, [False]])
    return np.asarray(seen & ~padded[:-2] & ~padded[2:])


def _band(at: Place, mark: Band, order: float) -> bool:
    x, low, high = at.x(mark.x), at.y(mark.low), at.y(mark.high)
    seen = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    look: dict[str, Any] = {"color": LIGHT[mark.role], "zorder": order}
    at.axes.fill_between(x, low, high, where=seen, alpha=mark.opacity, lw=0, label=mark.name or None, **look)
    alone = _alone(seen)
    if alone.any():  # one step ahead: a stroke from end to end
        at.axes.vlines(x[alone], low[alone], high[alone], alpha=min(mark.opacity * 2, 1), lw=4, **look)
    return bool(seen.any())


def _bars(at: Place, mark: Bars, order: float) -> bool:
    """Several of them in a panel stand beside each other at each place."""
    group = [each for each in at.panel.marks if isinstance(each, Bars) and each.across == mark.across]
    spot, length = (at.y(mark.y), at.x(mark.x)) if mark.across else (at.x(mark.x), at.y(mark.y))
    seen = np.isfinite(spot) & np.isfinite(length)
    thick = 0.72 * _step(spot) / len(group)
    off = (next(k for k, each in enumerate(group) if each is mark) - (len(group) - 1) / 2) * thick
    look: dict[str, Any] = {"color": LIGHT[mark.role], "alpha": mark.opacity, "lw": 0, "zorder": order}
    if mark.across:
        at.axes.barh(spot[seen] + off, length[seen], height=thick * 0.94, label=mark.name or None, **look)
    else:
        at.axes.bar(spot[seen] + off, length[seen], width=thick * 0.94, label=mark.name or None, **look)
    return bool(seen.any())


def _step(spot: np.ndarray) -> float:
    """The least distance between places."""
    apart = np.diff(np.unique(spot[np.isfinite(spot)]))
    return float(apart.min()) if apart.size else 1.0


def _histogram(at: Place, mark: Histogram, order: float) -> bool:
    edges, height = at.x(mark.edges), at.y(mark.height)
    if not height.size or not np.isfinite(edges).all() or not np.isfinite(height).any():
        return False
    colour, height = LIGHT[mark.role], np.nan_to_num(height)
    if mark.filled:
        at.axes.stairs(height, edges, color=colour, fill=True, alpha=0.28, lw=0, zorder=order)
    at.axes.stairs(height, edges, color=colour, lw=1.6 if mark.filled else 1.1, label=mark.name or None, zorder=order)
    return True


def _points(at: Place, mark: Points, order: float) -> bool:
    x, y, colour = at.x(mark.x), at.y(mark.y), LIGHT[mark.role]
    face = LIGHT["card"] if mark.symbol == "ring" else "none" if mark.hollow else colour
    thick = 2.0 if mark.symbol == "tick" else 1.4 if mark.symbol in ("ring", "cross") or mark.hollow else 0.6
    at.axes.plot(
        x, y, SYMBOLS[mark.symbol], ls="none", ms=mark.size, mfc=face, mec=colour, mew=thick, color=colour,
        alpha=mark.opacity, label=mark.name or None, zorder=order + 1, clip_on=at.panel.x.range is not None,
    )  # fmt: skip
    return bool((np.isfinite(x) & np.isfinite(y)).any())


def _rule(at: Place, mark: Rule, order: float) -> bool:
    axis, names = (at.panel.y, at.ys) if mark.level else (at.panel.x, at.xs)
    spot = place(mark.at, axis, names)
    if not math.isfinite(spot):
        return False
    dash = (0, (3, 2)) if mark.dash == "dash" else DASHES[mark.dash]
    look: dict[str, Any] = {"color": LIGHT[mark.role], "lw": 0.9, "ls": dash, "zorder": order}
    said: dict[str, Any] = {"color": LIGHT[mark.role], "fontsize": 7.5, "textcoords": "offset points", "zorder": 4}
    if mark.level:
        at.axes.axhline(spot, **look)
        at.axes.annotate(mark.label, (1, spot), (-2, 2), xycoords=("axes fraction", "data"), ha="right", **said)
    else:
        at.axes.axvline(spot, **look)
        at.axes.annotate(mark.label, (spot, 1), (3, -2), xycoords=("data", "axes fraction"), va="top", **said)
    return False


def _span(at: Place, mark: Span) -> bool:
    start, stop = (place(end, at.panel.x, at.xs) for end in (mark.start, mark.stop))
    if math.isfinite(start) and math.isfinite(stop):
        alpha = 1.0 if mark.role == "shade" else 0.14
        at.axes.axvspan(start, stop, color=LIGHT[mark.role], alpha=alpha, lw=0, zorder=0)
    return False


# A table of shades -------------------------------------------------------------------------------------------


def _cells(at: Place, mark: Cells, order: float) -> bool:
    x, y, z = at.x(mark.x), at.y(mark.y), np.asarray(mark.z, np.float64)
    if not z.size or not np.isfinite(x).all() or not np.isfinite(y).all():
        return False
    left, right = _edges(x, at.panel.x.scale == "log")
    low, high = _edges(y, at.panel.y.scale == "log")
    box = (left.min(), low.min()), right.max() - left.min(), high.max() - low.min()
    at.axes.add_patch(Rectangle(*box, fc=LIGHT["shade"], lw=0, zorder=0.6))
    at.axes.update_datalim([(left.min(), low.min()), (right.max(), high.max())])
    apart = 0.02 if at.xs and at.ys and max(z.shape) <= ROOMY else 0.0
    level = _levels(z, *ends(mark), mark.diverging)
    for k in np.unique(level[level != 0]):
        found = _squares(level == k, (left, right), (low, high), apart)
        path = Outline.make_compound_path(*(Outline(corners, _SQUARE) for corners in found))
        at.axes.add_patch(PathPatch(path, **_shade(int(k)), lw=0, zorder=order))
    _written(at, mark, x, y)
    return bool(np.isfinite(z).any())


def ends(mark: Cells) -> tuple[float, float]:
    """What the palest and the darkest shade mean."""
    good = np.asarray(mark.z, np.float64)
    good = good[np.isfinite(good)]
    low = mark.low if mark.low is not None else min(float(good.min()), 0.0) if good.size else 0.0
    high = mark.high if mark.high is not None else float(good.max()) if good.size else 1.0
    if mark.diverging:
        high = max(abs(low), abs(high))
        low = -high
    return low, high if high > low else low + 1.0


def _levels(z: np.ndarray, low: float, high: float, diverging: bool) -> np.ndarray:
    """Whole numbers up to LEVELS: how dark each cell is; 0 where there is nothing, below 0 for the other colour."""
    start = 0.0 if diverging else low
    share = np.clip(np.nan_to_num((z - start) / (high - start)), -1, 1)
    return np.asarray(np.sign(share) * np.ceil(np.abs(share) * LEVELS - 1e-9), np.int64)


def _shade(level: int) -> dict[str, Any]:
    dark = abs(level) / LEVELS
    if level > 0:
        return {"fc": LIGHT["model"], "alpha": 0.06 + 0.6 * dark}
    return {"fc": LIGHT["seasonal"], "alpha": 0.16 + 0.55 * dark}  # a pale orange is harder to see than a pale blue


def _edges(middle: np.ndarray, log: bool) -> tuple[np.ndarray, np.ndarray]:
    """The two ends of each cell, halfway to its neighbours, whichever way they go."""
    at = np.log(middle) if log else middle
    half = np.diff(at) / 2
    before = np.concatenate([half[:1], half]) if half.size else np.array([0.5])
    after = np.concatenate([half, half[-1:]]) if half.size else np.array([0.5])
    first, last = at - before, at + after
    low, high = np.minimum(first, last), np.maximum(first, last)
    return (np.exp(low), np.exp(high)) if log else (low, high)


def _squares(
    which: np.ndarray, xs: tuple[np.ndarray, np.ndarray], ys: tuple[np.ndarray, np.ndarray], apart: float
) -> list[list[tuple[float, float]]]:
    """Corners of the cells of one shade; neighbours in a row that touch are one."""
    found = []
    for row in np.flatnonzero(which.any(1)):
        columns = np.flatnonzero(which[row])
        runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1) if not apart else columns[:, None]
        for run in runs:
            ends_ = xs[0][[run[0], run[-1]]].min(), xs[1][[run[0], run[-1]]].max()
            left, right, low, high = ends_[0] + apart, ends_[1] - apart, ys[0][row] + apart, ys[1][row] - apart
            found.append([(left, low), (right, low), (right, high), (left, high), (left, low)])
    return found


def _written(at: Place, mark: Cells, x: np.ndarray, y: np.ndarray) -> None:
    size = letter_size(at.panel, mark, at.width, at.height)
    if not size:
        return
    same = at.xs == at.ys
    for i, row in enumerate(mark.words):
        for j, word in enumerate(row):
            if word:
                bold = "bold" if same and i == j else "normal"
                at.axes.text(x[j], y[i], word, ha="center", va="center", fontsize=size, weight=bold, zorder=3)


def letter_size(panel: Panel, mark: Cells, width: float, height: float) -> float:
    """Points of the words in the cells; 0 where there is no room for them."""
    longest = max((len(word) for row in mark.words for word in row), default=0)
    if not longest:
        return 0.0
    rows, columns = np.shape(mark.z)
    named = letters_of(panel, width)
    broad = POINTS * (width - 0.35 - min(0.078 * named, 0.3 * width)) / columns
    tall = POINTS * max(height - 0.75, 0.3) / rows
    size = min(8.0, broad / (0.6 * longest + 0.5), 0.72 * tall)
    return size if size >= FINEST else 0.0


def key(figure: Figure, axes: Axes, mark: Cells) -> None:
    """What the shades mean: a bar beside the axes."""
    low, high = ends(mark)
    levels = [*range(-LEVELS, 0), *range(1, LEVELS + 1)] if mark.diverging else list(range(1, LEVELS + 1))
    looks = [_shade(level) for level in levels]
    colours = ListedColormap([to_rgba(look["fc"], look["alpha"]) for look in looks])
    bounds = np.linspace(low, high, len(levels) + 1)
    bar = figure.colorbar(ScalarMappable(BoundaryNorm(bounds, len(levels)), colours), ax=axes, pad=0.02, aspect=30,
                          fraction=0.05, ticks=MaxNLocator(3, steps=STEPS))  # fmt: skip
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(tick))
    bar.ax.tick_params(length=0)
    bar.set_label(mark.label)
