"""A stream: batches of lines through Live, what comes of them given out, and all of it kept in one transaction.

    lines -> readings -> states and forecasts -> output written -> states, position and counts committed

Killed at any instant and begun again, a stream has the states and the output of one that was not: an output file longer
than what was committed is cut back, a batch that was not committed is read again. Where output goes to somebody who
cannot be cut back, lines wait in the store until they were handed over, and may be so twice, with the same `seq`.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from forecast.streaming.fold import ACCEPTED, STATUSES
from forecast.streaming.kind import Kind, Reads, Took
from forecast.streaming.lines import refused
from forecast.streaming.parsing import Parsed, Refused
from forecast.streaming.store import Store

PURGES: Final = 8  # of series that would begin anew anyway, in the length of the longest gap


class Sink(Protocol):
    """Where output goes. An `exact` one tells how long it is and can be cut back to that."""

    exact: bool

    def write(self, lines: Sequence[bytes]) -> None: ...
    def close(self) -> None: ...
    def length(self) -> int: ...
    def cut(self, length: int) -> None: ...


class Lines(Protocol):
    """Lines that are made when they are asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, at: int, /) -> bytes: ...


class Batch(NamedTuple):
    """What became of a batch of lines."""

    parsed: Parsed
    taken: Took
    lines: list[bytes]  # the forecasts
    refused: list[Refused]


class Streamer:
    """One stream; it is used by one thread."""

    def __init__(
        self, live: Kind, *, store: Store | None = None, sink: Sink | None = None, rejects: Sink | None = None,
        keep: int = 0, every: bool = True, run: str = "",
    ) -> None:  # fmt: skip
        """keep: lines of output that the store holds for those who ask again; every: a line for each reading, else for
        the last one of each series in a batch; run: the id of the run."""
        self.live, self.store, self.sink, self.rejects = live, store, sink, rejects
        self.keep, self.every, self.run = keep, every, run
        self.reader: Reads = live.reader()
        self.writer = live.writer()
        self.counts: Counter[str] = Counter()  # of the stream,
        self.before: Counter[str] = Counter()  # and those of them that it had when this process began
        self.seq, self.position = 0, None
        self.reason = ""  # why the first line was refused
        self.latest: int | None = None  # microseconds: the latest reading
        if store is not None:
            self._recover(store)

    def close(self) -> None:
        """Let go of all files; what was committed stays."""
        for held in (self.store, self.sink, self.rejects):
            if held is not None:
                held.close()

    def _recover(self, store: Store) -> None:
        """To where the last committed batch left it."""
        facts = store.facts()
        self.counts.update(facts.get("counts", {}))
        self.before = Counter(self.counts)
        self.seq, self.position, self.latest = facts.get("seq", 0), facts.get("position"), facts.get("latest")
        begun = {}
        for key, sink in (("output", self.sink), ("rejects", self.rejects)):
            if sink is not None and sink.exact and key in facts:
                sink.cut(facts[key])
            elif sink is not None and sink.exact:
                begun[key] = sink.length()
        if begun:  # noted before anything is written: a kill in the first batch is to be cut back too
            with store.transaction():
                store.note(begun)
        if self.sink is not None and not self.sink.exact:
            self._hand_over(store)

    def process(self, lines: Sequence[bytes], position: Any = None) -> Batch:
        """A batch of lines; `position` is where its feed goes on after it."""
        return self.take(self.reader(lines), lines, position)

    def take(self, parsed: Parsed, lines: "Sequence[bytes] | Lines", position: Any) -> Batch:
        """Lines that were read already."""
        began = time.perf_counter()
        taken = self.live.take(parsed.names, parsed.time, parsed.values, every=self.every)
        made = self.writer(taken, parsed.ids, self.seq + 1)
        batch = Batch(parsed, taken, made, refused(parsed, taken.status, self.live.why))
        self._count(batch, len(lines))
        if batch.refused and not self.reason:
            self.reason = batch.refused[0].reason
        self.seq += len(made)
        self.position = position
        if self.rejects is not None:
            self.rejects.write([_reject(lines[each.number], each) for each in batch.refused])
        if self.sink is not None and (self.sink.exact or self.store is None):
            self.sink.write(made)
        if self.store is not None:
            self._commit(self.store, batch)
            if self.sink is not None and not self.sink.exact:
                self._hand_over(self.store)
        self.seconds = time.perf_counter() - began
        return batch

    def _count(self, batch: Batch, lines: int) -> None:
        counts = np.bincount(batch.taken.status, minlength=len(STATUSES))
        self.counts.update({word: int(n) for word, n in zip(STATUSES, counts, strict=True) if n})
        self.counts.update({
            "lines": lines, "readings": len(batch.parsed.names), "unreadable": len(batch.parsed.refused),
            "forecasts": len(batch.lines), "alarms": int(batch.taken.alarm.any(axis=1).sum()), "batches": 1,
        })  # fmt: skip

    def _commit(self, store: Store, batch: Batch) -> None:
        states, taken = self.live.states, batch.taken.status <= ACCEPTED
        names = list(dict.fromkeys(name for name, ok in zip(batch.parsed.names, taken, strict=True) if ok))
        ended = [name for name in names if name not in states]
        names = [name for name in names if name in states]
        slots = np.array([states.slots[name] for name in names], np.int64)
        purge = None
        with store.transaction():
            if ended:
                store.drop(ended)
            if names:
                at = self.live.at(slots)
                store.keep(names, at.tolist(), map(memoryview, states.records(slots)))
                purge = self._stale(int(at.max()))
            if purge is not None:
                self.counts["forgotten"] += store.purge(purge)
            facts: dict[str, Any] = {"seq": self.seq, "position": self.position, "counts": dict(self.counts)}
            facts["latest"] = self.latest
            for key, sink in (("output", self.sink), ("rejects", self.rejects)):
                if sink is not None and sink.exact:
                    facts[key] = sink.length()
            store.note(facts)
            if self.keep or (self.sink is not None and not self.sink.exact):
                store.give(enumerate(batch.lines, self.seq - len(batch.lines) + 1))
                if self.keep:
                    store.heard(self.seq - self.keep)

    def _stale(self, now: int) -> int | None:
        """The time before which series would begin anew; now and then, by the time of the readings."""
        if (span := self.live.span) is None:
            return None
        before, self.latest = self.latest, max(now, self.latest or now)
        part = max(1, span // PURGES)
        if before is None or before // part == self.latest // part:
            return None
        return self.latest - span - part

    def _hand_over(self, store: Store) -> None:
        """Lines that wait, to those who wait for them."""
        assert self.sink is not None
        while waiting := store.given(store.facts().get("heard", 0)):
            self.sink.write([line for _, line in waiting])
            with store.transaction():
                store.note({"heard": waiting[-1][0]})
                if not self.keep:
                    store.heard(waiting[-1][0])


def _reject(line: bytes, why: Refused) -> bytes:
    """A line of the reject file: why, and what it was."""
    import orjson

    return orjson.dumps({"reason": why.reason, "line": line[:4096].decode(errors="replace").rstrip("\r\n")})
