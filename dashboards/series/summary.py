"""What the figures need of predictions.parquet, which may hold tens of millions of rows.

Everything is a streamed aggregation (polars), so memory follows the number of windows, not of rows; then a
few windows are picked and only their rows are read. Errors are scaled (`scored`); missing actuals are not scored.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from forecast.dashboards.load import Run
from forecast.dashboards.series.scored import pairs, scan, scored
from forecast.dashboards.series.windows import Window, pick

_TERMS = {
    "ss": pl.col("z").pow(2),
    "sa": pl.col("z").abs(),
    "nss": pl.col("zn").pow(2),
    "nsa": pl.col("zn").abs(),
}
_SUMS = [  # sums and counts only: they stream, and they can be added up again over coarser groups
    *(pl.col(name).sum() for name in _TERMS),
    pl.col("z").count().alias("scored"),
    pl.col("zn").count().alias("naive_scored"),
]
_MEANS = [
    (pl.col("ss") / pl.col("scored")).alias("mse"),
    (pl.col("sa") / pl.col("scored")).alias("mae"),
    (pl.col("nss") / pl.col("naive_scored")).alias("naive_mse"),
    (pl.col("nsa") / pl.col("naive_scored")).alias("naive_mae"),
]


class Summary(NamedTuple):
    windows: int
    ids: int
    channels: list[str]
    first: datetime  # stamps of the targets
    last: datetime
    interval: timedelta  # one step
    unit_scale: float | None  # scaled to original units, where one factor holds for all
    channel: pl.DataFrame  # channel, …
    series: pl.DataFrame  # unique_id, …
    picked: list[Window]  # best, typical, worst of the first channel
    typical: list[Window]  # the typical window over all channels, one entry a channel


def summarise(run: Run) -> Summary | None:
    """The summary of a run's predictions; None where there are none, or none of them can be scored."""
    if run.predictions is None:
        return None
    lazy = scan(run.predictions)
    if lazy is None:
        return None
    scale = pairs(run, lazy)
    names = scale["channel"].unique(maintain_order=True).to_list()
    channels = [name for name in run.targets if name in names] or names
    if not channels:
        return None
    rows = _terms(lazy, scale, channels[0])
    column = rows.group_by("unique_id", "channel").agg(_SUMS).collect(engine="streaming")
    windows = rows.group_by("unique_id", "cutoff").agg(_WINDOW).sort("unique_id", "cutoff").collect(engine="streaming")
    if windows.height == 0 or column["scored"].sum() == 0:
        return None
    windows = windows.with_columns(pl.col("mse", "first_mse").fill_nan(None))
    interval = windows.select((pl.col("first_ds") - pl.col("cutoff")).median()).item()
    by_channel = pl.DataFrame({"channel": channels}).join(
        _fold(column, pl.col("channel")), on="channel", how="left", maintain_order="left"
    )
    picked, typical = pick(run, lazy, windows, by_channel, interval)
    one = scale["std"].unique()
    return Summary(
        windows=windows.height,
        ids=column["unique_id"].n_unique(),
        channels=channels,
        first=windows["first_ds"].min(),  # type: ignore[arg-type]
        last=windows["last_ds"].max(),  # type: ignore[arg-type]
        interval=interval,
        unit_scale=float(one[0]) if one.len() == 1 and len(channels) == 1 else None,
        channel=by_channel,
        series=_fold(column, pl.col("unique_id")).sort("mse", "unique_id"),
        picked=picked,
        typical=typical,
    )


_WINDOW = [
    (pl.col("ss").sum() / pl.col("z").count()).alias("mse"),
    pl.col("z").count().alias("scored"),
    (pl.col("first").sum() / pl.col("first").count()).alias("first_mse"),
    pl.col("first").count().alias("first_scored"),
    pl.col("ds").min().alias("first_ds"),
    pl.col("ds").max().alias("last_ds"),
]


def _terms(lazy: pl.LazyFrame, scale: pl.DataFrame, first: str) -> pl.LazyFrame:
    """Scaled errors row by row (z, zn), their terms, and z² of one channel (first)."""
    rows = scored(lazy, scale).with_columns(term.alias(name) for name, term in _TERMS.items())
    return rows.with_columns(pl.when(pl.col("channel") == first).then("ss").alias("first"))


def _fold(frame: pl.DataFrame, key: pl.Expr) -> pl.DataFrame:
    """Sums added up over `key`, and the means of them."""
    numbers = [name for name in frame.columns if frame.schema[name].is_numeric() and name != key.meta.output_name()]
    return frame.group_by(key).agg(pl.col(numbers).sum()).with_columns(_MEANS)
