"""Forecasts of the series that can be forecast, and beside them a row for each that is set aside."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl

from forecast.data.freq import Ints
from forecast.errors import DataError
from forecast.inference.reasons import Faults
from forecast.ledger import FORECAST, QUARANTINED

WHERE: Final = "the table"
T = TypeVar("T")
SAID: Final = ("status", "reason", "detail")


def by_halves(
    faults: Faults, prepare: Callable[[Ints], T], make: Callable[[T], pl.DataFrame], rows: int
) -> list[pl.DataFrame]:
    """Forecasts of all series without a fault: what `make` gives of what `prepare` gives of their numbers, `rows` of
    each, with a column `number`. Where `prepare` refuses, what is wrong with which is found by halves."""
    while len(good := np.flatnonzero(~faults.bad)):
        try:
            return [_told(make(prepare(good)), good, rows)]
        except DataError as error:
            bad = int(faults.bad.sum())
            sound = list(_searched(faults, prepare, good, error))
        if faults.bad.sum() == bad:  # none is bad alone, but all cannot be read together
            return [_told(make(prepare(some)), some, rows) for some in sound]
    return []


def _searched(faults: Faults, prepare: Callable[[Ints], T], refused: Ints, error: DataError) -> Iterator[Ints]:
    """Parts of the refused series that are sound; the others get their fault."""
    if len(refused) == 1:
        faults.add(error.reason or "invalid", refused.tolist(), [f"{error.found}; {error.expected}"])
        return
    for half in np.array_split(refused, 2):
        try:
            prepare(half)
        except DataError as found:
            yield from _searched(faults, prepare, half, found)
        else:
            yield half


def _told(made: pl.DataFrame, some: Ints, rows: int) -> pl.DataFrame:
    number = pl.Series("number", np.repeat(some, rows))
    status = pl.Series("status", [FORECAST]).new_from_index(0, made.height)
    return pl.DataFrame([number, *made.get_columns(), status])


def quarantined(faults: Faults, ids: pl.Series, but: set[int]) -> list[pl.DataFrame]:
    """A row for each series with a fault, but for some."""
    numbers = [n for n in sorted(faults.of) if n not in but]
    if not numbers:
        return []
    of = [faults.of[n] for n in numbers]
    return [pl.DataFrame({
        "number": np.array(numbers),
        "unique_id": ids.gather(numbers),
        "status": [QUARANTINED] * len(of),
        "reason": [fault.reason for fault in of],
        "detail": [fault.detail for fault in of],
    })]  # fmt: skip


def joined(parts: list[pl.DataFrame], wanted: Mapping[str, Any]) -> pl.DataFrame:
    """Parts with a column `number` as one table in its order: the columns `wanted`, null where a part lacks one, and
    what is said of each series."""
    schema = {**wanted, **dict.fromkeys(SAID, pl.String)}
    if not parts:
        return pl.DataFrame(schema=schema)
    whole = [
        pl.DataFrame([
            part[name] if name in part.columns else pl.Series(name, [None], kind).new_from_index(0, part.height)
            for name, kind in {"number": pl.Int64, **schema}.items()
        ])
        for part in parts
    ]  # fmt: skip
    made = whole[0] if len(whole) == 1 else pl.concat(whole).sort("number", maintain_order=True)
    return pl.DataFrame(made.get_columns()[1:])


def rows_of(frame: pl.DataFrame, number: Ints, some: Ints) -> pl.DataFrame:
    """The rows of some series; `number` (N,) says whose each is."""
    inside = np.zeros(int(number.max(initial=-1)) + 1, np.bool_)
    inside[some] = True
    return frame if inside.all() else frame.filter(inside[number])


def silent(note: str) -> None:
    """Notes for people have no place in a table."""
