"""What the intervals of a run are worth: a table of each way of having them, and how reliable their quantiles are;
share inside and width by step, of one run or several."""

import math
from typing import Any

import numpy as np

from forecast.dashboards.charts.chart import Axis, Chart, Dash, Histogram, Line, Mark, Panel, Rule
from forecast.dashboards.charts.shared import array
from forecast.dashboards.charts.style import number, steps
from forecast.dashboards.load import Run
from forecast.dashboards.page import note, table, text
from forecast.dashboards.series.errors import Subject, Subjects, measured, whole
from forecast.dashboards.series.scored import INTERVALS

WAYS = {"own": "as the output says", "calibrated": "calibrated on validation", "adapting": "adapting to what came"}
COLOURS = {"own": "other", "calibrated": "seasonal", "adapting": "model"}
LOOKS: dict[int, Dash] = {50: "dot", 80: "dash", 90: "solid", 95: "dashdot"}  # of the lines of intervals
NOTE = (
    "Calibrated: by the errors on the validation windows. Adapting: moved at every value once it was known, as in a "
    "stream. Width is that of the 90 % interval in scaled units; CRPS too. Sum and peak: of the whole horizon, by "
    "joint paths; in brackets what the quantiles of single steps, added up, would have covered."
)


def found(run: Run) -> dict[str, dict[str, Any]]:
    """The ways that were scored, by name."""
    given = run.part("intervals")
    return {way: given[way] for way in WAYS if isinstance(given.get(way), dict) and given[way].get("nominal")}


def interval_table(run: Run) -> list[str]:
    """A table, or nothing where the run has no intervals."""
    ways = found(run)
    if not ways:
        return []
    levels = list(next(iter(ways.values()))["nominal"])
    names = [*(f"{level} %" for level in levels), "Width", "CRPS", "WQL", "Sum, 90 %", "Peak, 90 %"]
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in ("Covered", *names))
    body = []
    for way, each in ways.items():
        nominal = each["nominal"]
        cells = [_percent(nominal[level]["coverage"]) for level in levels]
        cells += [number(nominal["90"]["width"]), number(_float(each.get("crps"))), number(_float(each.get("wql")))]
        cells += [_joint(each.get("sum")), _joint(each.get("peak"))]
        row = "".join(f"<td>{text(cell)}</td>" for cell in cells)
        body.append(f'<tr><th scope="row">{text(WAYS[way])}</th>{row}</tr>')
    return [table("Intervals: the share of test values inside", f"<tr>{head}</tr>", body), note(NOTE)]


def reliability(subjects: Subjects) -> Chart | None:
    """The share of values below each quantile against what the quantile claims: of one run each way of having them, of
    several or a part of one what the predictions hold."""
    marks: list[Mark] = [Line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), role="muted", dash="dash", width=0.9)]
    words = "The share of test values below each quantile; on the diagonal it is what the quantile claims."
    ways = found(subjects[0].run) if len(subjects) == 1 and whole(subjects[0]) else {}
    for way, facts in ways.items():
        marks.append(Line(facts["levels"], facts["below"], WAYS[way], COLOURS[way], width=1.6))
        words += f" {WAYS[way].capitalize()}: 90 % intervals hold {_percent(facts['nominal']['90']['coverage'])}."
    if not ways:
        held = [(each, found) for each, found in measured(subjects) if len(found.levels) > 1]
        marks += [Line(f.levels, f.below, each.name, each.role, width=1.6, dots=True) for each, f in held]
        for each, f in held:
            words += f" {each.name}: {_percent(f.below[0])} lie below the quantile of {_percent(f.levels[0])}."
    if len(marks) == 1:
        return None
    panel = Panel(
        tuple(marks), Axis("level of the quantile", percent=True), Axis("share of values below", percent=True)
    )
    return Chart("reliability", "Are the quantiles right", words, words, (panel,), half=True)


def pit(subjects: Subjects) -> Chart | None:
    """How often values fall between neighbouring quantiles, by how often they should."""
    held = [(each, *cells) for each in subjects if (cells := _cells(each)) is not None]
    if not held:
        return None
    marks: list[Mark] = [Rule(1.0, level=True)]
    words = (
        "Where actual values fall among the quantiles forecast for them (probability integral transform): level at 1 "
        "where the distribution is right, high at both ends where it is too narrow, in the middle where too wide."
    )
    alt = words
    for each, edges, share in held:
        height = share / np.diff(edges)
        marks.append(Histogram(edges, height, each.name, each.role, filled=len(held) == 1))
        alt += (
            f" {each.name}: {number(float(height[0]), 3)} at the low end, {number(float(height[-1]), 3)} at the high."
        )
    x = Axis("quantile level of the actual value", percent=True, range=(0.0, 1.0))
    panel = Panel(tuple(marks), x, Axis("frequency, 1 where calibrated", zero=True))
    return Chart("pit", "Where values fall among quantiles", words, alt, (panel,), half=True)


