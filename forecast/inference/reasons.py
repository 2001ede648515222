"""Why a series has no forecast: a code for programs (a key of ledger.REASONS), a line of what to do for people.

A detail names what was found by stamps and values, never by rows of the table: it is the same whatever else is in it.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.errors import DataError
from forecast.ledger import REASONS


class Fault(NamedTuple):
    """What is wrong with one series."""

    reason: str  # a key of REASONS
    detail: str


class Faults:
    """The faults of S series, the first that is found of each."""

    def __init__(self, series: int) -> None:
        self.bad: NDArray[np.bool_] = np.zeros(series, np.bool_)
        self.of: dict[int, Fault] = {}

    @classmethod
    def of_names(cls, ids: pl.Series) -> "Faults":
        """Of series (S,), of which one may have no name."""
        faults = cls(len(ids))
        if ids.null_count():
            faults.add("no_id", np.flatnonzero(ids.is_null().to_numpy()).tolist(), ["rows without a name"])
        return faults

    def add(self, reason: str, numbers: Iterable[int], details: Iterable[str]) -> None:
        """Series that have no fault yet."""
        for number, detail in zip(numbers, details, strict=True):
            if not self.bad[number]:
                self.bad[number] = True
                self.of[number] = Fault(reason, detail)

    def fresh(self, flags: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The numbers of flagged series without a fault so far, of flags (S,)."""
        return np.flatnonzero(flags & ~self.bad)

    def refuse(self, ids: Any) -> None:
        """DataError for the first bad series, if there is one."""
        if self.of:
            first = min(self.of)
            fault = self.of[first]
            raise DataError(f"series '{ids[first]}' ({fault.reason}): {fault.detail}", do=REASONS[fault.reason])
