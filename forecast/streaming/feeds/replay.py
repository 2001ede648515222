"""A file as in training, csv or parquet, replayed as if it came live; what its forecasts were worth is said after."""

from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import orjson

from forecast.artifacts import write_json
from forecast.errors import DataError, UsageError
from forecast.streaming.event_live import EventLive
from forecast.streaming.event_replay import EventReplay, checked
from forecast.streaming.event_taken import EventTaken
from forecast.streaming.live import Live
from forecast.streaming.parsing import Parsed
from forecast.streaming.replay import CORRECTED, STREAMED, Replay
from forecast.streaming.streamer import Streamer
from forecast.streaming.taken import Taken


class File:
    """Readings or events in the order of time, `batch` at once. windowed: score the windowed model of series from the
    same moments too, which takes most of the time; scores: a JSON file for the scores."""

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
        if isinstance(live, EventLive):
            checked(windowed=self.windowed, every=streamer.every)
            self._events(live, streamer, stop)
        else:
            assert isinstance(live, Live)
            self._series(live, streamer, stop)
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

    def _events(self, live: EventLive, streamer: Streamer, stop: Event) -> None:
        replay = EventReplay(live, self.path)
        for some in replay.batches(self.batch, int(streamer.position or 0)):
            if stop.is_set():
                break
            names, held = replay.names[some], replay.held[range(some.start, some.stop)]
            parsed = Parsed(list(range(len(names))), names, replay.ticks[some], held, [None] * len(names), [])
            taken = streamer.take(parsed, Lines(parsed, live), some.stop).taken
            assert isinstance(taken, EventTaken)
            replay.score(some, taken)
        self.found = replay.results() or {}


class Lines:
    """The lines that readings of a table would have been, for those that are refused."""

    def __init__(self, parsed: Parsed, live: Live | EventLive) -> None:
        self.parsed, self.live = parsed, live

    def __len__(self) -> int:
        return len(self.parsed.names)

    def __getitem__(self, at: int) -> bytes:
        name, tick, held = self.parsed.names[at], self.parsed.time[at], self.parsed.values
        if isinstance(self.live, EventLive):
            return orjson.dumps({"unique_id": name, "ds": self.live.time.written(int(tick)), "mark": held.marks[at]})
        row = [None if np.isnan(value) else value for value in held[at].tolist()]
        return orjson.dumps({"unique_id": name, "ds": str(tick.astype("datetime64[us]")), "values": row})
