"""Labels of a pandas index as stamps on a regular grid, which is what our tables count in.

Whole numbers become years of a calendar without seasons; periods stand for their first instant.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import polars as pl

from forecast.data.clock import to_wall
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

    def steps(self, label: Any, index: pd.Index) -> Ints:
        """How many steps labels (n,) come after one label; DataError for one that is on no step."""
        found, fits = self._between(pd.Index([label]), index)
        if not fits.all():
            odd = index[int((~fits).argmax())]
            raise DataError(f"{odd} is no whole number of steps ({self.freq}) after {label}", do="correct fh")
        return found

    def lengths(self, index: pd.Index, start: Ints) -> Ints:
        """(S,) steps from the first label of each series to its last, both counted; rows may be left out."""
        return self._between(index[start[:-1]], index[start[1:] - 1])[0] + 1

    def _between(self, first: pd.Index, last: pd.Index) -> tuple[Ints, "np.ndarray[Any, Any]"]:
        """Steps from labels (n,) or (1,) to others (n,), and whether they are whole."""
        if self.kind == "int":
            ahead = np.asarray(last, np.int64) - np.asarray(first, np.int64)
            return ahead, np.ones(len(ahead), bool)
        step, zone = parse_freq(self.freq), self.zone
        times = [self.stamps(labels).dt.replace_time_zone(None).to_numpy() for labels in (first, last)]
        (began, lead), (ended, rest) = (step.ordinals(to_wall(t, zone) if step.wall else t) for t in times)
        return (ended - began) // step.step, ((ended - began) % step.step == 0) & (lead == rest)

    def labels(self, label: Any, steps: Ints) -> pd.Index:
        """The labels so many steps (n,) after one."""
        if self.kind == "int":
            return pd.Index(int(label) + steps)
        if self.kind == "period":
            return pd.PeriodIndex([label + int(k) for k in steps])
        step = parse_freq(self.freq)
        offset = _offset(self.freq, label)
        if offset is not None and steps.min() >= 0:
            return pd.date_range(label, periods=int(steps.max()) + 1, freq=offset)[steps]
        if offset is None:  # months counted from a day within them
            offset = pd.DateOffset(months=step.step)
        return pd.DatetimeIndex([label + int(k) * offset for k in steps])

    def cutoff(self, label: Any) -> pd.Index:
        """A label as sktime keeps a cutoff: an index of one, with the step where pandas can tell it."""
        if self.kind == "period":
            return pd.PeriodIndex([label])
        return (
            pd.DatetimeIndex([label], freq=_offset(self.freq, label)) if self.kind == "datetime" else pd.Index([label])
        )

    def to_state(self) -> dict[str, Any]:
        return asdict(self)


def _offset(freq: str, label: pd.Timestamp) -> Any:
    """The step in pandas, tied to the weekday of a label where it is tied to none; None where a label is within it."""
    step = parse_freq(freq)
    alias = f"{freq}-{label:%a}".upper() if step.unit == "W" and not step.anchor else freq
    offset = pd.tseries.frequencies.to_offset(alias)
    return offset if offset is None or offset.is_on_offset(label) else None


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
