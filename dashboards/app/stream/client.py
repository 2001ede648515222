"""One listener to a stream, shared by all browsers: it connects when somebody looks and ends when nobody does.

A thread holds `/v1/stream` for the series that are looked at, another asks `/v1/state` every second. Who comes with
another series makes the first one begin again a little before where it was. After a fault it waits longer each time.
"""

import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, urlencode

from forecast.dashboards.app.stream.link import Refused, ask, checked, cut, where
from forecast.dashboards.app.stream.ring import Kept, Ring
from forecast.dashboards.app.stream.sse import Event, Parser

IDLE_S: Final = 30.0  # without a look: a series is forgotten, and without any the connection ends
BACK: Final = 2000  # lines of the stream that are heard again when a series is chosen
KEYS: Final = 64  # series at once, of all who look
SILENT_S: Final = 20.0  # the server says that it lives every 15
WAIT_S: Final = (0.5, 10.0)  # between two attempts: at first, at most
STATE_S: Final = 1.0
FAULTS: Final = (OSError, http.client.HTTPException, ValueError)

State = Literal["idle", "connecting", "live", "lost", "refused"]


class Told(NamedTuple):
    """How the connection is."""

    state: State
    words: str  # why it is not live
    since_s: float  # in that state
    gone: int  # lines of the stream that can no longer be heard
    restarts: int  # how often it was begun anew
    facts: dict[str, Any]  # of /v1/state
    age_s: float | None  # of the facts


