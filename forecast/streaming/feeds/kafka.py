"""Readings from a topic of Kafka, and forecasts to another.

How far each partition was read is the position of the stream and is committed with the states, in one transaction: of
each message the states know exactly once. The offsets of the group are written for those who watch the lag; they count
only where nothing is kept. Forecasts wait in the store until all were delivered, and may be so twice after a kill, with
the same `seq`; one series stays in one partition, in order.
"""

import time
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any, Final

import orjson
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, Message, Producer, TopicPartition

from forecast.errors import DataError, RunError, UsageError
from forecast.streaming.feeds.kafka_link import PAUSE_S, Link, checked
from forecast.streaming.feeds.messages import Pack, lines_of, packed
from forecast.streaming.streamer import Streamer

NEWEST: Final = ("latest", "largest", "end")


class Kafka:
    """All partitions of one topic, read by this process alone: at most `batch` lines at once, none waits longer than
    `wait_ms` for others. Partitions that are added are read from the next start on."""

    def __init__(
        self, *, servers: str = "127.0.0.1:9092", topic: str, group: str = "forecast", publish: str | None = None,
        batch: int = 1000, wait_ms: float = 5.0, timeout_s: float = 30.0,
        settings: Any = None,
    ) -> None:  # fmt: skip
        """settings: of librdkafka by name, for both directions."""
        for name, value, least in (("batch", batch, 1), ("wait_ms", wait_ms, 0)):
            if value < least:
                raise UsageError(f"feed.{name} is {value}", f"expected at least {least}")
        if publish == topic:
            raise UsageError(f"feed.publish is {publish}, as feed.topic is", "forecasts would come back as readings")
        asked = checked(settings)
        self.topic, self.batch, self.wait_s = topic, batch, wait_ms / 1000
        self.reset = str(asked.get("auto.offset.reset", "error"))
        self.link = Link(Consumer, servers, timeout_s, {
            "auto.offset.reset": "error", **asked, "group.id": group, "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        })  # fmt: skip
        self.sink = None
        if publish is not None:
            asked.pop("auto.offset.reset", None)
            wishes = {"message.timeout.ms": 0, **asked, "enable.idempotence": True}
            self.sink = Publisher(Link(Producer, servers, timeout_s, wishes), publish)

    def run(self, streamer: Streamer, stop: Event) -> None:
        """Until `stop` is set; what was not committed by then is read by the next start."""
        if self.sink is not None:
            self.sink.stop = stop
        consumer: Consumer = self.link.client
        self._begin(consumer, streamer)
        while not stop.is_set():
            for pack in packed(self._some(consumer), self.batch):
                self._process(consumer, streamer, pack)
        if not self.link.away:  # or librdkafka waits for its answer, a minute long
            if self.next:
                self._tell(consumer, wait=True)
            consumer.close()

    def _begin(self, consumer: Consumer, streamer: Streamer) -> None:
        """Each partition where the stream was left, or the group where nothing is kept, or at its begin."""
        position: Any = streamer.position or {"topic": self.topic, "next": {}, "part": {}}
        if not isinstance(position, dict) or position.get("topic") != self.topic:
            raise DataError(
                f"the state was written by another feed ({str(position)[:80]})", f"expected the topic {self.topic}",
                "go on with the same feed, or give another state.path",
            )  # fmt: skip
        self.next: dict[int, int] = {int(partition): offset for partition, offset in position["next"].items()}
        self.part: dict[int, int] = {int(partition): count for partition, count in position["part"].items()}
        self.base = 0
        partitions = self.link.partitions(self.topic)
        if streamer.store is None:
            asked = [TopicPartition(self.topic, partition) for partition in partitions]
            with self.link.told("the offsets of the group"):
                known = consumer.committed(asked, timeout=self.link.timeout_s)
            self.next = {each.partition: each.offset for each in known if each.offset >= 0}
        start = OFFSET_END if self.reset in NEWEST else OFFSET_BEGINNING
        consumer.assign([TopicPartition(self.topic, each, self.next.get(each, start)) for each in partitions])

    def _process(self, consumer: Consumer, streamer: Streamer, pack: Pack[Message]) -> None:
        """A batch, and where the partitions go on after it."""
        for partition, offset in map(_place, pack.ended):
            self.next[partition] = offset + 1
            self.part.pop(partition, None)
        if pack.open is not None:
            partition, self.next[partition] = _place(pack.open)
            self.part[partition] = self.base + pack.taken
        position = {"next": self.next, "part": self.part}
        named = {key: {str(partition): n for partition, n in found.items()} for key, found in position.items()}
        streamer.process(pack.lines, {"topic": self.topic, **named})
        self._tell(consumer, wait=False)

    def _tell(self, consumer: Consumer, *, wait: bool) -> None:
        """The group, how far we are."""
        offsets = [TopicPartition(self.topic, partition, offset) for partition, offset in self.next.items()]
        if wait:
            with self.link.told("the offsets of the group"):
                consumer.commit(offsets=offsets, asynchronous=False)
        else:
            consumer.commit(offsets=offsets, asynchronous=True)

    def _some(self, consumer: Consumer) -> Iterator[tuple[Message, list[bytes]]]:
        """Messages until there are enough for a batch or the first has waited long enough; none where none came."""
        until: float | None = None
        lines = 0
        while lines < self.batch:
            wait_s = PAUSE_S if until is None else until - time.monotonic()
            if wait_s <= 0:
                return
            came = consumer.consume(1 if until is None else self.batch - lines, wait_s)
            self.link.check()
            if not came:
                return
            until = until or time.monotonic() + self.wait_s
            for message in came:
                if self._good(message):
                    found = lines_of(message.value() or b"")
                    partition, offset = _place(message)
                    # lines that the states have: a batch ended in the midst of the message, and then the stream
                    self.base = self.part.get(partition, 0) if offset == self.next.get(partition) else 0
                    yield message, found[self.base :]
                    lines += max(1, len(found))

    def _good(self, message: Message) -> bool:
        """Whether it is a message; RunError or DataError where it says that there will be none."""
        error = message.error()
        if error is None:
            self.link.answered()
            return True
        if error.name() == "_AUTO_OFFSET_RESET":
            raise DataError(
                f"partition {_place(message)[0]} of {self.topic} no longer has the offset "
                f"{self.next[_place(message)[0]]}", "expected what follows the last batch: the broker dropped it",
                "to go on with what is left: 'feed.settings={auto.offset.reset: earliest}'",
            )  # fmt: skip
        if not (error.retriable() or error.name().startswith("_")):
            raise RunError(f"{self.link.place} does not give {self.topic}: {error.str()}")
        return False


class Publisher:
    """Forecasts to a topic, one message each, by series; `write` returns when all were delivered."""

    exact = False

    def __init__(self, link: Link, topic: str) -> None:
        self.link, self.topic, self.stop = link, topic, Event()
        self.known = False

    def write(self, lines: Sequence[bytes]) -> None:
        """RunError where the broker refuses them, or is away when the stream shall end."""
        if not lines:
            return
        if not self.known:
            self.link.partitions(self.topic)
            self.known = True
        producer: Producer = self.link.client
        for line in lines:
            key = orjson.loads(line)["unique_id"]
            while True:
                try:
                    producer.produce(self.topic, line, key=key, on_delivery=self._delivered)
                    break
                except BufferError:  # librdkafka's queue is full
                    producer.poll(PAUSE_S)
                    self._check(len(producer))
        while left := producer.flush(PAUSE_S):
            self._check(left)
        self._check(0)

    def _check(self, left: int) -> None:
        self.link.check()
        if left and self.stop.is_set() and self.link.away:
            self.link.client.purge()
            raise RunError(
                f"{self.link.place} is away", f"{left:,} forecasts were not delivered",
                "with state.path they are when the stream goes on",
            )  # fmt: skip

    def _delivered(self, error: Any, message: Message) -> None:
        if error is None:
            self.link.answered()
        elif error.name() != "_PURGE_QUEUE":
            self.link.end(f"does not take forecasts into {self.topic}: {error.str()}")

    def length(self) -> int:
        return 0

    def cut(self, length: int) -> None:
        pass

    def close(self) -> None:
        pass


def _place(message: Message) -> tuple[int, int]:
    """Partition and offset."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None  # they are of a message that came
    return partition, offset
