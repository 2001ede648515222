"""The figures and the aggregates behind them."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.dashboards import load
from forecast.dashboards.charts import style
from forecast.dashboards.figures import figures
from forecast.dashboards.series.residuals import measure
from forecast.dashboards.series.summary import Summary, summarise

RunDir = Callable[[int], Path]
ALL = {"loss", "forecasts", "horizon", "calendar", "week", "time", "residuals", "acf", "level"}


def summary(run_dir: Path) -> Summary:
    found = summarise(load.read(run_dir))
    assert found is not None
    return found


def test_names_of_figures(run_dir: RunDir) -> None:
    one = run_dir(1)
    assert set(figures(one)) == ALL
    assert set(figures(run_dir(7))) == ALL | {"channels"}
    (one / "predictions.parquet").unlink()
    (one / "history.csv").unlink()
    assert set(figures(one)) == {"horizon"}


def test_a_figure_becomes_a_png(run_dir: RunDir) -> None:
    assert style.png(figures(run_dir(1))["loss"]).startswith(b"\x89PNG")


def test_summary_agrees_with_the_scores(run_dir: RunDir) -> None:
    path = run_dir(7)
    rows = json.loads((path / "metrics.json").read_text())["rows"]
    errors = measure(load.read(path))
    assert errors is not None
    for row, column in ((rows[0], "mse"), (rows[1], "naive_mse")):
        np.testing.assert_allclose(errors.step[column].to_numpy(), row["horizon"]["mse"], rtol=1e-4)
    found = summary(path)
    by_channel = [rows[0]["channels"][name]["mse_z"] for name in found.channel["channel"]]
    np.testing.assert_allclose(found.channel["mse"].to_numpy(), by_channel, rtol=1e-4)


def test_windows_are_the_best_the_median_and_the_worst(run_dir: RunDir) -> None:
    path = run_dir(1)
    std = json.loads((path / "data.json").read_text())["scaler"]["std"][0][0]
    frame = pl.read_parquet(path / "predictions.parquet")
    error = ((pl.col("y_hat") - pl.col("y")) / std).pow(2).mean()
    mse = frame.group_by("cutoff").agg(error.alias("mse"))["mse"].sort()
    found = [window.mse for window in summary(path).picked]
    np.testing.assert_allclose(found, [mse[0], mse[(len(mse) - 1) // 2], mse[-1]], rtol=1e-4)


def test_history_before_the_cutoff_is_what_was_seen(run_dir: RunDir) -> None:
    path = run_dir(1)
    truth = pl.read_parquet(path / "predictions.parquet").unique("ds").sort("ds").select("ds", "y")
    window = summary(path).picked[1]
    assert window.past["ds"].max() == window.cutoff
    assert window.past.height == 72
    assert window.past.join(truth, on=["ds", "y"]).height == 72
    assert window.future["ds"][0] == window.cutoff + timedelta(hours=1)


def test_windows_far_apart_leave_holes_not_lines(run_dir: RunDir) -> None:
    path = run_dir(1)
    frame = pl.read_parquet(path / "predictions.parquet")
    every = frame.select(pl.col("cutoff").unique().sort())["cutoff"].gather_every(36)  # stride 36, horizon 24
    frame.filter(pl.col("cutoff").is_in(every.to_list())).write_parquet(path / "predictions.parquet")
    window = summary(path).picked[-1]
    steps = window.past["ds"].diff().drop_nulls()
    holes = window.past.filter(pl.col("y").is_null())
    assert holes.height == steps.filter(steps > timedelta(hours=1)).len()
    assert "forecasts" in figures(path)


def test_missing_targets_are_not_scored(run_dir: RunDir) -> None:
    path = run_dir(7)
    found = summary(path)
    assert pl.read_parquet(path / "predictions.parquet")["y"].null_count() > 0
    for window in found.picked:
        assert window.future["y"].null_count() == 0
    missing = load.read(path).missing
    assert missing is not None
    assert missing[0] == pl.read_parquet(path / "predictions.parquet")["y"].null_count()


def test_several_series_are_scaled_each_by_its_own(run_dir: RunDir) -> None:
    path = run_dir(1)
    frame = pl.read_parquet(path / "predictions.parquet")
    big = frame.with_columns(pl.col("y", "y_hat", "naive") * 1000, pl.lit("big").alias("unique_id"))
    pl.concat([frame, big]).write_parquet(path / "predictions.parquet")
    facts = json.loads((path / "data.json").read_text())
    std = facts["scaler"]["std"][0][0]
    facts["scaler"] |= {"ids": ["load", "big"], "std": [[std], [std * 1000]]}
    (path / "data.json").write_text(json.dumps(facts))
    found = summary(path)
    assert found.ids == 2
    assert found.unit_scale is None
    np.testing.assert_allclose(found.series["mse"][0], found.series["mse"][1], rtol=1e-4)


@pytest.mark.parametrize(
    ("every", "shown"),
    [("15m", {"hour", "weekday"}), ("1d", {"weekday", "month"}), ("1mo", {"month"}), ("1w", {"month"})],
)
def test_the_calendar_follows_the_step(run_dir: RunDir, every: str, shown: set[str]) -> None:
    path = run_dir(1)
    frame = pl.read_parquet(path / "predictions.parquet")
    stamps = pl.concat([frame["cutoff"], frame["ds"]]).unique().sort()
    first = datetime(2001, 1, 1)
    moved = pl.datetime_range(first, first + timedelta(days=31 * stamps.len()), every, eager=True)
    to = {old: new for old, new in zip(stamps, moved, strict=False)}
    moved_frame = frame.with_columns(pl.col("cutoff", "ds").replace_strict(to))
    moved_frame.write_parquet(path / "predictions.parquet")
    found = measure(load.read(path))
    assert {name for name in ("hour", "weekday", "month") if getattr(found, name) is not None} == shown
    assert "forecasts" in figures(path)


@given(st.floats(-1e300, 1e300))
def test_numbers_keep_four_digits(value: float) -> None:
    said = style.number(value).replace(",", "").replace("−", "-")
    if "×10" in said:
        mantissa, raised = said.split("×10")
        ascii_digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
        said = f"{mantissa}e{raised.translate(ascii_digits)}"
    assert float(said) == pytest.approx(value, rel=5.1e-4, abs=1e-320)


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0213, "0.02130"), (1.964, "1.964"), (-3, "−3.000"), (12345.6, "12,346"), (0.99996, "1.000"),
     (0, "0"), (None, "–"), (float("nan"), "–"), (1e-7, "1.000×10⁻⁷"), (2.5e12, "2.500×10¹²")],
)  # fmt: skip
def test_number(value: object, said: str) -> None:
    assert style.number(value) == said


@pytest.mark.parametrize(
    ("n", "freq", "said"),
    [(24, "h", "24 hours"), (1, "D", "1 day"), (96, "15min", "96 steps of 15 minutes"),
     (12, "MS", "12 months"), (4, "W-SUN", "4 weeks"), (3, "?", "3 steps")],
)  # fmt: skip
def test_steps(n: int, freq: str, said: str) -> None:
    assert style.steps(n, freq) == said


@pytest.mark.parametrize(("seconds", "said"), [(41.2, "41.2 s"), (191.4, "3 min 11 s"), (7500, "2 h 05 min")])
def test_duration(seconds: float, said: str) -> None:
    assert style.duration(seconds) == said
