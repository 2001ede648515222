"""A file as in training, csv or parquet, replayed as if it came live; what its forecasts were worth is said after."""

from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import orjson

from forecast.artifacts import write_json
from forecast.errors import DataError, UsageError
from forecast.streaming.class_live import ClassLive
from forecast.streaming.class_replay import ClassReplay
from forecast.streaming.event_live import EventLive
from forecast.streaming.event_replay import EventReplay
from forecast.streaming.holding import replayable
from forecast.streaming.live import Live
from forecast.streaming.parsing import Parsed
from forecast.streaming.replay import CORRECTED, STREAMED, Replay
from forecast.streaming.streamer import Streamer
from forecast.streaming.taken import Taken


class File:
    """Readings, events or steps in the order of time, `batch` at once. windowed: score the windowed model of series
    from the same moments too, which takes most of the time; scores: a JSON file for the scores."""

    def __init__(
        self, *, path: str, batch: int = 1000, windowed: bool | None = None, scores: str | None = None
    ) -> None:
        if batch < 1:
            raise UsageError(f"feed.batch is {batch}", "expected readings, at least 1")
        self.path, self.batch, self.windowed, self.scores = Path(path).expanduser(), batch, windowed, scores
        self.found: dict[str, Any] = {}  # the scores, once there are any
        if not self.path.is_file():
            raise DataError(f"{self.path} is no file", "expected csv or parquet with the columns of the training data")

    def run(self, streamer: Streamer, stop: Event) -> None:
        """From the reading the stream was left at; scores are of what was replayed now."""
        live = streamer.live
        if isinstance(live, Live):
            self._series(live, streamer, stop)
        else:
            assert isinstance(live, EventLive | ClassLive)
            replayable(live.of, windowed=self.windowed, every=streamer.every)
            self._scored(live, streamer, stop)
        if self.found and self.scores is not None:
            write_json(Path(self.scores).expanduser(), self.found)

    def _series(self, live: Live, streamer: Streamer, stop: Event) -> None:
        replay = Replay(live, self.path, windowed=self.windowed is not False)
        corrects, frozen = live.fold.corrector is not None, live
        if corrects:
            frozen = Live(
                live.predictor, "", levels=live.levels, gaps=live.fold.gaps, longest=live.fold.longest,
                most=live.states.most, engine=live.fold.run.name,
            )  # fmt: skip
        readings = replay.readings
        for some in replay.batches(self.batch, int(streamer.position or 0)):
            if stop.is_set():
                break
            names, time, values = readings.names[some], readings.time[some], readings.values[some]
            parsed = Parsed(list(range(len(names))), names, time, values, [None] * len(names), [])
            taken = streamer.take(parsed, Lines(parsed, live), some.stop).taken
            assert isinstance(taken, Taken)
            if corrects:
                replay.score(some, taken, CORRECTED, others=False)
                taken = frozen.take(names, time, values)
            replay.score(some, taken, STREAMED, others=True)
        if replay.sums:
            self.found = replay.results()

    def _scored(self, live: EventLive | ClassLive, streamer: Streamer, stop: Event) -> None:
        """Events or labelled series, whose scores are made of what became of them."""
        replay: Any = EventReplay(live, self.path) if isinstance(live, EventLive) else ClassReplay(live, self.path)
        for some in replay.batches(self.batch, int(streamer.position or 0)):
            if stop.is_set():
                break
            names, held = replay.names[some], replay.held[range(some.start, some.stop)]
            parsed = Parsed(list(range(len(names))), names, replay.ticks[some], held, [None] * len(names), [])
            replay.score(some, streamer.take(parsed, Lines(parsed, live), some.stop).taken)
        self.found = replay.results() or {}


class Lines:
    """The lines that readings of a table would have been, for those that are refused."""

    def __init__(self, parsed: Parsed, live: Live | EventLive | ClassLive) -> None:
        self.parsed, self.live = parsed, live

    def __len__(self) -> int:
        return len(self.parsed.names)

    def __getitem__(self, at: int) -> bytes:
        live, tick, held = self.live, self.parsed.time[at], self.parsed.values
        line: dict[str, Any] = {"unique_id": self.parsed.names[at]}
        if isinstance(live, EventLive):
            line |= {"ds": live.time.written(int(tick)), "mark": held.marks[at]}
        elif isinstance(live, ClassLive):
            line |= {} if live.time is None else {"ds": live.time.written(int(tick))}
            line["values"] = _plain(held.values[at])
        else:
            line |= {"ds": str(tick.astype("datetime64[us]")), "values": _plain(held[at])}
        return orjson.dumps(line)


def _plain(row: Any) -> list[float | None]:
    """Values (C,), None where nothing was observed."""
    return [None if np.isnan(value) else value for value in row.tolist()]
