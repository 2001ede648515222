"""Series that were taken for another class, drawn as they are: of several channels each in a lane of its own."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from forecast.dashboards.charts.chart import Axis, Band, Chart, Line, Mark, Panel
from forecast.dashboards.charts.shared import array, with_unit
from forecast.dashboards.charts.style import short
from forecast.dashboards.load import Run
from forecast.dashboards.stored import stored

NEEDED = ("unique_id", "label", "guess", "p", "step", "channel", "value")
MOST = 12  # series in a report
COLUMNS = 4  # series beside each other
LANES = 6  # channels
PLACES = 160  # points on a line: more than a panel has room for
ROLES = ("model", "seasonal", "ridge", "last", "other", "muted")


class Curve(NamedTuple):
    """A channel of a series; of long ones what neighbouring steps have in common. All arrays (n,), NaN: missing."""

    step: np.ndarray
    value: np.ndarray
    ends: tuple[np.ndarray, np.ndarray] | None  # the least and the greatest of neighbouring steps; None: all is drawn


class Lane(NamedTuple):
    """Where a channel is drawn: its height among the others, and what of its values is the middle and half the lane."""

    place: float
    middle: float
    half: float


class Example(NamedTuple):
    id: str
    label: str
    guess: str
    sure: float
    lines: dict[str, Curve]  # by channel


def examples(run: Run) -> list[Example]:
    """Those that the run wrote, the surest mistake first; none where it wrote no examples.parquet."""
    frame = stored(run, "examples.parquet", NEEDED)
    if frame is None:
        return []
    return [_example(own) for own in frame.partition_by("unique_id", maintain_order=True)]


def _example(own: pl.DataFrame) -> Example:
    first, lines = own.row(0, named=True), {}
    for part in own.sort("step", maintain_order=True).partition_by("channel", maintain_order=True):
        lines[str(part["channel"][0])] = _thinned(array(part["step"]), array(part["value"]))
    return Example(str(first["unique_id"]), str(first["label"]), str(first["guess"]), float(first["p"]), lines)


def _thinned(step: np.ndarray, value: np.ndarray) -> Curve:
    """Means and ends of PLACES parts, so that what swings from step to step is no block of ink and no peak is lost."""
    each = -(-len(step) // PLACES)
    if each <= 2:
        return Curve(step, value, None)
    pad = -len(value) % each
    rows, at = (np.pad(held, (0, pad), constant_values=np.nan).reshape(-1, each) for held in (value, step))
    seen = np.isfinite(rows)
    count, none = seen.sum(1), ~seen.any(1)
    middle = np.where(seen, rows, 0.0).sum(1) / np.maximum(count, 1)
    low, high = np.where(seen, rows, np.inf).min(1), np.where(seen, rows, -np.inf).max(1)
    middle, low, high = (np.where(none, np.nan, held) for held in (middle, low, high))
    return Curve(at[:, 0] + (np.isfinite(at).sum(1) - 1) / 2, middle, (low, high))


def _marks(curve: Curve, role: str, lane: Lane | None = None) -> list[Mark]:
    """The curve, moved and scaled into its lane where there are several."""

    def placed(value: np.ndarray) -> np.ndarray:
        if lane is None:
            return value
        return np.asarray(np.clip((value - lane.middle) / lane.half, -1.15, 1.15) * 0.42 + lane.place)

    line = Line(curve.step, placed(curve.value), role=role, width=1.0)
    if curve.ends is None:
        return [line]
    return [Band(curve.step, placed(curve.ends[0]), placed(curve.ends[1]), role=role, opacity=0.25), line]


def wrong(run: Run, shown: Sequence[Example] | None = None) -> Chart | None:
    """The test series of which the model was surest and wrong; or those of `shown`, all of one run."""
    found = examples(run)[:MOST] if shown is None else list(shown)
    if not found:
        return None
    channels = list(found[0].lines)
    lanes = channels[:LANES]
    words = _words(found, channels) if shown is None else _lanes_told(channels)
    alt = words + "".join(f" {e.id}: {e.label} taken for {e.guess}, {e.sure * 100:.0f} %." for e in found)
    ranges = {
        name: _range([held for each in found if name in each.lines for held in _values(each.lines[name])])
        for name in lanes
    }
    panels = tuple(_panel(run, each, lanes, ranges, k % COLUMNS == 0) for k, each in enumerate(found))
    return Chart("wrong", "The surest mistakes" if shown is None else "Mistakes", words.strip(), alt, panels,
                 columns=min(len(found), COLUMNS), legend=False)  # fmt: skip


def _words(found: list[Example], channels: list[str]) -> str:
    words = f"The {len(found)} test series that were taken for another class most surely: " if len(found) > 1 else (
        "The only test series that was taken for another class: ")  # fmt: skip
    words += "the class, what it was taken for, and how sure the model was." + _lanes_told(channels)
    if any(curve.ends is not None for each in found for curve in each.lines.values()):
        words += (
            " Of long series the mean of neighbouring steps is drawn, in the band from their least to their greatest."
        )
    return words


def _lanes_told(channels: list[str]) -> str:
    if len(channels) < 2:
        return ""
    words = " Each channel has a lane, scaled to its own range over these series"
    return words + (f"; the first {LANES} of {len(channels)} channels are drawn." if len(channels) > LANES else ".")


def _panel(
    run: Run, each: Example, lanes: list[str], ranges: dict[str, tuple[float, float]], named: bool
) -> Panel:  # fmt: skip
    """One series; `named`: it says what stands in its lanes, or at its axis."""
    told = "" if each.label == each.guess else f" → {short(each.guess, 16)}"
    title = f"{short(each.label, 17)}{told}, {each.sure * 100:.0f} %"
    across = Axis("step", whole=True)
    if len(lanes) == 1:
        marks = _marks(each.lines[lanes[0]], "model") if lanes[0] in each.lines else []
        return Panel(tuple(marks), across, Axis(with_unit(run, lanes[0], 16) if named else ""), title, 1.45)
    lines = [
        mark for k, name in enumerate(lanes) if name in each.lines
        for mark in _marks(each.lines[name], ROLES[k % len(ROLES)], Lane(float(-k), *ranges[name]))
    ]  # fmt: skip
    ticks = tuple((float(-k), short(name, 9) if named else "") for k, name in enumerate(lanes))
    upright = Axis("", ticks=ticks, range=(-len(lanes) + 0.45, 0.55))
    return Panel(tuple(lines), across, upright, title, 0.75 + 0.24 * len(lanes))


def _values(curve: Curve) -> tuple[np.ndarray, ...]:
    return (curve.value,) if curve.ends is None else curve.ends


def _range(values: list[np.ndarray]) -> tuple[float, float]:
    """Where the middle of a lane is, and the half of its height; of extremes only what is common is in it."""
    every = np.concatenate(values) if values else np.zeros(0)
    every = every[np.isfinite(every)]
    if not every.size:
        return 0.0, 1.0
    low, high = float(np.quantile(every, 0.01)), float(np.quantile(every, 0.99))
    return (low + high) / 2, (high - low) / 2 or 1.0
