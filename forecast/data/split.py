"""Which rows train, validate and test: by time, never shuffled."""

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from forecast.data.card import plain_splits
from forecast.data.clock import to_utc
from forecast.data.freq import Ints, Stamps
from forecast.data.table import Series
from forecast.errors import DataError

PARTS = ("train", "val", "test")
_HOW = "set data.splits to fractions {train: .7, val: .1, test: .2}, to rows, or to {val: DATE, test: DATE}"


class Split(NamedTuple):
    """Global rows [first, last), (S, 2) for each part; a window's inputs may look back before `first`."""

    train: Ints
    val: Ints
    test: Ints


def split(series: Series, splits: Mapping[str, Any]) -> Split:
    """Cut every series by fractions of its rows, by rows from its start, or at dates."""
    splits = plain_splits(splits)
    if set(splits) in ({"val", "test"}, {"val", "test", "end"}):
        borders = _dates(series, splits)
    elif set(splits) != set(PARTS):
        raise DataError(f"data.splits has {', '.join(splits) or 'nothing'}", "expected train, val and test", _HOW)
    elif all(isinstance(v, int) and not isinstance(v, bool) for v in splits.values()):
        borders = _rows(series, splits)
    elif all(isinstance(v, int | float) for v in splits.values()):
        borders = _fractions(series, splits)
    else:
        raise DataError(f"data.splits is {splits}", "expected numbers of one kind", _HOW)
    return Split(*(series.start[:-1, None] + borders[:, i : i + 2] for i in range(3)))


def _fractions(series: Series, splits: Mapping[str, float]) -> Ints:
    """(S, 4) borders; train and test are rounded down, validation is the rest, as the field does."""
    if not min(splits.values()) >= 0 or not abs(sum(splits.values()) - 1) <= 1e-6 or not splits["train"]:
        raise DataError(f"data.splits is {dict(splits)}", "expected fractions that sum to 1", _HOW)
    train = (series.rows * splits["train"]).astype(np.int64)
    test = (series.rows * splits["test"]).astype(np.int64)
    return np.stack([np.zeros_like(train), train, series.rows - test, series.rows], axis=1)


def _rows(series: Series, splits: Mapping[str, int]) -> Ints:
    """(S, 4) borders; rows after the test part are not used."""
    sizes = [int(splits[part]) for part in PARTS]
    if min(sizes) < 0 or not sizes[0]:
        raise DataError(f"data.splits is {dict(splits)}", "expected numbers of rows", _HOW)
    if (series.rows < sum(sizes)).all():
        raise DataError(
            f"series '{series.ids[0]}' has {series.rows[0]:,} rows",
            f"data.splits needs {sum(sizes):,}",
            _HOW,
        )
    return np.minimum(np.cumsum([0, *sizes]), series.rows[:, None])


def _dates(series: Series, splits: Mapping[str, Any]) -> Ints:
    """(S, 4) borders at dates or stamps on the wall clock of the series' zone; those with a Z are UTC. Rows from `end`
    on, where it is given, are not used."""
    try:
        at = np.concatenate([moment(splits[part], series.zone) for part in ("val", "test", "end") if part in splits])
    except ValueError:
        raise DataError(f"data.splits is {splits}", "expected dates like 2024-01-31", _HOW) from None
    if at[0] > at[1]:
        raise DataError(f"data.splits: val starts {at[0]}, after test", "expected val before test", _HOW)
    if at[-1] < at[1]:
        raise DataError(f"data.splits: end is {at[-1]}, before test", "expected test before end", _HOW)
    # Stamps rise within a series only: search in each series by counting the rows before the date.
    before = [_before(series, border) for border in at]
    if not before[0].all() and (before[0] == 0).all():
        raise DataError(f"data.splits: no row is before {splits['val']}", f"the data start {series.time.min()}", _HOW)
    return np.stack([np.zeros_like(series.rows), *before, series.rows], axis=1)[:, :4]


def _before(series: Series, border: np.datetime64) -> Ints:
    """(S,) rows of each series before a stamp."""
    if not isinstance(series.time, np.ndarray):  # mapped.Times, which are no list
        return series.time.before(border)
    return np.add.reduceat((series.time < border).astype(np.int64), series.start[:-1])


def moment(value: Any, zone: str | None) -> Stamps:
    """(1,) UTC stamp of an ISO date or stamp; ValueError for anything else."""
    text = value.isoformat() if isinstance(value, date) else str(value)
    stamp = np.array([text.removesuffix("Z")], dtype="datetime64[us]")
    return stamp if text.endswith("Z") else to_utc(stamp, zone, shift=True)
