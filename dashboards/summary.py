"""What the figures need of predictions.parquet, which may hold tens of millions of rows.

Everything is a streamed aggregation (polars), so memory follows the number of windows, not of rows; then a
few windows are picked and only their rows are read. Errors are `z = (forecast - actual) / std` with the std
of the run's scaler, "scaled" as in the score table: 1 is one standard deviation of the training rows. Missing
actuals are not scored.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from forecast.dashboards.bands import COLUMNS
from forecast.dashboards.load import Run
from forecast.dashboards.windows import Window, pick
from forecast.errors import ArtifactError

BINS = 60  # of the histogram of errors
BUCKETS = 250  # points on the line of error over time
_NEEDED = ("unique_id", "channel", "cutoff", "ds", "step", "y", "y_hat")
_BESIDE = ("naive", *COLUMNS)  # what an older run may lack
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


class Histogram(NamedTuple):
    edges: np.ndarray  # (BINS + 1,) scaled errors
    model: np.ndarray  # (BINS,) share of all scored values; the tails beyond the edges are left out
    naive: np.ndarray
    bias: float  # mean scaled error of the model


class Summary(NamedTuple):
    windows: int
    ids: int
    channels: list[str]
    first: datetime  # stamps of the targets
    last: datetime
    interval: timedelta  # one step
    unit_scale: float | None  # scaled to original units, where one factor holds for all
    step: pl.DataFrame  # step, mse, mae, naive_mse, naive_mae
    hour: pl.DataFrame | None  # hour, …
    weekday: pl.DataFrame | None  # weekday (Monday is 1), …
    month: pl.DataFrame | None
    channel: pl.DataFrame  # channel, …
    series: pl.DataFrame  # unique_id, …
    each: int  # steps in one row of time
    time: pl.DataFrame  # ds, mse, naive_mse, …: over the test span
    residuals: Histogram | None
    picked: list[Window]  # best, typical, worst of the first channel
    typical: list[Window]  # the typical window over all channels, one entry a channel


def summarise(run: Run) -> Summary | None:
    """The summary of a run's predictions; None where there are none, or none of them can be scored."""
    if run.predictions is None:
        return None
    lazy = _scan(run.predictions)
    if lazy is None:
        return None
    scale = _scales(run, lazy)
    names = scale["channel"].unique(maintain_order=True).to_list()
    channels = [name for name in run.targets if name in names] or names
    if not channels:
        return None
    scored = _scored(lazy, scale, channels[0])
    step = scored.group_by("step").agg(_SUMS).sort("step").collect(engine="streaming")
    stamp = scored.group_by("ds").agg(_SUMS).sort("ds").collect(engine="streaming")
    column = scored.group_by("unique_id", "channel").agg(_SUMS).collect(engine="streaming")
    windows = (
        scored.group_by("unique_id", "cutoff").agg(_WINDOW).sort("unique_id", "cutoff").collect(engine="streaming")
    )
    if windows.height == 0 or column["scored"].sum() == 0:
        return None
    windows = windows.with_columns(pl.col("mse", "first_mse").fill_nan(None))
    interval = windows.select((pl.col("first_ds") - pl.col("cutoff")).median()).item()
    by_channel = pl.DataFrame({"channel": channels}).join(
        _fold(column, pl.col("channel")), on="channel", how="left", maintain_order="left"
    )
    picked, typical = pick(run, lazy, windows, by_channel, interval)
    each, time = _over_time(stamp, run.season)
    one = scale["std"].unique()
    return Summary(
        windows=windows.height,
        ids=column["unique_id"].n_unique(),
        channels=channels,
        first=stamp["ds"][0],
        last=stamp["ds"][-1],
        interval=interval,
        unit_scale=float(one[0]) if one.len() == 1 and len(channels) == 1 else None,
        step=step.with_columns(_MEANS),
        **_calendar(stamp, interval, run.zone),
        channel=by_channel,
        series=_fold(column, pl.col("unique_id")).sort("mse", "unique_id"),
        each=each,
        time=time,
        residuals=_histogram(scored, (float(column["ss"].sum()) / int(column["scored"].sum())) ** 0.5),
        picked=picked,
        typical=typical,
    )


_WINDOW = [
    (pl.col("ss").sum() / pl.col("z").count()).alias("mse"),
    pl.col("z").count().alias("scored"),
    (pl.col("first").sum() / pl.col("first").count()).alias("first_mse"),
    pl.col("first").count().alias("first_scored"),
    pl.col("ds").min().alias("first_ds"),
]


def _scored(lazy: pl.LazyFrame, scale: pl.DataFrame, first: str) -> pl.LazyFrame:
    """Scaled errors row by row (z, zn), their terms, and z² of one channel (first)."""
    return (
        lazy.join(scale.lazy(), on=["unique_id", "channel"], how="left")
        .with_columns(
            ((pl.col("y_hat") - pl.col("y")) / pl.col("std")).alias("z"),
            ((pl.col("naive") - pl.col("y")) / pl.col("std")).alias("zn"),
        )
        .with_columns(term.alias(name) for name, term in _TERMS.items())
        .with_columns(pl.when(pl.col("channel") == first).then("ss").alias("first"))
    )


