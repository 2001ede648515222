"""What the page of events needs of a run, read once and kept until its files change."""

from typing import Any, Final, NamedTuple

import polars as pl

from forecast.dashboards.app.background import Background, Tell, stamp
from forecast.dashboards.app.sources import Kept
from forecast.dashboards.events.next import FILE, Ahead, kept
from forecast.dashboards.events.sequences import events_of, listed, overview
from forecast.dashboards.events.summary import EventSummary, scan, summarise_events
from forecast.dashboards.events.timeline import hazards, histories
from forecast.dashboards.load import Run

RUNS: Final = 6  # in memory
WAIT_S: Final = 1.0  # for what is nearly there
LONG: Final = 64  # overviews of long sequences
FILES: Final = ("predictions.parquet", "timeline.parquet", "timeline_events.parquet", FILE, "metrics.json")


class Held(NamedTuple):
    summary: EventSummary
    sequences: pl.DataFrame  # see event_sequences.listed
    ahead: dict[str, dict[int, Ahead]] | None  # densities by sequence and event
    lines: pl.DataFrame | None  # hazards
    context: pl.DataFrame | None  # events of the sequences with hazards


_LONG: Final = Kept[pl.DataFrame](LONG)


class Readers:
    """Runs that are read in the background, each once, whoever asks."""

    def __init__(self) -> None:
        self._work = Background[Held | None]("events", RUNS)

    def get(self, run: Run, wait_s: float = WAIT_S) -> Held | float | None:
        """None where the run has no predictions; after `wait_s` the share that is done. ArtifactError where a file of
        it is damaged."""
        return self._work.get(_stamp(run), lambda tell: _read(run, tell), wait_s)


READERS: Final = Readers()
held = READERS.get


def whole(run: Run, row: dict[str, Any]) -> pl.DataFrame:
    """The overview of the sequence in a row of `Held.sequences`."""
    key = f"{run.path}\n{row['unique_id']}"
    return _LONG.get(key, _stamp(run), lambda: overview(events_of(run, row)))


def _stamp(run: Run) -> tuple[tuple[str, int, int], ...]:
    return stamp(*(run.path / name for name in FILES))


def _read(run: Run, tell: Tell) -> Held | None:
    if run.predictions is None:
        return None
    sequences = listed(scan(run.predictions))
    tell(0.3)
    summary = summarise_events(run)
    tell(0.95)
    return None if summary is None else Held(summary, sequences, kept(run), hazards(run), histories(run))
