"""Forecasts in the columns of Nixtla's libraries: unique_id, ds, MODEL, MODEL-lo-90, MODEL-hi-90, …"""

from collections.abc import Sequence

import polars as pl

from forecast.errors import UsageError
from forecast.inference.predictor import column


def nixtla(frame: pl.DataFrame, name: str, levels: Sequence[float] = (0.05, 0.95)) -> pl.DataFrame:
    """What `forecast_frame` gives of a run of series with one target, its forecasts and fallbacks only.

    `levels` are those that were asked for: each two that lie as far from the middle are the interval of what is
    between them, 0.05 and 0.95 that of 90; another one is MODEL-q20. UsageError for several targets.
    """
    made = frame.filter(pl.col("step").is_not_null())
    if made["channel"].n_unique() > 1:
        names = ", ".join(made["channel"].unique(maintain_order=True).head(6).to_list())
        raise UsageError(f"columns=nixtla with the targets {names}", "they have one target", "leave columns= out")
    wanted = {"unique_id": "unique_id", "ds": "ds", "y_hat": name}
    wanted |= {column(level): f"{name}-{_named(level, levels)}" for level in levels}
    return made.select(pl.col(old).alias(new) for old, new in wanted.items())


def _named(level: float, levels: Sequence[float]) -> str:
    """lo-90, hi-90, or q20."""
    twin = any(abs(level + other - 1) < 1e-9 for other in levels)
    if not twin or level == 0.5:
        return column(level)
    return f"{'lo' if level < 0.5 else 'hi'}-{100 * abs(1 - 2 * level):.10g}"
