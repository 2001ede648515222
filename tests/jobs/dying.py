"""Workers that do not do what they should, as functions of a process."""

import os
import signal


def worker(pipe, job) -> None:
    """Killed by each shard, as by a system without memory."""
    pipe.recv()
    os.kill(os.getpid(), signal.SIGKILL)


def refusing(pipe, job) -> None:
    pipe.recv()
    pipe.send(("fault", ("DataError", "found", "expected", "do")))
    pipe.recv()


def defect(pipe, job) -> None:
    shard = pipe.recv()
    pipe.send(("defect", f"shard {shard.number}: ValueError: no"))
    pipe.recv()
