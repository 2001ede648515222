"""Figures of where the model errs: by step ahead, by the calendar, over time, by size."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from forecast.dashboards.canvas import NARROW, Picture, array, dates, legend, pair, scale, sheet
from forecast.dashboards.load import Row, Run
from forecast.dashboards.style import LIGHT, number, role_of, steps, tick
from forecast.dashboards.summary import Summary

DASHES: dict[str, str | tuple[float, tuple[float, ...]]] = {
    "model": "-",
    "seasonal": "-",
    "ridge": (0, (5, 2)),
    "last": (0, (1.2, 1.6)),
    "other": (0, (6, 2, 1, 2)),
}
CALENDAR = {
    "hour": ("hour of day", tuple(map(str, range(24)))),
    "weekday": ("weekday", ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")),
    "month": ("month", ("J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D")),
}


def horizon(run: Run, summary: Summary | None) -> Picture | None:
    """MSE at each step ahead, of every row of the score table (else of what the predictions hold)."""
    shown = (row for row in run.rows if row.kind != "streamed")  # it would hide the model's line
    rows = [row for row in shown if any(map(math.isfinite, row.horizon.get("mse", [])))]
    if not rows and summary is not None:
        pairs = ((run.model, "model", "mse"), (run.naive, "naive", "naive_mse"))
        rows = [Row(n, k, {}, {}, {"mse": array(summary.step[c]).tolist()}, {}) for n, k, c in pairs]
    if not rows:
        return None
    ahead = max(len(row.horizon["mse"]) for row in rows)
    words = f"MSE (scaled) at each of the {steps(ahead, run.freq)} ahead, over every test window."
    ends = [(row.name, number(row.horizon["mse"][0]), number(row.horizon["mse"][-1])) for row in rows]
    alt = words + "".join(f" {name}: {a} at the first step, {b} at the last." for name, a, b in ends)

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, 2.7)
        for row in sorted(rows, key=lambda row: row.kind == "model"):
            values, role = row.horizon["mse"], role_of(row.name, row.kind)
            axes.plot(range(1, len(values) + 1), values, color=LIGHT[role], ls=DASHES[role], label=row.name,
                      lw=2 if role == "model" else 1.2, marker="o" if len(values) == 1 else None)  # fmt: skip
        scale(axes, np.concatenate([row.horizon["mse"] for row in rows]))
        axes.set_xlabel(f"steps ahead{f' (each {steps(1, run.freq)})' if run.freq else ''}")
        axes.set_ylabel("MSE (scaled)")
        axes.set_xlim(1 - 0.03 * ahead, ahead * 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 3, 4, 6, 10]))
        legend(figure, axes, run, columns=2)
        return figure

    return Picture("horizon", "Error by step ahead", words, alt, True, draw)


def calendar(run: Run, summary: Summary) -> Picture | None:
    """MAE by hour and weekday (or month) of the stamp that was forecast."""
    frames = {"hour": summary.hour, "weekday": summary.weekday, "month": summary.month}
    found = [(key, frame) for key, frame in frames.items() if frame is not None]
    if not found:
        return None
    zone = f" ({run.zone})" if run.zone else ""
    by = " and by ".join(CALENDAR[key][0] for key, _ in found)
    words = f"Mean absolute error by {by}{zone} of the stamp that was forecast."

    def draw(width: float) -> Figure:
        figure, panels = sheet(width, len(found), 2.5, len(found) if width > NARROW else 1)
        factor = summary.unit_scale or 1.0
        for axes, (key, frame) in zip(panels, found, strict=True):
            label, names = CALENDAR[key]
            first = 0 if key == "hour" else 1
            place = frame[key].to_numpy() - first
            pair(axes, place, frame["mae"] * factor, frame["naive_mae"] * factor, run, True)
            marks = range(0, 24, 3) if key == "hour" else range(len(names))
            axes.set_xticks(list(marks), [names[k] for k in marks])
            axes.set_ylim(bottom=0)
            axes.set_xlabel(label + (zone if key == "hour" else ""))
            axes.set_ylabel(f"MAE {_unit(run, summary)}")
            axes.yaxis.set_major_formatter(FuncFormatter(tick))
        legend(figure, panels[0], run)
        return figure

    return Picture("calendar", "Error by the calendar", words, words, False, draw)


def over_time(run: Run, summary: Summary) -> Picture | None:
    """MSE along the test span."""
    if summary.time.height < 3:
        return None
    each = f"each point the mean of {steps(summary.each, run.freq)}" if summary.each > 1 else "step by step"
    words = f"When the model was wrong: MSE (scaled) by the stamp that was forecast, {each}."

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, 2.1)
        frame = summary.time
        pair(axes, frame["ds"].to_list(), frame["mse"], frame["naive_mse"], run, False)
        axes.set_ylim(bottom=0)
        axes.margins(x=0.01)
        axes.yaxis.set_major_formatter(FuncFormatter(tick))
        dates(axes, 9 if width > NARROW else 5)
        zone = " (UTC)" if run.zone else ""
        axes.set_xlabel(f"time forecast, {summary.first:%b %Y} to {summary.last:%b %Y}{zone}")
        axes.set_ylabel("MSE (scaled)")
        legend(figure, axes, run)
        return figure

    return Picture("time", "Error over time", words, words, False, draw)


def sizes(run: Run, summary: Summary) -> Picture | None:
    """A histogram of errors, the model's over the naive forecast's."""
    found = summary.residuals
    if found is None:
        return None
    factor, unit = summary.unit_scale or 1.0, _unit(run, summary)
    bias = f"{number(found.bias * factor, 3)} {unit.strip('()')}".strip()
    words = f"How often an error of each size occurs (forecast − actual). Mean error: {bias}."
    outside = 1 - float(found.model.sum())
    if outside >= 0.0005:
        words += f" {outside * 100:.1f}\u00a0% of the model's errors lie beyond the edges."

    def draw(width: float) -> Figure:
        figure, (axes,) = sheet(width, 1, 2.7)
        edges = found.edges * factor
        axes.stairs(found.model * 100, edges, color=LIGHT["model"], fill=True, alpha=0.28, lw=0)
        axes.stairs(found.model * 100, edges, color=LIGHT["model"], lw=1.6, label=run.model)
        if found.naive.any():
            axes.stairs(found.naive * 100, edges, color=LIGHT[role_of(run.naive)], lw=1.1, label=run.naive)
        axes.axvline(0, color=LIGHT["muted"], lw=0.8)
        axes.set_xlabel(f"forecast − actual {unit}")
        axes.set_ylabel("share of steps (%)")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(tick))
        legend(figure, axes, run)
        return figure

    return Picture("residuals", "Sizes of errors", words, words, True, draw)


def _unit(run: Run, summary: Summary) -> str:
    """`(kWh)` where one factor turns scaled errors into the data's unit, else `(scaled)`."""
    if summary.unit_scale is None:
        return "(scaled)"
    unit = run.units.get(summary.channels[0])
    return f"({unit})" if unit else ""
