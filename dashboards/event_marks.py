"""Figures of marks: which is guessed for which, and how often each is guessed rightly."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from forecast.dashboards.canvas import NARROW, Picture, array, legend, sheet
from forecast.dashboards.event_summary import EventSummary
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent
from forecast.dashboards.style import LIGHT

TALLEST = 12  # marks in the figure of accuracies


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
        f"Of the events of each mark (row), the percentage for which each mark was guessed (column). Most often "
        f"mistaken: {names[worst[0]]} for {names[worst[1]]}, {percent(float(off[worst]))}."
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
        upright = len(names) > 5 or max(map(len, short)) * len(names) > 9 * width
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
    words += " Beside each mark stands its share of the events."
    words += f" {more:,d} rarer marks are left out." if more else ""
    alt = words + "".join(f" {name}: {percent(float(r))} of {n:,d}." for name, r, n in
                          zip(frame["mark"], recall, frame["came"], strict=True))  # fmt: skip

    total = int(summary.marks["came"].sum())
    labels = [f"{_short(name, 12)}  {100 * n / total:.0f} %" for name, n in
              zip(frame["mark"], frame["came"], strict=True)]  # fmt: skip

    def draw(width: float) -> Figure:
        return shares(run, width, labels, recall, precision)

    return Picture("accuracies", "Right by mark", words, alt, True, draw)


def shares(
    run: Run,
    width: float,
    labels: Sequence[str],
    recall: np.ndarray,
    precision: np.ndarray,
    first: str = "of those that came",
) -> Figure:
    """A row for each label: of those that came the share that was told, of the guesses the share that came."""
    k = len(labels)
    figure, (axes,) = sheet(width, 1, max(2.6, 0.27 * k + 0.7))
    place = np.arange(k)
    axes.barh(place, recall, height=0.62, color=LIGHT["model"], alpha=0.3, lw=0)
    axes.plot(recall, place, "|", ms=11, mew=2, color=LIGHT["model"], clip_on=False, zorder=3,
              label=first)  # fmt: skip
    axes.plot(precision, place, "D", ms=4.5, mfc="none", mec=LIGHT["seasonal"], mew=1.4, clip_on=False, zorder=3,
              label="of the guesses")  # fmt: skip
    axes.set_yticks(place, labels)
    axes.set_ylim(k - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share that is right")
    legend(figure, axes, run, columns=2)
    return figure


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
