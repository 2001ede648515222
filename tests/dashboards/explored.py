"""Runs for the explorer: two models and an older run of the same data, a panel, other data, one without predictions."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from forecast.dashboards.series.bands import COLUMNS
from tests.dashboards.conftest import CHANNELS, make_run, write

FIRST, SECOND, OLD, OTHER, PANEL, BARE = (f"2014112{k}T101500Z-0a1b2c3{k}" for k in range(6, 0, -1))


def make(home: Path) -> Path:
    """runs/ with a run of each of the ids above, the newest first."""
    train = home / "train"
    for id, model in ((FIRST, "informer"), (SECOND, "aaren"), (OLD, "lstm")):
        make_run(train / id, {"load": "kWh"}, windows=120, skill=0.8 if id == FIRST else 1.1)
        if id != OLD:
            _intervals(train / id)
        _named(train / id, model, "electricity")
    make_run(train / OTHER, dict(list(CHANNELS.items())[:3]), windows=40, horizon=6)
    _named(train / OTHER, "informer", "household")
    make_run(train / PANEL, {"load": "kWh"}, windows=30)
    _panel(train / PANEL, 150)
    _named(train / PANEL, "tcnca", "electricity")
    make_run(train / BARE, {"load": "kWh"}, windows=30)
    (train / BARE / "predictions.parquet").unlink()
    return home


def _intervals(path: Path) -> None:
    """What a run records of them since schema 2."""
    frame = pl.read_parquet(path / "predictions.parquet")
    width = pl.col("step").sqrt() * 30
    ends = {
        "lo": -1.6,
        "hi": 1.6,
        "lo50": -0.7,
        "hi50": 0.7,
        "lo80": -1.3,
        "hi80": 1.3,
        "lo95": -2.0,
        "hi95": 2.0,
        "median": 0.1,
    }
    frame.with_columns(
        (pl.col("y_hat") + ends[name] * width).cast(pl.Float32).alias(name) for name in COLUMNS
    ).write_parquet(path / "predictions.parquet")


def _panel(path: Path, series: int) -> None:
    """The one series so many times, harder from one to the next."""
    frame = pl.read_parquet(path / "predictions.parquet")
    worse = pl.col("y") + (pl.col("y_hat") - pl.col("y"))
    parts = [
        frame.with_columns(pl.lit(f"shop-{k:03d}").alias("unique_id"), (worse + k).cast(pl.Float32).alias("y_hat"))
        for k in np.random.default_rng(0).permutation(series)
    ]
    pl.concat(parts).write_parquet(path / "predictions.parquet")


def _named(path: Path, model: str, dataset: str) -> None:
    facts = json.loads((path / "metrics.json").read_text())
    write(path, "metrics.json", facts | {"model": model, "dataset": dataset})
    env = json.loads((path / "env.json").read_text())
    write(path, "env.json", env | {"started": f"2014-11-{path.name[6:8]}T10:15:00Z"})
    write(path, "MANIFEST.json", {})
