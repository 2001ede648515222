"""A few sequences drawn as what they are: events on a line of time, a row for each mark, under the hazard of the next."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from forecast.dashboards.canvas import NARROW, SPACE, Picture, array, dates
from forecast.dashboards.event_scores import event_unit, percent, plural
from forecast.dashboards.event_summary import EventSummary, scan
from forecast.dashboards.load import Run
from forecast.dashboards.style import LIGHT, tick
from forecast.errors import ArtifactError

MOST = 4  # sequences
BEFORE = 8  # events of the context that are shown
ROWS = 5  # marks with a row of their own
OTHER = "other marks"
SHAPES = (("o", "model"), ("s", "seasonal"), ("^", "ridge"), ("D", "last"), ("v", "other"), ("P", "muted"))
SPAN = 300  # of a logarithmic axis of hazards, from its top


class Sequence(NamedTuple):
    id: str
    ds: Any  # of the hazard: datetimes or numbers
    hazard: np.ndarray  # events per unit
    events: pl.DataFrame  # ds, mark, guess (null: context, not scored)


def sequences(run: Run) -> list[Sequence]:
    """Those that the run wrote to be drawn; none where it wrote no timeline.parquet."""
    lines = _read(run, "timeline.parquet", ("unique_id", "ds", "hazard"))
    if lines is None or run.predictions is None:
        return []
    context = _read(run, "timeline_events.parquet", ("unique_id", "ds", "mark", "scored"))
    ids = lines["unique_id"].unique(maintain_order=True).head(MOST).to_list()
    scored = scan(run.predictions).filter(pl.col("unique_id").is_in(ids)).select("unique_id", "ds", "mark", "guess")
    told = scored.collect(engine="streaming")
    found = []
    for name in ids:
        line = lines.filter(pl.col("unique_id") == name).sort("ds")
        own = told.filter(pl.col("unique_id") == name).drop("unique_id")
        own = own.filter(pl.col("ds").is_between(line["ds"][0], line["ds"][-1]))
        if context is not None:
            before = context.filter(pl.col("unique_id") == name, ~pl.col("scored"), pl.col("ds") <= line["ds"][0])
            before = before.sort("ds").tail(BEFORE).select("ds", "mark", pl.lit(None, pl.String).alias("guess"))
            own = pl.concat([before, own], how="vertical_relaxed")
        found.append(Sequence(name, line["ds"], array(line["hazard"]), own.sort("ds")))
    return found


def _read(run: Run, name: str, columns: tuple[str, ...]) -> pl.DataFrame | None:
    path = run.path / name
    if not path.is_file():
        return None
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as fault:
        reason = str(fault).splitlines()[0]
        raise ArtifactError(f"{name} cannot be read ({reason})", "a parquet file", "run it again") from fault
    if lost := [column for column in columns if column not in frame.columns]:
        raise ArtifactError(f"{name} has no column {lost[0]}", f"expected {', '.join(columns)}", "run it again")
    texts = [column for column in ("unique_id", "mark") if column in columns]
    return frame.select(columns).with_columns(pl.col(texts).cast(pl.String)) if frame.height else None


def timelines(run: Run, summary: EventSummary) -> Picture | None:
    """The hazard of the next event over the events that came, sequence by sequence."""
    found = [each for each in sequences(run) if each.events.height]
    if not found:
        return None
    names = _rows(summary, found)
    unit, marked = event_unit(run), len(names) > 1
    words = (
        f"{'Sequences' if len(found) > 1 else 'A sequence'} of the test part. Above: the hazard, how many events a "
        f"{unit} the model expects at each moment, given all that came before it and that nothing came since. Below: the "
        "events that came"
    )
    words += ", a row and a shape for each mark; filled: the mark was guessed right, hollow: wrong" if marked else ""
    words += ", grey: history that is not scored." if any(e.events["guess"].null_count() for e in found) else "."
    alt = words + "".join(f" Sequence {each.id}: {_told(each, marked)}." for each in found)

    def draw(width: float) -> Figure:
        rows = 0.17 * len(names) + 0.12
        figure = Figure(figsize=(width, (1.15 + rows + 0.5) * len(found)), layout=ConstrainedLayoutEngine(**SPACE))
        panels = figure.subplots(2 * len(found), 1, gridspec_kw={"height_ratios": [1.15, rows] * len(found)})
        for k, each in enumerate(found):
            above, below = panels[2 * k], panels[2 * k + 1]
            below.sharex(above)
            _hazard(above, each, unit)
            _events(below, each, names)
            title = f"Sequence {each.id} · {_told(each, marked)}"
            above.set_title(title if width > NARROW else title.replace(" · ", "\n"))
            _axis(below, each, unit, 9 if width > NARROW else 4)
        return figure

    return Picture("timelines", "What came, and what was expected", words, alt, False, draw)


def _told(each: Sequence, marked: bool) -> str:
    scored = each.events.filter(pl.col("guess").is_not_null())
    if not marked or not scored.height:
        return f"{scored.height:,d} events"
    return f"{scored.height:,d} events, {percent(float((scored['mark'] == scored['guess']).mean() or 0.0))} guessed right"  # type: ignore[arg-type]


def _rows(summary: EventSummary, found: list[Sequence]) -> list[str]:
    """The marks with a row: the most frequent of those that are drawn; the others share one."""
    there = pl.concat([each.events["mark"] for each in found]).value_counts(sort=True)["mark"].to_list()
    order = [name for name in summary.marks["mark"] if name in there] + [name for name in there]
    names = list(dict.fromkeys(order))
    return names if len(names) <= ROWS + 1 else [*names[:ROWS], OTHER]


def _hazard(axes: Axes, each: Sequence, unit: str) -> None:
    good = each.hazard[np.isfinite(each.hazard) & (each.hazard > 0)]
    if good.size:
        top = float(np.quantile(good, 0.995)) * 1.15
        low = max(float(good.min()), top / SPAN)
        steep = top > 20 * float(np.median(good))
        if steep:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(numticks=4))
            axes.yaxis.set_minor_locator(NullLocator())
        else:
            axes.yaxis.set_major_locator(MaxNLocator(3))
        bottom = low if steep else 0.0
        value = np.clip(each.hazard, bottom, None)
        axes.fill_between(each.ds, value, bottom, color=LIGHT["model"], alpha=0.16, lw=0)
        axes.plot(each.ds, value, color=LIGHT["model"], lw=1.2)
        axes.set_ylim(bottom, top)
        axes.yaxis.set_major_formatter(FuncFormatter(tick))
    for at in each.events["ds"]:
        axes.axvline(at, color=LIGHT["muted"], lw=0.5, alpha=0.45, zorder=0)
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(f"per {unit}")


def _events(axes: Axes, each: Sequence, names: list[str]) -> None:
    """A row for each mark, the most frequent above."""
    known, rows = set(names[:-1] if names[-1] == OTHER else names), each.events
    for k, name in enumerate(names):
        shape, role = ("P", "muted") if name == OTHER else SHAPES[k % len(SHAPES)]
        own = rows.filter(~pl.col("mark").is_in(list(known)) if name == OTHER else pl.col("mark") == name)
        hit = pl.col("mark") == pl.col("guess")
        for some, face, edge in ((own.filter(hit), LIGHT[role], LIGHT[role]), (own.filter(~hit), "none", LIGHT[role]),
                                 (own.filter(pl.col("guess").is_null()), LIGHT["grid"], LIGHT["grid"])):  # fmt: skip
            axes.plot(some["ds"], np.full(some.height, -k), shape, ms=5, mfc=face, mec=edge, mew=1.1, ls="none",
                      clip_on=False)  # fmt: skip
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.set_yticks(range(0, -len(names), -1), [n if len(n) <= 12 else f"{n[:11]}…" for n in names])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="x")


def _axis(axes: Axes, each: Sequence, unit: str, most: int) -> None:
    """A line of dates, the years in words, or of numbers."""
    axes.margins(x=0.01)
    if not isinstance(each.ds, pl.Series) or each.ds.dtype.is_numeric():
        axes.xaxis.set_major_locator(MaxNLocator(most))
        axes.xaxis.set_major_formatter(FuncFormatter(tick))
        axes.set_xlabel(f"time ({plural(unit)})")
        return
    dates(axes, most)
    first, last = each.events["ds"].min(), each.ds.max()
    axes.set_xlabel(f"time, {first:%b %Y} to {last:%b %Y}")
