"""Messages of a broker into batches of lines: a message holds one JSON object, or JSON lines."""

from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

import orjson

from forecast.streaming.parsing import LONGEST

M = TypeVar("M")  # a message, as its broker gives it


def lines_of(payload: bytes | bytearray) -> list[bytes]:
    """The lines of a message; an object that is written over several lines is one. None in a message of blanks."""
    text = bytes(payload).strip()
    if b"\n" not in text:
        return [text[: LONGEST + 1]] if text else []  # of a line too long the rest is dropped: it will be refused
    if len(text) <= LONGEST:
        try:
            orjson.loads(text)
            return [text]
        except orjson.JSONDecodeError:
            pass
    return [line[: LONGEST + 1] for line in text.split(b"\n") if not line.isspace() and line]


class Pack(NamedTuple, Generic[M]):
    """A batch: its lines, the messages that end in it, and the one of which it holds the first `taken` lines only."""

    lines: list[bytes]
    ended: list[M]
    open: M | None
    taken: int


def packed(messages: Iterable[tuple[M, list[bytes]]], most: int) -> Iterator[Pack[M]]:
    """Batches of at most `most` lines, in order; a message that is longer goes through several."""
    lines: list[bytes] = []
    ended: list[M] = []
    for message, own in messages:
        taken = 0
        while len(own) - taken > most - len(lines):
            taken += most - len(lines)
            yield Pack([*lines, *own[taken - most + len(lines) : taken]], ended, message if taken else None, taken)
            lines, ended = [], []
        lines += own[taken:]
        ended.append(message)
    if ended:
        yield Pack(lines, ended, None, 0)
