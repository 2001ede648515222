"""One small training through the real command line, shared by the tests that look at what it left."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import forked

REPO = Path(__file__).parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def command(
    *words: str, cwd: Path, code: int = 0, timeout: float = 240, fresh: bool = False, **env: str
) -> "subprocess.CompletedProcess[str]":
    """python -m forecast WORDS in a folder; fails the test when the exit code is another.

    It is a fork of a process that has imported torch and the like; `fresh`: of Python itself.
    """
    full = {**os.environ, "PYTHONPATH": str(REPO), "FORECAST_TRACEBACK": "", "OMP_NUM_THREADS": "1", **env}
    if fresh:
        line = [sys.executable, *forked.FLAGS, "-m", "forecast", *words]
        done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=timeout, env=full)
    else:
        done = subprocess.CompletedProcess(words, *forked.forecast(words, cwd, full, timeout))
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """The start directory of the shared training."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def trained(home) -> Path:
    """The run folder of a tiny Informer on electricity, tracked in MLflow and registered there."""
    words = ["track=mlflow", "track.register=load", "track.alias=champion", "track.wait=200"]
    command("train", "experiment=smoke", *words, cwd=home)
    (run,) = (home / "runs" / "train").iterdir()
    return run
