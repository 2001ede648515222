"""A few sequences drawn as they are: events on a line of time, a row for each mark, under the hazard of the next."""

from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from forecast.dashboards.canvas import NARROW, Picture, array, dates
from forecast.dashboards.event_scores import event_unit, plural
from forecast.dashboards.event_summary import EventSummary, scan
from forecast.dashboards.load import Run
from forecast.dashboards.stored import stored
from forecast.dashboards.style import LIGHT, tick

MOST = 4  # sequences
BEFORE = 8  # events of the context that are shown
ROWS = 5  # marks with a row of their own
OTHER = "other marks"
UNKNOWN = "unknown"  # a mark that training did not have
SHAPES = (("o", "model"), ("s", "seasonal"), ("^", "ridge"), ("D", "last"), ("v", "other"), ("P", "muted"))
HAZARD = 1.0  # inches
SPAN = 300  # of a logarithmic axis of hazards, from its top


class Sequence(NamedTuple):
    id: str
    ds: pl.Series  # of the hazard: datetimes or numbers
    hazard: np.ndarray  # events per unit
    events: pl.DataFrame  # ds, mark, guess (null: context, not scored)

    @property
    def numbers(self) -> bool:
        """Whether times are numbers, not dates."""
        return self.ds.dtype.is_numeric()


def sequences(run: Run) -> list[Sequence]:
    """Those that the run wrote to be drawn; none where it wrote no timeline.parquet."""
    lines = _read(run, "timeline.parquet", ("unique_id", "ds", "hazard"))
    if lines is None or run.predictions is None:
        return []
    context = _read(run, "timeline_events.parquet", ("unique_id", "ds", "mark", "scored"))
    ids = lines["unique_id"].unique(maintain_order=True).head(MOST).to_list()
    scored = scan(run.predictions).filter(pl.col("unique_id").is_in(ids)).select("unique_id", "ds", "mark", "guess")
    told = scored.with_columns(_told_marks()).collect(engine="streaming")
    found = []
    for name in ids:
        line = lines.filter(pl.col("unique_id") == name).sort("ds")
        own, first = told.filter(pl.col("unique_id") == name).drop("unique_id"), line["ds"][0]
        if context is not None:
            all_ = context.filter(pl.col("unique_id") == name).sort("ds")
            early = all_.filter(pl.col("ds") <= first).tail(BEFORE)
            first = early["ds"][0] if early.height else first
            kept = all_.filter(~pl.col("scored"), pl.col("ds") >= first)
            kept = kept.select("ds", "mark", pl.lit(None, pl.String).alias("guess"))
            own = pl.concat([kept, own], how="vertical_relaxed")
        own = own.filter(pl.col("ds").is_between(first, line["ds"][-1]))
        found.append(Sequence(name, line["ds"], array(line["hazard"]), own.sort("ds")))
    return found


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


def timelines(run: Run, summary: EventSummary) -> Picture | None:
    """The hazard of the next event over the events that came, sequence by sequence."""
    found = [each for each in sequences(run) if each.events.height]
    if not found:
        return None
    names = _rows(summary, found)
    unit, marked = event_unit(run), len(names) > 1
    words = (
        f"{'Sequences' if len(found) > 1 else 'A sequence'} of the test part. Above: the hazard, how many events per "
        f"{unit} the model expects at each moment, given all that came before it and that nothing came since. Below: "
        "the events that came"
    )
    words += ", a row and a shape for each mark; filled: the mark was guessed right, hollow: wrong" if marked else ""
    words += ", grey: history that is not scored." if any(e.events["guess"].null_count() for e in found) else "."
    alt = words + "".join(f" Sequence {each.id}: {_told(each, marked)}." for each in found)

    scale = _scale(found)

    def draw(width: float) -> Figure:
        wide = width > NARROW
        most = 12 if wide else 9
        head, rows, foot = (0.32 if wide else 0.46), 0.17 * len(names) + 0.08, (0.55 if found[0].numbers else 0.38)
        tall = head + HAZARD + rows + foot  # inches of one sequence; placed by hand, for the two axes of one touch
        left = 0.075 * max(5, *(len(_short(name, most)) for name in names)) + 0.2
        height = tall * len(found)
        figure = Figure(figsize=(width, height))
        for k, each in enumerate(found):
            bottom = height - (k + 1) * tall + foot
            across = left / width, 1 - (left + 0.08) / width
            below = figure.add_axes((across[0], bottom / height, across[1], rows / height))
            above = figure.add_axes((across[0], (bottom + rows) / height, across[1], HAZARD / height), sharex=below)
            _hazard(above, each, unit, scale)
            _events(below, each, names, most)
            first, more = f"Sequence {each.id}{_span(each)}", _told(each, marked)
            figure.text(
                across[0] if wide else 0.02, (bottom + rows + HAZARD + 0.07) / height,
                f"{first} · {more}" if wide else f"{first}\n{more}",
                fontsize=9 if wide else 8, weight="bold", va="bottom", linespacing=1.35,
            )  # fmt: skip
            _axis(below, each, unit, 9 if wide else 4)
        return figure

    return Picture("timelines", "What came, and what was expected", words, alt, False, draw)


