"""What the intervals of a run are worth: a table of each way of having them, and how reliable their quantiles are."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from forecast.dashboards.canvas import Picture, legend, sheet
from forecast.dashboards.load import Run
from forecast.dashboards.page import note, table, text
from forecast.dashboards.style import LIGHT, number

WAYS = {"own": "as the output says", "calibrated": "calibrated on validation", "adapting": "adapting to what came"}
COLOURS = {"own": "other", "calibrated": "seasonal", "adapting": "model"}
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


def reliability(run: Run) -> Picture | None:
    """The share of values below each quantile against what the quantile claims, and the coverage by step."""
    ways = found(run)
    if not ways:
        return None
    adapting = ways.get("adapting", {}).get("nominal", {}).get("90", {}).get("coverage")
    words = "The share of test values below each quantile; on the diagonal it is what the quantile claims."
    words += " Beside it, the share inside the 90 % interval at each step of the horizon."
    if adapting is not None:
        words += f" Adapting intervals of 90 % hold {_percent(adapting)}."

    def draw(width: float) -> Figure:
        figure, (left, right) = sheet(width, 2, 2.9, 2)
        left.plot([0, 1], [0, 1], color=LIGHT["muted"], lw=0.9, ls=(0, (3, 2)))
        right.axhline(0.9, color=LIGHT["muted"], lw=0.9, ls=(0, (3, 2)))
        for way, each in ways.items():
            colour = LIGHT[COLOURS[way]]
            left.plot(each["levels"], each["below"], color=colour, lw=1.6, label=WAYS[way])
            steps = np.array([math.nan if c is None else c for c in each["nominal"]["90"]["coverage_by_step"]])
            mark = "o" if len(steps) == 1 else None
            right.plot(np.arange(1, len(steps) + 1), steps, color=colour, lw=1.6, marker=mark)
        left.set_xlabel("level of the quantile")
        left.set_ylabel("share of values below it")
        right.set_xlabel("step of the horizon")
        right.set_ylabel("share inside the 90 % interval")
        right.set_ylim(0.5 if right.get_ylim()[0] > 0.5 else None, 1)
        for axes in (left, right):
            axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
        left.xaxis.set_major_formatter(PercentFormatter(1, 0))
        legend(figure, left, run)
        return figure

    return Picture("reliability", "Are the intervals right", words, words, False, draw)


def _percent(share: object) -> str:
    return f"{100 * share:.1f}\u00a0%" if isinstance(share, int | float) else "–"


def _joint(both: object) -> str:
    if not isinstance(both, dict):
        return "–"
    paths, marginals = (both.get(how, {}).get("90") for how in ("paths", "marginals"))
    return f"{_percent(paths)} ({_percent(marginals)})"


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
