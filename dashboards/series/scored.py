"""predictions.parquet as scaled errors: its columns, which of its rows are asked for, by what they are scaled.

Errors are `z = (forecast - actual) / std` with the std of the run's scaler, "scaled" as in the score table: 1 is one
standard deviation of the training rows. Missing actuals are not scored.
"""

from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from forecast.dashboards.load import Run
from forecast.dashboards.series.bands import COLUMNS
from forecast.errors import ArtifactError

NEEDED: Final = ("unique_id", "channel", "cutoff", "ds", "step", "y", "y_hat")
BESIDE: Final = ("naive", *COLUMNS)  # what an older run may lack
ENDS: Final[dict[str, float]] = {  # columns of quantiles and their levels, in order
    "lo95": 0.025, "lo": 0.05, "lo80": 0.1, "lo50": 0.25, "median": 0.5,
    "hi50": 0.75, "hi80": 0.9, "hi": 0.95, "hi95": 0.975,
}  # fmt: skip
INTERVALS: Final[dict[int, tuple[str, str]]] = {
    50: ("lo50", "hi50"), 80: ("lo80", "hi80"), 90: ("lo", "hi"), 95: ("lo95", "hi95")
}  # fmt: skip


class Choice(NamedTuple):
    """Of which rows: one channel, one series; "" is all of them."""

    channel: str = ""
    series: str = ""


ALL: Final = Choice()


def scan(path: Path, start: int = 0, rows: int | None = None) -> pl.LazyFrame | None:
    """The predictions (`rows` of them from `start` on) with NaN as null, stamps in microseconds, columns of the naive
    forecast and of quantiles even if none were written.

    None for a table without columns: no window was scored. ArtifactError for any other table.
    """
    lazy = pl.scan_parquet(path).slice(start, rows)
    try:
        columns = lazy.collect_schema().names()
    except (pl.exceptions.PolarsError, OSError) as fault:
        reason = str(fault).splitlines()[0]
        raise ArtifactError(f"{path.name} cannot be read ({reason})", "a parquet file", "run it again") from fault
    if not columns:
        return None
    if lost := [name for name in NEEDED if name not in columns]:
        raise ArtifactError(f"{path.name} has no column {lost[0]}", f"expected {', '.join(NEEDED)}", "run it again")
    beside = [pl.col(name) if name in columns else pl.lit(None, pl.Float64).alias(name) for name in BESIDE]
    return lazy.select(*NEEDED, *beside).with_columns(
        pl.col("unique_id", "channel").cast(pl.String),
        pl.col("y", "y_hat", *BESIDE).cast(pl.Float64).fill_nan(None),
        pl.col("cutoff", "ds").cast(pl.Datetime("us")),
        pl.col("step").cast(pl.Int32),
    )


def ends(path: Path) -> list[str]:
    """The columns of quantiles that were written, from the lowest level to the highest."""
    written = pl.read_parquet_schema(path)
    return [name for name in ENDS if name in written]


def chosen(lazy: pl.LazyFrame, choice: Choice) -> pl.LazyFrame:
    """The rows of a choice; row groups of other series are not read."""
    if choice.channel:
        lazy = lazy.filter(pl.col("channel") == choice.channel)
    return lazy.filter(pl.col("unique_id") == choice.series) if choice.series else lazy


def pairs(run: Run, lazy: pl.LazyFrame) -> pl.DataFrame:
    """(unique_id, channel, std, mean, rows, ones, first, last) of each series and channel in order of appearance: what
    they are scaled by (of the run's scaler, else of the actuals themselves), how many rows, how many of them one step
    ahead, and the stamps they span."""
    known = _scaler(run)
    wanted = [
        pl.len().alias("rows"),
        (pl.col("step") == 1).sum().alias("ones"),
        pl.col("ds").min().alias("first"),
        pl.col("ds").max().alias("last"),
    ]
    keys = ["unique_id", "channel"]
    found = lazy.group_by(keys, maintain_order=True).agg(wanted).collect(engine="streaming")
    joined = found.join(known, on=keys, how="left", maintain_order="left")
    if joined["std"].null_count():
        own = lazy.group_by(keys).agg(pl.col("y").std().alias("own"), pl.col("y").mean().alias("middle"))
        joined = joined.join(own.collect(engine="streaming"), on=keys, how="left", maintain_order="left")
    else:
        joined = joined.with_columns(pl.lit(None, pl.Float64).alias("own"), pl.lit(None, pl.Float64).alias("middle"))
    std = pl.coalesce("std", "own").fill_null(1.0)
    return joined.select(
        *keys,
        pl.when(std > 0).then(std).otherwise(1.0).alias("std"),
        pl.coalesce("mean", "middle").fill_null(0.0).alias("mean"),
        "rows",
        "ones",
        "first",
        "last",
    )


def _scaler(run: Run) -> pl.DataFrame:
    """(unique_id, channel, std, mean) as the run's scaler says."""
    known: dict[str, list[object]] = {"unique_id": [], "channel": [], "std": [], "mean": []}
    scaler = run.data.get("scaler")
    if isinstance(scaler, dict):
        ids, stds, means = (scaler.get(key) or [] for key in ("ids", "std", "mean"))
        means = means if len(means) == len(stds) else [[None] * len(row) for row in stds]
        for name, row, middle in zip(ids, stds, means, strict=False):
            for channel, std, mean in zip(run.targets, row, middle, strict=False):
                known["unique_id"].append(str(name))
                known["channel"].append(channel)
                known["std"].append(float(std))
                known["mean"].append(None if mean is None else float(mean))
    schema = {"unique_id": pl.String, "channel": pl.String, "std": pl.Float64, "mean": pl.Float64}
    return pl.DataFrame(known, schema=schema)


def scored(lazy: pl.LazyFrame, by: pl.DataFrame) -> pl.LazyFrame:
    """Row by row z and zn, the scaled errors of the model and of the naive forecast, beside std and mean; `by` from
    `pairs`."""
    scale = by.lazy().select("unique_id", "channel", "std", "mean")
    return lazy.join(scale, on=["unique_id", "channel"], how="left").with_columns(
        ((pl.col("y_hat") - pl.col("y")) / pl.col("std")).alias("z"),
        ((pl.col("naive") - pl.col("y")) / pl.col("std")).alias("zn"),
    )
