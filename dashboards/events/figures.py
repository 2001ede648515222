"""The figures of an event run: whether its distributions of the next gap are true, which marks it confuses, how far its
gaps are off, what each event of a sequence adds."""

import math

import numpy as np

from forecast.dashboards.charts.chart import Axis, Band, Cells, Chart, Histogram, Line, Mark, Panel, Rule
from forecast.dashboards.charts.shared import array
from forecast.dashboards.charts.style import number
from forecast.dashboards.events.marks import accuracies, confusion
from forecast.dashboards.events.scores import event_unit, plural, the_model
from forecast.dashboards.events.summary import EDGES, PARTS, TIMES, EventSummary, Gaps
from forecast.dashboards.events.timeline import timelines
from forecast.dashboards.fitting import likelihood
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent

KOLMOGOROV = 1.36  # over √n: 95 of 100 samples of a true distribution stay within


def event_charts(run: Run, summary: EventSummary | None) -> list[Chart]:
    """Every figure there is data for."""
    found: list[Chart | None] = [pit(run, summary), likelihood(run, "validation NLL", "nats per event")]
    if summary is not None:
        found += timelines(run, summary)
        found += [make(run, summary) for make in (rescaling, gaps, ratio, confusion, accuracies, position)]
    return [chart for chart in found if chart is not None]


# The distribution of the next gap ----------------------------------------------------------------------------


def pit(run: Run, summary: EventSummary | None) -> Chart | None:
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
    low, high = max(even - half, 0.0), even + half
    marks: tuple[Mark, ...] = (
        Histogram(np.linspace(0, 1, len(shares) + 1), shares, run.model),
        Band([0.0, 1.0], [low] * 2, [high] * 2, "95 % band", role="ink", opacity=0.14),
        Line([0.0, 1.0], [even] * 2, "a true model", role="ink", dash="dash", width=0.9),
    )
    top = max(float(shares.max()), high) * 1.12
    down = Axis("share of events", percent=True, range=(0.0, top))
    panel = Panel(marks, Axis("F(gap)", range=(0, 1)), down)
    return Chart("pit", "Is the distribution of the gap true", words, words, (panel,), half=True)


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


def distance(below: np.ndarray) -> float:
    """Kolmogorov's distance: how far the shares (EDGES + 1,) of events below each edge are off at most."""
    return float(np.abs(below - np.linspace(0, 1, len(below))).max())


def chance(distance: float, events: int) -> float:
    """The probability that a true distribution is so far off by chance (Kolmogorov and Smirnov, with Stephens'
    correction for few events)."""
    from scipy.special import kolmogorov  # here: a report that draws no such figure need not wait for its import

    root = math.sqrt(events)
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def rescaling(run: Run, summary: EventSummary) -> Chart | None:
    """The distribution of F(gap) against the diagonal, and what lies between the two, with Kolmogorov's band."""
    if not np.isfinite(summary.below).all() or not summary.below[-1] > 0:
        return None
    edges = np.linspace(0, 1, EDGES + 1)
    off = summary.below - edges
    band = KOLMOGOROV / math.sqrt(summary.events)
    ks = distance(summary.below)
    p = chance(ks, summary.events)
    words = (
        "Time rescaling: the share of events with F(gap) below each level. On the diagonal the model is true; beneath, "
        f"how far it is off. At most {number(ks, 2)}, {'inside' if ks <= band else 'outside'} the band of 1.36/√n = "
        f"{number(band, 2)} that 95 % of true models keep to; a true one is so far off by chance with p "
        f"{f'= {number(p, 2)}' if p >= 1e-4 else '< 0.0001'}."
    )
    if _open(run):
        words += " Gaps still open at the end of the watch are missing, which bends the line for a true model too."
    if (run.metrics.get("grid") or 0) > 0:
        words += " Gaps have a grid: an event is spread over its cell."
    ends, most = np.array([0.0, 1.0]), max(band, ks) * 1.2
    above = (
        Band(ends, ends - band, ends + band, "95 % band", role="ink", opacity=0.14),
        Line(ends, ends, "a true model", role="ink", dash="dash", width=0.9),
        Line(edges, summary.below, run.model, width=1.8),
    )
    below = (
        Band(ends, [-band] * 2, [band] * 2, role="ink", opacity=0.14),
        Rule(0.0, level=True, role="ink"),
        Line(edges, off, width=1.6),
    )
    across = Axis("level of F(gap)", range=(0, 1))
    panels = (
        Panel(above, across, Axis("share below", percent=True, range=(0, 1)), height=1.7),
        Panel(below, across, Axis("off by", range=(-most, most)), height=1.0),
    )
    return Chart("rescaling", "Time rescaling", words, words, panels, half=True, shared=True)


