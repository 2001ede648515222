"""Those who listen: forecast lines as Server-Sent Events, out of one ring that all share.

A listener holds no lines, only the number up to which it has heard: a hundred slow readers cost what one does. Who
falls behind the ring is let go, and may come again with the number of the last line it got: older lines are in the
store.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson

SIZE: Final = 64 << 20  # bytes of a ring, beside its last batch
AT_ONCE: Final = 256  # lines in one piece of a reply,
PIECE: Final = 1 << 18  # and bytes, beside the last line
HEARTBEAT_S: Final = 15.0


class Line(NamedTuple):
    """A forecast."""

    seq: int
    name: str  # of the series
    text: bytes

    @property
    def frame(self) -> bytes:
        return b"id: %d\ndata: %b\n\n" % (self.seq, self.text)


Older = Callable[[int], Awaitable[Sequence[Line]]]


class Hub:
    """The last lines. It belongs to the thread of the loop."""

    def __init__(self, lines: int, listeners: int) -> None:
        """lines: that are kept, at most; listeners: at once, at most."""
        self.lines, self.most = lines, listeners
        self.ring: deque[Line] = deque()
        self.size, self.last = 0, 0
        self.listeners: set[Listener] = set()
        self.ended = False

    @property
    def first(self) -> int:
        """The number of the oldest line here; that of the next one where there is none."""
        return self.last + 1 - len(self.ring)

    @property
    def full(self) -> bool:
        return len(self.listeners) >= self.most

    def put(self, lines: Sequence[Line]) -> None:
        """Lines that were committed, in order and without a gap."""
        if not lines:
            return
        self.ring.extend(lines)
        self.size += sum(len(line.text) for line in lines)
        self.last = lines[-1].seq
        while len(self.ring) > len(lines) and (len(self.ring) > self.lines or self.size > SIZE):
            self.size -= len(self.ring.popleft().text)
        self._wake()

    def since(self, seq: int) -> list[Line]:
        """Some lines from one on that is here."""
        begin, size = seq - self.first, 0
        found: list[Line] = []
        for line in islice(self.ring, begin, begin + AT_ONCE):
            found.append(line)
            size += len(line.text)
            if size > PIECE:
                break
        return found

    def end(self) -> None:
        """No more lines will come."""
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        for listener in self.listeners:
            listener.news.set()


class Listener:
    """One reader. `names` are the series it wants, all where there are none; `after` is the last line it has; `older`
    looks into the store."""

    def __init__(self, hub: Hub, names: frozenset[str], after: int | None, older: Older | None) -> None:
        self.hub, self.names, self.older = hub, names, older
        self.news = asyncio.Event()
        self.next = hub.last + 1 if after is None else after + 1
        self.live = after is None  # it has caught up once: from now on it is to keep up

    async def chunks(self) -> AsyncIterator[bytes]:
        """Pieces of the reply, until the stream ends or the reader is too slow."""
        hub = self.hub
        yield b"retry: 1000\n\n"
        if self.next > hub.last + 1:  # of another stream, with the same address
            yield _event("restart", {"from": hub.first})
            self.next = hub.first
        while True:
            self.news.clear()
            if self.next > hub.last:
                self.live = True
                if hub.ended:
                    yield _event("end", {"reason": "the stream has ended", "last": hub.last})
                    return
                yield await self._wait()
            elif self.next >= hub.first:
                self.live = True
                yield self._framed(hub.since(self.next))
            elif self.live:
                yield _event("dropped", {"reason": "too slow; come again with Last-Event-ID", "last": self.next - 1})
                return
            else:
                yield await self._caught_up()

    async def _wait(self) -> bytes:
        try:
            await asyncio.wait_for(self.news.wait(), HEARTBEAT_S)
        except TimeoutError:
            return b": alive\nid: %d\n\n" % (self.next - 1)  # an id alone is noted and makes no event
        return b""

    def _framed(self, lines: Sequence[Line]) -> bytes:
        self.next = lines[-1].seq + 1
        return b"".join(line.frame for line in lines if not self.names or line.name in self.names)

    async def _caught_up(self) -> bytes:
        """Lines that have left the ring, from the store; what it has not kept is told."""
        lines: Sequence[Line] = [] if self.older is None else await self.older(self.next)
        if lines and lines[0].seq > self.hub.first:
            lines = []  # the ring has older ones
        begin = lines[0].seq if lines else self.hub.first
        gap = b""
        if begin > self.next:
            gap = _event("gap", {"from": self.next, "to": begin - 1})
            self.next = begin
        return gap + (self._framed(lines) if lines else b"")


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data))
