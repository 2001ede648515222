"""The picture of a backtest: errors by step ahead and by origin, of the model and of what stands beside it."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.ticker import FuncFormatter, MaxNLocator

from forecast.dashboards.canvas import WIDE, array, dates, scale, sheet
from forecast.dashboards.errors import DASHES
from forecast.dashboards.style import LIGHT, png, role_of, styled, tick

POINTS: Final = 60  # along the origins at most: each is the mean of its neighbours


def picture(steps: pl.DataFrame, origins: pl.DataFrame, facts: Mapping[str, Any]) -> bytes:
    """A PNG. `steps` and `origins`: the tables of a backtest; `facts`: its metrics.json."""
    covered = steps.filter(pl.col("coverage").is_not_null())
    with styled():
        figure, panels = sheet(WIDE, 3 if covered.height else 2, 2.3)
        by_step(panels[0], steps)
        by_origin(panels[1], origins, facts)
        if covered.height:
            coverage(panels[2], covered, facts)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 5), handlelength=2.2)
        return png(figure)


def _order(frame: pl.DataFrame) -> list[tuple[str, str]]:
    """Name and kind of the rows, the model last: its line lies above the others."""
    found = frame.select("name", "kind").unique(maintain_order=True).rows()
    return sorted(found, key=lambda row: {"model": 2, "streamed": 1}.get(row[1], 0))


def _look(name: str, kind: str, place: int) -> dict[str, Any]:
    role = "model" if kind == "streamed" else role_of(name, kind)
    line = "-" if kind == "model" else (0, (2.5, 1.2)) if kind == "streamed" else DASHES[role]
    if role == "other" and place:  # several named models
        line = (0, (1 + place, 1.5))
    return {"color": LIGHT[role], "ls": line, "lw": 2.0 if kind == "model" else 1.6 if kind == "streamed" else 1.1}


def _lines(axes: Axes, frame: pl.DataFrame, x: str) -> None:
    values, others = [], 0
    for name, kind in _order(frame):
        mine = frame.filter(pl.col("name") == name)
        axes.plot(mine[x].to_list(), array(mine["mse"]), label=name, marker="o" if mine.height == 1 else None,
                  **_look(name, kind, others))  # fmt: skip
        others += role_of(name, kind) == "other" and kind != "streamed"
        values.append(array(mine["mse"]))
    scale(axes, np.concatenate(values))
    axes.set_ylabel("MSE (scaled)")


def by_step(axes: Axes, steps: pl.DataFrame) -> None:
    """Errors of each step ahead."""
    _lines(axes, steps, "step")
    axes.set_title("Error by step ahead")
    axes.set_xlabel("steps ahead")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 3, 4, 6, 10]))


def spans(origins: pl.DataFrame, most: int = POINTS) -> pl.DataFrame:
    """The origins of each row in at most so many spans of equally many: name, kind, cutoff (the first), mse."""
    times = origins["cutoff"].unique().sort()
    each = -(-len(times) // most)
    span = origins.with_columns(span=(pl.col("cutoff").rank("dense") - 1) // each)
    found = span.group_by("name", "kind", "span", maintain_order=True).agg(
        pl.col("cutoff").min(), pl.col("values").sum(), mse=(pl.col("mse") * pl.col("values")).sum() / pl.sum("values")
    )
    return found.sort("span", maintain_order=True)


def by_origin(axes: Axes, origins: pl.DataFrame, facts: Mapping[str, Any]) -> None:
    """Errors along the origins; shaded where they lie in the training part of the run."""
    frame, count = spans(origins), origins["cutoff"].n_unique()
    _lines(axes, frame, "cutoff")
    inside = origins.filter(pl.col("part") == "train")["cutoff"]
    if len(inside):
        axes.axvspan(inside.min(), inside.max(), color=LIGHT["shade"], lw=0, zorder=0)  # type: ignore[arg-type]
        axes.text(0.01, 0.94, "training part of the run", transform=axes.transAxes, color=LIGHT["muted"], va="top")
    for refit in facts["refits"]:
        axes.axvline(
            float(date2num(np.datetime64(refit["since"]))), color=LIGHT["muted"], lw=0.8, ls=(0, (3, 2)), zorder=1
        )
    each = -(-count // POINTS)
    axes.set_title("Error by origin" + (f", means of {each:,d}" if each > 1 else ""))
    kept = " (UTC)" if getattr(origins["cutoff"].dtype, "time_zone", None) else ""
    dashed = "; dashed: trained again" if facts["refits"] else ""
    axes.set_xlabel(f"cutoff{kept}, {facts['origins']['first']} to {facts['origins']['last']}{dashed}")
    dates(axes, 9)
    axes.margins(x=0.01)


def coverage(axes: Axes, covered: pl.DataFrame, facts: Mapping[str, Any]) -> None:
    """How many of the values lay within the interval, beside how many should have."""
    levels = sorted(facts["levels"])
    pairs = [high - low for low in levels for high in levels if abs(low + high - 1) < 1e-9 and low < high]
    nominal = 100 * min(pairs, key=lambda size: abs(size - 0.9))
    values = []
    for name, kind in _order(covered):
        mine = covered.filter(pl.col("name") == name)
        share = 100 * array(mine["coverage"])
        axes.plot(mine["step"].to_list(), share, label=name, marker="o" if mine.height == 1 else None,
                  **_look(name, kind, 0))  # fmt: skip
        values.append(share)
    axes.axhline(nominal, color=LIGHT["muted"], lw=0.9, ls=(0, (3, 2)))
    low, high = float(np.min(np.concatenate(values))), float(np.max(np.concatenate(values)))
    axes.set_ylim(max(0.0, min(low, nominal) - 5), min(100.0, max(high, nominal) + 3))
    axes.set_title(f"Covered by the {nominal:g} % interval")
    axes.set_xlabel("steps ahead")
    axes.set_ylabel("share of values (%)")
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 3, 4, 6, 10]))
