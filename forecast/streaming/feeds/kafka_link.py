"""A client of Kafka: its settings, whether its broker is there, and what ends it."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from forecast.errors import DataError, RunError, UsageError

PAUSE_S: Final = 0.2
# What loads code or runs a program, and what a stream sets itself.
REFUSED: Final = (
    "plugin.library.paths", "ssl.engine.location", "ssl.engine.id", "ssl.providers", "sasl.kerberos.kinit.cmd",
    "logger", "on_commit", "on_delivery",
)  # fmt: skip
OWN: Final = {
    "bootstrap.servers": "feed.servers", "metadata.broker.list": "feed.servers", "group.id": "feed.group",
    "enable.auto.commit": "the stream", "auto.commit.enable": "the stream", "enable.auto.offset.store": "the stream",
    "enable.idempotence": "the stream", "transactional.id": "the stream", "enable.partition.eof": "the stream",
}  # fmt: skip


def checked(settings: Any) -> dict[str, str | float | bool]:
    """Settings that are values, and neither load code nor are set already; null: none."""
    if not isinstance(settings, Mapping | None):
        raise UsageError(f"feed.settings is {settings!r}", "expected settings of librdkafka, e.g. {client.id: f}")
    for key, value in (settings or {}).items():
        if key in REFUSED or str(key).endswith("_cb"):
            raise UsageError(f"feed.settings has {key}", "expected nothing that loads code or runs a program")
        if key in OWN:
            raise UsageError(f"feed.settings has {key}", f"it is set by {OWN[key]}")
        if not isinstance(value, str | int | float):
            raise UsageError(f"feed.settings has {key}={value!r}", "expected a string, a number, true or false")
    return {str(key): value for key, value in (settings or {}).items()}


class Link:
    """A consumer or a producer, which connects by itself and again."""

    def __init__(self, kind: Any, servers: str, timeout_s: float, settings: dict[str, Any]) -> None:
        """UsageError where librdkafka does not know a setting."""
        self.place, self.timeout_s = f"the broker at {servers}", timeout_s
        self.away, self.last, self.fault = False, "", ""
        wishes = {"log_level": 0, **settings, "bootstrap.servers": servers, "error_cb": self._failed}
        try:
            self.client = kind(wishes)
        except KafkaException as error:
            raise UsageError(
                f"feed.settings: {error.args[0].str()}", do="look it up in CONFIGURATION.md of librdkafka"
            ) from error

    def partitions(self, topic: str) -> list[int]:
        """The numbers of a topic's partitions. RunError where no broker answers, DataError where there is no topic."""
        with self.told("the topic"):
            found = self.client.list_topics(topic, timeout=self.timeout_s).topics[topic]
        if found.error is not None or not found.partitions:
            raise DataError(f"{self.place} has no topic {topic}", "expected one", "create it there, or name another")
        return sorted(found.partitions)

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """What Kafka raises, as one line."""
        try:
            yield
        except KafkaException as error:
            self.client.poll(0)  # the reason
            raise RunError(
                f"{self.place} cannot be asked for {what}: {self.last or error.args[0].str()}",
                f"expected an answer within {self.timeout_s:g} s", "start it, or set feed.servers and feed.settings",
            ) from error  # fmt: skip

    def check(self) -> None:
        """RunError where it has ended for good."""
        if self.fault:
            raise RunError(f"{self.place} {self.fault}")

    def end(self, why: str) -> None:
        self.fault = self.fault or why

    def answered(self) -> None:
        if self.away:
            self.away = False
            sys.stderr.write(f"{self.place} is back\n")

    def _failed(self, error: KafkaError) -> None:
        """Called by librdkafka in our own thread, as we ask it for something."""
        if error.fatal() or error.name() == "_AUTHENTICATION":
            self.end(f"refused: {error.str()}")
        elif error.name() == "_ALL_BROKERS_DOWN":
            if not self.away:
                sys.stderr.write(f"{self.place} is away; trying again\n")
            self.away = True
        else:
            self.last = error.str()
