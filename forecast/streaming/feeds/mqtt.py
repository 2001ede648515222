"""Readings from an MQTT broker, and forecasts to it.

Both with QoS 1. A message is acknowledged after its batch was committed, and the broker keeps those that were not, and
those that came while nobody listened, in a persistent session under the name of the client. It may send one twice:
the second one changes no state, because its stamps are known. Forecasts wait in the store until the broker has
acknowledged them, and may be published twice, with the same `seq`.
"""

import os
import queue
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from threading import Event
from typing import Final, NamedTuple

from paho.mqtt.client import MQTTMessage, topic_matches_sub

from forecast.errors import UsageError
from forecast.streaming.feeds.messages import Pack, lines_of, packed
from forecast.streaming.feeds.mqtt_link import VERSIONS, Link, Login
from forecast.streaming.streamer import Streamer

PAUSE_S: Final = 0.2


class Held(NamedTuple):
    """A message that was not acknowledged, and the connection it came by."""

    message: MQTTMessage
    turn: int


class Mqtt:
    """Batches of what has come: at most `batch` lines, none waits longer than `wait_ms` for others."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 1883, topic: str = "readings/#", qos: int = 1,
        client: str = "forecast", publish: str | None = "forecasts", username: str | None = None,
        password_env: str | None = None, tls: bool = False, version: str = "5", batch: int = 1000,
        wait_ms: float = 5.0, queue: int = 10_000, timeout_s: float = 30.0,
    ) -> None:  # fmt: skip
        """queue: messages that are here and not acknowledged; with version 5 the broker sends no more than these."""
        _check(topic, publish, client, qos, version)
        for name, value, least in (("batch", batch, 1), ("wait_ms", wait_ms, 0), ("queue", queue, 1)):
            if value < least:
                raise UsageError(f"feed.{name} is {value}", f"expected at least {least}")
        self.topic, self.qos, self.batch, self.wait_s, self.most = topic, qos, batch, wait_ms / 1000, queue
        login = Login(host, port, username, _password(username, password_env), tls, version, timeout_s)
        self.link = Link(login, client, keep=True, most=min(queue, 65_535))
        self.sink = None if publish is None else Publisher(Link(login, f"{client}-out"), publish)

    def run(self, streamer: Streamer, stop: Event) -> None:
        """Until `stop` is set; the broker keeps what was not acknowledged by then."""
        self.held: queue.Queue[Held] = queue.Queue(self.most)
        if self.sink is not None:
            self.sink.stop = stop
        self.link.open(self.topic, self.qos, self._came)
        try:
            while not stop.is_set():
                for pack in packed(((held, lines_of(held.message.payload)) for held in self._some()), self.batch):
                    self._process(streamer, pack)
        finally:
            self.link.close()

    def _process(self, streamer: Streamer, pack: Pack[Held]) -> None:
        """A batch, and then acknowledgements of the messages that end in it."""
        if pack.lines:
            streamer.process(pack.lines, streamer.position)
        for held in pack.ended:
            self.link.acknowledge(held.message, held.turn)

    def _came(self, message: MQTTMessage, turn: int) -> None:
        """In the thread of the connection, which waits while there is no room."""
        while not self.link.closing:
            try:
                self.held.put(Held(message, turn), timeout=PAUSE_S)
                return
            except queue.Full:
                continue

    def _some(self) -> Iterator[Held]:
        """Messages until there are enough for a batch or the first has waited long enough; none where none came."""
        self.link.check()
        try:
            first = self.held.get(timeout=PAUSE_S)
        except queue.Empty:
            return
        until, lines = time.monotonic() + self.wait_s, 0
        for held in chain([first], self._more(until)):
            if self.link.comes_again(held.message, held.turn):
                continue
            yield held
            lines += max(1, held.message.payload.count(b"\n"))
            if lines >= self.batch:
                return

    def _more(self, until: float) -> Iterator[Held]:
        while True:
            left = until - time.monotonic()
            try:
                yield self.held.get(timeout=left) if left > 0 else self.held.get_nowait()
            except queue.Empty:
                return


class Publisher:
    """Forecasts to a topic, one message each; `write` returns when the broker has acknowledged all of them."""

    exact = False

    def __init__(self, link: Link, topic: str) -> None:
        self.link, self.topic, self.stop = link, topic, Event()

    def write(self, lines: Sequence[bytes]) -> None:
        """RunError where the broker refuses them, or is away when the stream shall end."""
        if lines:
            self.link.open()
            self.link.publish(self.topic, lines, self.stop)

    def length(self) -> int:
        return 0

    def cut(self, length: int) -> None:
        pass

    def close(self) -> None:
        self.link.close()


def _check(topic: str, publish: str | None, client: str, qos: int, version: str) -> None:
    if not client:
        raise UsageError("feed.client is empty", "expected a name, under which the broker keeps messages")
    if qos not in (0, 1):
        raise UsageError(f"feed.qos is {qos}", "expected 0 or 1")
    if version not in VERSIONS:
        raise UsageError(f"feed.version is {version}", f"expected one of {', '.join(VERSIONS)}")
    if not topic or "#" in topic[:-1] or topic.endswith("#") and topic[-2:] not in ("#", "/#"):
        raise UsageError(f"feed.topic is {topic!r}", "expected a topic; # stands for all levels below, at the end")
    if publish is not None and (not publish or "#" in publish or "+" in publish):
        raise UsageError(f"feed.publish is {publish!r}", "expected a topic without # and +, or null")
    if publish is not None and topic_matches_sub(topic, publish):
        raise UsageError(
            f"feed.publish is {publish}, which is one of {topic}", "forecasts would come back as readings",
            "name another topic",
        )  # fmt: skip


def _password(username: str | None, name: str | None) -> str | None:
    """From the environment: a config and a command line can be read by others."""
    if name is None:
        return None
    if username is None:
        raise UsageError("feed.password_env is set without feed.username", "expected both")
    if name not in os.environ:
        raise UsageError(f"there is no {name} in the environment", "feed.password_env names the variable of a password")
    return os.environ[name]