def _told(each: Sequence, marked: bool) -> str:
    scored = each.events.filter(pl.col("guess").is_not_null())
    if not marked:
        return f"{scored.height:,d} events"
    right = scored.filter(pl.col("mark") == pl.col("guess")).height
    return f"{right:,d} of {scored.height:,d} marks guessed right"


def _rows(summary: EventSummary, found: list[Sequence]) -> list[str]:
    """The marks with a row: the most frequent of those that are drawn; the others share one."""
    known = {name: k for k, name in enumerate(summary.marks["mark"])}
    drawn = pl.concat([each.events["mark"] for each in found]).value_counts()
    names = [name for name, _ in sorted(drawn.iter_rows(), key=lambda row: (-row[1], known.get(row[0], len(known))))]
    return names if len(names) <= ROWS + 1 else [*names[:ROWS], OTHER]


def _scale(found: list[Sequence]) -> tuple[float, float]:
    """The ends of the axis of hazards, one for all: logarithmic from above 0 where they are steep."""
    every = np.concatenate([each.hazard for each in found])
    good = every[np.isfinite(every) & (every > 0)]
    if not good.size:
        return 0.0, 1.0
    top = float(np.quantile(good, 0.995)) * 1.2
    steep = top > 20 * float(np.median(good))
    return (max(float(np.quantile(good, 0.05)), top / SPAN) if steep else 0.0), top


def _hazard(axes: Axes, each: Sequence, unit: str, scale: tuple[float, float]) -> None:
    low, top = scale
    if low:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(3))
    value = np.clip(each.hazard, low, top)
    axes.fill_between(each.ds, value, low, color=LIGHT["model"], alpha=0.16, lw=0)
    axes.plot(each.ds, value, color=LIGHT["model"], lw=1.2)
    axes.set_ylim(low, top)
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    for at in each.events["ds"]:
        axes.axvline(at, color=LIGHT["muted"], lw=0.5, alpha=0.45, zorder=0)
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(f"per {unit}")


def _events(axes: Axes, each: Sequence, names: list[str], most: int) -> None:
    """A row for each mark, the most frequent above."""
    known, rows = set(names[:-1] if names[-1] == OTHER else names), each.events
    for k, name in enumerate(names):
        shape, role = ("P", "muted") if name == OTHER else SHAPES[k % len(SHAPES)]
        own = rows.filter(~pl.col("mark").is_in(list(known)) if name == OTHER else pl.col("mark") == name)
        hit = pl.col("mark") == pl.col("guess")
        for some, face, edge in ((own.filter(hit), LIGHT[role], LIGHT[role]), (own.filter(~hit), "none", LIGHT[role]),
                                 (own.filter(pl.col("guess").is_null()), LIGHT["ink"], LIGHT["ink"])):  # fmt: skip
            beneath = {"alpha": 0.35, "zorder": 2} if edge == LIGHT["ink"] else {"zorder": 3}
            axes.plot(some["ds"], np.full(some.height, -k), shape, ms=5, mfc=face, mec=edge, mew=1.1, ls="none",
                      clip_on=False, **beneath)  # fmt: skip
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.set_yticks(range(0, -len(names), -1), [_short(name, most) for name in names])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="x")


def _axis(axes: Axes, each: Sequence, unit: str, most: int) -> None:
    """Dates, or numbers with their unit."""
    axes.margins(x=0.01)
    if each.numbers:
        axes.xaxis.set_major_locator(MaxNLocator(most))
        axes.xaxis.set_major_formatter(FuncFormatter(tick))
        axes.set_xlabel(f"time ({plural(unit)})")
    else:
        dates(axes, most)


def _span(each: Sequence) -> str:
    """The years, which the dates on the axis leave out."""
    if each.numbers:
        return ""
    first, last = min(each.events["ds"].min(), each.ds[0]), each.ds[-1]
    return f", {first:%b %Y} to {last:%b %Y}"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
