"""What each input is worth, as a figure: the increase of the validation MSE where it is taken from other windows."""

import math

import numpy as np

from forecast.dashboards.charts.chart import Axis, Bars, Chart, Line, Panel, Rule
from forecast.dashboards.charts.style import number
from forecast.dashboards.insight.stored import Insight, Worth

SHOWN = 24  # inputs in the figure; the table has all


def importance(found: Insight) -> Chart | None:
    """The inputs besides the targets' own past, as shares of what that is worth, the most useful first."""
    rows = [row for row in found.worth if math.isfinite(row.mean)]
    own = next((row for row in rows if row.role == "own past"), None)
    others = sorted((row for row in rows if row.role != "own past"), key=lambda row: -row.mean)
    if not others:
        return None
    shown = others[:SHOWN]
    share = own is not None and own.mean > 0
    by = own.mean if own is not None and share else 1.0
    names = shortened([row.column for row in shown])
    bars = Bars(np.array([row.mean / by for row in shown]), names, "increase", across=True, opacity=0.85)
    spans = tuple(_span(row, name, by, k == 0) for k, (row, name) in enumerate(zip(shown, names, strict=True)))
    label = "increase of the validation MSE, as a share of that of the own past (%)"
    x = Axis(label if share else "increase of the validation MSE (scaled)", percent=share)
    panel = Panel(
        (bars, *spans, Rule(0, dash="solid")), x, Axis("", "category", down=True), height=1 + 0.24 * len(names)
    )
    return Chart(
        "importance", "What each input is worth", _words(found, own, len(others)), _told(found, own, shown), (panel,)
    )


def _span(row: Worth, name: str, by: float, first: bool) -> Line:
    """Two standard errors over windows to both sides."""
    half = 2 * row.se if math.isfinite(row.se) else 0.0
    ends = np.array([row.mean - half, row.mean + half]) / by
    return Line(ends, [name, name], "± 2 standard errors" if first else "", "ink", width=1.6)


def _words(found: Insight, own: Worth | None, others: int) -> str:
    words = (
        "By how much the validation MSE grows where an input is taken from other windows, on "
        f"{found.measured('windows')} of them, {found.measured('repeats')} times; the same windows with and without. "
        "What two inputs both say is credited to neither."
    )
    if own is not None:
        words += (
            f" The targets' own past is worth {number(own.mean)} (MSE {number(found.measured('mse') or math.nan)})."
        )
    return words + (f" The {SHOWN} most useful of {others}." if others > SHOWN else "")


def _told(found: Insight, own: Worth | None, rows: list[Worth]) -> str:
    each = ", ".join(f"{row.column} {number(row.mean)} ± {number(2 * row.se)}" for row in rows)
    return f"Increase of the validation MSE: own past {number(own.mean) if own else 'unknown'}, {each}."


def shortened(names: list[str], most: int = 24) -> list[str]:
    """Names that fit beside an axis, no two alike."""
    made: list[str] = []
    for name in names:
        short = name if len(name) <= most else f"{name[: most - 1]}…"
        made.append(short if short not in made else f"{short[: most - 4]}… {len(made) + 1}")
    return made
