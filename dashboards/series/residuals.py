"""Where, when and how far a run errs, of all its predictions or of one channel or series.

The table may hold tens of millions of rows: it is read in slabs, each of which becomes sums over steps, stamps, series
and narrow bins (polars); sums add up, so memory follows their number, not that of rows.
"""

import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import polars as pl

from forecast.dashboards.load import Run
from forecast.dashboards.series import bins as binned
from forecast.dashboards.series.bins import Bins
from forecast.dashboards.series.calendars import by_calendar, over_time
from forecast.dashboards.series.correlated import FEWEST, Correlation, correlation, pick
from forecast.dashboards.series.scored import ALL, ENDS, INTERVALS, Choice, chosen, ends, pairs, scan, scored

SLAB: Final = 1 << 20  # rows at once
GRAINS_S: Final = (1e-6, 1e-3, 1.0, 60.0, 900.0)  # all divide a quarter of an hour, by which time zones differ
STAMPS: Final = 400_000  # kept apart at most
SUMS: Final = [
    pl.col("z").count().cast(pl.Int64).alias("n"),
    pl.col("z").sum().alias("s"),
    pl.col("z").pow(2).sum().alias("ss"),
    pl.col("z").abs().sum().alias("sa"),
    pl.col("zn").count().cast(pl.Int64).alias("nn"),
    pl.col("zn").pow(2).sum().alias("nss"),
    pl.col("zn").abs().sum().alias("nsa"),
]
_BIAS = pl.col("s") / pl.col("n")
MEANS: Final = [
    (pl.col("ss") / pl.col("n")).alias("mse"),
    (pl.col("sa") / pl.col("n")).alias("mae"),
    _BIAS.alias("bias"),
    (pl.col("ss") / pl.col("n") - _BIAS.pow(2)).clip(0).sqrt().alias("sd"),
    (pl.col("nss") / pl.col("nn")).alias("naive_mse"),
    (pl.col("nsa") / pl.col("nn")).alias("naive_mae"),
]


class Residuals(NamedTuple):
    """Frames hold mse, mae, bias (mean error), sd (spread about it), naive_mse, naive_mae in scaled units and n, beside
    their keys. `unit_scale` turns scaled into original units where one factor does for all rows."""

    choice: Choice
    channels: list[str]  # in the whole table
    series_count: int  # in the whole table
    n: int  # scored values
    windows: int | None  # rows one step ahead, scored or not
    first: datetime  # stamps of the targets
    last: datetime
    interval: timedelta  # one step
    unit_scale: float | None
    step: pl.DataFrame  # step, …, below_COLUMN (share below a quantile), inside_LEVEL, width_LEVEL (scaled)
    hour: pl.DataFrame | None  # hour (0 to 23, local time), …
    weekday: pl.DataFrame | None  # weekday (Monday is 1), …
    month: pl.DataFrame | None
    week: pl.DataFrame | None  # weekday, hour, …
    series: pl.DataFrame  # unique_id, …, inside and width of the 90 % interval; from the least MSE to the largest
    channel: pl.DataFrame  # channel, …
    each: int  # steps in one row of time
    time: pl.DataFrame  # ds, …: along the test span; nothing where nothing was forecast
    errors: Bins  # z
    naive: Bins | None  # zn
    bias: float  # mean z
    sd: float  # spread of z about it
    level: pl.DataFrame  # level (mean forecast in scaled units), …: some forty groups of about equally many
    levels: list[float]  # of the quantiles that there are
    below: list[float]  # the share of actuals at or below each
    correlation: Correlation | None  # of errors one step ahead


def measure(run: Run, choice: Choice = ALL, tell: Callable[[float], None] = lambda _: None) -> Residuals | None:
    """None where there are no predictions, none that can be scored, or none of this choice. `tell` hears the share of
    rows that are done."""
    if run.predictions is None:
        return None
    whole = scan(run.predictions)
    if whole is None:
        return None
    everything = pairs(run, whole)
    wanted = everything.filter(
        (pl.col("channel") == choice.channel) if choice.channel else pl.lit(True),
        (pl.col("unique_id") == choice.series) if choice.series else pl.lit(True),
    )
    if not wanted.height:
        return None
    sums = _gather(run, choice, wanted, tell)
    if not sums["series"]["n"].sum():
        return None
    return _result(run, choice, everything, wanted, sums)


