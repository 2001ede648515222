"""Which events train, validate and test: after a date, or in other sequences; nothing is shuffled.

At a date every sequence is cut in itself: the targets of validation are the events from its date on, each given the
events before it, those of the training among them. A part ends where the next begins: what comes later is not in
its table, and a sequence is known to have stayed without an event from its last one to that end (its survival).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.events import Events, Floats, moment_of, recode
from forecast.data.freq import Ints
from forecast.errors import DataError

PARTS: Final = ("train", "val", "test")
_HOW: Final = "give {train: .7, val: .1, test: .2}, lists of ids, or {val: DATE, test: DATE}"


class Part(NamedTuple):
    """Sequences of events, those that are to be forecast, and how long each was watched."""

    events: Events
    target: NDArray[np.bool_]  # (N,) False for the first event of a sequence and for what is context only
    end: Floats  # (S,) until when the sequence was watched, at least its last event's time

    @property
    def last(self) -> Floats:
        """(S,) from the last event of a sequence to its end, 0 where nothing is known of the time after it."""
        return self.end - self.events.time[self.events.start[1:] - 1]

    @property
    def targets(self) -> Ints:
        """(S,) how many targets each sequence has."""
        return np.add.reduceat(self.target.astype(np.int64), self.events.start[:-1])

    def take(self, numbers: Ints) -> "Part":
        """The sequences of these numbers (K,), in that order."""
        return Part(self.events.take(numbers), self.target[self.events.rows(numbers)], self.end[numbers])


class EventSplit(NamedTuple):
    train: Part
    val: Part
    test: Part


def whole(events: Events, end: float | None = None) -> Part:
    """All events but the first ones are targets: a file of its own; watched until `end`, or to its last event."""
    last = events.time[events.start[1:] - 1]
    return Part(events, ~events.first, last if end is None else np.maximum(last, end))


def split_events(
    events: Events, splits: Mapping[str, Any], *, notes: list[str] | None = None, coded: bool = True
) -> EventSplit:
    """Cut by dates {val: DATE, test: DATE}, by lists of ids, or by fractions of the sequences in their order.

    Sequences that are parted whole are watched to their last event: nothing is known of the time after it.
    Marks are those of the training; others have the code M in val and test (see events.py), which a note tells.
    Numbers in place of dates cut times that are numbers. DataError for splits that say none of this. `coded` False: the
    marks stay as they are.
    """
    if set(splits) == {"val", "test"}:
        val, test = (moment_of(events, splits[name], f"splits: {name}", _HOW) for name in ("val", "test"))
        if val > test:
            raise DataError(f"splits: val starts at {splits['val']}, after test", "expected val before test", _HOW)
        parts = [_between(events, low, high) for low, high in ((-np.inf, val), (val, test), (test, np.inf))]
    elif set(splits) == set(PARTS):
        parts = [whole(events.take(numbers)) for numbers in _numbers(events, splits)]
    else:
        raise DataError(f"splits has {', '.join(splits) or 'nothing'}", "expected train, val and test", _HOW)
    for name, part in zip(PARTS, parts, strict=True):
        if not part.target.any():
            raise DataError(f"splits: no event is a target of {name}", f"splits is {dict(splits)}", _HOW)
    return _marked(EventSplit(*parts), notes) if coded else EventSplit(*parts)


def split_files(train: Events, val: Events, test: Events, *, notes: list[str] | None = None) -> EventSplit:
    """Three files: each event but the first of a sequence is a target; marks as in `split_events`."""
    return _marked(EventSplit(whole(train), whole(val), whole(test)), notes)


def _marked(split: EventSplit, notes: list[str] | None) -> EventSplit:
    """The parts with the marks that training has, in the order of its table."""
    events = split.train.events
    there = np.bincount(events.mark, minlength=len(events.marks) + 1)
    marks = tuple(name for name, count in zip(events.marks, there, strict=False) if count)
    return EventSplit(
        *(
            part._replace(events=recode(part.events, marks, name, unknown="code", notes=notes))
            for name, part in zip(PARTS, split, strict=True)
        )
    )


def _between(events: Events, low: float, high: float) -> Part:
    """Targets in [low, high), what came before as context; sequences without an event before `high` are left out."""
    keep = events.time < high
    counts = np.add.reduceat(keep.astype(np.int64), events.start[:-1])
    there = counts > 0
    rows = np.flatnonzero(keep)
    start = np.concatenate([[0], np.cumsum(counts[there])]).astype(np.int64)
    ids = tuple(name for name, one in zip(events.ids, there, strict=True) if one)
    cut = events.at(rows)._replace(ids=ids, start=start)
    # The watch over all sequences ends together: at the border, or with the last event of the table.
    return Part(cut, ~cut.first & (cut.time >= low), np.full(len(ids), min(high, float(events.time.max()))))


def _numbers(events: Events, splits: Mapping[str, Any]) -> list[Ints]:
    """Numbers of the sequences of each part."""
    shares = [splits[name] for name in PARTS]
    if all(isinstance(share, int | float) and not isinstance(share, bool) for share in shares):
        if not (min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6):
            raise DataError(f"splits is {dict(splits)}", "expected fractions that sum to 1", _HOW)
        sizes = len(events.ids) * np.cumsum([0.0, *shares[:2]])
        borders = [*np.rint(sizes).astype(int), len(events.ids)]
        return [np.arange(low, high) for low, high in zip(borders, borders[1:], strict=False)]
    if not all(isinstance(share, Sequence) and not isinstance(share, str) for share in shares):
        raise DataError(f"splits is {dict(splits)}", "expected numbers, or lists of ids", _HOW)
    return named(events.ids, [[str(one) for one in share] for share in shares])


def named(ids: Sequence[str], parts: list[list[str]]) -> list[Ints]:
    """Numbers of the sequences of these ids; an id that is not there, or twice, is refused."""
    place = {name: number for number, name in enumerate(ids)}
    listed = [name for part in parts for name in part]
    if missing := next((name for name in listed if name not in place), None):
        raise DataError(f"splits names the id '{missing}'", "expected ids of the table", "correct the list")
    if len(set(listed)) < len(listed):
        double = next(name for i, name in enumerate(listed) if name in listed[:i])
        raise DataError(f"splits names the id '{double}' twice", "expected each sequence in one part", "drop one")
    return [np.array([place[name] for name in part], dtype=np.int64) for part in parts]
