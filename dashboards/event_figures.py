"""The figures of an event run: whether its distributions of the next gap are true, which marks it confuses, how far its
gaps are off, what each event of a sequence adds."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from forecast.dashboards.canvas import NARROW, Picture, Shown, array, legend, sheet
from forecast.dashboards.event_marks import accuracies, confusion
from forecast.dashboards.event_scores import event_unit, plural, the_model
from forecast.dashboards.event_summary import EDGES, PARTS, EventSummary, Gaps
from forecast.dashboards.event_timeline import timelines
from forecast.dashboards.fitting import likelihood
from forecast.dashboards.load import Run
from forecast.dashboards.style import LIGHT, number, tick

KOLMOGOROV = 1.36  # over √n: 95 of 100 samples of a true distribution stay within
LEVELS = 7  # shades of the table of gaps


def event_pictures(run: Run, summary: EventSummary | None) -> list[Shown]:
    """Every picture there is data for."""
    found: list[Shown | None] = [pit(run, summary), likelihood(run, "validation NLL", "nats per event")]
    if summary is not None:
        found += [make(run, summary) for make in (timelines, rescaling, gaps, confusion, accuracies, position)]
    return [picture for picture in found if picture is not None]


# The distribution of the next gap ----------------------------------------------------------------------------


def pit(run: Run, summary: EventSummary | None) -> Picture | None:
    """The histogram of F(gap) with the band in which a true model's parts lie."""
    model = the_model(run)
    shares = np.array(model.pit if model else [])
    if not shares.size and summary is not None:
        shares = np.diff(summary.below[:: EDGES // PARTS])
    n = summary.events if summary is not None else _events(run)
    if not shares.size or not n or not np.isfinite(shares).all():
        return None
    even = 1 / len(shares)
    half = 1.96 * math.sqrt(even * (1 - even) / n)
    inside = int((np.abs(shares - even) <= half).sum())
    words = (
        f"Where each gap fell in its forecast distribution, F(gap): flat where that is true. Band: where 95 % of the "
        f"parts would lie by chance; {inside} of {len(shares)} do. {_open(run) or _shape(shares, even, half)}"
    )

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, 2.7)
        edges = np.linspace(0, 1, len(shares) + 1)
        axes.stairs(shares * 100, edges, color=LIGHT["model"], fill=True, alpha=0.28, lw=0)
        axes.stairs(shares * 100, edges, color=LIGHT["model"], lw=1.5, label=run.model)
        low, high = 100 * (even - half), 100 * (even + half)
        axes.fill_between([0, 1], low, high, color=LIGHT["ink"], alpha=0.14, lw=0, label="95 % band", zorder=3)
        axes.axhline(100 * even, color=LIGHT["ink"], lw=0.9, ls=(0, (3, 2)), label="a true model", zorder=3)
        axes.set_ylim(0, max(100 * float(shares.max()), high) * 1.12)
        axes.set_xlim(0, 1)
        axes.set_xlabel("F(gap)")
        axes.set_ylabel("share of events (%)")
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        legend(figure, axes, run, columns=3)
        return figure

    return Picture("pit", "Is the distribution of the gap true", words, words, True, draw)


def _open(run: Run) -> str:
    """What is not among the events where sequences are watched until a date: the long gaps, the more the shorter the
    watch; told in place of the form of the histogram, which then says little of the forecasts."""
    model = the_model(run)
    if model is None or "survival" not in model.values:
        return ""
    return "Gaps still open at the end of the watch are not among them, so the right end is low for a true model too."


def _shape(shares: np.ndarray, even: float, half: float) -> str:
    """What the form of the histogram says, in plain words."""
    third = len(shares) // 4
    low, high = float(shares[:third].mean()) - even, float(shares[-third:].mean()) - even
    middle = float(shares[third:-third].mean()) - even
    noise = half / math.sqrt(third)
    if max(abs(low), abs(high), abs(middle)) <= noise:
        return "No trend is to be seen."
    if min(low, high) > noise > -noise > middle:
        return "More at both ends than in the middle: the forecasts are too sure."
    if max(low, high) < -noise < noise < middle:
        return "More in the middle than at the ends: the forecasts are less sure than they could be."
    if low > noise > -noise > high:
        return "More on the left: gaps are shorter than forecast."
    if high > noise > -noise > low:
        return "More on the right: gaps are longer than forecast."
    return ""


def rescaling(run: Run, summary: EventSummary) -> Picture | None:
    """The distribution of F(gap) against the diagonal, and what lies between the two, with Kolmogorov's band."""
    if not np.isfinite(summary.below).all() or not summary.below[-1] > 0:
        return None
    edges = np.linspace(0, 1, EDGES + 1)
    off = summary.below - edges
    band = KOLMOGOROV / math.sqrt(summary.events)
    ks = float(np.abs(off).max())
    verdict = "inside" if ks <= band else "outside"
    words = (
        "Time rescaling: the share of events with F(gap) below each level. On the diagonal the model is true; beneath, "
        f"how far it is off. At most {number(ks, 2)}, {verdict} the band of 1.36/√n = {number(band, 2)} that 95 % of "
        "true models keep to."
    )
    if _open(run):
        words += " Gaps still open at the end of the watch are missing, which bends the line for a true model too."
    if (run.metrics.get("grid") or 0) > 0:
        words += " Gaps have a grid: an event is spread over its cell."

    def draw(width: float) -> Figure:
        figure, _ = sheet(width, 0, 3.0)
        figure.set_size_inches(width, 3.05)
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1.7, 1]})
        above.fill_between(edges, edges - band, edges + band, color=LIGHT["ink"], alpha=0.14, lw=0, label="95 % band")
        above.plot([0, 1], [0, 1], color=LIGHT["ink"], lw=0.9, ls=(0, (3, 2)), label="a true model")
        above.plot(edges, summary.below, color=LIGHT["model"], lw=1.8, label=run.model)
        above.set_ylim(0, 1)
        above.set_xlim(0, 1)
        above.set_ylabel("share below")
        above.yaxis.set_major_formatter(PercentFormatter(1, 0))
        above.yaxis.set_major_locator(MaxNLocator(2))
        below.axhspan(-band, band, color=LIGHT["ink"], alpha=0.14, lw=0)
        below.axhline(0, color=LIGHT["ink"], lw=0.9, ls=(0, (3, 2)))
        below.plot(edges, off, color=LIGHT["model"], lw=1.6)
        most = max(band, ks) * 1.2
        below.set_ylim(-most, most)
        below.set_ylabel("off by")
        below.set_xlabel("level of F(gap)")
        below.yaxis.set_major_locator(MaxNLocator(3))
        below.yaxis.set_major_formatter(FuncFormatter(tick))
        legend(figure, above, run, columns=3)
        return figure

    return Picture("rescaling", "Time rescaling", words, words, True, draw)


