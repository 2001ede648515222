"""A real training in a process of its own, killed where a test wants it."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from forecast.artifacts import LAST_CHECKPOINT, sha256
from forecast.errors import ArtifactError
from forecast.tasks.checkpoint import AtomicCheckpoints
from tests.verbs.conftest import REPO

EPOCHS, STEPS = 3, 180  # 60 batches an epoch
WORDS = [
    "experiment=smoke", f"trainer.max_epochs={EPOCHS}", "trainer.limit_train_batches=1.0", "trainer.patience=null",
    "data.splits={train: 1000, val: 200, test: 200}", "trainer.save_every=5", "predictions=false",
]  # fmt: skip


def start(*words: str, cwd: Path, **env: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "forecast", "train", *words], cwd=cwd, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", **env},
    )  # fmt: skip


def kill_after(process: "subprocess.Popen[str]", folder: Path, step: int, timeout_s: float = 120) -> Path:
    """SIGKILL once a checkpoint of `step` or later is there; the run's folder."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        for path in folder.glob(f"runs/train/*/{LAST_CHECKPOINT}"):
            if kept(path) >= step:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                return path.parents[1]
        time.sleep(0.01)
    raise TimeoutError(f"no checkpoint of step {step} after {timeout_s} s")


def kept(path: Path) -> int:
    """The step of a checkpoint."""
    try:
        return int(AtomicCheckpoints().load_checkpoint(path)["global_step"])
    except ArtifactError:  # it was replaced while we read it: digest and file are of two
        return -1


def outcome(run: Path) -> tuple[str, list[list[str]]]:
    """What two equal trainings have in common: the weights to the bit, and the history without its seconds."""
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        history = [row[:4] for row in csv.reader(file)]
    return sha256(run / "model.safetensors"), history
