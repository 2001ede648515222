"""Calendar fields of stamps, as counts from 0: what a model may know of the time, past and future alike."""

import logging
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data import holidays as off
from forecast.data.freq import Freq, Ints, Stamps, parse_freq
from forecast.errors import DataError, nearest

log = logging.getLogger(__name__)

_FIELDS: Final = {
    "h": ("yearday", "day", "weekday", "hour"),
    "min": ("yearday", "day", "weekday", "hour", "minute"),
    "D": ("yearday", "day", "weekday"),
    "B": ("yearday", "day", "weekday"),
    "W": ("week", "day"),
    "MS": ("month",),
    "ME": ("month",),
    "QS": ("month",),
    "QE": ("month",),
    "YS": (),
    "YE": (),
}
_FINEST: Final = ("yearday", "day", "weekday", "hour", "minute", "second")


def fields_for(freq: str | Freq) -> tuple[str, ...]:
    """The calendar fields that vary within a series of this step, coarse to fine; see types.CLOCK_SIZES."""
    unit = (parse_freq(freq) if isinstance(freq, str) else freq).unit
    return _FIELDS.get(unit, _FINEST)


def clock(
    time: Stamps, fields: tuple[str, ...], zone: str | None = None, holidays: off.Holidays | None = None
) -> NDArray[np.float32]:
    """(N,) UTC stamps → (N, F) float32 calendar counts on the wall clock of `zone`; `holidays` must cover its days."""
    wall = to_wall(time, zone)
    out = np.empty((len(wall), len(fields)), dtype=np.float32)
    day = wall.astype("datetime64[D]")
    days = day.astype(np.int64)
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday
    micros = wall.astype(np.int64) - days * 86_400_000_000
    free = None if holidays is None else holidays.fields(day)
    for i, field in enumerate(fields):
        match field:
            case "month":
                out[:, i] = wall.astype("datetime64[M]").astype(np.int64) % 12
            case "week":  # ISO: a week belongs to the year of its Thursday
                thursday = (days + 3 - weekday).astype("datetime64[D]")
                out[:, i] = (thursday - thursday.astype("datetime64[Y]")).astype(np.int64) // 7
            case "yearday":
                out[:, i] = (day - day.astype("datetime64[Y]")).astype(np.int64)
            case "day":
                out[:, i] = (day - day.astype("datetime64[M]")).astype(np.int64)
            case "weekday":
                out[:, i] = weekday
            case "hour":
                out[:, i] = micros // 3_600_000_000
            case "minute":
                out[:, i] = micros // 60_000_000 % 60
            case "second":
                out[:, i] = micros // 1_000_000 % 60
            case _ if free is not None and field in off.FIELDS:
                out[:, i] = free[:, off.FIELDS.index(field)]
            case _:
                raise ValueError(f"unknown calendar field '{field}'; {nearest(field, (*_FINEST, 'month', 'week'))}")
    return out


def to_wall(time: Stamps, zone: str | None) -> Stamps:
    """UTC stamps → what a clock on the wall of `zone` shows (the same stamps when zone is None)."""
    if zone is None:
        return time
    known_zone(zone)
    utc = pl.Series(time).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return utc.dt.convert_time_zone(zone).dt.replace_time_zone(None).to_numpy()


def to_utc(wall: Stamps, zone: str | None, series: Ints | None = None, *, shift: bool = False) -> Stamps:
    """Wall-clock stamps of `zone` → UTC; NaT, or with `shift` the hour after, for a time never shown.

    When the clock goes back an hour is shown twice: within one series the second showing is the later one,
    and a single showing is the earlier.
    """
    if zone is None:
        return wall
    known_zone(zone)
    frame = pl.DataFrame(
        {
            "wall": pl.Series(wall).cast(pl.Datetime("us")),
            "series": np.zeros(len(wall), np.int64) if series is None else series,
        }
    )
    again = pl.col("wall").cum_count().over("series", "wall") > 1
    late = pl.when(again).then(pl.lit("latest")).otherwise(pl.lit("earliest"))
    local = pl.col("wall").dt.replace_time_zone(zone, ambiguous=late, non_existent="null")
    if shift:
        later = (pl.col("wall") + pl.duration(hours=1)).dt.replace_time_zone(
            zone, ambiguous="earliest", non_existent="null"
        )
        local = local.fill_null(later)
    return frame.select(local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)).to_series().to_numpy()


def night_of_change(time: np.datetime64) -> bool:
    """Whether clocks may have been changed then: the first hours of a Sunday in spring or autumn."""
    day = time.astype("datetime64[D]")
    month = int(time.astype("datetime64[M]").astype(np.int64)) % 12 + 1
    sunday = (int(day.astype(np.int64)) + 3) % 7 == 6
    return sunday and month in (3, 4, 9, 10, 11) and time - day < np.timedelta64(4, "h")


def known_zone(zone: str) -> str:
    """The zone itself; DataError with the nearest name when there is no such zone."""
    try:
        pl.Series([0]).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(zone)
    except (pl.exceptions.PolarsError, ValueError):
        import zoneinfo

        names = zoneinfo.available_timezones()
        hint = nearest(zone, names) if names else ""
        raise DataError(
            f"'{zone}' is not a time zone",
            "expected an IANA name such as Europe/Berlin",
            hint if "mean" in hint else "see the IANA time zone database",
        ) from None
    return zone
