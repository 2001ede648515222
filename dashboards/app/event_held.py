"""What the page of events needs of a run, read once and kept until its files change."""

from typing import Final, NamedTuple

import polars as pl

from forecast.dashboards.app.sources import Kept
from forecast.dashboards.event_next import FILE, Ahead, kept
from forecast.dashboards.event_sequences import listed
from forecast.dashboards.event_summary import EventSummary, scan, summarise_events
from forecast.dashboards.event_timeline import hazards, histories
from forecast.dashboards.load import Run

RUNS: Final = 6  # in memory
FILES: Final = ("predictions.parquet", "timeline.parquet", "timeline_events.parquet", FILE, "metrics.json")


class Held(NamedTuple):
    summary: EventSummary
    sequences: pl.DataFrame  # see event_sequences.listed
    ahead: dict[str, dict[int, Ahead]] | None  # densities by sequence and event
    lines: pl.DataFrame | None  # hazards
    context: pl.DataFrame | None  # events of the sequences with hazards


_RUNS: Final = Kept[Held | None](RUNS)


def held(run: Run) -> Held | None:
    """None where the run has no predictions; ArtifactError where a file of it is damaged."""
    return _RUNS.get(str(run.path), _stamp(run), lambda: _read(run))


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


def _read(run: Run) -> Held | None:
    summary = summarise_events(run)
    if summary is None or run.predictions is None:
        return None
    return Held(summary, listed(scan(run.predictions)), kept(run), hazards(run), histories(run))
