"""Made-up but lifelike run folders, written as the run itself writes them."""

import json
import shlex
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

CHANNELS = {
    "active_power": "kW",
    "reactive_power": "kW",
    "voltage": "V",
    "current": "A",
    "kitchen": "Wh",
    "laundry": "Wh",
    "heating": "Wh",
}
START = datetime(2014, 5, 27)


def actuals(rng: np.random.Generator, hours: int, channels: int) -> np.ndarray:
    """(hours, channels): a day, a week and a slow wander."""
    t = np.arange(hours)[:, None]
    shift = np.arange(channels)[None, :]
    day = np.sin(2 * np.pi * (t - 8 - shift) / 24) + 0.4 * np.sin(4 * np.pi * (t - shift) / 24)
    week = -0.6 * ((t // 24) % 7 >= 5)
    wander = np.cumsum(rng.normal(0, 0.02, (hours, channels)), axis=0)
    return np.asarray((2400 + 420 * (day + week + wander + rng.normal(0, 0.08, (hours, channels)))) / 10.0**shift)


def scores(name: str, kind: str, error: np.ndarray, std: np.ndarray, units: dict[str, str]) -> dict[str, Any]:
    """A line of the score table from errors (W, H, C); units do not mix."""
    z = error / std

    def both(e: np.ndarray) -> dict[str, float]:
        return {
            "mse": float(np.nanmean(e**2)),
            "mae": float(np.nanmean(np.abs(e))),
            "rmse": float(np.nanmean(e**2) ** 0.5),
        }

    def original(e: np.ndarray, size: float) -> dict[str, float | None]:
        found = both(e)
        shares = {
            "mase": found["mae"] / size,
            "smape": found["mae"] / size / 9,
            "wape": found["mae"] / size / 10,
        }
        return {**found, **shares, "bias": float(np.nanmean(e))}

    channels = {}
    for k, (channel, unit) in enumerate(units.items()):
        scaled = {f"{key}_z": value for key, value in both(z[..., k]).items()}
        channels[channel] = {"unit": unit, **scaled, **original(error[..., k], float(std[k]) / 3)}
    everything: dict[str, float | None] = original(error, float(std[0]) / 3)
    if len(set(units.values())) > 1:
        everything |= {"mse": None, "mae": None, "rmse": None, "bias": None}
    return {
        "name": name,
        "kind": kind,
        "scaled": both(z),
        "original": everything,
        "horizon": {
            "mse": np.nanmean(z**2, axis=(0, 2)).tolist(),
            "mae": np.nanmean(np.abs(z), axis=(0, 2)).tolist(),
        },
        "channels": channels,
        "values": int(np.isfinite(error).sum()),
    }


def history(rng: np.random.Generator, epochs: int = 12, steps: int = 140) -> pl.DataFrame:
    """Losses that fall, then overfit a little."""
    rows = []
    for step in range(epochs * steps):
        loss = 0.015 + 0.5 * np.exp(-step / 120) + abs(rng.normal(0, 0.004))
        rows.append((step, step // steps, "train/loss", float(loss), step * 0.05))
        if step % steps == steps - 1:
            epoch = step // steps
            mse = 0.021 + 0.12 * np.exp(-(epoch + 1) / 1.5) + 0.0006 * max(0, epoch - 7)
            rows += [
                (step, epoch, "val/mse", float(mse), step * 0.05),
                (step, epoch, "lr", 1e-3, step * 0.05),
            ]
    return pl.DataFrame(rows, schema=["step", "epoch", "name", "value", "seconds"], orient="row")


def make_run(
    path: Path,
    channels: dict[str, str],
    windows: int = 300,
    horizon: int = 24,
    context: int = 168,
    skill: float = 0.8,
    missing: bool = False,
    series: str = "load",
) -> Path:
    """A finished run: hourly data, the model's error `skill` times that of the seasonal naive forecast."""
    rng = np.random.default_rng(1)
    names, season = list(channels), 24
    truth = actuals(rng, windows + horizon + context, len(names))
    std = truth.std(axis=0)
    at = context + np.arange(windows)[:, None] + np.arange(horizon)[None, :]  # rows of the targets (W, H)
    y = truth[at]
    naive = truth[at - (np.arange(horizon) // season + 1) * season]
    growth = np.sqrt(np.linspace(0.3, 1.2, horizon))[:, None]
    if missing:
        y[(at > context + 60) & (at < context + 75)] = np.nan
    y_hat = y + skill * ((naive - y) * 0.8 + rng.normal(0, 0.12, y.shape) * std * growth)
    made = {
        "informer": y_hat - y,
        "seasonal naive": naive - y,
        "last value": truth[at[:, :1] - 1] - y,
        "ridge": (naive - y) * 0.75 + rng.normal(0, 0.02, y.shape) * std,
    }
    kinds = {name: "model" if name == "informer" else "naive" for name in made}
    path.mkdir(parents=True)
    predictions(series, names, at, y, y_hat, naive).write_parquet(path / "predictions.parquet")
    history(rng).write_csv(path / "history.csv")
    write(path, "metrics.json", {
        "task": "forecast", "dataset": "electricity", "model": "informer", "part": "test",
        "horizon": horizon, "context": context, "season": season, "seed": 1,
        "windows": {"train": 18221, "val": 2607, "test": windows},
        "parameters": 1_204_881, "seconds": {"fit": 191.4, "total": 214.9},
        "best": {"val/mse": 0.0216}, "epochs": 12,
        "rows": [scores(name, kinds[name], error, std, channels) for name, error in made.items()],
    })  # fmt: skip
    settings(path, channels, std, horizon, context, series)
    return path


def predictions(
    series: str, names: list[str], at: np.ndarray, y: np.ndarray, y_hat: np.ndarray, naive: np.ndarray
) -> pl.DataFrame:
    """The long table: one row per window, step and channel; `at` (W, H) are rows of the targets."""
    ds = np.datetime64(START, "us") + at * np.timedelta64(1, "h")
    cutoff = ds[:, :1] - np.timedelta64(1, "h")
    parts = {
        "channel": np.array(names),
        "cutoff": cutoff[..., None],
        "ds": ds[..., None],
        "step": np.arange(1, at.shape[1] + 1)[None, :, None],
        "y": y,
        "y_hat": y_hat,
        "naive": naive,
    }
    frame = pl.DataFrame({key: np.broadcast_to(part, y.shape).reshape(-1) for key, part in parts.items()})
    frame = frame.with_columns(pl.col("y", "y_hat", "naive").cast(pl.Float32).fill_nan(None))
    return frame.select(pl.lit(series).alias("unique_id"), pl.all())


def settings(path: Path, channels: dict[str, str], std: np.ndarray, horizon: int, context: int, series: str) -> None:
    """The JSON files beside the scores."""
    write(path, "config.json", {
        "task": {"name": "forecast", "horizon": horizon, "context": context}, "seed": 1,
        "model": {"_target_": "Informer", "d_model": 64, "layers": [2, 1]}, "resume": None,
    })  # fmt: skip
    overrides = ["model=informer", "data=electricity", f"task.horizon={horizon}", "+note=a b"]
    write(path, "overrides.json", overrides)
    write(path, "env.json", {
        "forecast": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "platform": "Linux",
        "cpus": 2, "threads": 2, "device": "cpu", "commit": "0123456789abcdef" * 2, "dirty": False,
        "command": shlex.join(["forecast", "train", *overrides]),
        "started": "2014-11-23T10:15:00Z",
    })  # fmt: skip
    listed = [{"name": name, "role": "target", "unit": unit, "column": None} for name, unit in channels.items()]
    write(path, "data.json", {
        "version": 1, "target": None, "past": None, "gaps": "error",
        "card": {
            "name": "electricity", "kind": "series", "about": "mean load of 321 clients",
            "licence": "CC BY 4.0", "source": "https://archive.ics.uci.edu/dataset/321", "channels": listed,
            "season": 24, "id": None,
            "files": [{"path": "electricity.parquet", "sha256": "86102b6e4fd8bb71" * 4, "rows": 26304}],
            "time": {"column": "time", "freq": "h", "zone": None},
            "splits": {"train": 0.7, "val": 0.1, "test": 0.2},
        },
        "spec": {
            "channels": list(channels), "targets": len(channels), "units": list(channels.values()),
            "freq": "h", "context": context, "horizon": horizon, "clock": ["hour"], "season": 24,
        },
        "scaler": {
            "kind": "standard", "ids": [series], "mean": [[0.0] * len(channels)], "std": [std.tolist()],
        },
    })  # fmt: skip


def write(path: Path, name: str, value: object) -> None:
    (path / name).write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {
        1: make_run(root / "20141123T101500Z-0a1b2c3d", {"load": "kWh"}),
        7: make_run(root / "20141123T111500Z-0a1b2c3e", CHANNELS, windows=60, horizon=48, skill=1.3, missing=True),
    }


@pytest.fixture
def run_dir(_finished: dict[int, Path], tmp_path: Path) -> Callable[[int], Path]:
    """A private copy of the run with 1 or with 7 channels."""

    def copy(channels: int) -> Path:
        source = _finished[channels]
        return Path(shutil.copytree(source, tmp_path / source.name))

    return copy
