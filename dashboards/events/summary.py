"""What the figures need of the predictions of an event run, which may hold millions of events.

F(gap) is where a gap fell in its forecast distribution: uniform on (0, 1) where that is true. Where gaps have a grid an
event is spread over F at both edges of its cell, so nothing is drawn at random.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from forecast.dashboards.load import Run
from forecast.errors import ArtifactError

PARTS = 20  # of the histogram of F(gap)
EDGES = 200  # parts of (0, 1) on the line of its distribution
CELLS = 30  # each way in the table of gaps
LEAST = 30  # events below which a mean is not drawn
GROUPS = 20  # of events by their number in their sequence
TIMES = np.linspace(-4.0, 4.0, 81)  # decimal logarithms of what came over its forecast: edges of a histogram
SHOWN = 10  # marks in the table of confusion
AT_ONCE = 1 << 14  # events spread over all edges at once
_NEEDED = ("unique_id", "event", "ds", "gap", "median", "q05", "q95", "pit_low", "pit_high", "mark", "guess",
           "nats_time", "nats_mark")  # fmt: skip
_FLOATS = ("gap", "median", "q05", "q95", "pit_low", "pit_high", "nats_time", "nats_mark")


class Gaps(NamedTuple):
    """Median forecasts against what came, on logarithmic axes; a gap beyond the edges counts in the last cell."""

    x: np.ndarray  # (CELLS + 1,) edges of forecasts, in the unit of gaps
    y: np.ndarray  # (CELLS + 1,) of what came
    cells: np.ndarray  # (CELLS, CELLS) counts: forecast, actual
    middle: np.ndarray  # (CELLS,) the median of what came, NaN where few came
    low: np.ndarray  # (CELLS,) quartiles of what came
    high: np.ndarray
    ratio: np.ndarray  # (80,) counts of log10 (what came / its median forecast) between TIMES, beyond them in the ends
    twice: float  # share of what came between half and twice its forecast


class EventSummary(NamedTuple):
    events: int
    sequences: int
    first: Any  # datetime or float, of the scored events
    last: Any
    coverage: float | None  # of the 90 % interval of gaps
    below: np.ndarray  # (EDGES + 1,) the share of events whose F(gap) lies below each edge
    marks: pl.DataFrame  # mark, came, guessed, right: the most frequent first
    confusion: np.ndarray  # (K + 1, K + 1) counts: came, guessed; the K most frequent marks, then all others
    gaps: Gaps | None
    position: (
        pl.DataFrame
    )  # event, n, time, mark (nats), time_off, mark_off: by the number of the event in its sequence


def summarise_events(run: Run) -> EventSummary | None:
    """The summary of a run's predictions; None where there are none."""
    if run.predictions is None:
        return None
    lazy = scan(run.predictions)
    inside = pl.col("gap").is_between("q05", "q95")
    facts = lazy.select(
        pl.len().alias("n"), pl.col("unique_id").n_unique().alias("ids"), pl.col("ds").min().alias("first"),
        pl.col("ds").max().alias("last"), inside.mean().alias("inside"),
    ).collect(engine="streaming")  # fmt: skip
    n, ids, first, last, share = facts.row(0)
    if not n:
        return None
    marks, confusion = _marks(lazy)
    ends = lazy.select("pit_low", "pit_high").drop_nulls().collect(engine="streaming")
    below = distribution(ends["pit_low"].to_numpy(), ends["pit_high"].to_numpy())
    return EventSummary(n, ids, first, last, share, below, marks, confusion, _gaps(lazy), _position(lazy))


def scan(path: Path) -> pl.LazyFrame:
    """The predictions with plain types and NaN as null; ArtifactError for another table."""
    lazy = pl.scan_parquet(path)
    try:
        columns = lazy.collect_schema().names()
    except pl.exceptions.PolarsError as fault:
        reason = str(fault).splitlines()[0]
        raise ArtifactError(f"{path.name} cannot be read ({reason})", "a parquet file", "run it again") from fault
    if lost := [name for name in _NEEDED if name not in columns]:
        raise ArtifactError(f"{path.name} has no column {lost[0]}", f"expected {', '.join(_NEEDED)}", "run it again")
    return lazy.select(_NEEDED).with_columns(
        pl.col("unique_id", "mark", "guess").cast(pl.String), pl.col(_FLOATS).cast(pl.Float64).fill_nan(None)
    )


def distribution(low: np.ndarray, high: np.ndarray, parts: int = EDGES) -> np.ndarray:
    """(N,) ends of what each event covers of (0, 1) -> (parts + 1,) the share of events below each edge."""
    edges = np.linspace(0, 1, parts + 1)
    point = high <= low
    total = np.searchsorted(np.sort(high[point]), edges, side="right").astype(np.float64)
    low, high = low[~point], high[~point]
    for k in range(0, len(low), AT_ONCE):
        some, until = low[k : k + AT_ONCE, None], high[k : k + AT_ONCE, None]
        total += np.clip((edges - some) / (until - some), 0, 1).sum(0)
    return np.asarray(total / max(len(point), 1))