def _result(
    run: Run, choice: Choice, everything: pl.DataFrame, wanted: pl.DataFrame, sums: dict[str, pl.DataFrame]
) -> Residuals:
    total = sums["series"].select(pl.col("n", "s", "ss").sum()).row(0, named=True)
    bias = total["s"] / total["n"]
    interval = _interval(sums["gap"])
    errors = binned.bins(sums["bin"])
    assert errors is not None  # n > 0
    std = wanted["std"].unique()
    names = everything["channel"].unique(maintain_order=True).to_list()
    each, time = over_time(sums["stamp"], interval, run.season, MEANS)
    levels = [name for name in ENDS if f"below_{name}" in sums["step"].columns and sums["step"]["seen"].sum()]
    below = sums["step"].select(pl.col(f"below_{name}").sum() / pl.col("seen").sum() for name in levels)
    return Residuals(
        choice=choice,
        channels=[name for name in run.targets if name in names] or names,
        series_count=everything["unique_id"].n_unique(),
        n=int(total["n"]),
        windows=int(wanted["ones"].sum()) or None,
        first=wanted["first"].min(),  # type: ignore[arg-type]
        last=wanted["last"].max(),  # type: ignore[arg-type]
        interval=interval,
        unit_scale=float(std[0]) if std.len() == 1 and wanted["channel"].n_unique() == 1 else None,
        step=_shares(sums["step"]).with_columns(MEANS),
        **by_calendar(sums["stamp"], interval, run.zone, MEANS),
        series=_ranked(sums["series"], "unique_id"),
        channel=_ranked(sums["series"], "channel"),
        each=each,
        time=time,
        errors=errors,
        naive=binned.bins(sums["naive"]),
        bias=bias,
        sd=math.sqrt(max(total["ss"] / total["n"] - bias**2, 0.0)),
        level=_levels(sums["level"]),
        levels=[ENDS[name] for name in levels],
        below=list(below.row(0)) if levels else [],
        correlation=correlation(sums["one"], interval, run, int((wanted["ones"] >= FEWEST).sum())),
    )


# From rows to sums -------------------------------------------------------------------------------------------------


def _slabs(run: Run, choice: Choice) -> Iterator[tuple[pl.LazyFrame, float]]:
    """The rows of a choice, SLAB of the file at a time, and the share of it that is then done."""
    path = run.predictions
    assert path is not None
    if choice.series:  # one series has room; row groups of the others are passed over
        whole = scan(path)
        assert whole is not None
        yield chosen(whole, choice).collect(engine="streaming").lazy(), 1.0
        return
    rows = int(pl.scan_parquet(path).select(pl.len()).collect().item())
    for start in range(0, rows, SLAB):
        part = scan(path, start, SLAB)
        assert part is not None
        yield chosen(part, choice), min((start + SLAB) / rows, 1.0)


def _gather(run: Run, choice: Choice, wanted: pl.DataFrame, tell: Callable[[float], None]) -> dict[str, pl.DataFrame]:
    """Every table of sums, folded as slabs come."""
    assert run.predictions is not None
    quantiles, picked = ends(run.predictions), pick(wanted)
    grain = grain_us(wanted["first"].min(), wanted["last"].max())  # type: ignore[arg-type]
    held: dict[str, pl.DataFrame] = {}
    for part, share in _slabs(run, choice):
        asked = _asked(part, wanted, picked, grain, quantiles)
        for name, frame in zip(asked, pl.collect_all(asked.values(), engine="streaming"), strict=True):
            if name not in held:
                held[name] = frame
            elif name == "one":
                held[name] = pl.concat([held[name], frame])
            else:
                held[name] = fold(pl.concat([held[name], frame]), KEYS[name])
        tell(share)
    order = {"step": ["step"], "stamp": ["ds"], "level": ["bin"], "series": ["unique_id", "channel"]}
    return {name: frame.sort(order[name]) if name in order else frame for name, frame in held.items()}


KEYS: Final[dict[str, list[str]]] = {
    "step": ["step"], "stamp": ["ds"], "series": ["unique_id", "channel"], "bin": ["bin"], "naive": ["bin"],
    "level": ["bin"], "gap": ["gap"],
}  # fmt: skip


