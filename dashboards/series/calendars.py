"""Sums by stamp, folded by the calendar and along time."""

from datetime import timedelta
from typing import Final

import polars as pl

BUCKETS: Final = 250  # points on a line along time
DAY: Final = timedelta(days=1)


def by_calendar(
    stamp: pl.DataFrame, interval: timedelta, zone: str | None, means: list[pl.Expr]
) -> dict[str, pl.DataFrame | None]:
    """hour, weekday, month and week (weekday and hour) of the stamp in local time; None where the step is too coarse or
    only one of them was forecast. `stamp`: ds and sums."""
    here = pl.col("ds").dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else pl.col("ds")
    hour, weekday, month = here.dt.hour().alias("hour"), here.dt.weekday().alias("weekday"), here.dt.month()
    wanted = {
        "hour": ([hour], interval < DAY),
        "weekday": ([weekday], interval <= DAY),
        "month": ([month.alias("month")], interval < 100 * DAY),
        "week": ([weekday, hour], interval < DAY),
    }
    found: dict[str, pl.DataFrame | None] = {}
    for name, (keys, wise) in wanted.items():
        names = [key.meta.output_name() for key in keys]
        frame = stamp.group_by(keys).agg(pl.exclude("ds").sum()).sort(names).with_columns(means)
        full = all(frame[key].n_unique() > 1 for key in names)
        found[name] = frame if wise and full else None
    return found


def over_time(stamp: pl.DataFrame, interval: timedelta, season: int, means: list[pl.Expr]) -> tuple[int, pl.DataFrame]:
    """Errors by stamp of the target: how many steps (whole seasons, where there is room) one row joins to leave at most
    BUCKETS, and the rows, one without numbers before what lies apart."""
    first, last = stamp["ds"][0], stamp["ds"][-1]
    steps = (last - first) / interval + 1
    each = max(1, -(-int(steps) // BUCKETS))
    if each > 1 and season * 2 < steps:
        each = -(-each // season) * season
    wide = round(each * interval / timedelta(microseconds=1))
    place = ((pl.col("ds") - first).dt.total_microseconds() // wide).alias("bucket")
    folded = stamp.group_by(place).agg(pl.col("ds").min(), pl.exclude("ds").sum()).sort("bucket")
    apart = folded.filter(pl.col("bucket").diff() > (1 if each > 1 else 2)).select(
        pl.col("bucket") - 1, (pl.col("ds") - wide * pl.duration(microseconds=1)).alias("ds")
    )
    lined = pl.concat([folded, apart], how="diagonal").sort("bucket").with_columns(means)
    return each, lined.drop("bucket")
