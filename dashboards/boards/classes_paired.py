"""How sure a difference between two models of classes is, when both saw the same test series.

Of each series it is known whether a model was right, and how many nats it lost; the difference of two models is the
mean over series. Its 95 % interval is a bootstrap over series, drawn with replacement, since a hard series is hard for
both models; it is widened as Student's t of that many series is, and with several seeds the scores' deviations from
their mean are drawn too. Test parts are small and models alike: two that are right on the same 40 series are not known
to be equal. So two series more are drawn from, on which the models differ by the root of a half, one way and the other:
half a series in each cell of the table of who was right, as Agresti and Min (Stat. Med. 2005) have it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from forecast.dashboards.boards.series_paired import FEWEST, over_units

KEYS = ("accuracy", "log_loss")
LEAST = float(np.finfo(np.float32).tiny)  # a probability that is stored as 0


class Hits(NamedTuple):
    """Scores by series, in the order of their names; all arrays (S,)."""

    ids: np.ndarray
    label: np.ndarray
    accuracy: np.ndarray  # 1.0 where the guess was right
    log_loss: np.ndarray  # nats


def read(path: Path) -> Hits:
    """Scores by series of a run's predictions.parquet."""
    lost = -pl.col("p_label").cast(pl.Float64).clip(lower_bound=LEAST).log()
    text = pl.col("unique_id", "label").cast(pl.String)
    right = (pl.col("label").cast(pl.String) == pl.col("guess").cast(pl.String)).cast(pl.Float64)
    made = pl.scan_parquet(path).select(text, right.alias("accuracy"), lost.alias("log_loss"))
    found = made.sort("unique_id").collect(engine="streaming")
    return Hits(*(found[name].to_numpy() for name in ("unique_id", "label", *KEYS)))


def same(found: Sequence[Hits]) -> bool:
    """Whether all are of the same series."""
    first = found[0]
    return all(
        np.array_equal(getattr(first, key), getattr(each, key)) for each in found[1:] for key in ("ids", "label")
    )


def interval(ours: Sequence[Hits], theirs: Sequence[Hits], key: str, *, seed: int = 0) -> tuple[float, float] | None:
    """The 95 % interval of (ours - theirs), one Hits for each seed; None for too few series."""
    mine, other = (np.stack([getattr(each, key) for each in several]) for several in (ours, theirs))
    if mine.shape[1] < FEWEST:
        return None
    if key == "accuracy":
        mine, other = (np.pad(each, ((0, 0), (0, 2))) for each in (mine, other))
        mine[:, -2] = other[:, -1] = 0.5**0.5
    return over_units(mine, other, np.ones(mine.shape[1]), seed=seed)
