"""The figures of a classification run: whether its confidence is true, and how early it knows."""

import math
from typing import Final

import numpy as np

from forecast.dashboards.charts.chart import Axis, Band, Bars, Chart, Dash, Line, Mark, Panel, Points
from forecast.dashboards.classes.confusion import confusion, recalls
from forecast.dashboards.classes.scores import class_rows, tested, wilson
from forecast.dashboards.classes.wrong import wrong
from forecast.dashboards.fitting import likelihood
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent

BINS: Final = 15  # of confidence, equally wide
DASHES: Final[dict[str, Dash]] = {"rival": "dash", "floor": "dot"}


def class_charts(run: Run) -> list[Chart]:
    """Every chart there is data for."""
    fitted = likelihood(run, "validation log loss", "nats", share="val/accuracy", named="validation accuracy")
    found = [confusion(run), recalls(run), reliability(run), early(run), wrong(run), fitted]
    return [chart for chart in found if chart is not None]


def reliability(run: Run) -> Chart | None:
    """The share that is right by how sure the model was, over how often it was so sure."""
    bins = _points(run.metrics.get("reliability"), ("confidence", "accuracy", "series"))
    if not bins.size:
        return None
    sure, right, n = bins.T
    total = float(n.sum())
    ece = float((n * np.abs(right - sure)).sum() / total)
    ends = np.array([wilson(float(share), int(each)) for share, each in zip(right, n, strict=True)])
    over = float((n * (sure - right)).sum() / total)
    tone = "on average it is surer than it is right" if over > 0 else "on average it is right more often than it says"
    words = (
        "Of the series of which the model was so sure, the share it told rightly, with 95 % intervals: on the diagonal "
        f"its probabilities are true. ECE {percent(ece)}; {tone}, by {percent(abs(over))}. Beneath: how many there are."
    )
    each = [f"sure {percent(float(s))}, right {percent(float(r))} of {int(k):,d}" for s, r, k in bins]
    above = (
        Line([0.0, 1.0], [0.0, 1.0], "true probabilities", "ink", "dash", 0.9),
        Line(*_strokes(sure, sure, right), "off by", "seasonal", width=4.0, opacity=0.55),
        Line(*_strokes(sure, np.minimum(ends[:, 0], right), np.maximum(ends[:, 1], right)), width=0.9),
        Points(sure, right, run.model, words=each),
    )
    edges = np.clip(np.floor(sure * BINS - 1e-9), 0, BINS - 1)
    below = (Bars((edges + 0.5) / BINS, n, opacity=0.45),)
    across = Axis("probability given to the guess", percent=True, range=(0, 1))
    panels = (
        Panel(above, across, Axis("share right", percent=True, range=(0, 1.02)), height=2.35),
        Panel(below, across, Axis("series", zero=True, whole=True), height=1.05),
    )
    return Chart("reliability", "Is its confidence true", words, words, panels, half=True, shared=True)


def _strokes(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An upright stroke at each x, as one line with gaps."""
    return np.repeat(x, 3), np.stack([low, high, np.full(len(x), np.nan)], 1).ravel()


def early(run: Run) -> Chart | None:
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

    marks: list[Mark] = []
    if n:
        ends = np.array([wilson(float(each), n) for each in right])
        marks.append(Band(share, ends[:, 0], ends[:, 1]))
    marks.append(Line(share, right, run.model, width=1.9, dots=True))
    for name, kind, value in others:
        role = "seasonal" if kind == "rival" else "last"
        marks.append(Line([0.0, 1.02], [value, value], name, role, DASHES[kind], 1.2))
    across = Axis("share of the series that was seen", percent=True, range=(0, 1.02))
    panel = Panel(tuple(marks), across, Axis("accuracy", percent=True, range=(0, 1.03)), height=2.7)
    return Chart("early", "How early it knows", words, alt, (panel,), half=True)


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