# Gaps --------------------------------------------------------------------------------------------------------


def gaps(run: Run, summary: EventSummary) -> Chart | None:
    """Median forecasts against what came, both logarithmic, with the diagonal and what came given the forecast."""
    found, unit = summary.gaps, plural(event_unit(run))
    if found is None:
        return None
    words = (
        f"The median forecast of each gap against the gap that came, in {unit}: the darker, the more events. The line "
        "is the median of what came at each forecast, dotted its quartiles; on the diagonal the forecasts are right. "
        "What lies beyond the edges, gaps of 0 too, is drawn at them."
    )
    middle, tall = (np.sqrt(edges[1:] * edges[:-1]) for edges in (found.x, found.y))
    ends = [min(found.x[0], found.y[0]), max(found.x[-1], found.y[-1])]
    seen = np.isfinite(found.middle)
    marks: list[Mark] = [*_shaded(found, middle, tall)]
    marks.append(Line(ends, ends, "forecast = actual", role="ink", dash="dash", width=0.9))
    for edge in (found.low, found.high):
        marks.append(Line(middle[seen], edge[seen], role="seasonal", dash="dot", width=0.9))
    marks.append(Line(middle[seen], found.middle[seen], "median of what came", role="seasonal", width=1.9, dots=True))
    panel = Panel(
        tuple(marks), Axis(f"median forecast ({unit})", "log", range=(found.x[0], found.x[-1])),
        Axis(f"gap that came ({unit})", "log", range=(found.y[0], found.y[-1])), height=3.2,
    )  # fmt: skip
    return Chart("gaps", "Gaps, forecast and actual", words, words, (panel,), half=True)


def _shaded(found: Gaps, middle: np.ndarray, tall: np.ndarray) -> list[Cells]:
    """The counts as shades, even by their logarithm; empty cells stay empty."""
    most = float(found.cells.max())
    if not most:
        return []
    share = np.where(found.cells > 0, np.log1p(found.cells) / math.log1p(most), np.nan)
    return [Cells(middle, tall, share.T, "", low=0.0, high=1.0)]


def ratio(run: Run, summary: EventSummary) -> Chart | None:
    """How many times its median forecast each gap was."""
    found = summary.gaps
    if found is None or not found.ratio.sum():
        return None
    seen = np.flatnonzero(found.ratio)
    first, last = max(int(seen[0]) - 1, 0), min(int(seen[-1]) + 2, len(found.ratio))
    words = (
        f"The gap that came, in times its median forecast: {percent(found.twice)} lie between half and twice the "
        "forecast. Half of the events would lie on each side of 1 if the medians were true."
    )
    ends = TIMES[first : last + 1]
    below = float(found.ratio[TIMES[:-1] < -1e-9].sum() / found.ratio.sum())
    alt = f"{words} {percent(below)} came sooner."
    marks: tuple[Mark, ...] = (
        Histogram(10**ends, found.ratio[first:last] / found.ratio.sum()),
        Rule(1.0, role="ink", label="as forecast"),
    )
    across = Axis("gap that came / median forecast (times)", "log")
    panel = Panel(marks, across, Axis("share of events", percent=True, zero=True))
    return Chart("ratio", "How far gaps are off", words, alt, (panel,), half=True)


# Sequences ---------------------------------------------------------------------------------------------------


def position(run: Run, summary: EventSummary) -> Chart | None:
    """Nats of time and mark by the number of the event in its sequence."""
    frame = summary.position
    if frame.height < 3:
        return None
    words = (
        "The log-likelihood of an event by its number in its sequence: what is gained as more history is known. "
        "Bands: 95 % intervals of these means. Far to the right only long sequences count."
    )
    at = array(frame["event"])
    far = at[-1] > 12 * max(at[0], 1)
    across = Axis("number of the event in its sequence", "log" if far else "linear", whole=not far)
    parts = (("time", "model", "solid"), ("mark", "seasonal", "dash"))
    shown = parts if summary.marks.height > 1 else parts[:1]
    panels = []
    for name, role, dash in shown:
        value, off = array(frame[name]), array(frame[f"{name}_off"])
        line = Line(at, value, role=role, dash=dash, width=1.8, dots=True)  # type: ignore[arg-type]
        panels.append(Panel((Band(at, value - off, value + off, role=role), line), across, Axis(f"{name} (nats)"),
                            height=2.9 / len(shown)))  # fmt: skip
    return Chart("position", "What history is worth", words, words, tuple(panels), half=True, shared=True)


def _events(run: Run) -> int:
    n = run.part("events").get("test")
    return n if isinstance(n, int) else 0
