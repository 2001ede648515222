"""What the page of events needs of a run, read once and kept until its files change."""

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as until
from typing import Any, Final, NamedTuple

import polars as pl

from forecast.dashboards.app.sources import Kept
from forecast.dashboards.events.next import FILE, Ahead, kept
from forecast.dashboards.events.sequences import events_of, listed, overview
from forecast.dashboards.events.summary import EventSummary, scan, summarise_events
from forecast.dashboards.events.timeline import hazards, histories
from forecast.dashboards.load import Run

RUNS: Final = 6  # in memory
WAIT_S: Final = 1.0  # for what is nearly there
AT_ONCE: Final = 2  # read beside each other
LONG: Final = 64  # overviews of long sequences
FILES: Final = ("predictions.parquet", "timeline.parquet", "timeline_events.parquet", FILE, "metrics.json")


class Held(NamedTuple):
    summary: EventSummary
    sequences: pl.DataFrame  # see event_sequences.listed
    ahead: dict[str, dict[int, Ahead]] | None  # densities by sequence and event
    lines: pl.DataFrame | None  # hazards
    context: pl.DataFrame | None  # events of the sequences with hazards


_LONG: Final = Kept[pl.DataFrame](LONG)


class Made(Future[Held | None]):
    """On its way; `share` of the work is done."""

    share = 0.0


class Readers:
    """Runs that are read in the background, each once, whoever asks. Safe for several threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, "events")
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[str, tuple[int, ...]], Made] = OrderedDict()

    def get(self, run: Run, wait_s: float = WAIT_S) -> Held | float | None:
        """None where the run has no predictions; after `wait_s` the share that is done. ArtifactError where a file of
        it is damaged."""
        made = self._start(run)
        until([made], wait_s)
        return made.result() if made.done() else made.share

    def _start(self, run: Run) -> Made:
        key = str(run.path), _stamp(run)
        with self._lock:
            made = self._made.get(key)
            if made is None:
                made = self._made[key] = Made()
                self._pool.submit(_fill, run, made)
            self._made.move_to_end(key)
            while len(self._made) > RUNS:
                self._made.popitem(last=False)
        return made


READERS: Final = Readers()
held = READERS.get


def whole(run: Run, row: dict[str, Any]) -> pl.DataFrame:
    """The overview of the sequence in a row of `Held.sequences`."""
    key = f"{run.path}\n{row['unique_id']}"
    return _LONG.get(key, _stamp(run), lambda: overview(events_of(run, row)))


def _stamp(run: Run) -> tuple[int, ...]:
    found: list[int] = []
    for name in FILES:
        path = run.path / name
        if path.is_file():
            facts = path.stat()
            found += [facts.st_mtime_ns, facts.st_size]
        else:
            found.append(0)
    return tuple(found)


def _fill(run: Run, made: Made) -> None:
    try:
        made.set_result(_read(run, made))
    except Exception as fault:  # it is raised again where it is asked for
        made.set_exception(fault)


def _read(run: Run, made: Made) -> Held | None:
    if run.predictions is None:
        return None
    sequences = listed(scan(run.predictions))
    made.share = 0.3
    summary = summarise_events(run)
    made.share = 0.95
    return None if summary is None else Held(summary, sequences, kept(run), hazards(run), histories(run))
