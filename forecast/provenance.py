"""What a reader needs to repeat a run: versions, commit, machine, command."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from forecast import __version__


def environment(command: str) -> dict[str, Any]:
    """Facts of this process, before it trains; `command` is what began it."""
    import torch

    commit, dirty = git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    return {
        "forecast": __version__, "python": platform.python_version(), "torch": torch.__version__,
        "lightning": version("pytorch-lightning"), "platform": platform.platform(),
        "cpus": os.cpu_count(), "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "commit": commit, "dirty": dirty if commit else None,
        "command": command,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip


def peak_memory(device: str) -> dict[str, Any]:
    """The most memory in use so far, in MiB: torch's on a GPU, else that of this process with its libraries."""
    import psutil
    import torch

    if device == "cuda":
        return {"peak_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1), "of": "gpu"}
    if sys.platform == "win32":
        peak = psutil.Process().memory_info().peak_wset
    else:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"peak_mib": round(peak / 2**20, 1), "of": "process"}


def git(*words: str) -> str | None:
    """Of the source tree this code runs from; None for an installed wheel."""
    here = Path(__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
