"""What a run of events leaves behind for people to look at: every forecast of its test part. What it keeps of a few
sequences besides stands in event_closer.py.

predictions.parquet       unique_id, event, ds, gap, mean, median, q05, q95, pit_low, pit_high, mark, guess, p_mark,
                          nats_time, nats_mark
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from torch import Tensor

from forecast.artifacts import atomic
from forecast.data.events import UNITS, Events, Floats
from forecast.heads.next_event import Next
from forecast.metrics.events import Told

if TYPE_CHECKING:  # Lightning
    from forecast.data.event_module import EventModule

PREDICTIONS: Final = "predictions.parquet"
LEVELS: Final = {"q05": 0.05, "q95": 0.95}
DOUBLES: Final = ("gap", "mean", "median", *LEVELS)
SINGLES: Final = ("pit_low", "pit_high", "p_mark", "nats_time", "nats_mark")
FAR: Final = 2e17  # microseconds, of a stamp from the first one: 6,300 years


class EventRecord:
    """The forecasts of a part, in the order of its table. `watch` is given to `score`."""

    def __init__(self, data: "EventModule", part: str = "test") -> None:
        self.data, self.part = data, data.part(part)
        count = len(self.part.events.time)
        self.columns: dict[str, Any] = {key: np.full(count, np.nan) for key in DOUBLES}
        self.columns |= {key: np.full(count, np.nan, np.float32) for key in SINGLES}
        self.guess: Any = np.zeros((count, len(data.spec.marks)) if data.spec.labels else count, int)

    def watch(self, rows: Tensor, told: Told, made: Next) -> None:
        seen, at = told.mask, rows[told.mask].numpy()
        low, high = told.pit
        before = made.gaps.at((slice(None), slice(None, -1)))
        found = {"gap": told.gap, "mean": told.mean, "median": told.median, "pit_low": low, "pit_high": high}
        found |= {"p_mark": told.marked.exp(), "nats_time": told.time, "nats_mark": told.marked}
        found |= {key: before.quantile(level) for key, level in LEVELS.items()}
        for key, values in found.items():
            self.columns[key][at] = values[seen].numpy()
        self.guess[at] = told.guess[seen].numpy()

    def frame(self) -> pl.DataFrame:
        """One row for each scored event."""
        events, rows = self.part.events, np.flatnonzero(self.part.target)
        numbers = events.number[rows]
        columns = {key: values[rows] for key, values in self.columns.items()}
        return pl.DataFrame({
            "unique_id": pl.Series(events.ids, dtype=pl.String).gather(numbers),
            "event": rows - events.start[:-1][numbers],
            "ds": shown(events, rows),
            **{key: columns[key] for key in (*DOUBLES, "pit_low", "pit_high")},
            "mark": self._marks(events.mark[rows]),
            "guess": self._names(self.guess[rows]),
            "p_mark": self._known(columns["p_mark"], rows), "nats_time": columns["nats_time"],
            "nats_mark": self._known(columns["nats_mark"], rows),
        })  # fmt: skip

    def _known(self, values: Any, rows: Any) -> pl.Series:
        """Null where training did not have the mark that came: no forecast gives it a probability."""
        made = pl.Series(values)
        if self.data.spec.labels:
            return made
        known = pl.Series(self.part.events.mark[rows] < len(self.data.spec.marks))
        return made.to_frame("made").select(pl.when(known).then(pl.col("made")).alias("made"))["made"]

    def _marks(self, codes: Any) -> pl.Series:
        if not self.data.spec.labels:
            return self.data.recipe.names(codes)
        return pl.Series(self.part.events.marks, dtype=pl.String).gather(codes)

    def _names(self, guess: Any) -> pl.Series:
        """Names of the marks forecast; of labels, parted as in the table."""
        if guess.ndim == 1:
            return self.data.recipe.names(guess)
        return self.data.recipe.joined(guess)

    def write(self, folder: Path) -> pl.DataFrame:
        """The rows that were written."""
        frame = self.frame()
        write(frame, folder / PREDICTIONS)
        return frame


def write(frame: pl.DataFrame, path: Path) -> None:
    with atomic(path) as temporary:
        frame.write_parquet(temporary)


def shown(events: Events, rows: Any) -> Any:
    """Times of rows as people know them: stamps (UTC), or numbers in their unit."""
    return events.time[rows] if events.origin is None else events.stamps[rows]


def moments(events: Events, time: Floats) -> Any:
    """Times on the clock of a table as people know them; no stamp where it would be thousands of years away."""
    if events.origin is None:
        return time
    micros = np.asarray(time, np.float64) * UNITS[events.unit]
    near = np.abs(micros) < FAR
    found = events.origin + np.rint(np.where(near, micros, 0.0)).astype("timedelta64[us]")
    return np.where(near, found, np.datetime64("NaT", "us"))
