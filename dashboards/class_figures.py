"""The figures of a classification run: whether its confidence is true, and how early it knows."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from forecast.dashboards.canvas import NARROW, Picture, Shown, legend, sheet
from forecast.dashboards.class_confusion import confusion, recalls
from forecast.dashboards.class_scores import class_rows, tested, wilson
from forecast.dashboards.class_wrong import wrong
from forecast.dashboards.fitting import likelihood
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent
from forecast.dashboards.style import LIGHT

BINS = 15  # of confidence, equally wide
DASHES: dict[str, Any] = {"rival": (0, (5, 2)), "floor": (0, (1.2, 1.6))}


def class_pictures(run: Run) -> list[Shown]:
    """Every picture there is data for."""
    fitted = likelihood(run, "validation log loss", "nats", share="val/accuracy", named="validation accuracy")
    found: list[Shown | None] = [confusion(run), recalls(run), reliability(run), early(run), wrong(run), fitted]
    return [picture for picture in found if picture is not None]


def reliability(run: Run) -> Picture | None:
    """The share that is right by how sure the model was, over how often it was so sure."""
    bins = _points(run.metrics.get("reliability"), ("confidence", "accuracy", "series"))
    if not bins.size:
        return None
    sure, right, n = bins.T
    total = float(n.sum())
    ece = float((n * np.abs(right - sure)).sum() / total)
    ends = np.array([wilson(float(share), int(each)) for share, each in zip(right, n, strict=True)])
    reach = np.maximum([right - ends[:, 0], ends[:, 1] - right], 0.0)
    over = float((n * (sure - right)).sum() / total)
    tone = "on average it is surer than it is right" if over > 0 else "on average it is right more often than it says"
    words = (
        "Of the series of which the model was so sure, the share it told rightly, with 95 % intervals: on the diagonal "
        f"its probabilities are true. ECE {percent(ece)}; {tone}, by {percent(abs(over))}. Beneath: how many there are."
    )

    def draw(width: float) -> Figure:
        figure, _ = sheet(width, 0, 3.3)
        figure.set_size_inches(width, 3.6)
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2.6, 1]})
        above.plot([0, 1], [0, 1], color=LIGHT["ink"], lw=0.9, ls=(0, (3, 2)), label="true probabilities")
        above.bar(sure, right - sure, width=0.014, bottom=sure, color=LIGHT["seasonal"], alpha=0.55, lw=0,
                  label="off by")  # fmt: skip
        above.errorbar(sure, right, yerr=reach, fmt="o", ms=4.5, lw=0.9,
                       color=LIGHT["model"], label=run.model)  # fmt: skip
        above.set_xlim(0, 1)
        above.set_ylim(0, 1.02)
        above.set_ylabel("share right")
        edges = np.clip(np.floor(sure * BINS - 1e-9), 0, BINS - 1)
        below.bar((edges + 0.5) / BINS, n, width=0.94 / BINS, color=LIGHT["model"], alpha=0.45, lw=0)
        below.set_ylabel("series")
        below.set_xlabel("probability given to the guess")
        below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        for axis in (above.yaxis, below.xaxis):
            axis.set_major_formatter(PercentFormatter(1, 0))
            axis.set_major_locator(MaxNLocator(5))
        legend(figure, above, run, columns=3)
        return figure

    return Picture("reliability", "Is its confidence true", words, words, True, draw)


def early(run: Run) -> Picture | None:
    """Accuracy by the share of each series that was seen, beside what others reach with all of it."""
    points = _points(run.metrics.get("early"), ("fraction", "accuracy"))
    if len(points) < 2:
        return None
    points = points[np.argsort(points[:, 0])]
    share, right = points.T
    others = [(row.name, row.kind, row.values["accuracy"]) for row in class_rows(run)
              if row.kind in DASHES and "accuracy" in row.values]  # fmt: skip
    words = "Accuracy when only the first part of each test series has been seen; the other lines saw all of it."
    if (there := _enough(share, right)) is not None and there < share[-1]:
        words += f" With {there * 100:.0f}\u00a0% of a series it is within one point of its best."
    alt = words + "".join(f" {s * 100:.0f} %: {percent(float(a))}." for s, a in zip(share, right, strict=True))
    n = tested(run)

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, 2.7)
        if n:
            ends = np.array([wilson(float(each), n) for each in right])
            axes.fill_between(share, ends[:, 0], ends[:, 1], color=LIGHT["model"], alpha=0.16, lw=0)
        axes.plot(share, right, color=LIGHT["model"], lw=1.9, marker="o", ms=3.5, label=run.model)
        for name, kind, value in others:
            role = "seasonal" if kind == "rival" else "last"
            axes.axhline(value, color=LIGHT[role], lw=1.2, ls=DASHES[kind], label=name)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.03)
        axes.set_xlabel("share of the series that was seen")
        axes.set_ylabel("accuracy")
        axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
        axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        legend(figure, axes, run, columns=1 if width <= NARROW else 2)
        return figure

    return Picture("early", "How early it knows", words, alt, True, draw)


def _enough(share: np.ndarray, right: np.ndarray) -> float | None:
    """The least share from which on the accuracy stays within one point of its highest."""
    near = right >= right.max() - 0.01
    last = np.flatnonzero(~near)
    first = 0 if not last.size else int(last[-1]) + 1
    return float(share[first]) if first < len(share) else None


def _points(rows: object, keys: tuple[str, ...]) -> np.ndarray:
    """(n, len(keys)) numbers of a list of records; those that lack one are left out."""
    given = [[row.get(key) for key in keys] for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    kept = [row for row in given if all(isinstance(v, int | float) and math.isfinite(v) for v in row)]
    return np.array(kept, np.float64)