# Gaps --------------------------------------------------------------------------------------------------------


def gaps(run: Run, summary: EventSummary) -> Picture | None:
    """Median forecasts against what came, both logarithmic, with the diagonal and what came given the forecast."""
    found, unit = summary.gaps, plural(event_unit(run))
    if found is None:
        return None
    words = (
        f"The median forecast of each gap against the gap that came, in {unit}: the darker, the more events. The line "
        "is the median of what came at each forecast, dotted its quartiles; on the diagonal the forecasts are right. "
        "What lies beyond the edges, gaps of 0 too, is drawn at them."
    )

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, 3.2)
        _shaded(axes, found)
        middle = np.sqrt(found.x[1:] * found.x[:-1])
        ends = min(found.x[0], found.y[0]), max(found.x[-1], found.y[-1])
        axes.plot(ends, ends, color=LIGHT["ink"], lw=0.9, ls=(0, (3, 2)), label="forecast = actual")
        seen = np.isfinite(found.middle)
        for edge in (found.low, found.high):
            axes.plot(middle[seen], edge[seen], color=LIGHT["seasonal"], lw=0.9, ls=(0, (1.2, 1.6)))
        axes.plot(middle[seen], found.middle[seen], color=LIGHT["seasonal"], lw=1.9, marker="o", ms=2.5,
                  label="median of what came")  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(found.x[0], found.x[-1])
        axes.set_ylim(found.y[0], found.y[-1])
        _logarithmic(axes.xaxis, found.x)
        _logarithmic(axes.yaxis, found.y)
        axes.set_xlabel(f"median forecast ({unit})")
        axes.set_ylabel(f"gap that came ({unit})")
        legend(figure, axes, run, columns=2 if width > NARROW else 1)
        return figure

    return Picture("gaps", "Gaps, forecast and actual", words, words, True, draw)


