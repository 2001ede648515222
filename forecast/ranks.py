"""Which process of a training this is, by what its launcher has put into the environment. Lightning's own order:
torchrun, srun, and last itself. Without torch, for a sweep asks too."""

import os
from typing import NamedTuple

from forecast.errors import UsageError

INTERACTIVE = ("bash", "interactive")  # names of SLURM jobs in which srun started a shell, and not us


class Placed(NamedTuple):
    """A process among those that a launcher outside has started."""

    launcher: str
    rank: int
    world: int  # processes in all
    machines: int | None = None  # where the launcher says how many


def placed() -> Placed | None:
    """Where torchrun or srun has put this process; None where neither has started it."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return Placed("torchrun", int(env["RANK"]), int(env["WORLD_SIZE"]))
    if "SLURM_NTASKS" in env and env.get("SLURM_JOB_NAME") not in INTERACTIVE:
        machines = int(env["SLURM_NNODES"]) if "SLURM_NNODES" in env else None
        return Placed("srun", int(env.get("SLURM_PROCID", 0)), int(env["SLURM_NTASKS"]), machines)
    return None


def first() -> bool:
    """Whether this process is the one that writes the run; the others only help it to train."""
    here = placed()
    return (int(os.environ.get("LOCAL_RANK", 0)) if here is None else here.rank) == 0


def alone(what: str) -> None:
    """UsageError where several processes were started to do what starts processes of its own, one after another."""
    here = placed()
    if here is not None and here.world > 1:
        raise UsageError(
            f"{what} in one of {here.world} processes that {here.launcher} started", "expected one training a launch",
            f"leave {here.launcher} out, or start each training by it",
        )  # fmt: skip
