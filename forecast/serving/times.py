"""Times of a request: text of clocks or of UTC, or a start and a step, into stamps in UTC; ValueError in one line."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import numpy as np

from forecast.data.clock import to_utc
from forecast.data.freq import Stamps, parse_freq
from forecast.data.table import steps_after
from forecast.errors import DataError

PLAIN: Final = re.compile(r"[0-9T:. -]*\Z")  # signs of stamps without an offset, written with figures
EPOCH: Final = datetime(1970, 1, 1)
FIRST, AFTER = np.datetime64("1678-01-01", "us"), np.datetime64("2262-01-01", "us")  # as in data/stamps.py


class Off(ValueError):
    """A step that is not the model's."""


def stamps(texts: Sequence[str], zone: str | None, freq: str | None = None) -> Stamps:
    """(n,) UTC stamps; those without an offset show the clock of `zone`, None: UTC."""
    joined = "".join(texts)
    # What numpy reads here has a year, a month and a day each, and no offset, which it would take with a warning.
    if PLAIN.match(joined) and len(set(map(len, texts))) == 1 and joined.count("-") == 2 * len(texts):
        try:
            wall = np.array(texts, "datetime64[us]")
        except ValueError:
            wall, aware = _each(texts)
        else:
            aware = False
    else:
        wall, aware = _each(texts)
    if np.isnat(wall).any() or wall.min() < FIRST or wall.max() >= AFTER:
        raise ValueError("a time is not of the years 1678 to 2261")
    if aware or zone is None:
        return wall
    time = to_utc(wall, zone, np.zeros(len(wall), np.int64), shift=freq is not None and parse_freq(freq).wall)
    if (never := np.isnat(time)).any():
        raise ValueError(f"'{texts[int(never.argmax())][:40]}' was never shown by a clock in {zone}")
    return time


def _each(texts: Sequence[str]) -> tuple[Stamps, bool]:
    """One by one, and whether they carried offsets."""
    found = np.empty(len(texts), "datetime64[us]")
    offsets = 0
    for i, text in enumerate(texts):
        try:
            one = datetime.fromisoformat(text)
            if one.tzinfo is not None:
                one = one.astimezone(UTC).replace(tzinfo=None)
                offsets += 1
        except (ValueError, OverflowError):
            raise ValueError(f"'{text[:40]}' is no time; expected one like 2024-01-31T13:00") from None
        found[i] = np.datetime64(one, "us")
    if offsets not in (0, len(texts)):
        raise ValueError("some times have an offset from UTC and some have none")
    return found, offsets > 0


def regular(start: str, freq: str | None, count: int, expected: str, zone: str | None) -> Stamps:
    """(count,) UTC stamps from a start on. Off for a step that is not the model's."""
    if freq is not None and _alias(freq) != expected:
        raise Off(f"freq is '{freq[:40]}'; expected {expected}, as in training")
    first = stamps([start], zone, expected)
    return steps_after(np.repeat(first, count), np.arange(count), expected, zone)


@lru_cache(1000)
def _alias(freq: str) -> str | None:
    try:
        return parse_freq(freq).alias
    except DataError:
        return None
