"""Where readings come from. A feed hands batches of lines to a stream until it ends or is told to stop."""

from importlib import import_module
from threading import Event
from typing import Any, Final, Protocol

from forecast.streaming.streamer import Streamer

KINDS: Final = {"stdin": "Stdin", "file": "File", "replay": "File"}  # modules of this package, and their classes


class Feed(Protocol):
    """`run` returns when the feed has ended or `stop` is set, and every line it took was processed."""

    def run(self, streamer: Streamer, stop: Event) -> None: ...


def feed(kind: str, **options: Any) -> Feed:
    """By the name of its file in conf/feed/."""
    made: Feed = getattr(import_module(f"{__name__}.{kind}"), KINDS[kind])(**options)
    return made
