"""Single forecasts and whole test spans out of a large predictions.parquet: only the rows asked for are read."""

from datetime import timedelta
from typing import NamedTuple

import numpy as np
import polars as pl

from forecast.dashboards.load import Run
from forecast.dashboards.series.index import FAULTS, Index, damaged, plain
from forecast.dashboards.series.windows import Window, regular, whole

ROLES = ("best", "typical", "worst")


class Strip(NamedTuple):
    """What came over the whole test span of a column, and what was forecast of it `ahead` steps before."""

    ahead: int
    actual: pl.DataFrame  # ds, y; a null between stamps that are far apart
    forecast: pl.DataFrame  # ds, y_hat


def place_of(windows: pl.DataFrame, role: str) -> int:
    """The window with the lowest, the median or the highest error, of those with the most observed targets."""
    full = windows["scored"].to_numpy() == windows["scored"].max()
    errors = np.where(full, windows["mse"].fill_null(np.nan).to_numpy(), np.nan)
    ranked = np.argsort(errors, kind="stable")  # NaN comes last
    count = int(np.isfinite(errors).sum())
    at = {"best": 0, "typical": (count - 1) // 2, "worst": count - 1}[role]
    return int(ranked[max(at, 0)])


def window(run: Run, index: Index, id: int, channel: int, place: int) -> Window:
    """The forecast at a place of a column's windows, and the actuals before it as far as earlier windows have them."""
    windows = index.of(id, channel)
    at = windows.row(place, named=True)
    steps = shown(run, index.horizon)
    cutoff, since = at["cutoff"], at["cutoff"] - steps * index.interval
    parts, until, k = [], cutoff, place
    cutoffs, reach = windows["cutoff"], index.horizon * index.interval
    while until > since and k > 0:  # back by as few windows as hold the past between them
        k = min(int(cutoffs.search_sorted(until - reach)), k - 1)
        if cutoffs[k] + reach <= since:
            break
        parts.append(_rows(index, windows, k, k, id, channel).select("ds", "y"))
        until = cutoffs[k]
    future = _rows(index, windows, place, place, id, channel).filter(pl.col("cutoff") == cutoff)
    frames = _collected(index, [future, *parts])
    ahead = frames[0].sort("step")
    past = pl.concat([ahead.select("ds", "y").clear(), *frames[1:]]).filter(
        pl.col("ds").is_between(since, cutoff, closed="right")
    )
    return Window(
        "", index.ids[id], index.channels[channel], cutoff, at["mse"] if at["mse"] is not None else float("nan"),
        regular(past.unique("ds", keep="first").sort("ds"), index.interval),
        whole(ahead),
    )  # fmt: skip


def strip(index: Index, id: int, channel: int, ahead: int) -> Strip:
    """The test span of a column by the forecasts for `ahead` steps after each cutoff."""
    windows = index.of(id, channel)
    between = windows["cutoff"].diff().min()
    stride = index.horizon
    if isinstance(between, timedelta) and between and index.interval:
        stride = max(round(between / index.interval), 1)
    lazy = _rows(index, windows, 0, windows.height - 1, id, channel)
    wanted = lazy.filter((pl.col("step") == ahead) | (pl.col("step") <= min(stride, index.horizon)))
    (rows,) = _collected(index, [wanted.select("ds", "step", "y", "y_hat")])
    actual = rows.select("ds", "y").unique("ds", keep="first").sort("ds")
    made = rows.filter(pl.col("step") == ahead).select("ds", pl.col("y_hat").alias("y")).sort("ds")
    return Strip(ahead, regular(actual, index.interval), regular(made, stride * index.interval).rename({"y": "y_hat"}))


def shown(run: Run, horizon: int) -> int:
    """Steps of history beside a forecast."""
    context = int(run.metrics.get("context") or run.spec.get("context") or 3 * horizon)
    return min(context, max(horizon, 3 * run.season if run.season < 1000 else 0, 12))


def _rows(index: Index, windows: pl.DataFrame, first: int, last: int, id: int, channel: int) -> pl.LazyFrame:
    """The rows of a column's windows `first` to `last`: a slice of the file, of which other groups are not read."""
    several = windows.slice(first, last - first + 1)
    start, stop = int(several["first"].min()), int(several["last"].max())  # type: ignore[arg-type]
    lazy = pl.scan_parquet(index.file.path).slice(start, stop - start + 1)
    mine = (pl.col("unique_id") == index.ids[id]) & (pl.col("channel") == index.channels[channel])
    since, until = several["cutoff"][0], several["cutoff"][-1]
    try:
        return plain(lazy).filter(mine, pl.col("cutoff").is_between(since, until))
    except FAULTS as fault:  # the file has changed since
        raise damaged(index.file.path, fault) from fault


def _collected(index: Index, lazy: list[pl.LazyFrame]) -> list[pl.DataFrame]:
    try:
        return pl.collect_all(lazy, engine="streaming")
    except FAULTS as fault:
        raise damaged(index.file.path, fault) from fault