def _logarithmic(axis: Axis, edges: np.ndarray) -> None:
    """Ticks at 1, 2 and 5 where there are few powers of ten."""
    few = edges[-1] < 200 * edges[0]
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(tick))


def _shaded(axes: Axes, found: Gaps) -> None:
    """The counts as shades of one colour over the card, one path for each shade."""
    most = float(found.cells.max())
    if not most:
        return
    share = np.log1p(found.cells) / math.log1p(most)
    level = np.ceil(share * LEVELS).astype(np.int64)
    for k in range(1, LEVELS + 1):
        cells = [Outline(_corners(found, x, y), _SQUARE) for x, y in np.argwhere(level == k)]
        if cells:
            outline = Outline.make_compound_path(*cells)
            axes.add_patch(PathPatch(outline, fc=LIGHT["model"], alpha=0.06 + 0.6 * k / LEVELS, lw=0, zorder=1))


_SQUARE = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]


def _corners(found: Gaps, x: int, y: int) -> list[tuple[float, float]]:
    left, right, low, high = found.x[x], found.x[x + 1], found.y[y], found.y[y + 1]
    return [(left, low), (right, low), (right, high), (left, high), (left, low)]


# Sequences ---------------------------------------------------------------------------------------------------


def position(run: Run, summary: EventSummary) -> Picture | None:
    """Nats of time and mark by the number of the event in its sequence."""
    frame = summary.position
    if frame.height < 3:
        return None
    marked = summary.marks.height > 1
    words = (
        "The log-likelihood of an event by its number in its sequence: what is gained as more history is known. "
        "Bands: 95 % intervals of these means. Far to the right only long sequences count."
    )

    def draw(width: float) -> Figure:
        both = (("time", "time", "model", "-"), ("mark", "mark", "seasonal", (0, (5, 2))))
        shown = both if marked else both[:1]
        figure, panels = sheet(width, len(shown), 2.9 / len(shown))
        for axes, (name, label, role, dash) in zip(panels, shown, strict=True):
            value, off = array(frame[name]), array(frame[f"{name}_off"])
            axes.fill_between(frame["event"], value - off, value + off, color=LIGHT[role], alpha=0.16, lw=0)
            axes.plot(frame["event"], value, color=LIGHT[role], ls=dash, lw=1.8, marker="o", ms=3)
            axes.set_ylabel(f"{label} (nats)")
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(FuncFormatter(tick))
            _far(axes, frame["event"].to_list())
        panels[-1].set_xlabel("number of the event in its sequence")
        return figure

    return Picture("position", "What history is worth", words, words, True, draw)


def _far(axes: Axes, numbers: Sequence[float]) -> None:
    """Logarithmic where sequences are long."""
    if numbers[-1] > 12 * max(numbers[0], 1):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(tick))


def _events(run: Run) -> int:
    n = run.part("events").get("test")
    return n if isinstance(n, int) else 0