def _marks(lazy: pl.LazyFrame) -> tuple[pl.DataFrame, np.ndarray]:
    """How often each mark came, was guessed, was guessed rightly; and which was guessed for which. Marks that training
    did not have are null, and are not counted."""
    pairs = lazy.drop_nulls("mark").group_by("mark", "guess").agg(pl.len().alias("n")).collect(engine="streaming")
    came = pairs.group_by("mark").agg(
        pl.col("n").sum().alias("came"), pl.col("n").filter(pl.col("mark") == pl.col("guess")).sum().alias("right")
    )
    guessed = pairs.group_by(pl.col("guess").alias("mark")).agg(pl.col("n").sum().alias("guessed"))
    marks = came.join(guessed, on="mark", how="full", coalesce=True).with_columns(
        pl.col("came", "guessed", "right").fill_null(0)
    )
    marks = marks.sort(["came", "guessed", "mark"], descending=[True, True, False])
    top = {name: k for k, name in enumerate(marks["mark"].head(SHOWN))}
    table = np.zeros((len(top) + 1, len(top) + 1))
    for mark, guess, n in pairs.iter_rows():
        table[top.get(mark, len(top)), top.get(guess, len(top))] += n
    return marks, table


def _gaps(lazy: pl.LazyFrame) -> Gaps | None:
    """Counts of (forecast, actual) in cells as wide as a factor; gaps of 0 lie in the lowest."""
    edges, cells = [], []
    for name in ("median", "gap"):
        ends = lazy.filter(pl.col(name) > 0).select(
            pl.col(name).quantile(0.002).alias("low"), pl.col(name).quantile(0.998).alias("high")
        )
        low, high = ends.collect().row(0)
        if low is None:
            return None
        low, high = (low, high) if low < high else (low / 2, high * 2)
        step = np.log(high / low) / CELLS
        cell = ((pl.col(name).clip(lower_bound=low) / low).log() / step).floor().clip(0, CELLS - 1).cast(pl.Int64)
        edges.append(np.geomspace(low, high, CELLS + 1))
        cells.append(cell)
    celled = lazy.select("gap", cells[0].alias("x"), cells[1].alias("y")).drop_nulls()
    counts = celled.group_by("x", "y").agg(pl.len().alias("n")).collect(engine="streaming")
    count = np.zeros((CELLS, CELLS))
    count[counts["x"].to_numpy(), counts["y"].to_numpy()] = counts["n"].to_numpy()
    quartiles = [pl.col("gap").quantile(level, "linear").alias(name)
                 for name, level in (("middle", 0.5), ("low", 0.25), ("high", 0.75))]  # fmt: skip
    by = celled.group_by("x").agg(pl.len().alias("n"), *quartiles).filter(pl.col("n") >= LEAST).collect()
    lines = np.full((3, CELLS), np.nan)
    lines[:, by["x"].to_numpy()] = by.select("middle", "low", "high").to_numpy().T
    middle, low, high = np.maximum(lines, edges[1][0])
    return Gaps(edges[0], edges[1], count, middle, low, high, *_ratio(lazy))


def _ratio(lazy: pl.LazyFrame) -> tuple[np.ndarray, float]:
    """How many times its forecast each gap was, on a logarithmic scale; a gap of 0 counts in the lowest part."""
    log = (pl.col("gap") / pl.col("median")).log10()
    part = ((log - TIMES[0]) / (TIMES[1] - TIMES[0])).clip(0, len(TIMES) - 2).floor().cast(pl.Int64)
    held = lazy.filter(pl.col("median") > 0).select(part.alias("part"), (log.abs() <= math.log10(2)).alias("near"))
    by = held.drop_nulls().group_by("part").agg(pl.len().alias("n"), pl.col("near").sum()).collect(engine="streaming")
    found = np.zeros(len(TIMES) - 1)
    found[by["part"].to_numpy()] = by["n"].to_numpy()
    return found, float(by["near"].sum() / max(found.sum(), 1))


def _position(lazy: pl.LazyFrame) -> pl.DataFrame:
    """Mean nats by the number of the event with twice their standard error, far ones in ever larger groups."""
    parts = {"time": pl.col("nats_time"), "mark": pl.col("nats_mark")}
    sums = [pl.len().alias("n"), *(part.sum().alias(name) for name, part in parts.items()),
            *(part.pow(2).sum().alias(f"{name}_squares") for name, part in parts.items())]  # fmt: skip
    each = lazy.group_by("event").agg(sums).sort("event").collect(engine="streaming")
    highest = max(int(each["event"].max() or 1), 2)  # type: ignore[arg-type]
    starts = np.unique(np.round(np.geomspace(1, highest + 1, GROUPS)).astype(np.int64))
    group = np.searchsorted(starts, np.maximum(each["event"].to_numpy(), 1), side="right")
    n, means = pl.col("n").sum(), []
    for name in parts:
        mean = pl.col(name).sum() / n
        deviation = (pl.col(f"{name}_squares").sum() / n - mean**2).clip(0, None).sqrt()
        means += [mean.alias(name), (1.96 * deviation / n.sqrt()).alias(f"{name}_off")]
    middle = ((pl.col("event") * pl.col("n")).sum() / n).alias("event")
    folded = each.with_columns(pl.Series("group", group)).group_by("group").agg(middle, n.alias("n"), *means)
    return folded.filter(pl.col("n") >= LEAST).sort("group").drop("group")
