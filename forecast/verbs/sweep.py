"""`-m`: every job of a sweep in a process of its own, since a second DDP run in one process dies.

The folder runs/sweep/<time>-<id>/ gets Hydra's multirun.yaml and, for each job, N.json with its overrides,
its exit code, its seconds and the number that the verb returned.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forecast.verbs.child import Child
from forecast.where import new_run_name

RESULT = "FORECAST_RESULT"  # where a job leaves the number it returned
TRIAL = "FORECAST_TRIAL"  # set: the training is a trial of forecast tune, which scores no test window


def hand_over(value: float) -> list[float]:
    """In a job: leave the verb's result for the process that runs the sweep."""
    path = os.environ.get(RESULT)
    if path and os.environ.get("LOCAL_RANK", "0") == "0":
        Path(path).write_text(json.dumps({"value": float(value)}), encoding="utf-8")
    return [float(value)]


def job() -> str:
    """In a job: the name of its sweep and its number, `20260101T120000Z-0a1b2c3d/4`; elsewhere empty."""
    path = Path(os.environ.get(RESULT) or "")
    return f"{path.parent.name}/{path.stem}" if path.name else ""


class Sweep:
    """The jobs of one sweep, in order."""

    def __init__(self, verb: str, flags: Sequence[str]) -> None:
        """`flags`: those that every job is given, e.g. --config-dir DIR."""
        self.verb, self.flags = verb, tuple(flags)
        self.folder: Path | None = None
        self.jobs: list[dict[str, Any]] = []

    def place(self, runs: str) -> str:
        """The folder of this sweep, below the folder of runs; Hydra makes it."""
        self.folder = self.folder or Path(runs) / "sweep" / new_run_name()
        return str(self.folder)

    def job(self, overrides: Sequence[str]) -> tuple[int, list[float]]:
        """Run one job: its exit code, and the number it returned, if any. Ctrl-C is a KeyboardInterrupt."""
        if self.folder is None:
            raise RuntimeError("a job before its sweep has a folder")
        number = len(self.jobs)
        path = (self.folder / f"{number}.json").resolve()
        print(f"forecast: job {number}: {' '.join(overrides)}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "forecast.__main__", self.verb, *self.flags, *overrides]
        before = time.monotonic()
        with Child(command, env={**os.environ, RESULT: str(path)}) as child:
            code = child.wait() or 0
        value = json.loads(path.read_text(encoding="utf-8"))["value"] if path.is_file() else None
        seconds = round(time.monotonic() - before, 3)
        record = {"overrides": list(overrides), "code": code, "seconds": seconds, "value": value}
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        self.jobs.append(record)
        if child.told is not None:
            raise KeyboardInterrupt
        return (code if code >= 0 else 5), [] if value is None else [value]

    def report(self) -> None:
        """A line for each job, and how many are done."""
        done = sum(job["code"] == 0 for job in self.jobs)
        for number, job in enumerate(self.jobs):
            value = "" if job["value"] is None else f"{job['value']:.4g}"
            state = "done" if job["code"] == 0 else f"failed ({job['code']})"
            words = " ".join(job["overrides"])
            print(f"{number:>4}  {state:<12} {value:>10}  {job['seconds']:>8.1f} s  {words}")
        print(f"{done} of {len(self.jobs)} jobs done; {self.folder}")

    def discard(self) -> None:
        """After a fault of composing: leave no folder of a sweep that never began."""
        if self.jobs or self.folder is None:
            return
        (self.folder / "multirun.yaml").unlink(missing_ok=True)
        for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
            try:
                folder.rmdir()
            except OSError:
                return  # it holds something, or was never made
