"""A Ray cluster for as long as it is needed: one of this machine, or one that runs already. Nothing is sent to anybody,
and what is started here is gone afterwards."""

import logging
import os
import secrets
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from forecast.errors import UsageError
from forecast.jobs.local import ENVIRONMENT

OBJECTS: Final = 100 << 20  # bytes of Ray's shared memory: what goes through it is the names of files, and numbers
PATIENCE_S: Final = 5.0
CLIENT: Final = "ray://"
FAULTS: Final = (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError)


def imported() -> Any:
    """The module of Ray, with Ray Data; UsageError where it is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
            import ray.data
    except ImportError as error:
        raise missing(error.name or "ray") from error
    return ray


def env() -> dict[str, Any]:
    """What processes of actors are started with: bounded threads, and our code where it is not installed."""
    if "PYTHONPATH" not in os.environ:
        return {"env_vars": ENVIRONMENT}
    return {"env_vars": {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], "${PYTHONPATH}"])}}


def missing(name: str) -> UsageError:
    return UsageError(f"engine=ray needs {name}, which is not installed", do="pip install 'longcast[ray]'")


@contextmanager
def cluster(address: str | None, cores: int, folder: Path) -> Iterator[Any]:
    """The module of Ray, connected. address: of a cluster, as of `ray start`, or auto; None: RAY_ADDRESS, or else one
    of this machine with so many `cores`, whose files are in `folder`.

    UsageError where there is none, or none that can be used."""
    address = address or os.environ.get("RAY_ADDRESS") or None
    if address is None and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:  # which reads it at once
        # Nobody else joins, and no token is left in the user's home.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    ray = imported()
    own = {"num_cpus": cores, "object_store_memory": OBJECTS, "include_dashboard": False, "_temp_dir": str(folder)}
    try:
        if address is not None:
            answers(address)
        told = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init("local" if address is None else address, **told, **(own if address is None else {}), runtime_env=env())
    except FAULTS as error:
        raise refused(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def answers(address: str) -> None:
    """UsageError where nobody listens at an address, which Ray itself would ask for a minute and more."""
    if address.startswith(CLIENT):
        raise UsageError(
            f"engine.address is {address}", "ray:// is for clients outside of a cluster, whose files it does not see",
            "run this on a machine of the cluster with engine.address=auto; see docs/cluster.md",
        )  # fmt: skip
    if address in ("auto", "local"):
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"engine.address is {address}", "expected auto or HOST:PORT, as ray start has told")
    with socket.create_connection((host.strip("[]"), int(port)), PATIENCE_S):
        return


def refused(address: str | None, error: Exception) -> UsageError:
    """For a cluster that is not there, or that another version has started."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = lines[-1 if "Traceback" in lines[0] else 0].partition(" Note: ")[0]
    where = "on this machine" if address is None else f"at engine.address={address}"
    return UsageError(
        f"no Ray cluster {where}: {said.rstrip('. ')}",
        "expected one that runs, of the same versions of Ray and Python, and its token",
        "start one: ray start --head; or leave engine.address out for one of this machine alone",
    )  # fmt: skip


def fitting(machines: list[dict[str, float]], cpus: float, gpus: float) -> int:
    """How many actors of that size machines with such resources hold; UsageError where it is none, for Ray would wait
    for a machine to come."""
    many = sum(held(one, cpus, gpus) for one in machines)
    if not many:
        most = [max((one.get(kind, 0.0) for one in machines), default=0.0) for kind in ("CPU", "GPU")]
        raise UsageError(
            f"engine.cpus={cpus:g} engine.gpus={gpus:g} is more than a machine has",
            f"the largest has {most[0]:g} cores and {most[1]:g} GPUs", "ask for less, or add a machine to the cluster",
        )  # fmt: skip
    return many


def held(machine: dict[str, float], cpus: float, gpus: float) -> int:
    """Actors that one machine holds."""
    shares = [machine.get(kind, 0.0) / need for kind, need in (("CPU", cpus), ("GPU", gpus)) if need]
    return int(min(shares) + 1e-9)
