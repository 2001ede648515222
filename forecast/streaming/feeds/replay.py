"""A file as in training, csv or parquet, replayed as if it came live; what its forecasts were worth is said after."""

from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import orjson

from forecast.artifacts import write_json
from forecast.errors import DataError, UsageError
from forecast.streaming.lines import Parsed
from forecast.streaming.live import Live
from forecast.streaming.replay import CORRECTED, STREAMED, Replay
from forecast.streaming.streamer import Streamer


class File:
    """Readings in the order of time, `batch` at once. windowed: score the windowed model from the same moments too,
    which takes most of the time; scores: a JSON file for the scores."""

    def __init__(self, *, path: str, batch: int = 1000, windowed: bool = True, scores: str | None = None) -> None:
        if batch < 1:
            raise UsageError(f"feed.batch is {batch}", "expected readings, at least 1")
        self.path, self.batch, self.windowed, self.scores = Path(path).expanduser(), batch, windowed, scores
        self.found: dict[str, Any] = {}  # the scores, once there are any
        if not self.path.is_file():
            raise DataError(f"{self.path} is no file", "expected csv or parquet with the columns of the training data")

    def run(self, streamer: Streamer, stop: Event) -> None:
        """From the reading the stream was left at; scores are of what was replayed now."""
        live = streamer.live
        replay = Replay(live, self.path, windowed=self.windowed)
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
            taken = streamer.take(parsed, Lines(parsed), some.stop).taken
            if corrects:
                replay.score(some, taken, CORRECTED, others=False)
                taken = frozen.take(names, time, values)
            replay.score(some, taken, STREAMED, others=True)
        if replay.sums:
            self.found = replay.results()
            if self.scores is not None:
                write_json(Path(self.scores).expanduser(), self.found)


class Lines:
    """The lines that readings of a table would have been, for those that are refused."""

    def __init__(self, parsed: Parsed) -> None:
        self.parsed = parsed

    def __len__(self) -> int:
        return len(self.parsed.names)

    def __getitem__(self, at: int) -> bytes:
        time = str(self.parsed.time[at].astype("datetime64[us]"))
        row = [None if np.isnan(value) else value for value in self.parsed.values[at].tolist()]
        return orjson.dumps({"unique_id": self.parsed.names[at], "ds": time, "values": row})
