"""The figures of an event run: whether its distributions of the next gap are true, which marks it confuses, how far its
gaps are off, what each event of a sequence adds."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

from forecast.dashboards.canvas import NARROW, Picture, array, legend, sheet
from forecast.dashboards.event_scores import event_unit, percent, plural, the_model
from forecast.dashboards.event_summary import EDGES, PARTS, EventSummary, Gaps
from forecast.dashboards.event_timeline import timelines
from forecast.dashboards.load import Run
from forecast.dashboards.style import LIGHT, number, tick

KOLMOGOROV = 1.36  # over √n: 95 of 100 samples of a true distribution stay within
TALLEST = 12  # marks in the figure of accuracies
LEVELS = 7  # shades of the table of gaps


def event_pictures(run: Run, summary: EventSummary | None) -> list[Picture]:
    """Every picture there is data for."""
    found: list[Picture | None] = [pit(run, summary), training(run)]
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
        f"parts would lie by chance; {inside} of {len(shares)} do. {_shape(shares, even, half)}"
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
        axes.yaxis.set_major_locator(MaxNLocator(5))
        legend(figure, axes, run, columns=3)
        return figure

    return Picture("pit", "Is the distribution of the gap true", words, words, True, draw)


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
        f"Time rescaling: the share of events with F(gap) below each level. On the diagonal the model is true; beneath, "
        f"how far it is off. At most {number(ks, 2)}, {verdict} the band of 1.36/√n = {number(band, 2)} that 95 % of "
        "true models keep to."
    )
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
        f"The median forecast of each gap against the gap that came, in {unit}: the darker, the more events. The line is "
        "the median of what came at each forecast, its band the middle half; on the diagonal the forecasts are right. "
        "What lies beyond the edges, gaps of 0 too, is drawn at them."
    )

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, 3.2)
        _shaded(axes, found)
        middle = np.sqrt(found.edges[1:] * found.edges[:-1])
        ends = found.edges[0], found.edges[-1]
        axes.plot(ends, ends, color=LIGHT["ink"], lw=0.9, ls=(0, (3, 2)), label="forecast = actual")
        seen = np.isfinite(found.middle)
        axes.fill_between(middle[seen], found.low[seen], found.high[seen], color=LIGHT["seasonal"], alpha=0.22, lw=0)
        axes.plot(middle[seen], found.middle[seen], color=LIGHT["seasonal"], lw=1.9, marker="o", ms=2.5,
                  label="median of what came")  # fmt: skip
        for axis, set_scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
            set_scale("log")
            axis.set_major_locator(LogLocator(numticks=5 if width > NARROW else 4))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(tick))
        filled = np.flatnonzero(found.count.sum(1))
        axes.set_xlim(found.edges[filled[0]], found.edges[filled[-1] + 1])
        axes.set_ylim(*ends)
        axes.set_xlabel(f"median forecast ({unit})")
        axes.set_ylabel(f"gap that came ({unit})")
        legend(figure, axes, run, columns=2)
        return figure

    return Picture("gaps", "Gaps, forecast and actual", words, words, True, draw)


def _shaded(axes: Axes, found: Gaps) -> None:
    """The counts as shades of one colour over the card, one path for each shade."""
    most = float(found.count.max())
    if not most:
        return
    share = np.log1p(found.count) / math.log1p(most)
    level = np.ceil(share * LEVELS).astype(np.int64)
    for k in range(1, LEVELS + 1):
        cells = [Outline(_corners(found.edges, x, y), _SQUARE) for x, y in np.argwhere(level == k)]
        if cells:
            outline = Outline.make_compound_path(*cells)
            axes.add_patch(PathPatch(outline, fc=LIGHT["model"], alpha=0.08 + 0.72 * k / LEVELS, lw=0, zorder=1))


_SQUARE = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY]


def _corners(edges: np.ndarray, x: int, y: int) -> list[tuple[float, float]]:
    left, right, low, high = edges[x], edges[x + 1], edges[y], edges[y + 1]
    return [(left, low), (right, low), (right, high), (left, high), (left, low)]


# Marks -------------------------------------------------------------------------------------------------------


def confusion(run: Run, summary: EventSummary) -> Picture | None:
    """Which mark was guessed for which, in percent of those that came: the ten most frequent, and all others."""
    names, table = _named(summary)
    if len(names) < 2:
        return None
    total = table.sum(1, keepdims=True)
    share = table / np.maximum(total, 1)
    off = share.copy()
    np.fill_diagonal(off, 0)
    worst = np.unravel_index(int(off.argmax()), off.shape)
    words = (
        f"Of the events of each mark (row), the percentage for which each mark was guessed (column). Most often mistaken: "
        f"{names[worst[0]]} for {names[worst[1]]}, {percent(float(off[worst]))}."
    )
    alt = words + "".join(f" {name}: {percent(float(share[k, k]))} right." for k, name in enumerate(names))

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, max(2.6, 0.27 * len(names) + 0.7))
        size = 8 if len(names) <= 6 or width > NARROW else 5.5 if len(names) > 8 else 6.5
        for i, j in np.ndindex(share.shape):
            value = float(share[i, j])
            fill = LIGHT["model"] if i == j else LIGHT["seasonal"]
            axes.add_patch(Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, fc=fill, alpha=0.06 + 0.5 * value, lw=0))
            said = f"{value * 100:.0f}" if total[i, 0] else "–"
            axes.text(j, i, said, ha="center", va="center", fontsize=size, weight="bold" if i == j else "normal")
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        short = [_short(name, 10) for name in names]
        upright = len(names) > 5 or max(map(len, short)) * len(names) > 5.2 * width + 8
        axes.set_xticks(range(len(names)), short, rotation=90 if upright else 0)
        axes.set_yticks(range(len(names)), short)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.set_xlabel("guessed (%)")
        axes.set_ylabel("came")
        return figure

    return Picture("confusion", "Which marks are confused", words, alt, True, draw)


def _named(summary: EventSummary) -> tuple[list[str], np.ndarray]:
    """The marks of the table of confusion and their counts, without a row of others where there are none."""
    names, table = summary.marks["mark"].head(len(summary.confusion) - 1).to_list(), summary.confusion
    if table[-1].any() or table[:, -1].any():
        return [*names, "others"], table
    return names, table[:-1, :-1]


def accuracies(run: Run, summary: EventSummary) -> Picture | None:
    """Of each mark, the share that was guessed and the share of its guesses that came."""
    frame = summary.marks.filter(pl.col("came") > 0).head(TALLEST)
    if summary.marks.height < 2 or not frame.height:
        return None
    recall = array(frame["right"]) / array(frame["came"])
    guessed = array(frame["guessed"])
    precision = np.where(guessed > 0, array(frame["right"]) / np.maximum(guessed, 1), np.nan)
    more = summary.marks.filter(pl.col("came") > 0).height - frame.height
    words = "By mark, the most frequent first: how many of those that came were guessed, how many of the guesses came."
    words += f" {more:,d} rarer marks are left out." if more else ""
    alt = words + "".join(f" {name}: {percent(float(r))} of {n:,d}." for name, r, n in
                          zip(frame["mark"], recall, frame["came"], strict=True))  # fmt: skip

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, max(2.6, 0.27 * frame.height + 0.7))
        place = np.arange(frame.height)
        axes.barh(place, recall, height=0.62, color=LIGHT["model"], alpha=0.3, lw=0)
        axes.plot(recall, place, "|", ms=11, mew=2, color=LIGHT["model"], label="of those that came")
        axes.plot(precision, place, "D", ms=4.5, mfc="none", mec=LIGHT["seasonal"], mew=1.4, label="of the guesses")
        total = int(summary.marks["came"].sum())
        labels = [f"{_short(name, 12)}  {100 * n / total:.0f} %" for name, n in
                  zip(frame["mark"], frame["came"], strict=True)]  # fmt: skip
        axes.set_yticks(place, labels)
        axes.set_ylim(frame.height - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("right; beside each mark its share of the events")
        legend(figure, axes, run, columns=2)
        return figure

    return Picture("accuracies", "Right by mark", words, alt, True, draw)


# Sequences and training --------------------------------------------------------------------------------------


def position(run: Run, summary: EventSummary) -> Picture | None:
    """Nats of time and mark by the number of the event in its sequence."""
    frame = summary.position
    if frame.height < 3:
        return None
    marked = summary.marks.height > 1
    words = (
        "The log-likelihood of an event by its number in its sequence: what is gained as more history is known. "
        f"Means of at least {int(frame['n'].min() or 0):,d} events; far to the right only long sequences count."  # type: ignore[call-overload]
    )

    def draw(width: float) -> Figure:
        both = (("time", "time", "model", "-"), ("mark", "mark", "seasonal", (0, (5, 2))))
        shown = both if marked else both[:1]
        figure, panels = sheet(width, len(shown), 2.9 / len(shown))
        for axes, (name, label, role, dash) in zip(panels, shown, strict=True):
            axes.plot(frame["event"], array(frame[name]), color=LIGHT[role], ls=dash, lw=1.8, marker="o", ms=3)
            axes.set_ylabel(f"{label} (nats)")
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_formatter(FuncFormatter(tick))
            _far(axes, frame["event"].to_list())
        panels[-1].set_xlabel("number of the event in its sequence")
        return figure

    return Picture("position", "What history is worth", words, words, True, draw)


def _far(axes: Axes, numbers: Sequence[float]) -> None:
    """Logarithmic where sequences are long."""
    if numbers[-1] > 40 * max(numbers[0], 1):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(tick))


def training(run: Run) -> Picture | None:
    """Training loss and validation NLL, the best epoch marked; nats may be negative, so the axis is linear."""
    train, val, best = run.curve("train/loss"), run.curve(run.monitor), run.best_epoch
    if not train.height and not val.height:
        return None
    words = "Training loss by optimiser step"
    words += f"; validation NLL after each of {val.height:,d} epochs, in nats per event." if val.height else "."
    if best is not None:
        words += f" The best is epoch {best['epoch'] + 1} with {number(best['value'])}."

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, 2.7)
        if train.height:
            each = max(1, -(-train.height // 240))
            thin = train.group_by((pl.int_range(pl.len()) // each).alias("b"), maintain_order=True).agg(
                pl.col("step", "value").mean()
            )
            axes.plot(thin["step"], thin["value"], color=LIGHT["other"], lw=1, label="training loss")
        if val.height:
            dots: dict[str, Any] = {"marker": "o", "ms": 3} if val.height <= 60 else {}
            axes.plot(val["step"], val["value"], color=LIGHT["model"], lw=1.8, label="validation NLL", **dots)
        if best is not None:
            axes.axvline(best["step"], color=LIGHT["muted"], lw=0.9, ls=(0, (3, 2)), zorder=1)
            axes.plot(best["step"], best["value"], "o", ms=7, mfc=LIGHT["card"], mec=LIGHT["model"], mew=1.8,
                      label=f"best: epoch {best['epoch'] + 1}")  # fmt: skip
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("loss (nats per event)")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(tick))
        axes.yaxis.set_major_formatter(FuncFormatter(tick))
        legend(figure, axes, run, columns=2)
        return figure

    return Picture("loss", "Loss", words, words, True, draw)


def _events(run: Run) -> int:
    n = run.part("events").get("test")
    return n if isinstance(n, int) else 0


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
