"""A few sequences drawn as they are: events on a line of time, a row for each mark, under the hazard of the next."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import Axis, Band, Chart, Line, Mark, Panel, Points, Symbol
from forecast.dashboards.charts.shared import array
from forecast.dashboards.charts.style import number, short
from forecast.dashboards.events.marks import brief
from forecast.dashboards.events.scores import event_unit, plural
from forecast.dashboards.events.summary import EventSummary, scan
from forecast.dashboards.load import Run
from forecast.dashboards.stored import stored

MOST = 4  # sequences
LAST = 40  # events of each, in a report
BEFORE = 8  # events of the context that are shown
ROWS = 5  # marks with a row of their own
OTHER = "other marks"
UNKNOWN = "unknown"  # a mark that training did not have
SHAPES: tuple[tuple[Symbol, str], ...] = (
    ("dot", "model"), ("square", "seasonal"), ("triangle", "ridge"), ("diamond", "last"), ("dot", "other"),
)  # fmt: skip
REST: tuple[Symbol, str] = ("square", "muted")
SPAN = 300  # of a logarithmic axis of hazards, from its top
LETTERS = 60  # of a sequence's name


class Sequence(NamedTuple):
    id: str
    ds: pl.Series  # of the hazard: datetimes or numbers; empty where none was kept
    hazard: np.ndarray  # events per unit
    events: pl.DataFrame  # ds, mark, guess (null: context, not scored)

    @property
    def numbers(self) -> bool:
        """Whether times are numbers, not dates."""
        return self.ds.dtype.is_numeric()


def sequences(run: Run) -> list[Sequence]:
    """The first of those that the run kept to be drawn; none where it wrote no timeline.parquet."""
    lines = hazards(run)
    if lines is None or run.predictions is None:
        return []
    ids = lines["unique_id"].unique(maintain_order=True).head(MOST).to_list()
    scored = scan(run.predictions).filter(pl.col("unique_id").is_in(ids)).select("unique_id", "ds", "mark", "guess")
    told = scored.with_columns(_told_marks()).collect(engine="streaming")
    context = histories(run)
    return [looked(name, told.filter(pl.col("unique_id") == name), lines, context, cut=True) for name in ids]


def hazards(run: Run) -> pl.DataFrame | None:
    """unique_id, ds, hazard of the sequences that were kept; None where none were."""
    return _read(run, "timeline.parquet", ("unique_id", "ds", "hazard"))


def histories(run: Run) -> pl.DataFrame | None:
    """unique_id, ds, mark, scored: the events of the sequences that were kept."""
    return _read(run, "timeline_events.parquet", ("unique_id", "ds", "mark", "scored"))


def looked(
    name: str, own: pl.DataFrame, lines: pl.DataFrame | None, context: pl.DataFrame | None, final: bool = True,
    cut: bool = False,
) -> Sequence:  # fmt: skip
    """A sequence, or a stretch of it: `own` are its predictions there (ds, mark, guess), to which the hazard is cut;
    `final`: it ends with the last of its events. `cut`: only events where the hazard is known, and a few before."""
    own = own.select("ds", "mark", "guess").with_columns(_told_marks())
    line = (own.select("ds", pl.lit(0.0).alias("hazard")).clear() if lines is None
            else lines.filter(pl.col("unique_id") == name).sort("ds").drop("unique_id"))  # fmt: skip
    first = line["ds"][0] if line.height else None
    if not final or (first is not None and own.height and own["ds"][-1] < first):
        start, stop = own["ds"][0], own["ds"][-1]
        line = line.filter(pl.col("ds").is_between(start, stop))
        first = start
    if context is not None and first is not None:
        all_ = context.filter(pl.col("unique_id") == name).sort("ds")
        early = all_.filter(pl.col("ds") <= first).tail(BEFORE)
        first = early["ds"][0] if early.height else first
        kept = all_.filter(~pl.col("scored"), pl.col("ds") >= first).tail(max(BEFORE, LAST - own.height))
        kept = kept.select("ds", "mark", pl.lit(None, pl.String).alias("guess"))
        start = min([*kept["ds"].head(1), *own["ds"].head(1)], default=first)
        first, line = max(first, start), line.filter(pl.col("ds") >= start)
        own = pl.concat([kept, own], how="vertical_relaxed")
    if cut and line.height:
        own = own.filter(pl.col("ds").is_between(first, line["ds"][-1]))
    return Sequence(name, line["ds"], array(line["hazard"]), own.sort("ds"))


def _read(run: Run, name: str, columns: tuple[str, ...]) -> pl.DataFrame | None:
    frame = stored(run, name, columns)
    if frame is None:
        return None
    texts = [column for column in ("unique_id", "mark") if column in columns]
    if "mark" in columns:
        frame = frame.with_columns(_told_marks())
    return frame.with_columns(pl.col(texts).cast(pl.String))


def _told_marks() -> pl.Expr:
    """A mark that training did not have is null."""
    return pl.col("mark").cast(pl.String).fill_null(UNKNOWN)


def timelines(run: Run, summary: EventSummary) -> list[Chart]:
    """The hazard of the next event over the events that came, a chart for each of the first sequences that the run
    kept."""
    found = [last(each) for each in sequences(run) if each.events.height]
    if not found:
        return []
    names, marked, ends = rows(summary, found), summary.marks.height > 1, scale(found)
    charts = [timeline(each, names, event_unit(run), ends, marked, f"timeline-{k + 1}")
              for k, each in enumerate(found)]  # fmt: skip
    return [charts[0], *(chart._replace(caption="Drawn as the one above.") for chart in charts[1:])]


def timeline(
    each: Sequence, names: list[str], unit: str, ends: tuple[float, float], marked: bool, name: str
) -> Chart:  # fmt: skip
    """One sequence: the hazard where it is known, `names` of marks with a row (see `rows`), ends of its axis (see
    `scale`)."""
    words = (
        f"Above: the hazard, how many events per {unit} the model expects at each moment, given all that came before "
        "it and that nothing came since. Below: the events that came"
    )
    words = words if len(each.ds) else "The events that came"
    words += ", a row and a shape for each mark; filled: the mark was guessed right, hollow: wrong" if marked else ""
    words += "; grey: history that is not scored." if each.events["guess"].null_count() else "."
    title = f"Sequence {short(each.id, LETTERS)}{_span(each)} · {_told(each, marked)}"
    across = Axis(f"time ({plural(unit)})") if each.numbers else Axis("time", "time")
    down = Axis("", ticks=tuple(enumerate(brief(names))), range=(-0.6, len(names) - 0.4), down=True)
    below = Panel(_events(each, names), across, down, height=0.17 * len(names) + 0.5)
    above = _hazard(each, across, unit, ends)
    panels = (above, below) if above else (below,)
    alt = f"{title}. {words}"
    return Chart(name, title, words, alt, panels, shared=True, legend=False)


def last(each: Sequence, most: int = LAST) -> Sequence:
    """Its last events and the hazard between them."""
    if each.events.height <= most + BEFORE:
        return each
    events = each.events.tail(most)
    later = (each.ds >= events["ds"][0]).to_numpy()
    return each._replace(events=events, ds=each.ds.filter(later), hazard=each.hazard[later])


def _told(each: Sequence, marked: bool) -> str:
    scored = each.events.filter(pl.col("guess").is_not_null())
    if not marked:
        return f"{scored.height:,d} events"
    right = scored.filter(pl.col("mark") == pl.col("guess")).height
    return f"{right:,d} of {scored.height:,d} marks guessed right"


def rows(summary: EventSummary, found: list[Sequence], most: int = ROWS) -> list[str]:
    """The marks with a row: the most frequent of those that are drawn; the others share one."""
    known = {name: k for k, name in enumerate(summary.marks["mark"])}
    drawn = pl.concat([each.events["mark"] for each in found]).value_counts()
    names = [name for name, _ in sorted(drawn.iter_rows(), key=lambda row: (-row[1], known.get(row[0], len(known))))]
    return names if len(names) <= most + 1 else [*names[:most], OTHER]


def scale(found: list[Sequence]) -> tuple[float, float]:
    """The ends of the axis of hazards, one for all: logarithmic from above 0 where they are steep."""
    every = np.concatenate([each.hazard for each in found])
    good = every[np.isfinite(every) & (every > 0)]
    if not good.size:
        return 0.0, 1.0
    top = float(np.quantile(good, 0.995)) * 1.2
    steep = top > 20 * float(np.median(good))
    return (max(float(np.quantile(good, 0.05)), top / SPAN) if steep else 0.0), top


def _hazard(each: Sequence, across: Axis, unit: str, ends: tuple[float, float]) -> Panel | None:
    """The hazard over hairlines at the events; None where it was not kept."""
    if not len(each.ds):
        return None
    low, top = ends
    value = np.clip(each.hazard, low, top)
    at = each.events["ds"].to_numpy().repeat(3)  # up, down, and a gap
    strokes = Line(at, np.tile([low, top, np.nan], each.events.height), role="muted", width=0.4)
    marks: tuple[Mark, ...] = (strokes, Band(each.ds, np.full(len(value), low), value), Line(each.ds, value, width=1.2))
    return Panel(marks, across, Axis(f"per {unit}", "log" if low else "linear", range=ends), height=1.15)


def _events(each: Sequence, names: list[str]) -> tuple[Mark, ...]:
    """A row for each mark, the most frequent above."""
    marks: list[Mark] = []
    known = names[:-1] if names[-1] == OTHER else names
    for k, name in enumerate(names):
        shape, role = REST if name == OTHER else SHAPES[k % len(SHAPES)]
        own = each.events.filter(~pl.col("mark").is_in(known) if name == OTHER else pl.col("mark") == name)
        hit, unscored = pl.col("mark") == pl.col("guess"), pl.col("guess").is_null()
        for some, hollow in ((own.filter(hit), False), (own.filter(~hit), True)):
            if some.height:
                marks.append(Points(some["ds"], [k] * some.height, role=role, symbol=shape, words=_words(some),
                                    hollow=hollow))  # fmt: skip
        if (some := own.filter(unscored)).height:
            marks.append(Points(some["ds"], [k] * some.height, role="muted", symbol=shape, words=_words(some),
                                opacity=0.5))  # fmt: skip
    return tuple(marks)


def _words(events: pl.DataFrame) -> list[str]:
    """Of each event its mark, what was guessed, and when it came."""
    told = []
    for at, mark, guess in events.select("ds", "mark", "guess").iter_rows():
        when = number(at, 6) if isinstance(at, int | float) else f"{at:%Y-%m-%d %H:%M:%S}"
        said = "not scored" if guess is None else "guessed right" if guess == mark else f"guessed {short(guess, 30)}"
        told.append(f"{short(mark, 30)}, {said}, {when}")
    return told


def _span(each: Sequence) -> str:
    """The years, which the dates on the axis leave out."""
    if each.numbers or not each.events.height:
        return ""
    ends: list[Any] = [each.events["ds"].min(), each.events["ds"].max()]
    if len(each.ds):
        ends += [each.ds[0], each.ds[-1]]
    first, last = min(ends), max(ends)
    return f", {first:%b %Y} to {last:%b %Y}"
