"""Which forecasts to draw, and their rows: a handful of windows out of a large file."""

from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl

from forecast.dashboards.load import Run
from forecast.dashboards.series.bands import COLUMNS

CHANNELS = 7  # channels drawn as small multiples


class Window(NamedTuple):
    """A forecast of a channel: `past` (ds, y) up to its cutoff, `future` (ds, y, y_hat, naive, bands.COLUMNS)."""

    role: str  # best, typical, worst
    id: str
    channel: str
    cutoff: datetime
    mse: float  # scaled
    past: pl.DataFrame
    future: pl.DataFrame


def pick(
    run: Run, lazy: pl.LazyFrame, windows: pl.DataFrame, channels: pl.DataFrame, interval: timedelta
) -> tuple[list[Window], list[Window]]:
    """The windows to draw: best, median and worst of the first channel; the median one of all channels."""
    names = channels["channel"].to_list()
    picked = []
    ranked = _ranked(windows, "first_mse", "first_scored")
    places = {"best": 0, "typical": (ranked.height - 1) // 2, "worst": ranked.height - 1} if ranked.height else {}
    for role, place in places.items():
        identity, cutoff, mse = ranked.select("unique_id", "cutoff", "first_mse").row(place)
        picked += _read(run, lazy, windows, (role, identity, cutoff), {names[0]: mse}, interval)
    typical: list[Window] = []
    ranked = _ranked(windows, "mse", "scored")
    if len(names) > 1 and ranked.height:
        identity, cutoff = ranked.select("unique_id", "cutoff").row((ranked.height - 1) // 2)
        if len(names) > CHANNELS:  # from the easiest to the hardest
            hardness = channels.sort("mse", nulls_last=True)["channel"].to_list()
            names = [hardness[k] for k in np.linspace(0, len(hardness) - 1, CHANNELS).round().astype(int)]
        typical = _read(run, lazy, windows, ("typical", identity, cutoff), dict.fromkeys(names), interval)
    return picked, typical


def _ranked(windows: pl.DataFrame, error: str, scored: str) -> pl.DataFrame:
    """The windows with the most observed targets, by error, then time: an empty window is nobody's best."""
    full = windows.filter(pl.col(scored) == pl.col(scored).max(), pl.col(scored) > 0)
    return full.filter(pl.col(error).is_finite()).sort(error, "cutoff", "unique_id")


def _read(
    run: Run,
    lazy: pl.LazyFrame,
    windows: pl.DataFrame,
    which: tuple[str, str, datetime],
    channels: dict[str, float | None],
    interval: timedelta,
) -> list[Window]:
    """One window, once for each of `channels` (with its error where known), and the actuals before it."""
    role, identity, cutoff = which
    mine = (pl.col("unique_id") == identity) & pl.col("channel").is_in(list(channels))
    future = lazy.filter(mine, pl.col("cutoff") == cutoff).sort("step")
    horizon = int(run.metrics.get("horizon") or run.spec.get("horizon") or 1)
    context = int(run.metrics.get("context") or run.spec.get("context") or 3 * horizon)
    shown = min(context, max(horizon, 3 * run.season if run.season < 1000 else 0, 12))
    # Neighbouring windows overlap; their first `stride` steps cover every stamp once: only those are read.
    cutoffs = windows.filter(pl.col("unique_id") == identity)["cutoff"]
    between = cutoffs.diff().min()
    stride = round(between / interval) if isinstance(between, timedelta) and interval else horizon
    recent = pl.col("ds").is_between(cutoff - shown * interval, cutoff, closed="right")
    past = lazy.filter(mine, recent, pl.col("step") <= max(stride, 1)).select("channel", "ds", "y")
    behind, ahead = pl.collect_all([past.unique(["channel", "ds"], keep="first"), future], engine="streaming")
    found = []
    for channel, mse in channels.items():
        own = ahead.filter(pl.col("channel") == channel)
        before = regular(behind.filter(pl.col("channel") == channel).select("ds", "y").sort("ds"), interval)
        found.append(Window(role, identity, channel, cutoff, float("nan") if mse is None else mse, before,
                            whole(own)))  # fmt: skip
    return found


def whole(future: pl.DataFrame) -> pl.DataFrame:
    """The columns of a `Window.future`; null where a run has not recorded one."""
    lost = [pl.lit(None, pl.Float32).alias(name) for name in ("naive", *COLUMNS) if name not in future.columns]
    return future.with_columns(lost).select("ds", "y", "y_hat", "naive", *COLUMNS)


def regular(past: pl.DataFrame, interval: timedelta) -> pl.DataFrame:
    """A null between stamps that are far apart, so that no line is drawn across what was never forecast."""
    if past.height < 2 or not interval:
        return past
    wide = pl.col("ds").diff().shift(-1) > 1.5 * interval  # calendar steps (months) differ by a tenth
    holes = past.filter(wide).select(pl.col("ds") + interval, pl.lit(None, past.schema["y"]).alias("y"))
    return pl.concat([past, holes]).sort("ds")
