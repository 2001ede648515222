"""The shaded intervals of a forecast, wherever one is drawn."""

from typing import Final

import polars as pl

from forecast.dashboards.charts.chart import Band

# What a run recorded of an interval, the widest first; each lies over the one before, so that it is darker inwards.
ENDS: Final = (("95 % interval", "lo95", "hi95"), ("80 %", "lo80", "hi80"), ("50 %", "lo50", "hi50"))
SHADES: Final = {"lo95": 0.1, "lo80": 0.13, "lo50": 0.2, "lo": 0.16}  # opacity
OLD: Final = ("90 % interval", "lo", "hi")  # all that a run before schema 2 has
COLUMNS: Final = ("lo", "hi", "lo50", "hi50", "lo80", "hi80", "lo95", "hi95", "median")


def bands(future: pl.DataFrame, role: str = "model") -> list[Band]:
    """Bands over `ds` of the intervals that `future` has columns of: those of 95, 80 and 50 %, or that of 90 %."""
    found = [ends for ends in ENDS if _has(future, *ends[1:])]
    if not found and _has(future, *OLD[1:]):
        found = [OLD]
    return [Band(future["ds"], future[low], future[high], name, role, SHADES[low]) for name, low, high in found]


def told(future: pl.DataFrame) -> str:
    """A sentence on what is shaded, or nothing."""
    levels = [name.split(" ")[0] for name, low, high in ENDS if _has(future, low, high)][::-1]
    if len(levels) > 1:
        return f"Shaded: the intervals of {', '.join(levels[:-1])} and {levels[-1]} %, lighter outwards."
    return "Shaded: the 90 % interval." if _has(future, *OLD[1:]) else ""


def _has(frame: pl.DataFrame, *columns: str) -> bool:
    return all(column in frame.columns and frame[column].count() for column in columns)
