"""JSON lines from another program."""

import os
import selectors
import sys
import time
from threading import Event

from forecast.errors import UsageError
from forecast.streaming.feeds.file import LONGEST
from forecast.streaming.streamer import Streamer

CHUNK = 1 << 16
PAUSE_S = 0.2
SELECTOR = getattr(selectors, "PollSelector", selectors.SelectSelector)  # epoll takes no files: `< readings.jsonl`


class Stdin:
    """Batches of what has come: at most `batch` lines, none waits longer than `wait_ms` for others. Nothing is read
    while a batch is processed, so a program that writes faster waits."""

    def __init__(self, *, batch: int = 1000, wait_ms: float = 5.0, descriptor: int | None = None) -> None:
        if batch < 1:
            raise UsageError(f"feed.batch is {batch}", "expected lines, at least 1")
        if wait_ms < 0:
            raise UsageError(f"feed.wait_ms is {wait_ms}", "expected milliseconds, at least 0")
        self.batch, self.wait_s = batch, wait_ms / 1000
        self.descriptor = descriptor

    def run(self, streamer: Streamer, stop: Event) -> None:
        """Until the other program closes its end. The position is a count of lines."""
        done, rest, ended = streamer.position if isinstance(streamer.position, int) else 0, b"", False
        with SELECTOR() as ready:
            source = sys.stdin.fileno() if self.descriptor is None else self.descriptor
            ready.register(source, selectors.EVENT_READ)
            waiting: list[bytes] = []
            while not (ended and not waiting):
                lines, rest, ended = self._read(ready, source, stop, waiting, rest, ended)
                now, waiting = lines[: self.batch], lines[self.batch :]
                if now:
                    done += len(now)
                    streamer.process(now, done)

    def _read(
        self, ready: selectors.BaseSelector, source: int, stop: Event, waiting: list[bytes], rest: bytes, ended: bool
    ) -> tuple[list[bytes], bytes, bool]:
        """Lines that wait, the begin of the next one, and whether there will be no more."""
        until: float | None = time.monotonic() + self.wait_s if waiting else None
        while not ended and len(waiting) < self.batch:
            if stop.is_set():
                return waiting, b"", True  # a line half read was not taken
            left = PAUSE_S if until is None else until - time.monotonic()
            if left <= 0:
                break
            if not ready.select(min(left, PAUSE_S)):
                continue
            chunk = os.read(source, CHUNK)
            if not chunk:
                return [*waiting, *([rest] if rest else [])], b"", True
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[: LONGEST + 1]  # of a line too long what follows is dropped: it will be refused
            waiting = [*waiting, *lines]
            if waiting and until is None:
                until = time.monotonic() + self.wait_s
        return waiting, rest, ended
