"""Labelled series: a table of steps with an id, channels and a label that is one for each series → `Labelled`, checked.

What is defined here:

- rows are ordered by the column of time where there is one, else as they are in the file; rows of one series need not
  stand together;
- a cell that is empty is a value that was not measured: NaN here, masked in a batch;
- classes are coded by the order of their names, whole numbers by value; the names stay with the run;
- a series whose label is empty has the label -1. So has one whose class the training did not have, where that may be
  (`unknown="none"`: a table to be told, or to be scored); in the training itself it is an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from forecast.data.events import Floats, coded, tell_sorted
from forecast.data.freq import Ints
from forecast.data.stamps import NOTHING, is_stamps, parse_names, parse_numbers, parse_stamps
from forecast.errors import DataError, nearest

UNKNOWN: Final = ("error", "none")


@dataclass(frozen=True, slots=True)
class Labelled:
    """n series of C channels below each other, N steps. Each series has at least one step."""

    ids: tuple[str, ...]  # n
    offsets: Ints  # (n+1,) first step of each series, then N
    values: Floats  # (N, C), NaN where nothing was measured
    label: Ints  # (n,) codes 0 … K-1, -1 where the label is not known
    classes: tuple[str, ...]  # K names, in the order of their codes
    channels: tuple[str, ...]  # C names

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> Ints:
        """(n,) steps of each series."""
        return np.diff(self.offsets)

    @property
    def number(self) -> Ints:
        """(N,) the number of the series of each step."""
        return np.repeat(np.arange(len(self.ids)), self.lengths)

    @property
    def counts(self) -> Ints:
        """(K,) series of each class."""
        return np.bincount(self.label[self.label >= 0], minlength=len(self.classes))

    def take(self, numbers: Ints) -> "Labelled":
        """The series of these numbers (K,), in that order."""
        counts = self.lengths[numbers]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][numbers] - offsets[:-1], counts)
        ids = tuple(self.ids[int(i)] for i in numbers)
        return replace(self, ids=ids, offsets=offsets, values=self.values[rows], label=self.label[numbers])

    def coded(self, classes: Sequence[str]) -> "Labelled":
        """The same series with the codes of other names; -1 for a class without a name there."""
        place = {name: code for code, name in enumerate(classes)}
        codes = np.array([*(place.get(name, -1) for name in self.classes), -1], dtype=np.int64)
        return replace(self, label=codes[self.label], classes=tuple(classes))


def joined(one: Labelled, other: Labelled) -> Labelled:
    """The series of both; their classes and channels are the same."""
    if (one.classes, one.channels) != (other.classes, other.channels):
        raise ValueError("these series have other classes or channels")
    return replace(
        one,
        ids=one.ids + other.ids,
        offsets=np.concatenate([one.offsets, one.offsets[-1] + other.offsets[1:]]),
        values=np.concatenate([one.values, other.values]),
        label=np.concatenate([one.label, other.label]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelColumns:
    """What a card says of a table of labelled series. `time` None: rows are in their order; `missing` are numbers that
    mean "nothing was measured"."""

    id: str = "id"
    time: str | None = None
    label: str = "label"
    channels: tuple[str, ...] = ()
    missing: tuple[float, ...] = ()


def read_labelled(
    frame: pl.DataFrame,
    columns: LabelColumns,
    where: str,
    *,
    classes: Sequence[str] | None = None,
    unknown: str = "error",
    bare: bool = False,
    notes: list[str] | None = None,
) -> Labelled:
    """The series of a table, (N, …) rows in any order.

    `classes` are the names that are known already, `unknown` what to do with others; `bare`: the column of labels may
    be absent. DataError for a table without rows or columns, a label that changes within a series, text in a channel,
    an empty id, and two rows of one time.
    """
    notes = [] if notes is None else notes
    if unknown not in UNKNOWN:
        raise DataError(f"labels: unknown is '{unknown}'", "expected error or none", nearest(unknown, UNKNOWN))
    if not frame.height:
        raise DataError(f"{where} has no rows", "expected a table of labelled series", "give at least one row")
    labelled = columns.label in frame.columns or not bare
    need = (columns.id, columns.time, *([columns.label] if labelled else []), *columns.channels)
    for name in need:
        if name is not None and name not in frame.columns:
            what = " of labels" if name == columns.label else ""
            raise DataError(
                f"{where} has no column{what} '{name}'",
                f"found {', '.join(frame.columns[:12])}",
                nearest(name, frame.columns),
            )
    ids, number = coded(frame, columns.id, "", where)
    order = _order(frame, columns.time, ids, number, where, notes)
    number = number[order]
    offsets = np.searchsorted(number, np.arange(len(ids) + 1)).astype(np.int64)
    values = np.column_stack([_channel(frame[name], columns.missing, where) for name in columns.channels])[order]
    names: tuple[str, ...] = ()
    label = np.full(len(ids), -1)
    if labelled:
        names, label = _labels(frame[columns.label], ids, number, order, offsets, where)
    found = Labelled(ids, offsets, values, label, names, columns.channels)
    if (lost := int(np.logical_and.reduceat(np.isnan(values).all(axis=1), offsets[:-1]).sum())) > 0:
        notes.append(f"{where}: {lost:,} series without a single value")
    return found if classes is None else recoded(found, classes, where, unknown=unknown, notes=notes)


def recoded(
    found: Labelled, classes: Sequence[str], where: str, *, unknown: str = "error", notes: list[str] | None = None
) -> Labelled:
    """The series with the codes of other names; a class without a name there is an error, or has the label -1."""
    made = found.coded(classes)
    if (new := (made.label < 0) & (found.label >= 0)).any():
        at = int(new.argmax())
        name = found.classes[int(found.label[at])]
        if unknown == "error":
            raise DataError(
                f"{where}: series '{found.ids[at]}' has the class '{name}', which no series of the training has",
                f"expected {', '.join(classes[:12])}{', …' if len(classes) > 12 else ''}",
                "give the training series of each class, or leave them out here",
            )
        if notes is not None:
            notes.append(f"{where}: {int(new.sum()):,} series of a class that training did not have ('{name}')")
    return made


def _order(
    frame: pl.DataFrame, time: str | None, ids: Sequence[str], number: Ints, where: str, notes: list[str]
) -> Ints:
    """(N,) rows by series and time; DataError for two rows of one series and time."""
    if time is None:
        return np.argsort(number, kind="stable")
    column = frame[time]
    ticks: NDArray[Any]
    if is_stamps(column):
        ticks = parse_stamps(column, where)[0].astype(np.int64)
    else:
        ticks = parse_numbers(column, (), where)
        if (empty := np.isnan(ticks)).any():
            raise DataError(
                f"{where}: row {int(empty.argmax()) + 1}, column '{time}' is empty",
                "expected a time, or a number that orders the steps, in every row",
                "fill it, or set time= to another column",
            )
    tell_sorted(number, ticks, where, notes)
    order = np.lexsort((ticks, number))
    twice = (np.diff(number[order]) == 0) & (np.diff(ticks[order]) == 0)
    if twice.any():
        at = int(twice.argmax())
        one, two = sorted((int(order[at]) + 1, int(order[at + 1]) + 1))
        raise DataError(
            f"{where}: rows {one:,} and {two:,} of series '{ids[int(number[order[at]])]}' have the same time",
            "expected one row for each step of a series",
            "drop one, or name another column of ids or of time",
        )
    return order


def _channel(column: pl.Series, missing: tuple[float, ...], where: str) -> Floats:
    """(N,) numbers of a channel, NaN where nothing was measured; DataError for what holds no numbers."""
    if column.dtype != pl.String and not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise DataError(
            f"{where}: column '{column.name}' holds {str(column.dtype).lower()} values",
            "expected the numbers of a channel",
            "name the channels: channels=A,B",
        )
    return parse_numbers(column, missing, where)


def _labels(
    column: pl.Series, ids: Sequence[str], number: Ints, order: Ints, offsets: Ints, where: str
) -> tuple[tuple[str, ...], Ints]:
    """Names of the classes in their order, and the code of each series (n,); -1 where its label is empty."""
    if column.dtype.is_float() and bool((column.drop_nulls() == column.drop_nulls().floor()).all()):
        column = column.cast(pl.Int64, strict=False)  # 1.0 and 1 are one name; pandas makes floats of whole numbers
    text = parse_names(column, where, "labels", "data.label")
    text = text.set(text.str.to_lowercase().is_in(NOTHING), None)
    names = tuple(text.drop_nulls().unique(maintain_order=True).to_list())
    code = text.cast(pl.Enum(list(names))).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()[order]
    of = code[offsets[:-1]]
    if (changed := code != of[number]).any():
        at = int(number[int(changed.argmax())])
        both = [names[c] if c >= 0 else "nothing" for c in (of[at], code[int(changed.argmax())])]
        raise DataError(
            f"{where}: the label of series '{ids[at]}' changes from {both[0]} to {both[1]}",
            "expected one label for all rows of a series",
            "correct it, or name another column of ids or of labels",
        )
    classes = ordered(names)
    place = {name: rank for rank, name in enumerate(classes)}
    return classes, np.array([*(place[name] for name in names), -1], dtype=np.int64)[of]


def ordered(names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes in their order: numbers by value, text as text."""
    try:
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    except ValueError:
        return tuple(sorted(names))
