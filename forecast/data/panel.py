"""Panels: many series of unequal length and start. What lies before a series, which of them have windows, how often
each is drawn, what each weighs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.clock import clock
from forecast.data.freq import Ints
from forecast.data.holidays import FIELDS as HOLIDAY_FIELDS
from forecast.data.scale import Scaler
from forecast.data.split import PARTS, Split
from forecast.data.stamps import parse_names, parse_numbers
from forecast.data.table import Floats, Series, steps_after
from forecast.errors import DataError, UsageError, nearest

if TYPE_CHECKING:  # the treatment of a table does not wait for torch
    from torch import Generator

BY_SCALE: Final = "scale"  # data.weight=scale
NO_HOLIDAY: Final = {"holiday": 0.0, "holiday_in": 7.0, "holiday_ago": 7.0}  # 7: a week or more
NAMED: Final = 3  # ids in a line for people


def pad(series: Series, before: Ints) -> tuple[Series, Ints]:
    """Put `before` (S,) steps in front of each series, in which nothing was observed: NaN, with real stamps and clock.

    Also gives (S,) by how many rows each series moved down. A context that reaches back beyond the start of its series
    is then a window like any other, of which a part is masked. Days off are not looked up there: a table of them need
    not reach back so far, and what is masked is not seen.
    """
    moved: Ints = np.cumsum(before)
    if not moved[-1]:
        return series, np.zeros_like(before)
    count = len(series.ids)
    number = np.repeat(np.arange(count), before)
    start: Ints = series.start + np.concatenate([[0], moved])
    new = np.arange(moved[-1]) + series.start[:-1][number]  # all rows of earlier series stand before it
    back = new - start[1:][number] + series.rows[number]  # -before … -1
    stamps = steps_after(series.time[series.start[:-1]][number], back, series.freq, series.zone)
    old = np.arange(len(series.time)) + moved[series.number]
    time = np.empty(int(start[-1]), dtype="datetime64[us]")
    values = np.full((len(time), series.values.shape[1]), np.nan)
    calendar = np.empty((len(time), len(series.fields)), dtype=np.float32)
    time[old], time[new] = series.time, stamps
    values[old], calendar[old] = series.values, series.clock
    plain = tuple(field for field in series.fields if field not in HOLIDAY_FIELDS)
    known = clock(stamps, plain, series.zone)
    for i, field in enumerate(series.fields):
        calendar[new, i] = known[:, plain.index(field)] if field in plain else NO_HOLIDAY[field]
    return series._replace(start=start, time=time, values=values, clock=calendar), moved


def in_front(
    series: Series, observed: NDArray[np.bool_], parts: Split, steps: int
) -> tuple[Series, NDArray[np.bool_], Split]:
    """The table with `steps` more in front of each series, and what was observed (N, C) and the parts as rows of it."""
    if not steps:
        return series, observed, parts
    longer, moved = pad(series, np.full(len(series.ids), steps))
    seen = np.zeros(longer.values.shape, np.bool_)
    seen[np.arange(len(observed)) + moved[series.number]] = observed
    return longer, seen, Split(*(part + moved[:, None] for part in parts))


def left_out(series: Series, parts: Split, context: int, horizon: int) -> dict[str, list[str]]:
    """Part -> names of the series that have no window in it, of a table that is padded already."""
    found = {}
    for part, ranges in zip(PARTS, parts, strict=True):
        short = np.maximum(ranges[:, 0], series.start[:-1] + context) + horizon > ranges[:, 1]
        found[part] = [series.ids[s] for s in np.flatnonzero(short)]
    return found


def said(found: Mapping[str, list[str]], count: int) -> list[str]:
    """Lines for people about the series that are left out of parts in which others have windows."""
    return [
        f"{part}: {len(names):,} of {count:,} series {'has' if len(names) == 1 else 'have'} no window there "
        f"({', '.join(names[:NAMED])}{', …' if len(names) > NAMED else ''})"
        for part, names in found.items()
        if 0 < len(names) < count
    ]


def borders(series: Series, parts: Split) -> list[str]:
    """A line for people where the test part of one series begins before that of another: one of them then trains on
    days on which the other is tested."""
    some = parts.test[:, 0] < parts.test[:, 1]
    first = series.time[parts.test[some, 0]]
    if not len(first) or first.min() == first.max():
        return []
    return [
        f"the test parts of the series begin between {first.min().astype('datetime64[D]')} and "
        f"{first.max().astype('datetime64[D]')}; set data.splits={{val: DATE, test: DATE}} for one border in time"
    ]


def by_series(until: Ints, generator: "Generator") -> Ints:
    """An epoch that draws every series equally often: numbers of windows, as many as there are windows.

    `until` (S+1,) is the number of windows before each series. Series are drawn in rounds, each in a new order, so that
    their counts differ by one at most; the windows of a series come in a random order, again and again if need be.
    """
    import torch

    total, own = int(until[-1]), np.diff(until)
    some = np.flatnonzero(own)
    if not len(some):
        return np.empty(0, np.int64)
    mixed = torch.randperm(total, generator=generator).numpy()
    order = mixed[np.argsort(np.searchsorted(until, mixed, side="right"), kind="stable")]  # by series, mixed within
    rounds = -(-total // len(some))
    drawn = torch.rand(rounds, len(some), generator=generator).argsort(1).numpy().reshape(-1)[:total]
    turn = np.repeat(np.arange(rounds), len(some))[:total]
    series = some[drawn]
    picked: Ints = order[until[series] + turn % own[series]]
    return picked


def weigh(word: str | None, scaler: Scaler, targets: int, given: Floats | None) -> Floats | None:
    """(S,) the weight of each series in the loss, mean 1: those `given`, or, by the word `scale`, what the scaler
    divides the series by (averaged over targets)."""
    if word is None:
        return None
    found = scaler.std[:, :targets].mean(axis=1) if given is None else given
    return np.asarray(found / found.mean())


def column_weights(
    column: str | None, frame: pl.DataFrame, id: str | None, series: Series, where: str
) -> Floats | None:
    """(S,) the one number that each series has in a column of the file; None where no column is asked for."""
    if column in (None, BY_SCALE):
        return None
    if column not in frame.columns:
        raise UsageError(
            f"data.weight names '{column}', which is no column of {where}",
            nearest(column, (*frame.columns, BY_SCALE)),
            f"set data.weight={BY_SCALE}, or the name of a column",
        )
    names = pl.Series([series.ids[0]] * frame.height) if id is None else parse_names(frame[id], where)
    numbers = pl.Series(parse_numbers(frame[column], (), where)).fill_nan(None)
    table = pl.DataFrame({"id": names, "w": numbers}).group_by("id").agg(low=pl.min("w"), high=pl.max("w"))
    one = pl.DataFrame({"id": series.ids}).join(table, on="id", how="left", maintain_order="left")
    low, high = (one[key].cast(pl.Float64).fill_null(np.nan).to_numpy() for key in ("low", "high"))
    if (odd := ~((low == high) & (low >= 0))).any() or not low.any():
        s = int(odd.argmax())
        what = "nothing" if np.isnan(low[s]) else f"{low[s]:g}" if low[s] == high[s] else f"{low[s]:g} and {high[s]:g}"
        raise DataError(
            f"{where}, column '{column}': series '{series.ids[s]}' has the weight {what}",
            "expected one number for all rows of a series, 0 or more, and more than 0 for one of them",
            "correct the column",
        )
    return np.asarray(low)
