"""What a request is told: of each of its readings what became of it, and the forecast."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple

import orjson

from forecast.streaming.fold import ACCEPTED, DUPLICATE, STATUSES
from forecast.streaming.kind import Kind, Writes
from forecast.streaming.states import NEVER
from forecast.streaming.streamer import Batch

DUPLICATES: Final = STATUSES[DUPLICATE]
TAKEN: Final = frozenset(STATUSES[: ACCEPTED + 1])
TOO_MANY: Final = "too many series"
Told = dict[str, Any]  # of one reading
Latest = Callable[[Sequence[str]], dict[str, bytes]]


class Reply(NamedTuple):
    """200 if any reading is known now, 422 if none is."""

    status: int
    body: bytes


def told(batch: Batch, count: int, over: Collection[int], latest: Latest) -> list[Told]:
    """Of each of `count` lines of a batch; `over` are those of series that are too many; `latest` gives the forecasts
    of series as they are now."""
    parsed, codes = batch.parsed, batch.taken.status.tolist()
    found: list[Told] = [{} for _ in range(count)]
    for number, code in zip(parsed.number, codes, strict=True):
        found[number] = {"status": STATUSES[code]}
    for at, line in zip(batch.taken.at.tolist(), batch.lines, strict=True):
        found[parsed.number[at]]["forecast"] = orjson.Fragment(line)
    for number, reason in batch.refused:
        one = found[number]
        one.setdefault("status", TOO_MANY if number in over else "unreadable")
        one["reason"] = reason
    again = [i for i, code in enumerate(codes) if code == DUPLICATE]
    if again:
        names = list(dict.fromkeys(parsed.names[i] for i in again))
        now = latest(names)
        for i in again:
            if (text := now.get(parsed.names[i])) is not None:
                found[parsed.number[i]]["forecast"] = orjson.Fragment(text)
    return found


def reply(results: Sequence[Told]) -> Reply:
    words = [one["status"] for one in results]
    taken, duplicates = sum(word in TAKEN for word in words), words.count(DUPLICATES)
    body = {
        "taken": taken, "duplicates": duplicates, "refused": len(words) - taken - duplicates, "results": list(results)
    }  # fmt: skip
    return Reply(200 if taken + duplicates else 422, orjson.dumps(body))


def latest(live: Kind, writer: Writes, names: Sequence[str]) -> dict[str, bytes]:
    """The forecasts of series in memory as they are now: lines without a number, for nothing new was said. One that
    has ended has none."""
    names = [name for name in names if name in live.states]
    lines = writer(live.now(names), [None] * len(names), 0) if names else []
    return {name: b"{" + line.partition(b",")[2] for name, line in zip(names, lines, strict=True)}  # after "seq"


def forecast(live: Kind, writer: Writes, name: str) -> bytes | None:
    """The latest forecast of one series, from memory or the store; None where there is none."""
    states = live.states
    if name not in states and not (states.fetch is not None and states.fetch([name])):
        return None
    if states.step[states.take([name])][0] == NEVER:  # its readings were refused, or it was reset
        return None
    return latest(live, writer, [name])[name]
