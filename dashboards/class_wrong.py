"""Series that were taken for another class, drawn as they are: of several channels each in a lane of its own."""

from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from forecast.dashboards.canvas import NARROW, Picture, array, sheet, with_unit
from forecast.dashboards.class_confusion import short
from forecast.dashboards.load import Run
from forecast.dashboards.stored import stored
from forecast.dashboards.style import LIGHT, tick

NEEDED = ("unique_id", "label", "guess", "p", "step", "channel", "value")
MOST = 12  # series
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
    """Those that the run wrote, in its order; none where it wrote no examples.parquet."""
    frame = stored(run, "examples.parquet", NEEDED)
    if frame is None:
        return []
    return [_example(own) for own in frame.partition_by("unique_id", maintain_order=True)[:MOST]]


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


def _draw(axes: Axes, curve: Curve, role: str, lane: Lane | None = None) -> None:
    """The curve, moved and scaled into its lane where there are several."""

    def placed(value: np.ndarray) -> np.ndarray:
        if lane is None:
            return value
        return np.asarray(np.clip((value - lane.middle) / lane.half, -1.15, 1.15) * 0.42 + lane.place)

    if curve.ends is not None:
        low, high = map(placed, curve.ends)
        axes.fill_between(curve.step, low, high, color=LIGHT[role], alpha=0.25, lw=0)
    axes.plot(curve.step, placed(curve.value), color=LIGHT[role], lw=1.0)


def wrong(run: Run) -> Picture | None:
    """The test series of which the model was surest and wrong."""
    found = examples(run)
    if not found:
        return None
    channels = list(found[0].lines)
    lanes = channels[:LANES]
    words = f"The {len(found)} test series that were taken for another class most surely: " if len(found) > 1 else (
        "The only test series that was taken for another class: ")  # fmt: skip
    words += "the class, what it was taken for, and how sure the model was."
    if len(channels) > 1:
        words += " Each channel has a lane, scaled to its own range over these series"
        words += f"; the first {LANES} of {len(channels)} channels are drawn." if len(channels) > LANES else "."
    if any(curve.ends is not None for each in found for curve in each.lines.values()):
        words += (
            " Of long series the mean of neighbouring steps is drawn, in the band from their least to their greatest."
        )
    alt = words + "".join(f" {e.id}: {e.label} taken for {e.guess}, {e.sure * 100:.0f} %." for e in found)
    ranges = {
        name: _range([held for each in found if name in each.lines for held in _values(each.lines[name])])
        for name in lanes
    }

    def draw(width: float) -> Figure:
        wide = width > NARROW
        columns = min(len(found), 4 if wide else 2)
        tall = (1.45 if wide else 1.3) if len(lanes) == 1 else 0.75 + (0.24 if wide else 0.16) * len(lanes)
        figure, panels = sheet(width, len(found), tall, columns)
        for k, (axes, each) in enumerate(zip(panels, found, strict=True)):
            most = 17 if wide else 16
            axes.set_title(f"{short(each.label, most)}\n→ {short(each.guess, most - 2)}, {each.sure * 100:.0f} %",
                           fontsize=8 if wide else 7)  # fmt: skip
            if len(lanes) == 1:
                _draw(axes, each.lines[lanes[0]], "model")
                axes.yaxis.set_major_locator(MaxNLocator(3))
                axes.yaxis.set_major_formatter(FuncFormatter(tick))
                if k % columns == 0:
                    axes.set_ylabel(with_unit(run, lanes[0], 16))
            else:
                _lanes(axes, each, lanes, ranges, k % columns == 0)
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.margins(x=0.02)
            if k >= len(found) - columns:
                axes.set_xlabel("step")
        return figure

    return Picture("wrong", "The surest mistakes", words, alt, False, draw)


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


def _lanes(
    axes: Axes, each: Example, lanes: list[str], ranges: dict[str, tuple[float, float]], named: bool
) -> None:  # fmt: skip
    for k, name in enumerate(lanes):
        if name in each.lines:
            _draw(axes, each.lines[name], ROLES[k % len(ROLES)], Lane(float(-k), *ranges[name]))
    axes.set_ylim(-len(lanes) + 0.45, 0.55)
    axes.set_yticks(range(0, -len(lanes), -1), [short(name, 9) for name in lanes] if named else [""] * len(lanes))
    axes.grid(visible=False, axis="x")
