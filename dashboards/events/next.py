"""What was expected before an event: the density of its gap with the one that came, the likeliest marks, and the
intervals of all events of a stretch."""

import math
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import Axis, Band, Bars, Chart, Line, Mark, Panel, Points, Rule, Span
from forecast.dashboards.charts.shared import array
from forecast.dashboards.charts.style import number, short
from forecast.dashboards.events.marks import brief
from forecast.dashboards.events.scores import plural
from forecast.dashboards.load import Run
from forecast.dashboards.measures import percent
from forecast.dashboards.stored import stored

COLUMNS = ("unique_id", "event", "gap", "density", "names", "p")
FILE = "timeline_next.parquet"
WIDE = 30.0  # an interval whose ends are further apart by a factor is drawn on a logarithmic axis
LETTERS = 24  # of a mark's name
NEAR = 1e-3  # of a typical median: shorter gaps are drawn there on a logarithmic axis


class Ahead(NamedTuple):
    """What was forecast before one event."""

    gap: np.ndarray  # (G,) rising, in the unit of the run
    density: np.ndarray  # (G,) per unit
    names: list[str]  # (K,) the likeliest marks
    p: np.ndarray  # (K,)


class Way(NamedTuple):
    """How densities of a sequence are drawn, the same for all its events so that a step is seen as one."""

    log: bool
    ends: tuple[float, float]  # of the axis of gaps
    top: float  # of the axis of densities


def kept(run: Run) -> dict[str, dict[int, Ahead]] | None:
    """By sequence and number of the event; None where the run kept no densities."""
    frame = stored(run, FILE, COLUMNS)
    if frame is None:
        return None
    found: dict[str, dict[int, Ahead]] = {}
    for name, event, gap, density, names, p in frame.select(COLUMNS).iter_rows():
        gap, density, p = (np.asarray(each, np.float64) for each in (gap, density, p))
        found.setdefault(str(name), {})[int(event)] = Ahead(gap, density, list(names), p)
    return found


def way(events: pl.DataFrame, ahead: dict[int, Ahead]) -> Way:
    """For the events (rows of predictions) of a sequence that have a density."""
    own = events.filter(pl.col("event").is_in(list(ahead)))
    low, high = (array(own[name]) for name in ("q05", "q95"))
    with np.errstate(divide="ignore", invalid="ignore"):
        log = bool(np.nanmedian(high / np.maximum(low, 1e-300)) > WIDE) if len(low) else False
    every = [ahead[int(event)] for event in own["event"]]
    if not every:
        return Way(False, (0.0, 1.0), 1.0)
    first = min(float(np.interp(0.01, _share(each), each.gap)) for each in every)
    last = max(float(np.interp(0.985, _share(each), each.gap)) for each in every)
    tops = [float(_height(each, log)[_inside(each, first, last)].max(initial=0.0)) for each in every]
    top = float(np.quantile(tops, 0.8)) * 1.25 or 1.0
    return Way(log, (max(first, 1e-12) if log else 0.0, last), top)


def _share(each: Ahead) -> np.ndarray:
    """(G,) of the mass that lies below each gap, by trapezoids."""
    parts = np.diff(each.gap) * (each.density[1:] + each.density[:-1]) / 2
    total = np.concatenate([[0.0], np.cumsum(parts)])
    return np.asarray(total / max(float(total[-1]), 1e-300))


def _inside(each: Ahead, first: float, last: float) -> np.ndarray:
    return np.asarray((each.gap >= first) & (each.gap <= last))


def _height(each: Ahead, log: bool) -> np.ndarray:
    """Densities as they are drawn: on a logarithmic axis for each factor of ten, so that areas are shares."""
    return np.asarray(each.density * each.gap * math.log(10) if log else each.density)


