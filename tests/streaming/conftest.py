"""A run that can be streamed, trained through the command line on three series with gaps, and what to stream."""

import os
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest

from tests.streaming.made import made, table
from tests.streaming.serving import serving
from tests.verbs.conftest import command

SMALL = [
    "experiment=stream", "trainer=smoke", "data=series", "data.path=f.parquet", "data.gaps=mask", "task.context=24",
    "task.horizon=6", "data.splits={train: 0.6, val: 0.2, test: 0.2}", "model.d_model=8", "model.heads=2",
    "model.d_ff=8", "model.layers=1", "head.tokens=2", "track=none", "predictions=false", "quiet=true",
]  # fmt: skip


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """The folder of the run, and the cache of its graph."""
    folder = tmp_path_factory.mktemp("stream")
    os.environ["FORECAST_CACHE"] = str(folder / "cache")
    table(gaps=True, hours=400).write_parquet(folder / "f.parquet")
    command("train", *SMALL, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def run(home) -> Path:
    (found,) = (home / "runs" / "train").iterdir()
    return found


@pytest.fixture(scope="session")
def predictor(tmp_path_factory):
    return made(tmp_path_factory.mktemp("chain"), gaps="mask")[1]


@pytest.fixture(scope="module")
def small(predictor):
    """A server with narrow limits that several tests ask."""
    with serving(predictor, max_body=20_000, batch=20, max_series=3, listeners=2, hosts="example.org") as served:
        yield served


def lines(series: int, hours: int, *, seed: int = 0) -> list[bytes]:
    """JSON lines, hour by hour, some of them missing, late, twice or none at all."""
    draw, found = np.random.default_rng(seed), []
    start = np.datetime64("2025-01-01T00:00", "us")
    for hour in range(hours):
        for number in range(series):
            what = draw.random()
            time = start + np.timedelta64(hour - (3 if what < 0.01 else 0), "h")
            y = (
                None
                if 0.01 < what < 0.02
                else round(float(np.sin(hour / 4 + number) + 0.3 * draw.standard_normal()), 4)
            )
            line = orjson.dumps({"unique_id": f"s{number}", "ds": str(time), "y": y})
            if 0.02 < what < 0.03:
                line = draw.bytes(12).replace(b"\n", b" ")
            if what < 0.97:  # some hours are left out
                found += [line, line] if 0.03 < what < 0.08 else [line]
    return found


def frame(made: list[bytes]) -> pl.DataFrame:
    """Output lines as a table."""
    return pl.DataFrame([orjson.loads(line) for line in made])
