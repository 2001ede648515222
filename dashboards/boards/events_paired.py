"""How sure a difference between two models of events is, when both forecast the same events.

The nats of a sequence's events are summed; the difference of two models is sum_s (a_s - b_s) / sum_s n_s over sequences
of n_s events. Its 95 % interval is a bootstrap over sequences, drawn whole with replacement: events of one sequence
hang together, and a hard sequence is hard for both models. It is widened as Student's t of that many sequences is. With
several seeds the scores' deviations from their mean are drawn too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from forecast.dashboards.boards.series_paired import over_units

KEYS = ("total", "time", "mark")


class Nats(NamedTuple):
    """Sums by sequence, in the order of their names; all arrays (S,)."""

    ids: np.ndarray
    events: np.ndarray  # how many were scored
    numbers: np.ndarray  # the sum of the squares of their numbers: which they were
    total: np.ndarray
    time: np.ndarray
    mark: np.ndarray


def read(path: Path) -> Nats:
    """Sums by sequence of a run's predictions.parquet."""
    made = (
        pl.scan_parquet(path)
        .group_by(pl.col("unique_id").cast(pl.String))
        .agg(
            pl.len().alias("n"), pl.col("event").cast(pl.Int64).pow(2).sum().alias("numbers"),
            pl.col("nats_time", "nats_mark").cast(pl.Float64).fill_nan(None).sum(),
        )
        .sort("unique_id")
        .collect(engine="streaming")
    )  # fmt: skip
    time, mark = made["nats_time"].to_numpy(), made["nats_mark"].to_numpy()
    ids, events, numbers = (made[name].to_numpy() for name in ("unique_id", "n", "numbers"))
    return Nats(ids, events, numbers, time + mark, time, mark)


def same(found: Sequence[Nats]) -> bool:
    """Whether all are of the same events."""
    first = found[0]
    return all(np.array_equal(getattr(first, key), getattr(each, key))
               for each in found[1:] for key in ("ids", "events", "numbers"))  # fmt: skip


def interval(ours: Sequence[Nats], theirs: Sequence[Nats], key: str, *, seed: int = 0) -> tuple[float, float] | None:
    """The 95 % interval of (ours - theirs) in nats per event, one Nats for each seed; None for too few sequences."""
    mine, other = (np.stack([getattr(each, key) for each in several]) for several in (ours, theirs))
    return over_units(mine, other, ours[0].events.astype(np.float64), seed=seed)
