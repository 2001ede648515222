"""Where each forecast of predictions.parquet stands and how large its error is: large files are then quick to browse.

The file is read once, row group by row group, in a few columns, and only sums for each window are kept: memory follows
the number of windows. Afterwards a window costs the row groups that hold it. Rows may stand in any order; in the order
that a run writes (series, cutoff, step, channel) that is one group or two.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from forecast.dashboards.load import Run
from forecast.errors import ArtifactError

AT_ONCE: Final = 1 << 18  # rows read at once; a run of before has many small row groups
NEEDED: Final = ("unique_id", "channel", "cutoff", "ds", "step", "y", "y_hat")
FAULTS: Final = (pa.ArrowException, OSError, pl.exceptions.PolarsError)  # of a file that is damaged
KEY: Final = ("unique_id", "channel", "cutoff")
_ERROR = (pl.col("y_hat") - pl.col("y")).cast(pl.Float64)
_SUMS: Final = (
    pl.col("row").min().alias("first"),
    pl.col("row").max().alias("last"),
    _ERROR.pow(2).sum().alias("ss"),
    _ERROR.abs().sum().alias("sa"),
    _ERROR.count().cast(pl.UInt32).alias("scored"),
    pl.col("y").cast(pl.Float64).sum().alias("sy"),
    pl.col("y").cast(pl.Float64).pow(2).sum().alias("syy"),
)


class File(NamedTuple):
    """A parquet file with its footer already read."""

    path: Path
    footer: pq.FileMetaData
    columns: tuple[str, ...]
    starts: np.ndarray  # (G + 1,) the first row of each row group
    changed: int  # when it was written, nanoseconds

    def read(self, groups: list[int], columns: list[str]) -> pl.DataFrame:
        """Row groups, with their row numbers as `row`."""
        try:
            with pq.ParquetFile(self.path, metadata=self.footer, memory_map=True) as file:
                frame = pl.DataFrame(pl.from_arrow(file.read_row_groups(groups, columns=columns)))
        except FAULTS as fault:
            raise damaged(self.path, fault) from fault
        row = pl.int_range(pl.len()) + int(self.starts[groups[0]])
        return plain(frame.lazy()).with_columns(row.alias("row")).collect()


def damaged(path: Path, fault: Exception) -> ArtifactError:
    """What is said of a file that a reader gave up on."""
    reason = next(iter(str(fault).splitlines()), type(fault).__name__)
    return ArtifactError(f"{path.name} cannot be read ({reason})", "a parquet file", "run it again")


def plain(lazy: pl.LazyFrame) -> pl.LazyFrame:
    """Names as text, stamps in microseconds (UTC where they have a zone), null for NaN."""
    made = []
    for name, kind in lazy.collect_schema().items():
        if isinstance(kind, pl.Datetime):
            made.append(pl.col(name).cast(pl.Datetime("us")))
        elif name in KEY:
            made.append(pl.col(name).cast(pl.String))
        elif kind.is_float():
            made.append(pl.col(name).fill_nan(None))
    return lazy.with_columns(made)


class Index(NamedTuple):
    """All windows of all columns (a series and one of its channels) of a run."""

    file: File
    ids: list[str]
    channels: list[str]
    windows: pl.DataFrame  # column, cutoff, first and last row, mse and mae (scaled), scored; by column and cutoff
    bounds: np.ndarray  # (series · channels + 1,) where the windows of each column begin
    std: np.ndarray  # (series · channels,) what errors were divided by
    errors: pl.DataFrame  # id, channel, mse: of each column, over all its windows
    interval: timedelta  # one step
    horizon: int

    def of(self, id: int, channel: int) -> pl.DataFrame:
        """The windows of a column in order of time."""
        column = id * len(self.channels) + channel
        first, last = int(self.bounds[column]), int(self.bounds[column + 1])
        return self.windows.slice(first, last - first)


def open_file(path: Path) -> File:
    """ArtifactError for what is no table of predictions of series."""
    try:
        footer = pq.read_metadata(path)
    except FAULTS as fault:
        raise damaged(path, fault) from fault
    columns = tuple(footer.schema.names)
    if columns and (lost := [name for name in NEEDED if name not in columns]):
        raise ArtifactError(f"{path.name} has no column {lost[0]}", f"expected {', '.join(NEEDED)}", "run it again")
    sizes = [footer.row_group(k).num_rows for k in range(footer.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))])
    return File(path, footer, columns, starts, path.stat().st_mtime_ns)


def build(run: Run, tell: Callable[[float], object] = lambda share: None) -> Index | None:
    """The index of a run's predictions; None where there are none. `tell` hears the share of rows that are done."""
    if run.predictions is None:
        return None
    file = open_file(run.predictions)
    rows, parts = int(file.starts[-1]), []
    if not file.columns or not rows:
        return None
    for groups in _several(file):
        frame = file.read(groups, [*KEY, "y", "y_hat"])
        parts.append(frame.group_by(KEY).agg(_SUMS))
        tell(int(file.starts[groups[-1] + 1]) / rows)
    return _made(run, file, pl.concat(parts))


