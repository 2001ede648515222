"""Labels of a pandas index as stamps on a regular grid, which is what our tables count in.

Whole numbers become years of a calendar without seasons; periods stand for their first instant.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import polars as pl

from forecast.data.freq import Ints, Stamps, infer_freq, parse_freq
from forecast.errors import DataError

YEAR_ONE: Final = 30  # years after 1970 of the first whole number
PERIODS: Final = {  # pandas' periods, by their first instant
    "Y": "YS", "A": "YS", "Q": "QS", "M": "MS", "W": "W", "D": "D", "B": "B", "h": "h", "H": "h", "min": "min",
    "T": "min", "s": "s", "S": "s", "ms": "ms", "L": "ms", "us": "us", "U": "us",
}  # fmt: skip


@dataclass(frozen=True)
class Clock:
    """How labels of one kind, int, period or datetime, become stamps; `freq` is the step as our tables name it."""

    kind: str
    freq: str
    zone: str | None = None
    first: int = 0  # of whole numbers, the one that is YEAR_ONE

    @classmethod
    def of(cls, index: pd.Index, start: Ints) -> "Clock":
        """From the labels of several series below each other, which begin at rows `start` (S+1,)."""
        if isinstance(index, pd.PeriodIndex):
            found = re.fullmatch(r"(\d*)([A-Za-z]+)(?:-\w+)?", index.freqstr)
            unit = PERIODS.get(found[2]) if found else None
            if found is None or unit is None:
                raise DataError(f"the periods have the step {index.freqstr}", f"expected one of {', '.join(PERIODS)}")
            return cls("period", parse_freq(f"{found[1]}{unit}").alias)
        if isinstance(index, pd.DatetimeIndex):
            zone = None if index.tz is None else str(index.tz)
            return cls("datetime", _step(index, start), zone)
        if pd.api.types.is_integer_dtype(index.dtype):
            return cls("int", "YS", first=int(index.min()))
        raise DataError(
            f"the time index is of {index.dtype}", "expected whole numbers, periods or dates", "convert the index"
        )

    def stamps(self, index: pd.Index) -> pl.Series:
        """The stamps of labels; those of a zone are UTC."""
        if self.kind == "int":
            years = np.asarray(index, np.int64) - self.first + YEAR_ONE
            return pl.Series(years.astype("datetime64[Y]").astype("datetime64[us]"))
        if isinstance(index, pd.PeriodIndex):
            index = index.to_timestamp(how="start")
        assert isinstance(index, pd.DatetimeIndex)
        if self.zone is None:
            return pl.Series(_micros(index))
        return pl.Series(_micros(index.tz_convert("UTC").tz_localize(None))).dt.replace_time_zone("UTC")

    def to_state(self) -> dict[str, Any]:
        return asdict(self)


def _micros(index: pd.DatetimeIndex) -> Stamps:
    return np.asarray(index.to_numpy(), dtype="datetime64[us]")


def _step(index: pd.DatetimeIndex, start: Ints) -> str:
    """The step that pandas knows, where our tables know it too; else the one that is seen."""
    if index.freqstr is not None:
        try:
            return parse_freq(index.freqstr).alias
        except DataError:
            pass  # pandas knows more steps than a table does; what is seen decides
    wall = index if index.tz is None else index.tz_localize(None)
    return infer_freq(_micros(wall), start).alias
