"""A table of shades, drawn in steps of one colour, or of two where its middle is zero: each shade is one path."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, MaxNLocator

from forecast.dashboards.charts.axes import FINEST, POINTS, STEPS, Place, letters_of
from forecast.dashboards.charts.chart import Cells, Panel
from forecast.dashboards.charts.style import LIGHT, tick

LEVELS = 9  # shades
ROOMY = 30  # rows or columns up to which cells stand apart
_SQUARE = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]


def cells(at: Place, mark: Cells, order: float) -> bool:
    x, y, z = at.x(mark.x), at.y(mark.y), np.asarray(mark.z, np.float64)
    if not z.size or not np.isfinite(x).all() or not np.isfinite(y).all():
        return False
    left, right = edges(x, at.panel.x.scale == "log")
    low, high = edges(y, at.panel.y.scale == "log")
    box = (left.min(), low.min()), right.max() - left.min(), high.max() - low.min()
    at.axes.add_patch(Rectangle(*box, fc=LIGHT["shade"], lw=0, zorder=0.6))
    at.axes.update_datalim([(left.min(), low.min()), (right.max(), high.max())])
    apart = 0.02 if at.xs and at.ys and max(z.shape) <= ROOMY else 0.0
    level = levels(z, *ends(mark), mark.diverging)
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


def levels(z: np.ndarray, low: float, high: float, diverging: bool) -> np.ndarray:
    """Whole numbers up to LEVELS: how dark each cell is; 0 where there is nothing, below 0 for the other colour."""
    start = 0.0 if diverging else low
    share = np.clip(np.nan_to_num((z - start) / (high - start)), -1, 1)
    return np.asarray(np.sign(share) * np.ceil(np.abs(share) * LEVELS - 1e-9), np.int64)


def _shade(level: int) -> dict[str, Any]:
    dark = abs(level) / LEVELS
    if level > 0:
        return {"fc": LIGHT["model"], "alpha": 0.06 + 0.6 * dark}
    return {"fc": LIGHT["seasonal"], "alpha": 0.16 + 0.55 * dark}  # a pale orange is harder to see than a pale blue


def edges(middle: np.ndarray, log: bool) -> tuple[np.ndarray, np.ndarray]:
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
    bar.minorticks_off()
    bar.ax.tick_params(length=0)
    bar.set_label(mark.label)
