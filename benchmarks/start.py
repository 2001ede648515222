"""How long a user waits: for help, for a typo, for a config, and for the first training step."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Row, record

ROOT, ROUNDS = Path(__file__).parents[1], 5
STEP = ("train", "experiment=smoke", "trainer.limit_train_batches=1", "data.splits={train: 1000, val: 60, test: 60}")
WORDS = {
    "forecast --help": (("--help",), 0),
    "forecast trian (a typo)": (("trian",), 2),
    "forecast train --help": (("train", "--help"), 0),
    "forecast train --cfg job": (("train", "--cfg", "job"), 0),
}


def python(*words: str, folder: str) -> float:
    """Wall seconds of a whole process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, env=_env(), capture_output=True, check=False)
    return time.perf_counter() - began


def first_step(folder: str) -> float:
    """Seconds until the line of an epoch of one batch (and a validation of 55 windows) is printed."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "forecast", *STEP]
    with subprocess.Popen(command, cwd=folder, env=_env(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch"):
                took = time.perf_counter() - began
                process.communicate()
                return took
    raise RuntimeError("the training printed no epoch")


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def main() -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        bare = statistics.median(python("-c", "pass", folder=folder) for _ in range(ROUNDS))
        for name, (words, _) in WORDS.items():
            took = [python("-m", "forecast", *words, folder=folder) for _ in range(ROUNDS)]
            rows.append({"command": name, "median s": statistics.median(took), "least s": min(took)})
        torch = [python("-c", "import torch, pytorch_lightning", folder=folder) for _ in range(ROUNDS)]
        rows.append({"command": "python -c 'import torch, pytorch_lightning'", "median s": statistics.median(torch),
                     "least s": min(torch)})  # fmt: skip
        steps = [first_step(folder) for _ in range(ROUNDS)]
        rows.append({"command": "forecast train: first step", "median s": statistics.median(steps),
                     "least s": min(steps)})  # fmt: skip
    rows.insert(0, {"command": "python -c pass", "median s": bare, "least s": bare})
    record("start", rows)
