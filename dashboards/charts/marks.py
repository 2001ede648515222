"""The marks of a chart, drawn on matplotlib's axes in the light colours of `style`."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from forecast.dashboards.charts.axes import Place, place, words
from forecast.dashboards.charts.cells import cells
from forecast.dashboards.charts.chart import Axis, Band, Bars, Cells, Histogram, Line, Mark, Panel, Points, Rule, Span
from forecast.dashboards.charts.style import LIGHT

DASHES: dict[str, Any] = {
    "solid": "-",
    "dash": (0, (5, 2)),
    "dot": (0, (1.2, 1.6)),
    "dashdot": (0, (6, 2, 1, 2)),
}
MANY = 6  # rules of a panel, from which on they are faint
SYMBOLS = {
    "dot": "o",
    "ring": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "cross": "x",
    "tick": "|",
}


def marks(axes: Axes, panel: Panel, width: float, height: float) -> bool:
    """Draw every mark in its order; whether there was any value to draw."""
    where = Place(axes, panel, words(panel, True), words(panel, False), width, height)
    for axis, side in ((panel.x, axes.set_xscale), (panel.y, axes.set_yscale)):
        if axis.scale == "log":
            side("log", nonpositive="clip")
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
            return cells(at, mark, order)
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
    if not seen.any():  # matplotlib would list it in a colour of its own
        return False
    thick = 0.72 * _step(spot) / len(group)
    off = (next(k for k, each in enumerate(group) if each is mark) - (len(group) - 1) / 2) * thick
    look: dict[str, Any] = {"color": LIGHT[mark.role], "alpha": mark.opacity, "lw": 0, "zorder": order}
    if mark.across:
        at.axes.barh(spot[seen] + off, length[seen], height=thick * 0.94, label=mark.name or None, **look)
    else:
        at.axes.bar(spot[seen] + off, length[seen], width=thick * 0.94, label=mark.name or None, **look)
    return True


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
    seen = _within(x, at.panel.x, at.xs) & _within(y, at.panel.y, at.ys)
    face = LIGHT["card"] if mark.symbol == "ring" else "none" if mark.hollow else colour
    thick = 2.0 if mark.symbol == "tick" else 1.4 if mark.symbol in ("ring", "cross") or mark.hollow else 0.6
    at.axes.plot(
        x[seen], y[seen], SYMBOLS[mark.symbol], ls="none", ms=mark.size, mfc=face, mec=colour, mew=thick, color=colour,
        alpha=mark.opacity, label=mark.name or None, zorder=order + 1, clip_on=False,
    )  # fmt: skip
    return bool(seen.any())


def _within(values: np.ndarray, axis: Axis, names: list[str]) -> np.ndarray:
    """Those that the axis shows: a symbol at its end is whole, one beyond it is not drawn."""
    seen = np.isfinite(values)
    if axis.range is None:
        return seen
    low, high = sorted(place(end, axis, names) for end in axis.range)
    return np.asarray(seen & (values >= low) & (values <= high))


def _rule(at: Place, mark: Rule, order: float) -> bool:
    axis, names = (at.panel.y, at.ys) if mark.level else (at.panel.x, at.xs)
    spot = place(mark.at, axis, names)
    if not math.isfinite(spot):
        return False
    dash = (0, (3, 2)) if mark.dash == "dash" else DASHES[mark.dash]
    faint = sum(isinstance(each, Rule) for each in at.panel.marks) > MANY
    look: dict[str, Any] = {"color": LIGHT[mark.role], "ls": dash, "zorder": order}
    look |= {"lw": 0.5, "alpha": 0.45} if faint else {"lw": 0.9}
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
