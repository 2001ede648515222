"""Finished runs of small chains that were not trained, tables for them, and jobs on these."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from forecast import build, config
from forecast.artifacts import CALIBRATION, Run
from forecast.data.event_module import EventModule
from forecast.data.label_module import LabelModule
from forecast.data.module import SeriesModule
from forecast.inference.calibration import fit
from forecast.inference.class_predictor import TEMPERATURE
from forecast.where import CONF
from tests.verbs.conftest import REPO

CONTEXT, HORIZON = 12, 4
START = np.datetime64("2024-01-01T00:00", "us")


def table(names=("a", "b", "c"), rows: int = 20, seed: int = 0) -> pl.DataFrame:
    """Hourly series of one target."""
    draw = np.random.default_rng(seed)
    time = START + np.arange(rows) * np.timedelta64(1, "h")
    values = np.sin(np.arange(rows) / 4)[None] + draw.normal(size=(len(names), rows)) + 5
    ids, stamps = np.repeat(np.array(names, dtype=object), rows), np.tile(time, len(names))
    return pl.DataFrame({"id": pl.Series(ids, dtype=pl.String), "ds": stamps, "y": values.reshape(-1)})


def names(count: int) -> list[str]:
    return [f"s{number:04d}" for number in range(count)]


def settings(*words: str) -> dict:
    """The config of a training."""
    config.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return config.plain(compose("train", [*words, "track=none"]))


def sealed(folder: Path, plain: dict, state: dict, chain, **tensors) -> Path:
    run = Run(folder / "runs" / "train" / "20260101T000000Z-00000000")
    run.create()
    run.write("config.json", plain)
    run.write("data.json", state)
    run.save_weights(chain)
    for name, values in tensors.items():
        run.save_tensors(f"{name}.safetensors", values)
    if plain["task"]["name"] == "classify":
        run.write(TEMPERATURE, {"temperature": 1.0})
    run.seal()
    return run.path


def series_run(folder: Path) -> Path:
    """Of hourly series with the columns id, ds, y; calibrated."""
    table(names(3), 200).write_parquet(folder / "train.parquet")
    data = SeriesModule(
        path=str(folder / "train.parquet"), time="ds", id="id", target="y", freq="h", context=CONTEXT, horizon=HORIZON
    ).prepare()  # fmt: skip
    plain = settings("data=series", "data.path=x", "model=linear", f"task.context={CONTEXT}", f"task.horizon={HORIZON}")
    torch.manual_seed(0)
    chain = build.chain(plain, data.spec, masked=False)
    calibration = fit(torch.randn(200, HORIZON, 1), torch.zeros(200, HORIZON, dtype=torch.long), 24)
    name = CALIBRATION.partition(".")[0]
    return sealed(folder, plain, data.state(), chain, **{name: calibration.tensors()})


def event_table(count: int = 6, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    time = START + draw.integers(1, 3000, (count, 12)).cumsum(1) * np.timedelta64(1, "m")
    kinds = draw.choice(["buy", "look"], count * 12)
    return pl.DataFrame({"who": np.repeat(names(count), 12), "at": time.reshape(-1), "what": kinds})


def event_run(folder: Path) -> Path:
    event_table(30).write_csv(folder / "train.csv")
    data = EventModule(path=str(folder / "train.csv"), id="who", time="at", mark="what", unit="hour").prepare()
    torch.manual_seed(0)
    plain = settings("task=event", "data=events", "data.path=x", "model=lstm", "model.d_model=8")
    return sealed(folder, plain, data.state(), build.event_chain(plain, data.spec))


def class_table(count: int = 6, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    kinds = np.repeat(["worn", "sound"] * (count // 2), 20)
    return pl.DataFrame({"pump": np.repeat(names(count), 20), "flow": draw.normal(size=20 * count), "state": kinds})


def class_run(folder: Path) -> Path:
    class_table(40).write_csv(folder / "train.csv")
    data = LabelModule(path=str(folder / "train.csv"), id="pump", label="state").prepare()
    torch.manual_seed(0)
    plain = settings("task=classify", "data=labelled", "data.path=x", "model=aaren", "model.d_model=8")
    return sealed(folder, plain, data.state(), build.label_chain(plain, data.spec))


def started(*words: str, cwd: Path, **env: str) -> "subprocess.Popen[str]":
    """`forecast predict` in processes of their own, in a group that can be killed."""
    line = [sys.executable, "-m", "forecast", "predict", *words]
    return subprocess.Popen(
        line, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", **env},
    )  # fmt: skip


def contents(output: Path) -> dict[str, bytes]:
    """The bytes of all parts, by name."""
    paths = [*output.glob("part-*.parquet"), *output.glob("quarantine/part-*.parquet")]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in paths}


def parts(output: Path) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted(output.glob("part-*.parquet"))).sort("unique_id")


def refused(output: Path) -> pl.DataFrame:
    found = [pl.read_parquet(path) for path in sorted(output.glob("quarantine/part-*.parquet"))]
    return pl.concat(found) if found else pl.DataFrame()
