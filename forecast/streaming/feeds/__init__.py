"""Where readings come from. A feed hands batches of lines to a stream until it ends or is told to stop."""

from importlib import import_module
from threading import Event
from typing import Any, Final, Protocol

from forecast.errors import UsageError
from forecast.streaming.streamer import Sink, Streamer

KINDS: Final = {  # modules of this package, and their classes
    "stdin": "Stdin", "file": "File", "replay": "File", "http": "Http", "mqtt": "Mqtt", "kafka": "Kafka",
}  # fmt: skip
EXTRAS: Final = {"mqtt": ("paho", "paho-mqtt"), "kafka": ("confluent_kafka", "confluent-kafka")}  # module, package


class Feed(Protocol):
    """`run` returns when the feed has ended or `stop` is set, and every line it took was processed."""

    def run(self, streamer: Streamer, stop: Event) -> None: ...


class Answering:
    """A feed that answers those who send, so that what it gives needs no other place to go. While the model is loaded
    it is `open` already, to say that it is not ready."""

    keep: int  # lines for those who ask again

    def open(self) -> None:
        raise NotImplementedError

    def run(self, streamer: Streamer, stop: Event) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def feed(kind: str, **options: Any) -> Feed:
    """By the name of its file in conf/feed/. UsageError where a package that it needs is not installed."""
    try:
        module = import_module(f"{__name__}.{kind}")
    except ModuleNotFoundError as error:
        name, package = EXTRAS.get(kind, ("", ""))
        if not name or (error.name or "").partition(".")[0] != name:
            raise
        raise UsageError(f"feed={kind} needs {package}: pip install 'longcast[{kind}]'") from error
    made: Feed = getattr(module, KINDS[kind])(**options)
    return made


def outlet(source: Feed) -> Sink | None:
    """Where a feed publishes forecasts itself, as brokers do; None: output goes where the config says."""
    return getattr(source, "sink", None)
