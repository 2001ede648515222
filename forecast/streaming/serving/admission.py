"""Which series a server takes: at most so many, with names of a length that can be held for each of them."""

from collections.abc import Sequence
from typing import Final

from forecast.streaming.fold import ACCEPTED
from forecast.streaming.kind import Reads
from forecast.streaming.parsing import Parsed, Refused
from forecast.streaming.states import States
from forecast.streaming.store import Store
from forecast.streaming.streamer import Batch

LONGEST: Final = 256  # signs of a name


class Admission:
    """A reader of lines that refuses new series beyond `most`. It counts those in memory and in the store."""

    def __init__(self, reader: Reads, states: States, store: Store | None, most: int) -> None:
        self.reader, self.states, self.store, self.most = reader, states, store, most
        self.kept = 0 if store is None else store.count()
        self.begun: set[str] = set()  # in memory and not yet in the store
        self.over: set[int] = set()  # lines of the last batch that were refused for their series' sake

    @property
    def series(self) -> int:
        return len(self.states) if self.store is None else self.kept + len(self.begun)

    def __call__(self, lines: Sequence[bytes]) -> Parsed:
        parsed, self.over = self.reader(lines), set()
        unknown = [name for name in dict.fromkeys(parsed.names) if name not in self.states]
        if not unknown:
            return parsed
        known = self.store.fetch(unknown) if self.store is not None else {}
        long = {name for name in unknown if len(name) > LONGEST}
        new = [name for name in unknown if name not in known and name not in long]
        room = max(0, self.most - self.series)
        if self.store is not None:
            self.begun.update(new[:room])
        refused = dict.fromkeys(new[room:], f"there are {self.series:,} series; expected at most {self.most:,}")
        refused |= dict.fromkeys(long, f"the name of a series is longer than {LONGEST} signs")
        return self._without(parsed, refused) if refused else parsed

    def _without(self, parsed: Parsed, why: dict[str, str]) -> Parsed:
        keep = [i for i, name in enumerate(parsed.names) if name not in why]
        gone = [Refused(parsed.number[i], why[name]) for i, name in enumerate(parsed.names) if name in why]
        self.over = {each.number for each in gone}
        number, names, ids = [parsed.number[i] for i in keep], [parsed.names[i] for i in keep], parsed.ids
        return Parsed(
            number, names, parsed.time[keep], parsed.values[keep], [ids[i] for i in keep],
            sorted([*parsed.refused, *gone]),
        )  # fmt: skip

    def committed(self, batch: Batch, forgotten: int) -> None:
        """A batch is in the store, and so many series are no longer."""
        self.kept -= forgotten
        if ended := {name for name in batch.parsed.names if name not in self.states}:
            taken = batch.taken.status <= ACCEPTED
            were = {name for name, ok in zip(batch.parsed.names, taken, strict=True) if ok}
            self.kept -= len(were & ended - self.begun)
            self.begun -= ended
        if self.begun:
            taken = batch.taken.status <= ACCEPTED
            now = self.begun & {name for name, ok in zip(batch.parsed.names, taken, strict=True) if ok}
            self.begun -= now
            self.kept += len(now)

    def dropped(self, name: str) -> None:
        """A series was taken out of the store."""
        self.kept -= 1
        self.begun.add(name)