def _fold(frame: pl.DataFrame, key: pl.Expr) -> pl.DataFrame:
    """Sums added up over `key`, and the means of them."""
    numbers = [name for name in frame.columns if frame.schema[name].is_numeric() and name != key.meta.output_name()]
    return frame.group_by(key).agg(pl.col(numbers).sum()).with_columns(_MEANS)


def _calendar(stamp: pl.DataFrame, interval: timedelta, zone: str | None) -> dict[str, pl.DataFrame | None]:
    """Errors by hour, weekday, month of the target's stamp in local time, where the step is fine enough."""
    here = pl.col("ds").dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else pl.col("ds")
    day = timedelta(days=1)
    wanted = {
        "hour": (here.dt.hour(), interval < day),
        "weekday": (here.dt.weekday(), interval <= day),
        "month": (here.dt.month(), 28 * day <= interval < 100 * day),
    }
    found: dict[str, pl.DataFrame | None] = {}
    for name, (key, wise) in wanted.items():
        frame = _fold(stamp, key.alias(name)).sort(name)
        found[name] = frame if wise and frame.height > 1 else None
    return found


def _scan(path: Path) -> pl.LazyFrame | None:
    """The predictions with NaN as null, stamps in microseconds, a naive column even if none was written.

    None for a table without columns: no window was scored. ArtifactError for any other table.
    """
    lazy = pl.scan_parquet(path)
    try:
        columns = lazy.collect_schema().names()
    except pl.exceptions.PolarsError as fault:
        reason = str(fault).splitlines()[0]
        raise ArtifactError(f"{path.name} cannot be read ({reason})", "a parquet file", "run it again") from fault
    if not columns:
        return None
    if lost := [name for name in _NEEDED if name not in columns]:
        raise ArtifactError(f"{path.name} has no column {lost[0]}", f"expected {', '.join(_NEEDED)}", "run it again")
    beside = [pl.col(name) if name in columns else pl.lit(None, pl.Float64).alias(name) for name in _BESIDE]
    return lazy.select(*_NEEDED, *beside).with_columns(
        pl.col("unique_id", "channel").cast(pl.String),
        pl.col("y", "y_hat", *_BESIDE).cast(pl.Float64).fill_nan(None),
        pl.col("cutoff", "ds").cast(pl.Datetime("us")),
        pl.col("step").cast(pl.Int32),
    )


def _scales(run: Run, lazy: pl.LazyFrame) -> pl.DataFrame:
    """(unique_id, channel, std): of the run's scaler, else of the actuals themselves."""
    own = lazy.group_by("unique_id", "channel", maintain_order=True).agg(pl.col("y").std().alias("own"))
    found = own.collect(engine="streaming")
    scaler = run.data.get("scaler")
    known: dict[str, list[object]] = {"unique_id": [], "channel": [], "std": []}
    if isinstance(scaler, dict):
        for name, row in zip(scaler.get("ids") or [], scaler.get("std") or [], strict=False):
            for channel, std in zip(run.targets, row, strict=False):
                known["unique_id"].append(str(name))
                known["channel"].append(channel)
                known["std"].append(float(std))
    schema = {"unique_id": pl.String, "channel": pl.String, "std": pl.Float64}
    joined = found.join(
        pl.DataFrame(known, schema=schema), on=["unique_id", "channel"], how="left", maintain_order="left"
    )
    std = pl.coalesce("std", "own").fill_null(1.0)
    return joined.select("unique_id", "channel", pl.when(std > 0).then(std).otherwise(1.0).alias("std"))


def _over_time(stamp: pl.DataFrame, season: int) -> tuple[int, pl.DataFrame]:
    """Errors by stamp of the target; `each` neighbours (whole seasons) joined to leave at most BUCKETS."""
    each = max(1, -(-stamp.height // BUCKETS))
    if each > 1 and season * 2 < stamp.height:
        each = -(-each // season) * season
    folded = _fold(stamp.with_columns((pl.int_range(pl.len()) // each).alias("bucket")), pl.col("bucket")).sort(
        "bucket"
    )
    return each, folded.with_columns(stamp["ds"].gather_every(each))


def _histogram(scored: pl.LazyFrame, rmse: float) -> Histogram | None:
    if not np.isfinite(rmse) or rmse <= 0:
        return None
    edges = np.linspace(-3.5 * rmse, 3.5 * rmse, BINS + 1)
    width = float(edges[1] - edges[0])

    def share(column: str) -> pl.LazyFrame:
        number = ((pl.col(column) - float(edges[0])) / width).floor().clip(-1, BINS).cast(pl.Int32).alias("bin")
        return scored.filter(pl.col(column).is_finite()).group_by(number).agg(pl.len().alias("n"), pl.col(column).sum())

    shares, bias = [], 0.0
    for column, frame in zip(("z", "zn"), pl.collect_all([share("z"), share("zn")], engine="streaming"), strict=True):
        counts = np.zeros(BINS + 2)
        counts[frame["bin"].to_numpy() + 1] = frame["n"].to_numpy()
        total = max(counts.sum(), 1.0)
        shares.append(counts[1:-1] / total)
        if column == "z":
            bias = float(frame[column].sum() / total)
    return Histogram(edges, shares[0], shares[1], bias)
