"""The states of any number of series: rows of arrays, and each series' number of its row.

A record is all that a stream knows of one series, in bytes of fixed number: what a store keeps, a snapshot holds and a
correction goes back to.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.streaming.stepping import Rows

FEWEST: Final = 16  # series there is room for at first
NEVER: Final = int(np.iinfo(np.int64).min)  # the last step of a series that has not begun
Bytes = NDArray[np.uint8]
Fetch = Callable[[Sequence[str]], Mapping[str, bytes]]


class Blank(NamedTuple):
    """A series before its first step, each part with one row."""

    rows: Rows  # the model's state, one matrix for each dtype
    value: NDArray[np.float64]  # (1, C)
    learned: NDArray[np.float32]  # (1, m) what correcting itself has learned
    past: tuple[NDArray[Any], ...] = ()  # what going back needs (rewind.py); no part of what it goes back to


class States:
    """Rows that are asked for by series' names. `most` series are held at once: those not used for longest give way."""

    def __init__(self, blank: Blank, most: int | None = None, fetch: Fetch | None = None) -> None:
        """`fetch` gives the records of those that gave way."""
        self.blank, self.most, self.fetch = blank, most, fetch
        self.slots: dict[str, int] = {}
        self.names: list[str] = []  # of each row
        self.free: list[int] = []  # rows of series that ended
        self.clock = 0  # of uses
        self.parts: list[NDArray[Any]] = []
        self.used: Ints = np.zeros(0, np.int64)  # (S,) when each was last used
        self._grow(FEWEST)

    # The parts, in the order they have in a record -----------------------------------------------------------

    @property
    def step(self) -> Ints:
        """(S,) the last step of each, or NEVER."""
        return self.parts[0]

    @property
    def rest(self) -> Ints:
        """(S,) where within a step its stamps stand."""
        return self.parts[1]

    @property
    def count(self) -> Ints:
        """(S,) steps since its first one."""
        return self.parts[2]

    @property
    def scale(self) -> Ints:
        """(S,) by which row of the scaler it is scaled."""
        return self.parts[3]

    @property
    def value(self) -> NDArray[np.float64]:
        """(S, C) what was last observed, NaN where nothing was."""
        return self.parts[4]

    @property
    def learned(self) -> NDArray[np.float32]:
        """(S, m)"""
        return self.parts[5]

    @property
    def rows(self) -> list[NDArray[Any]]:
        """The model's states."""
        return self.parts[6 : len(self.parts) - len(self.blank.past)]

    @property
    def past(self) -> list[NDArray[Any]]:
        """What going back needs."""
        return self.parts[len(self.parts) - len(self.blank.past) :]

    def _fresh(self) -> list[NDArray[Any]]:
        zero = np.zeros(1, np.int64)
        own = np.array([NEVER]), zero, zero, zero
        return [*own, self.blank.value, self.blank.learned, *self.blank.rows, *self.blank.past]

    def _grow(self, room: int) -> None:
        grown = [np.empty((room, *one.shape[1:]), one.dtype) for one in self._fresh()]
        used = len(self.names)
        for number, (new, one) in enumerate(zip(grown, self._fresh(), strict=True)):
            if used:
                new[:used] = self.parts[number][:used]
                self.parts[number] = new[:0]  # what is copied is let go at once
            new[used:] = one
        self.parts = grown
        last = np.zeros(room, np.int64)
        if used:
            last[:used] = self.used[:used]
        self.used = last

    def __len__(self) -> int:
        return len(self.slots)

    def __contains__(self, name: str) -> bool:
        return name in self.slots

    # Rows ----------------------------------------------------------------------------------------------------

    def take(self, names: Sequence[str]) -> Ints:
        """The rows (N,) of series, blank ones for those that are new. At most `most` different names at once."""
        try:
            found = np.array([self.slots[name] for name in names], np.int64)
        except KeyError:
            new = list(dict.fromkeys(name for name in names if name not in self.slots))
            self._place(new, {self.slots[name] for name in names if name in self.slots})
            self._fetch(new)
            found = np.array([self.slots[name] for name in names], np.int64)
        self.clock += 1
        self.used[found] = self.clock
        return found

    def _place(self, new: list[str], busy: set[int]) -> None:
        for name in new[: len(self.free)]:
            slot = self.free.pop()
            self.names[slot], self.slots[name] = name, slot
            busy.add(slot)
        new = [name for name in new if name not in self.slots]
        room = len(new) if self.most is None else min(len(new), self.most - len(self.names))
        first, until = len(self.names), len(self.names) + max(0, room)
        if until > len(self.step):
            wanted = max(until, len(self.step) + len(self.step) // 2)
            self._grow(wanted if self.most is None else max(until, min(wanted, self.most)))
        self.names += new[: until - first]
        self.slots.update(zip(new[: until - first], range(first, until), strict=True))
        if rest := new[until - first :]:
            wanted = min(len(rest) + len(busy), first)
            oldest = np.argpartition(self.used[:first], wanted - 1)[:wanted]
            order = oldest[np.lexsort((oldest, self.used[oldest]))].tolist()
            free = [slot for slot in order if slot not in busy][: len(rest)]
            for slot, name in zip(free, rest, strict=True):
                del self.slots[self.names[slot]]
                self.names[slot], self.slots[name] = name, slot
            self.clear(np.array(free))

    def _fetch(self, new: list[str]) -> None:
        if self.fetch is not None and (found := self.fetch(new)):
            slots = np.array([self.slots[name] for name in found])
            joined = np.frombuffer(b"".join(found.values()), np.uint8)
            self.put(slots, joined.reshape(len(found), -1))

    def clear(self, slots: Ints) -> None:
        """Rows as before the first step."""
        for part, one in zip(self.parts, self._fresh(), strict=True):
            part[slots] = one

    def forget(self, names: Iterable[str]) -> None:
        """Series begin anew with their next reading."""
        if gone := [self.slots[name] for name in names if name in self.slots]:
            self.clear(np.array(gone))

    def drop(self, names: Iterable[str]) -> None:
        """Series have ended: their rows are free for others."""
        if gone := [self.slots.pop(name) for name in names if name in self.slots]:
            self.clear(np.array(gone))
            self.free += gone

    # Records -------------------------------------------------------------------------------------------------

    def recent(self, most: int) -> list[str]:
        """The names of the series that were used last, the last one first."""
        used = self.used[: len(self.names)].copy()
        if self.free:
            used[self.free] = -1
        count = min(most, len(self.slots))
        if not count:
            return []
        last = np.argpartition(-used, count - 1)[:count]
        return [self.names[slot] for slot in last[np.argsort(-used[last], kind="stable")].tolist()]

    def held(self) -> int:
        """Bytes of all rows there is room for."""
        return sum(part.nbytes for part in self.parts)

    def size(self, *, past: bool = True) -> int:
        """Bytes of a record."""
        return sum(part[:1].nbytes for part in self._of(past))

    def _of(self, past: bool) -> list[NDArray[Any]]:
        return self.parts if past else self.parts[: len(self.parts) - len(self.blank.past)]

    def records(self, slots: Ints, *, past: bool = True) -> Bytes:
        """(N, R), one row for each series; with or without what going back needs."""
        each = [np.ascontiguousarray(part[slots]).reshape(len(slots), -1) for part in self._of(past)]
        return np.concatenate([part.view(np.uint8) for part in each if part.shape[1]], axis=1)

    def put(self, slots: Ints, records: Bytes, *, past: bool = True) -> None:
        """Records (N, R) in place of what these rows hold; ValueError where they have another size."""
        if records.shape != (len(slots), self.size(past=past)):
            raise ValueError(f"records are {records.shape[1]:,} bytes, expected {self.size(past=past):,}")
        at = 0
        for part in self._of(past):
            size = part[:1].nbytes
            if size:
                found = np.ascontiguousarray(records[:, at : at + size]).view(part.dtype)
                part[slots] = found.reshape(len(slots), *part.shape[1:])
            at += size
