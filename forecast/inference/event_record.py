"""What a run of events leaves behind for people to look at: every forecast of its test part, and a few timelines.

predictions.parquet       unique_id, event, ds, gap, mean, median, q05, q95, pit_low, pit_high, mark, guess, p_mark,
                          nats_time, nats_mark
timeline_events.parquet   unique_id, ds, mark, scored: the events of a few sequences
timeline.parquet          unique_id, ds, hazard: of the next event, at times between them
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecast.artifacts import atomic
from forecast.data.events import UNITS, Events, Floats
from forecast.heads.event_chain import EventChain
from forecast.heads.next_event import Next
from forecast.metrics.events import Told

if TYPE_CHECKING:  # Lightning
    from forecast.data.event_module import EventModule

LEVELS: Final = {"q05": 0.05, "q95": 0.95}
DOUBLES: Final = ("gap", "mean", "median", *LEVELS)
SINGLES: Final = ("pit_low", "pit_high", "p_mark", "nats_time", "nats_mark")
LINES: Final = 4  # sequences drawn,
LONG: Final = 40  # their last events at most,
POINTS: Final = 600  # and times at which a hazard is told
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

    def write(self, folder: Path) -> None:
        write(self.frame(), folder / "predictions.parquet")


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


@torch.inference_mode()
def write_timelines(data: "EventModule", chain: EventChain, folder: Path, part: str = "test") -> None:
    """A few sequences with the hazard of their next event: those whose count of scored events is typical of the
    upper half, so that there is something to see."""
    of, gather = data.part(part), data.gather(part)
    order = np.argsort(gather.targets, kind="stable")
    order = order[gather.targets[order] > 0]
    picked = order[np.unique((len(order) - 1) * np.linspace(0.6, 0.95, LINES)).astype(np.int64)]
    lines, told = [], []
    for piece in np.unique(picked).tolist():
        batch = gather(torch.tensor([piece]))
        made = chain(batch)
        rows = gather.rows(torch.tensor([piece]), int(batch.length[0]))[0].numpy()
        keep = rows[-LONG:]
        first, until = of.events.time[keep[0]], of.end[int(batch.sequence[0])]
        until = max(until if batch.last[0] > 0 else of.events.time[rows[-1]], of.events.time[rows[-1]])
        span = of.events.time[rows[-1]] - first
        until = min(until, of.events.time[rows[-1]] + 0.25 * span)
        at = np.unique(np.concatenate([np.linspace(first, until, POINTS + 1)[1:], of.events.time[keep] + 1e-4 * span]))
        at = at[at > first]
        last = np.searchsorted(of.events.time[rows], at, side="left") - 1
        hazard = made.gaps.at((0, torch.from_numpy(last))).hazard(torch.from_numpy(at - of.events.time[rows][last]))
        name = of.events.ids[int(batch.sequence[0])]
        lines.append(pl.DataFrame({"unique_id": name, "ds": moments(of.events, at), "hazard": hazard.double().numpy()}))
        marks = data.recipe.names(of.events.mark[keep]) if not data.spec.labels else None
        if marks is None:
            marks = pl.Series(of.events.marks, dtype=pl.String).gather(of.events.mark[keep])
        told.append(pl.DataFrame({
            "unique_id": pl.Series([name] * len(keep), dtype=pl.String), "ds": shown(of.events, keep), "mark": marks,
            "scored": of.target[keep],
        }))  # fmt: skip
    write(pl.concat(lines), folder / "timeline.parquet")
    write(pl.concat(told), folder / "timeline_events.parquet")
