"""The lines of a leaderboard with their differences to the control: what those of events and of classes share.

The control is the model `none` of the same embedding and head, which mixes nothing; else the best `none`; else, where
there is none, the first line.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from forecast.dashboards.boards import series_paired as paired
from forecast.dashboards.boards.lines import CONTROL, Interval, Line, mean
from forecast.dashboards.load import Run


class Ruler(NamedTuple):
    """How a difference is measured: the scores, and what of a run's predictions.parquet its interval needs."""

    keys: tuple[str, ...]  # scores of a line; an interval of the first is missed
    units: str  # which are drawn, in words
    of: str  # what must be the same in both runs, in words
    read: Callable[[Path], Any]  # predictions.parquet -> scores by unit
    same: Callable[[Sequence[Any]], bool]  # whether they are of the same units
    interval: Callable[[Sequence[Any], Sequence[Any], str], tuple[float, float] | None]  # ours, theirs, key


def compared(lines: list[Line], ruler: Ruler) -> tuple[list[Line], list[str]]:
    """The lines with their differences to the control, and what is to be said about it."""
    controls = [line for line in lines if line.parts[0] == CONTROL] or lines[:1]
    known: dict[str, Any] = {}
    made, lacking, others = [], 0, 0
    for line in lines:
        if line in controls:
            made.append(line)
            continue
        control = next((each for each in controls if each.parts[1:] == line.parts[1:]), controls[0])
        others += control.parts[1:] != line.parts[1:]
        delta = _delta(line, control, known, ruler)
        bare = delta[ruler.keys[0]].low is None
        lacking += bare
        several = len(line.runs) > 1 or len(control.runs) > 1
        basis = "" if bare else f"{ruler.units} and seeds" if several else ruler.units
        made.append(line._replace(delta=delta, against=" · ".join(control.parts), basis=basis))
    best = " · ".join((*controls[0].parts, controls[0].variant)).removesuffix(" · ")
    notes = []
    if len(lines) > 1 and controls[0].parts[0] != CONTROL:
        notes.append(f"No run of model=none is among them: differences are to {best}.")
    elif others:
        notes.append(f"{others} without a none of the same embedding, norm and head: compared to {best}.")
    few = f"it needs predictions=true and {paired.FEWEST} {ruler.units} of {ruler.of}"
    return made, [*notes, *([f"{lacking} without an interval: {few}."] if lacking else [])]


def _delta(line: Line, control: Line, known: dict[str, Any], ruler: Ruler) -> dict[str, Interval]:
    """The differences of a line to its control, with intervals where both wrote their predictions."""
    ours, theirs = ([_read(run, known, ruler) for run in each.runs] for each in (line, control))
    usable = [each for each in (*ours, *theirs) if each is not None]
    whole = len(usable) == len(ours) + len(theirs) and ruler.same(usable)
    delta, split = {}, len(ours)
    for key in ruler.keys:
        value = mean(line.values(key)) - mean(control.values(key))
        found = ruler.interval(usable[:split], usable[split:], key) if whole else None
        delta[key] = Interval(value, *(found or (None, None)))
    return delta


def _read(run: Run, known: dict[str, Any], ruler: Ruler) -> Any:
    """Scores by unit, read once; None where the run wrote no predictions."""
    key = str(run.path)
    if key not in known:
        known[key] = ruler.read(run.predictions) if run.predictions is not None else None
    return known[key]
