"""Which class is taken for which: a table of shades and counts that stays readable from two classes to many."""

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline

from forecast.dashboards.canvas import NARROW, Picture, sheet
from forecast.dashboards.class_scores import confused, pairs
from forecast.dashboards.event_marks import shares
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent
from forecast.dashboards.style import LIGHT

SMALL = 10  # classes that half a page has room for
LEVELS = 7  # shades
LOWEST = 1.6  # inches of a table
POINTS = 72.0  # in an inch
FINEST = 5.0  # points: smaller letters are left out
_SQUARE = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]


class Layout(NamedTuple):
    """Sizes of a table of K classes in inches, and its letters in points."""

    height: float
    labels: float  # points
    every: int  # which labels are written: each, or every second, …
    letters: int  # of a name
    numbers: float  # points; 0: none


def confusion(run: Run) -> Picture | None:
    """The counts of the test series by class (row) and guess (column), shaded by their share of the row."""
    found = confused(run)
    if found is None or len(found[0]) < 2 or not found[1].any():
        return None
    names, table = found
    total = table.sum(1, keepdims=True)
    share = table / np.maximum(total, 1)
    right = int(np.trace(table))
    words = f"Of {int(total.sum()):,d} test series, {right:,d} are told rightly. A row is a class, a column what its "
    words += "series were taken for; the darker, the larger the share of the row."
    for a, b, n in pairs(table)[:1]:
        words += f" Most often mistaken: {names[a]} for {names[b]}, {n:,d} of {int(total[a, 0]):,d}."
    alt = words + "".join(f" {name}: {percent(float(share[k, k]))} right." for k, name in enumerate(names)
                          if total[k, 0])  # fmt: skip

    def draw(width: float) -> Figure:
        at = layout(names, table, width)
        figure, (axes,) = sheet(width, 1, at.height)
        _shades(axes, share)
        if at.numbers:
            for i, j in np.argwhere(table):
                bold = "bold" if i == j else "normal"
                axes.text(j, i, f"{table[i, j]:d}", ha="center", va="center", fontsize=at.numbers, weight=bold)
        _labels(axes, names, at, width)
        return figure

    return Picture("confusion", "Which classes are confused", words, alt, len(names) <= SMALL, draw)


def recalls(run: Run) -> Picture | None:
    """Of each class the share that was told and the share of its guesses that are right; of few classes only, for
    which it stands beside the table of confusion."""
    found = confused(run)
    if found is None or not 2 <= len(found[0]) <= SMALL or not found[1].any():
        return None
    names, table = found
    came, guessed, hit = table.sum(1), table.sum(0), np.diag(table)
    recall, precision = (np.where(n > 0, hit / np.maximum(n, 1), np.nan) for n in (came, guessed))
    words = "By class: how many of its series were told (bars), how many of the guesses of it are right (diamonds). "
    words += "Beside each class stands how many test series it has."
    alt = words + "".join(f" {name}: {percent(float(r))} of {n:,d}." for name, r, n in
                          zip(names, recall, came, strict=True) if n)  # fmt: skip
    labels = [f"{short(name, 12)} ({n:,d})" for name, n in zip(names, came, strict=True)]

    def draw(width: float) -> Figure:
        return shares(run, width, labels, recall, precision, "of its series")

    return Picture("recalls", "Right by class", words, alt, True, draw)


def layout(names: list[str], table: np.ndarray, width: float) -> Layout:
    """What fits into `width` inches: long names are cut, then numbers are left out, then labels."""
    k = len(names)
    letters = min(max(map(len, names)), 10 if width <= NARROW else 14 if k <= SMALL else 18)
    room = width - 0.35 - min(0.078 * letters, 0.3 * width)  # inches for the columns
    broad = room / k
    tall = min(max(broad, 0.055 if width <= NARROW else 0.118), max(0.27, LOWEST / k))
    font = min(8.0, 0.82 * POINTS * tall, 0.82 * POINTS * max(broad, tall))
    every = 1 if font >= FINEST else int(np.ceil((FINEST + 0.5) / font))
    digits = len(str(int(table.max())))
    fits = min(8.0, POINTS * broad / (0.68 * digits + 0.3), 0.72 * POINTS * tall)
    below = 0.062 * letters * max(font, FINEST) / 8 * 1.15
    return Layout(tall * k + below + 0.25, max(font, FINEST), every, letters, fits if fits >= FINEST else 0.0)


def _shades(axes: Axes, share: np.ndarray) -> None:
    """Rightly told ones in one colour, mistaken ones in another, one path for each shade."""
    k = len(share)
    axes.add_patch(Rectangle((-0.5, -0.5), k, k, fc=LIGHT["shade"], lw=0, zorder=0))
    gap = 0.02 if k <= 3 * SMALL else 0.0
    level = np.ceil(share * LEVELS).astype(np.int64)
    diagonal = np.eye(k, dtype=bool)
    for step in range(1, LEVELS + 1):
        for role, which in (("model", diagonal), ("seasonal", ~diagonal)):
            cells = [Outline(_corners(i, j, gap), _SQUARE) for i, j in np.argwhere((level == step) & which)]
            if cells:
                # What is wrong is rare, so it must be seen where it is one of many.
                alpha = 0.1 + 0.5 * step / LEVELS if role == "model" else 0.25 + 0.5 * step / LEVELS
                path = Outline.make_compound_path(*cells)
                axes.add_patch(PathPatch(path, fc=LIGHT[role], alpha=alpha, lw=0, zorder=1))


def _corners(i: int, j: int, gap: float) -> list[tuple[float, float]]:
    low, high = 0.5 - gap, 0.5 - gap
    return [(j - low, i - low), (j + high, i - low), (j + high, i + high), (j - low, i + high), (j - low, i - low)]


def _labels(axes: Axes, names: list[str], at: Layout, width: float) -> None:
    k = len(names)
    axes.set_xlim(-0.5, k - 0.5)
    axes.set_ylim(k - 0.5, -0.5)
    places = list(range(0, k, at.every))
    said = [short(names[p], at.letters) for p in places]
    upright = max(map(len, said)) * 0.6 * at.labels > 0.9 * POINTS * (width - 0.9) / k * at.every
    axes.set_xticks(places, said, rotation=90 if upright else 0, fontsize=at.labels)
    axes.set_yticks(places, said, fontsize=at.labels)
    axes.grid(visible=False)
    axes.tick_params(length=0, pad=2)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")


def short(name: str, most: int) -> str:
    """A name, or both ends of it: many names begin alike and differ in a number behind."""
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[len(name) - tail :]}"