def density(row: dict[str, Any], each: Ahead, drawn: Way, unit: str) -> Chart:
    """The density of the gap before an event, a row of the predictions, with what came."""
    y, edge = _height(each, drawn.log), drawn.ends[0]
    came, median = (max(float(row[key]), edge) for key in ("gap", "median"))
    words = (
        f"How the gap was forecast before it came{', for each factor of ten' if drawn.log else ''}. Shaded: the 90 % "
        f"interval, {number(row['q05'], 3)} to {number(row['q95'], 3)} {plural(unit)}; median "
        f"{number(row['median'], 3)}; what came, {number(row['gap'], 3)}."
    )
    marks: tuple[Mark, ...] = (
        Span(max(row["q05"], edge), row["q95"]),
        Band(each.gap, np.zeros(len(y)), np.minimum(y, drawn.top)),
        Line(each.gap, np.minimum(y, drawn.top), "density"),
        Rule(median, role="model"),
        Rule(came, role="seasonal", dash="solid"),
        Points([median], [min(float(np.interp(median, each.gap, y)), drawn.top)], "median", symbol="ring", size=8),
        Points([came], [min(float(np.interp(came, each.gap, y)), drawn.top)], "what came", role="seasonal",
               symbol="diamond", size=8),
    )  # fmt: skip
    last = max(drawn.ends[1], came * 1.1)
    across = Axis(f"gap ({plural(unit)})", "log" if drawn.log else "linear", range=(edge, last))
    down = Axis(
        "probability per factor of ten" if drawn.log else f"density (per {unit})", range=(0.0, drawn.top * 1.05)
    )
    return Chart("density", "When it was expected", words, words, (Panel(marks, across, down),), half=True)


def likely(row: dict[str, Any], each: Ahead, labels: str | None = None) -> Chart | None:
    """The likeliest marks before an event, with the one that came; with `labels`, what parts them, those that came."""
    if len(each.names) < 2 and (not each.names or row["mark"] == each.names[0]):
        return None
    names, p, mark = list(each.names), each.p, row["mark"]
    came = [] if mark is None else [part.strip() for part in mark.split(labels)] if labels else [mark]
    lost = [name for name in came if name not in names]
    more = f" {short(', '.join(lost), LETTERS)}, which came, is none of the {len(names)} likeliest." if lost else ""
    words = "The likeliest marks, as forecast before the event; a diamond: what came."
    alt = words + "".join(f" {short(name, LETTERS)}: {percent(float(v))}." for name, v in zip(names, p, strict=True))
    place = np.arange(len(names))
    marks: list[Mark] = [Bars(p, place, across=True, opacity=0.5, name="probability")]
    if held := [names.index(name) for name in came if name in names]:
        marks.append(Points(p[held], held, "what came", role="seasonal", symbol="diamond", size=8))
    across = Axis("probability", percent=True, range=(0, max(float(p.max(initial=0.0)) * 1.15, 0.02)))
    down = Axis("", ticks=tuple(enumerate(brief(names, LETTERS))), range=(-0.6, len(names) - 0.4), down=True)
    panel = Panel(tuple(marks), across, down, height=2.7)
    return Chart("likely", "Which mark was expected", words + more, alt + more, (panel,), half=True)


def stretch(events: pl.DataFrame, unit: str, at: int | None) -> Chart | None:
    """The gap of each event of a stretch with its median and its interval; a line at event number `at`."""
    if events.height < 2:
        return None
    event, came = array(events["event"]), array(events["gap"])
    median, low, high = (array(events[name]) for name in ("median", "q05", "q95"))
    every = np.concatenate([came, low, high])
    good = every[np.isfinite(every) & (every > 0)]
    log = bool(good.size and np.quantile(good, 0.9) > WIDE * np.quantile(good, 0.1))
    if log:
        least = max(float(np.median(median)) * NEAR, 1e-12)
        came, median, low, high = (np.maximum(each, least) for each in (came, median, low, high))
    inside = float(((came >= low) & (came <= high)).mean())
    words = f"Each gap with its median forecast and 90 % interval; {percent(inside)} of these gaps lie inside."
    marks: tuple[Mark, ...] = (
        Band(event, low, high, "90 % interval"),
        Line(event, median, "median", width=1.2),
        Points(event, came, "what came", role="ink", size=4),
    )
    marks = (*marks, Rule(at, role="seasonal", dash="solid")) if at is not None else marks
    across = Axis("number of the event in its sequence", whole=True)
    panel = Panel(marks, across, Axis(f"gap ({plural(unit)})", "log" if log else "linear", zero=not log), height=2.2)
    return Chart("stretch", "Gap by gap", words, words, (panel,))