def _cells(each: Subject) -> tuple[np.ndarray, np.ndarray] | None:
    """Edges (k + 1,) of levels and the share of values in each cell (k,); those of the run's scores are finer, those of
    the predictions know channels and series."""
    levels, below = [], []  # type: ignore[var-annotated]
    ways = found(each.run)
    if ways and whole(each):
        way = ways.get("calibrated") or next(iter(ways.values()))
        levels, below = way.get("levels") or [], way.get("below") or []
    elif each.found is not None and len(each.found.levels) >= 4:
        levels, below = each.found.levels, each.found.below
    if len(levels) < 4 or len(below) != len(levels):
        return None
    edges = np.array([0.0, *levels, 1.0], np.float64)
    return edges, np.diff(np.array([0.0, *below, 1.0], np.float64))


def coverage(subjects: Subjects) -> Chart | None:
    """The share of values inside the intervals and their width at each step ahead."""
    held = [(each, steps_of(each)) for each in subjects]
    held = [(each, by) for each, by in held if by]
    if not held:
        return None
    alone = len(held) == 1
    shown = sorted(set.intersection(*(set(by) for _, by in held)))
    shown = shown if alone else [level for level in (90, *reversed(shown)) if level in shown][:1]
    inside: list[Mark] = [Rule(level / 100, level=True) for level in shown]
    wide: list[Mark] = []
    words = f"The share of actual values inside the intervals{'' if alone else f' of {shown[0]} %'} at each step ahead"
    words += " (dashed: what they claim), and how wide the intervals are."
    alt = words
    for each, by in held:
        for level in shown:
            covered, width = by[level]
            name = f"{level}\u00a0% interval" if alone else each.name
            look: Dash = LOOKS[level] if alone else "solid"
            place = np.arange(1, len(covered) + 1)
            inside.append(Line(place, covered, name, each.role, look, 1.6))
            wide.append(Line(place, width, name, each.role, look, 1.6))
            alt += f" {each.name}, {level} %: {_percent(float(np.nanmean(covered)))} inside, "
            alt += f"{number(float(np.nanmean(width)), 3)} wide on average over the steps."
    freq = held[0][0].run.freq
    x = Axis(f"steps ahead{f' (each {steps(1, freq)})' if freq else ''}", whole=True)
    least = min(float(np.nanmin(line.y)) for line in inside if isinstance(line, Line))
    share = Axis("share inside", percent=True, range=(max(0.0, min(least, shown[0] / 100) - 0.05), 1.0))
    panels = (Panel(tuple(inside), x, share, "Share inside"),
              Panel(tuple(wide), x, Axis("width (scaled)", zero=True), "Width"))  # fmt: skip
    return Chart("coverage", "Intervals by step ahead", words, alt, panels, columns=2)


def steps_of(each: Subject) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Of each interval that there is: share inside and width (scaled), each (H,) by step ahead."""
    made: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    if each.found is not None:
        frame = each.found.step
        for level in INTERVALS:
            if f"inside_{level}" in frame.columns and frame[f"inside_{level}"].is_finite().any():
                made[level] = array(frame[f"inside_{level}"]), array(frame[f"width_{level}"])
    if whole(each):
        ways = found(each.run)
        way = ways.get("calibrated") or next(iter(ways.values()), {})
        for key, facts in way.get("nominal", {}).items():
            level = int(key) if str(key).isdigit() else 0
            if level in INTERVALS and level not in made and facts.get("coverage_by_step"):
                made[level] = _numbers(facts["coverage_by_step"]), _numbers(facts.get("width_by_step") or [])
    return {level: both for level, both in made.items() if len(both[0]) == len(both[1])}


def _numbers(values: list[Any]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _percent(share: object) -> str:
    return f"{100 * share:.1f}\u00a0%" if isinstance(share, int | float) else "–"


def _joint(both: object) -> str:
    if not isinstance(both, dict):
        return "–"
    paths, marginals = (both.get(how, {}).get("90") for how in ("paths", "marginals"))
    return f"{_percent(paths)} ({_percent(marginals)})"


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
