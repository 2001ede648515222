"""How long 10 million rows of predictions take to browse: python -m benchmarks.browse [rows].

Two runs are made up in a folder that is deleted afterwards, written as a run writes them: one series of 7 channels with
a horizon of 96, and 300 series with a horizon of 24. Measured: the index, the first chart, and moves to random windows,
each with its figures as Plotly gets them; and the memory of the process.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl

from forecast.inference import record

ROWS = 10_000_000
SHAPES = {"one series, 7 channels, 96 steps": (1, 7, 96), "300 series, 24 steps": (300, 1, 24)}


def make(folder: Path, ids: int, channels: int, horizon: int, rows: int) -> Path:
    """A run folder with so many rows of predictions, window by window."""
    count = max(rows // (ids * channels * horizon), 2)
    names, draw = [f"c{k}" for k in range(channels)], np.random.default_rng(0)
    path = folder / f"{ids}-{channels}-{horizon}"
    path.mkdir(parents=True)
    writer, each = None, max(1, record.GROUP // (channels * horizon))
    for id in range(ids):
        truth = np.cumsum(draw.normal(size=(count + horizon + 1, channels)), 0).astype(np.float32)
        for first in range(0, count, each):
            table = part(
                f"s{id:04}", names, truth, np.arange(first, min(first + each, count)), horizon, draw
            ).to_arrow()
            writer = writer or record.opened(path / "predictions.parquet", table.schema)
            writer.write_table(table)
    assert writer is not None
    writer.close()
    facts = {"task": "forecast", "model": "made up", "dataset": "made up", "horizon": horizon, "context": 3 * horizon,
             "season": 24, "rows": []}  # fmt: skip
    spec = {"channels": names, "targets": channels, "units": ["kW"] * channels, "freq": "h", "horizon": horizon}
    (path / "metrics.json").write_text(json.dumps(facts))
    (path / "config.json").write_text("{}")
    (path / "data.json").write_text(json.dumps({"spec": spec, "card": {"name": "made up", "season": 24}}))
    return path


def part(
    id: str, names: list[str], truth: np.ndarray, windows: np.ndarray, horizon: int, draw: np.random.Generator
) -> pl.DataFrame:
    """The rows of some windows of a series."""
    shape = (len(windows), horizon, len(names))
    at = windows[:, None] + 1 + np.arange(horizon)
    time_ = np.datetime64("2020-01-01", "us") + at * np.timedelta64(1, "h")
    hat = truth[at] + draw.normal(size=shape).astype(np.float32)
    wide = np.float32(1) + np.arange(horizon, dtype=np.float32)[None, :, None] / horizon
    whole = {
        "channel": np.array(names), "cutoff": time_[:, :1, None] - np.timedelta64(1, "h"), "ds": time_[..., None],
        "step": np.arange(1, horizon + 1, dtype=np.int32)[None, :, None], "y": truth[at], "y_hat": hat,
        "naive": np.broadcast_to(truth[windows][:, None], shape),
    }  # fmt: skip
    from statistics import NormalDist

    for name, level in record.QUANTILES.items():
        whole[name] = hat + wide * np.float32(NormalDist().inv_cdf(level))
    frame = pl.DataFrame({key: np.broadcast_to(value, shape).reshape(-1) for key, value in whole.items()})
    return frame.select(pl.lit(id).alias("unique_id"), pl.all())