def _asked(
    part: pl.LazyFrame, wanted: pl.DataFrame, picked: pl.DataFrame, grain: int, quantiles: list[str]
) -> dict[str, pl.LazyFrame]:
    """What is summed of a slab."""
    rows = scored(part, wanted).with_columns(((pl.col("y_hat") - pl.col("mean")) / pl.col("std")).alias("level"))
    stamp = (pl.col("ds").dt.epoch("us") // grain * grain).cast(pl.Datetime("us")).alias("ds")
    first = rows.filter(pl.col("step") == 1)
    one = first.join(picked.lazy(), on=["unique_id", "channel"], how="semi").select("unique_id", "channel", "ds", "z")
    held = rows.filter(pl.col("z").is_not_null())
    sums = [pl.col("level").sum().alias("total"), *SUMS]
    return {
        "step": rows.group_by("step").agg(SUMS + _intervals(quantiles)),
        "stamp": rows.group_by(stamp).agg(SUMS),
        "series": rows.group_by("unique_id", "channel").agg(
            SUMS + _intervals([name for name in quantiles if name in ("lo", "hi")])
        ),
        "bin": held.group_by(binned.number("z")).agg(pl.len().alias("n")),
        "naive": rows.group_by(binned.number("zn")).agg(pl.len().alias("n")),
        "level": held.group_by(binned.number("level")).agg(sums),
        "gap": first.group_by((pl.col("ds") - pl.col("cutoff")).alias("gap")).agg(pl.len().alias("n")),
        "one": one,
    }


def _intervals(names: list[str]) -> list[pl.Expr]:
    """Counts and sums of what quantiles there are; `seen` is how many actuals had them."""
    sums = [(pl.col("y").is_not_null() & pl.col("lo").is_not_null()).sum().alias("seen")]
    sums += [(pl.col("y") <= pl.col(name)).sum().alias(f"below_{name}") for name in names]
    for level, (low, high) in INTERVALS.items():
        if low in names and high in names:
            inside = (pl.col("y") >= pl.col(low)) & (pl.col("y") <= pl.col(high))
            wide = (pl.col(high) - pl.col(low)) / pl.col("std")
            sums += [
                inside.sum().alias(f"inside_{level}"),
                pl.when(pl.col("y").is_not_null()).then(wide).sum().alias(f"width_{level}"),
            ]
    return sums


def fold(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Sums added up over their keys."""
    return frame.group_by(keys).agg(pl.exclude(keys).sum())


def _shares(frame: pl.DataFrame) -> pl.DataFrame:
    """Counts of intervals as shares of what was seen, NaN where nothing was."""
    names = [name for name in frame.columns if name.startswith(("below_", "inside_", "width_"))]
    return frame.with_columns(pl.col(names) / pl.col("seen"))


def _ranked(frame: pl.DataFrame, key: str) -> pl.DataFrame:
    sums = frame.drop("channel" if key == "unique_id" else "unique_id")
    return _shares(fold(sums, [key])).with_columns(MEANS).sort("mse", key)


def _levels(frame: pl.DataFrame, groups: int = 40) -> pl.DataFrame:
    """Neighbouring bins joined to some forty groups of about equally many values."""
    frame = frame.drop_nulls("bin")
    before = pl.col("n").cum_sum() - pl.col("n") / 2
    place = (before / pl.col("n").sum() * groups).floor().cast(pl.Int32).alias("group")
    joined = fold(frame.with_columns(place).drop("bin"), ["group"]).sort("group")
    return (
        joined.filter(pl.col("n") > 0).with_columns(MEANS).with_columns((pl.col("total") / pl.col("n")).alias("level"))
    )


def _interval(gaps: pl.DataFrame) -> timedelta:
    """One step: what most first steps lie after their cutoff (months differ); a day where no row says."""
    most = gaps.drop_nulls("gap").sort("n", "gap", descending=[True, False])
    found = most["gap"][0] if most.height else timedelta(days=1)
    return found if found > timedelta(0) else timedelta(days=1)


def grain_us(first: datetime, last: datetime) -> int:
    """Microseconds to which stamps are rounded down, so that at most STAMPS are kept apart, or quarters of hours."""
    span = (last - first).total_seconds()
    return round(next((g for g in GRAINS_S if span / g <= STAMPS), GRAINS_S[-1]) * 1e6)
