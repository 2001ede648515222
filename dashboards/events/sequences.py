"""The sequences of an event run as a list: how well each was forecast, and the rows of one of them.

A sequence is worst where an event of it has the fewest nats on average. One with very few events is luck: where enough
sequences have LEAST events or more, only those are called worst or best.
"""

from typing import Any, Final

import numpy as np
import polars as pl

from forecast.dashboards.events.summary import scan
from forecast.dashboards.load import Run

LEAST: Final = 5  # events
ENOUGH: Final = 20  # sequences
ORDERS: Final = {"worst": "worst first", "best": "best first", "random": "at random", "longest": "longest first",
                 "name": "by name"}  # fmt: skip
OVERVIEW: Final = 300  # parts of a long sequence


def listed(lazy: pl.LazyFrame) -> pl.DataFrame:
    """A row for each sequence of predictions, in their order: unique_id, start (its first row), n (events), nats (the
    mean of time and mark), right (the share of marks), off (the median error of the gap, in its unit), whole (its rows
    lie side by side)."""
    nats = pl.col("nats_time").fill_null(0) + pl.col("nats_mark").fill_null(0)
    rows = lazy.with_row_index("row")
    return (
        rows.group_by("unique_id")
        .agg(
            pl.col("row").min().cast(pl.Int64).alias("start"), pl.len().cast(pl.Int64).alias("n"),
            nats.mean().alias("nats"), (pl.col("mark") == pl.col("guess")).mean().alias("right"),
            (pl.col("gap") - pl.col("median")).abs().median().alias("off"),
            (pl.col("row").max() - pl.col("row").min() + 1 == pl.len()).alias("whole"),
        )
        .sort("start")
        .collect(engine="streaming")
    )  # fmt: skip


def ranked(sequences: pl.DataFrame, order: str, find: str = "", seed: int = 0) -> pl.DataFrame:
    """Those whose name holds `find` (in any case), in one of ORDERS; worst and best without sequences that are too
    short to say, unless they are looked for by name."""
    found = sequences
    if find:
        found = found.filter(pl.col("unique_id").str.to_lowercase().str.contains(find.lower(), literal=True))
    if order == "random":
        return found[np.random.default_rng(seed).permutation(found.height)]
    if order == "longest":
        return found.sort("n", descending=True, maintain_order=True)
    if order == "name":
        return found.sort("unique_id")
    long = found.filter(pl.col("n") >= LEAST)
    kept = long if not find and long.height >= ENOUGH else found
    return kept.sort("nats", descending=order == "best", nulls_last=True, maintain_order=True)


def chosen(sequences: pl.DataFrame, each: int, seed: int = 0) -> list[str]:
    """The `each` worst, the `each` best and as many at random, every one once: what a run keeps more of."""
    names = [ranked(sequences, order, seed=seed)["unique_id"].head(each) for order in ("worst", "best", "random")]
    return list(dict.fromkeys(pl.concat(names)))


def events_of(run: Run, row: dict[str, Any], first: int = 0, count: int | None = None) -> pl.DataFrame:
    """`count` predictions of the sequence in a row of `listed`, from number `first` of its rows on, in their order. Of
    a file of millions only the row groups that hold them are read."""
    if run.predictions is None:
        raise ValueError(f"run {run.path.name} has no predictions; expected those that were listed")
    lazy, left = scan(run.predictions), row["n"] - first
    count = left if count is None else min(count, left)
    if row["whole"]:
        return lazy.slice(row["start"] + first, count).collect()
    return lazy.filter(pl.col("unique_id") == row["unique_id"]).slice(first, count).collect()


def overview(events: pl.DataFrame, parts: int = OVERVIEW) -> pl.DataFrame:
    """A long sequence in parts of equally many events: first, last (their numbers from 0), nats (their mean), lowest
    and highest (of one event), right (share of marks)."""
    each = max(1, -(-events.height // parts))
    nats = (pl.col("nats_time").fill_null(0) + pl.col("nats_mark").fill_null(0)).alias("nats")
    frame = events.select(nats, (pl.col("mark") == pl.col("guess")).alias("hit")).with_row_index("row")
    return frame.group_by((pl.col("row") // each).alias("part"), maintain_order=True).agg(
        pl.col("row").min().cast(pl.Int64).alias("first"), pl.col("row").max().cast(pl.Int64).alias("last"),
        pl.col("nats").mean(), pl.col("nats").min().alias("lowest"), pl.col("nats").max().alias("highest"),
        pl.col("hit").mean().alias("right"),
    )  # fmt: skip