def _several(file: File) -> Iterator[list[int]]:
    """Neighbouring row groups of some AT_ONCE rows together."""
    held: list[int] = []
    for group in range(file.footer.num_row_groups):
        held.append(group)
        if file.starts[group + 1] - file.starts[held[0]] >= AT_ONCE:
            yield held
            held = []
    if held:
        yield held


def _made(run: Run, file: File, parts: pl.DataFrame) -> Index:
    ids = parts["unique_id"].unique().sort().to_list()
    found = parts["channel"].unique().to_list()
    channels = [name for name in run.targets if name in found]
    channels += sorted(set(found) - set(channels))
    number = [
        pl.col(name).replace_strict(names, list(range(len(names))), return_dtype=pl.UInt32)
        for name, names in (("unique_id", ids), ("channel", channels))
    ]
    windows = (
        parts.with_columns(number)
        .with_columns((pl.col("unique_id") * len(channels) + pl.col("channel")).alias("column"))
        .group_by("column", "cutoff")  # a window may lie in two row groups
        .agg(pl.col("first").min(), pl.col("last").max(), pl.col("ss", "sa", "scored", "sy", "syy").sum())
        .sort("column", "cutoff")
    )
    count = len(ids) * len(channels)
    bounds = np.searchsorted(windows["column"].to_numpy(), np.arange(count + 1))
    std = _std(run, ids, channels, windows, count)
    by = pl.Series("std", std[windows["column"].to_numpy()])
    windows = windows.with_columns(
        (pl.col("ss") / pl.col("scored") / by**2).fill_nan(None).alias("mse"),
        (pl.col("sa") / pl.col("scored") / by).fill_nan(None).alias("mae"),
    )
    errors = (
        windows.group_by("column")
        .agg((pl.col("mse") * pl.col("scored")).sum() / pl.col("scored").sum())
        .sort("column")
        .select(
            (pl.col("column") // len(channels)).alias("id"),
            (pl.col("column") % len(channels)).alias("channel"),
            pl.col("mse").fill_nan(None),
        )
    )
    head = file.read([0], ["cutoff", "ds", "step"])
    length = pl.col("ds") - pl.col("cutoff")
    interval = head.filter(pl.col("step") == 1).select(length.median()).item() or timedelta(0)
    kept = windows.select("column", "cutoff", "first", "last", "mse", "mae", "scored")
    horizon = run.metrics.get("horizon")
    return Index(
        file, ids, channels, kept, bounds, std, errors, interval,
        horizon if isinstance(horizon, int) else int(head["step"].to_numpy().max()),
    )  # fmt: skip


def _std(run: Run, ids: list[str], channels: list[str], windows: pl.DataFrame, count: int) -> np.ndarray:
    """(count,) of the run's scaler, else of the actuals themselves (each counted once for every window it is in)."""
    sums = windows.group_by("column").agg(pl.col("sy", "syy", "scored").sum()).sort("column")
    n, total, square = (sums[name].cast(pl.Float64).to_numpy() for name in ("scored", "sy", "syy"))
    std = np.ones(count)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.sqrt(np.maximum(square / n - (total / n) ** 2, 0))
    std[sums["column"].to_numpy()] = np.where(np.isfinite(own) & (own > 0), own, 1.0)
    places = {(id, c): k * len(channels) + j for k, id in enumerate(ids) for j, c in enumerate(channels)}
    for column, value in _scaler(run).items():
        if column in places and value > 0:
            std[places[column]] = value
    return std


def _scaler(run: Run) -> Mapping[tuple[str, str], float]:
    held: Any = run.data.get("scaler")
    if not isinstance(held, dict):
        return {}
    rows = zip(held.get("ids") or [], held.get("std") or [], strict=False)
    return {(str(id), c): float(v) for id, row in rows for c, v in zip(run.targets, row, strict=False)}


def nearest(windows: pl.DataFrame, cutoff: datetime) -> int:
    """The place of the window whose cutoff is next to this one, the earlier of two."""
    held = windows["cutoff"].to_physical().to_numpy()
    wanted = pl.Series([cutoff], dtype=pl.Datetime("us")).to_physical().item()
    return int(np.abs(held - wanted).argmin())
