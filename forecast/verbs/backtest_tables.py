"""What `forecast backtest` prints: short tables; the files of the output hold the long ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from forecast.backtest.measure import Found
from forecast.verbs.tables import fitted, number, one_unit, percent, scores, short, table

STEPS: Final = 8  # of the horizon at most, the first and the last among them
SPANS: Final = 8  # of the origins
SERIES: Final = 5  # the hardest


def printed(run: str, name: str, found: Found, facts: Mapping[str, Any], output: Path) -> str:
    """All of it."""
    origins, seconds = facts["origins"], facts["seconds"]
    every = f", {origins['step']:,} steps apart" if origins["count"] > 1 else ""
    parts = [
        f"{run}: {name}, {facts['windows']:,} forecasts of {facts['horizon']} steps: {facts['series']:,} series, "
        f"{origins['count']:,} origins from {origins['first']} to {origins['last']}{every}",
        scores(found.rows),
        intervals(found.intervals, one_unit(found.rows[0])),
        by_step(found.steps),
        by_origin(found.origins),
        by_series(found.series),
        fitted(found.rows, found.records).strip("\n"),
        f"{short(output)}/: forecasts.parquet, series.parquet, steps.parquet, origins.parquet, metrics.json, "
        f"backtest.png; {seconds['total']:.1f} s, {facts['windows_per_second']:,.0f} windows/s scored",
    ]
    return "\n\n".join(part for part in parts if part)


def intervals(found: Mapping[str, Mapping[str, Any]], unit: str) -> str:
    """The share of values in each interval, by policy."""
    rows = [
        [f"{name}, {size} %", percent(each["coverage"]), number(each["width_original"])]
        for name, sizes in found.items() for size, each in sizes.items()
    ]  # fmt: skip
    return table(["intervals", "covered", f"width{unit}"], rows) if rows else ""


def by_step(steps: pl.DataFrame) -> str:
    """The MSE of a few steps ahead."""
    horizon = int(steps["step"].max())  # type: ignore[arg-type]
    some = sorted({1 + k * (horizon - 1) // max(1, min(STEPS, horizon) - 1) for k in range(min(STEPS, horizon))})
    return _wide("MSE by step", steps.filter(pl.col("step").is_in(some)), "step", some)


def by_origin(origins: pl.DataFrame) -> str:
    """The MSE of a few spans of origins."""
    from forecast.dashboards.series.backtest import spans

    frame = spans(origins, SPANS)
    if frame["span"].n_unique() < 2:
        return ""
    first = frame.group_by("span").agg(pl.col("cutoff").min()).sort("span")
    names = {span: f"{cutoff:%Y-%m-%d}" for span, cutoff in first.rows()}
    return _wide("MSE by origin, from", frame.with_columns(pl.col("span")), "span", list(names), names)


def by_series(series: pl.DataFrame) -> str:
    """The series that are hardest for the model, of several."""
    model = series.filter(pl.col("kind").is_in(["model", "streamed"]))
    model = model.filter(pl.col("name") == model["name"][0]).sort("mse", descending=True)
    if model.height < 2:
        return ""
    hardest = model["unique_id"].head(SERIES).to_list()
    some = series.filter(pl.col("unique_id").is_in(hardest))
    return _wide(f"MSE of the {len(hardest)} hardest of {model.height:,} series", some, "unique_id", hardest)


def _wide(
    title: str, frame: pl.DataFrame, key: str, places: Sequence[Any], names: Mapping[Any, str] | None = None
) -> str:
    """A line for each place, a column for each forecaster."""
    columns = frame["name"].unique(maintain_order=True).to_list()
    of = {(row[0], row[1]): row[2] for row in frame.select(key, "name", "mse").rows()}
    rows = [[str(place if names is None else names[place]), *(number(of.get((place, c))) for c in columns)]
            for place in places]  # fmt: skip
    return table([title, *columns], rows)