class Client:
    """Safe for several threads. UsageError for an address that is none."""

    def __init__(self, url: str, token: str | None = None, *, idle_s: float = IDLE_S) -> None:
        """`token`: for Authorization; None: that of FORECAST_TOKEN, if any."""
        self.url, self.at, self.idle_s = url, where(url), idle_s
        token = os.environ.get("FORECAST_TOKEN") if token is None else token
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.lock = threading.Condition()
        self.wanted: dict[str, float] = {}  # when somebody last looked
        self.rings: dict[str, Ring] = {}
        self.version = 0  # of all that is told
        self.looked = 0.0
        self.state: State = "idle"
        self.words, self.since = "", time.monotonic()
        self.gone, self.restarts = 0, 0
        self.facts: dict[str, Any] = {}
        self.asked: float | None = None
        self.running: dict[str, threading.Thread] = {}
        self.heard: frozenset[str] = frozenset()  # the series of the connection that is open,
        self.socket: socket.socket | None = None  # and its end here
        self.reached: int | None = None  # the last line of the stream that cannot be missed any more
        self.origin: tuple[Any, float] | None = None  # the run, and when the stream was begun
        self.stopped = False

    # For those who look --------------------------------------------------------------------------------------

    def watch(self, keys: Iterable[str]) -> None:
        """Somebody looks at these series; they are forgotten when nobody has for a while."""
        now = time.monotonic()
        with self.lock:
            self.looked = now
            for key in dict.fromkeys(keys):
                self.wanted.pop(key, None)
                self.wanted[key] = now
            old = [key for key, at in self.wanted.items() if at < now - self.idle_s]
            for key in old or list(self.wanted)[:-KEYS]:
                del self.wanted[key]
                self.rings.pop(key, None)
            for key in self.wanted:
                self.rings.setdefault(key, Ring(key))
            if self.socket is not None and not self.heard.issuperset(self.wanted):
                cut(self.socket)
            for name, run in (("listens", self._listening), ("asks", self._asking)):
                if name not in self.running and not self.stopped:
                    self.running[name] = threading.Thread(target=run, name=f"stream {name}", daemon=True)
                    self.running[name].start()

    def kept(self, keys: Sequence[str]) -> list[Kept]:
        """What is known of series."""
        with self.lock:
            return [self.rings.get(key, Ring(key)).kept() for key in keys]

    def told(self) -> Told:
        now = time.monotonic()
        with self.lock:
            age = None if self.asked is None else now - self.asked
            return Told(self.state, self.words, now - self.since, self.gone, self.restarts, dict(self.facts), age)

    def learn(self) -> dict[str, Any]:
        """The stream's facts as they are known; asked for at once where nothing is. Empty where it does not answer."""
        with self.lock:
            if self.facts:
                return dict(self.facts)
        try:
            facts = ask(self.at, "/v1/state", self.headers, 1.0)
        except (*FAULTS, Refused):
            return {}
        with self.lock:
            self.facts, self.asked = self.facts or facts, time.monotonic()
            return dict(self.facts)

    def names(self, find: str = "", most: int = 50) -> list[str]:
        """Series that were used last, whose names contain `find`; none where the stream does not answer."""
        try:
            found = ask(self.at, f"/v1/series?find={quote(find[:200])}&most={most}", self.headers, 1.0).get("series")
        except (*FAULTS, Refused):
            return []
        return [str(name) for name in found] if isinstance(found, list) else []

    def close(self) -> None:
        """End the connection and the threads."""
        with self.lock:
            self.stopped = True
            threads = list(self.running.values())
            if self.socket is not None:
                cut(self.socket)
            self.lock.notify_all()
        for thread in threads:
            thread.join(10)

    # The thread that asks for the state ----------------------------------------------------------------------

    def _asking(self) -> None:
        while self._needed("asks"):
            try:
                facts = ask(self.at, "/v1/state", self.headers, 2.0)
            except (*FAULTS, Refused):
                facts = None  # the listener says what is wrong; the figures that are shown have their age beside them
            with self.lock:
                if facts is not None:
                    self.facts, self.asked = facts, time.monotonic()
                self.version += 1
                self.lock.wait(STATE_S)

    def _needed(self, name: str) -> bool:
        """Whether somebody looks still; else the thread of that name is to end, and what is held is let go."""
        with self.lock:
            if not self.stopped and time.monotonic() - self.looked <= self.idle_s:
                return True
            if self.socket is not None:
                cut(self.socket)  # the other thread waits for it
            self.wanted.clear()
            self.rings.clear()
            del self.running[name]
            return False

    # The thread that listens ---------------------------------------------------------------------------------

    def _listening(self) -> None:
        wait = WAIT_S[0]
        while self._needed("listens"):
            began = time.monotonic()
            try:
                self._listen()
            except Refused as refused:
                hint = "; set FORECAST_TOKEN to the token of the stream" if refused.status == 401 else ""
                self._turn("refused", f"{refused}{hint}")
            except FAULTS as fault:
                if not self._cut():
                    self._turn("lost", _why(fault))
            if self._cut():
                continue
            if time.monotonic() - began > WAIT_S[1]:  # it went well for a while
                wait = WAIT_S[0]
            with self.lock:
                self.lock.wait_for(lambda: self.stopped, wait)
            wait = min(2 * wait, WAIT_S[1])
        self._turn("idle", "")

    def _cut(self) -> bool:
        """Whether the last connection ended because other series are wanted; asked once."""
        with self.lock:
            return self.state == "live" and not self.heard.issuperset(self.wanted)

    def _turn(self, state: State, words: str) -> None:
        with self.lock:
            if (state, words) != (self.state, self.words):
                if state != self.state:
                    self.since = time.monotonic()
                self.state, self.words = state, words
                self.version += 1

    def _listen(self) -> None:
        """One connection, until it ends. OSError or HTTPException where it was lost, Refused where it is not given."""
        if self.state == "idle":
            self._turn("connecting", "")
        with self.lock:
            self.heard = frozenset(self.wanted)
        facts = ask(self.at, "/v1/state", self.headers, 5.0)
        seq = int(facts.get("seq") or 0)
        with self.lock:
            self._compare(facts, seq)
            self.facts, self.asked = facts, time.monotonic()
            self.heard = frozenset(self.wanted)
            fresh = any(ring.last < 0 for ring in self.rings.values())
            if self.reached is None:  # what was before somebody looked is not missed
                self.reached = seq
            after = min(self.reached, max(seq - BACK, 0)) if fresh else self.reached
        link = self.at.connection(SILENT_S)
        try:
            self._read(link, after)
        finally:
            with self.lock:
                self.socket = None
            link.close()

    def _read(self, link: http.client.HTTPConnection, after: int) -> None:
        link.connect()
        own = link.sock
        path = f"{self.at.path}/v1/stream?{urlencode([('id', key) for key in sorted(self.heard)])}"
        link.request("GET", path, headers={**self.headers, "Last-Event-ID": str(after), "Accept": "text/event-stream"})
        answer = link.getresponse()
        if answer.status != 200:
            checked(answer.status, answer.read(1 << 16))
        self._turn("live", "")
        with self.lock:
            self.socket = own
            if not self.heard.issuperset(self.wanted):  # somebody came while it was opened
                return
        parser = Parser(after)
        while piece := answer.read1(1 << 16):
            for event in parser.feed(piece):
                self._take(event, parser)
            self.reached = max(self.reached or 0, parser.last or 0) if parser.last is not None else None
        raise ConnectionError("the stream has closed the connection")

    def _compare(self, facts: dict[str, Any], seq: int) -> None:
        """Forget all where another stream answers than before: its numbers mean something else."""
        kept, begun = bool(facts.get("kept")), time.time() - float(facts.get("uptime_s") or 0)
        origin, before = (facts.get("run"), begun), self.origin
        self.origin = origin
        if before is None:
            return
        apart = abs(begun - before[1]) > 2 and not kept
        if before[0] != origin[0] or apart or seq < (self.reached or 0):
            self._forget()

    def _forget(self) -> None:
        self.restarts += 1
        self.reached = None
        self.rings = {key: Ring(key) for key in self.wanted}
        self.version += 1

    def _take(self, event: Event, parser: Parser) -> None:
        found = json.loads(event.data)
        if not isinstance(found, dict):
            return
        with self.lock:
            self.version += 1
            match event.name:
                case "message":
                    ring, seq = self.rings.get(str(found.get("unique_id"))), found.get("seq")
                    if ring is not None and isinstance(seq, int):
                        ring.put(seq, found)
                case "gap":
                    first = max(int(found.get("from", 0)), (self.reached or 0) + 1)
                    self.gone += max(int(found.get("to", 0)) - first + 1, 0)
                case "restart":
                    self._forget()
                    parser.last = None
                case "end":
                    raise ConnectionError("the stream has ended")


def _why(fault: Exception) -> str:
    """A fault of a connection in a few words."""
    if isinstance(fault, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(fault, TimeoutError):
        return "it does not answer"
    if isinstance(fault, http.client.IncompleteRead | http.client.RemoteDisconnected):
        return "the connection was cut"
    if isinstance(fault, ssl.SSLError):
        return f"TLS failed: {fault.reason or fault}"
    words = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
    return " ".join(words.split())[:200] or type(fault).__name__


_CLIENTS: dict[str, Client] = {}
_LOCK = threading.Lock()


def shared(url: str) -> Client:
    """The one client of an address. UsageError for an address that is none."""
    with _LOCK:
        if url not in _CLIENTS:
            _CLIENTS[url] = Client(url)
        return _CLIENTS[url]
