"""`forecast ui`: MLflow's pages on this machine, for all runs that were tracked in mlflow.db."""

import argparse
import os
import re
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

from forecast.errors import ArtifactError, RunError, UsageError
from forecast.verbs.child import Child
from forecast.verbs.help import ui_help

SIGTERM = 15
SQLITE = b"SQLite format 3\0"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Parser(argparse.ArgumentParser):
    """argparse that reports in our one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, "expected forecast ui [--port N] [--host NAME] [--store FILE]")


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C; returns the exit code.

    Raises ArtifactError without a store, UsageError for a bad or taken port, RunError when MLflow gives up.
    """
    parser = Parser(prog="forecast ui", add_help=False, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--store", type=Path, default=Path("mlflow.db"))
    parser.add_argument("-h", "--help", action="store_true")
    args = parser.parse_args(list(argv))
    if args.help:
        print(ui_help())
        return 0
    store = find_store(args.store)
    free_port(args.host, args.port)
    return serve(store, args.host, args.port)


def find_store(path: Path) -> Path:
    """The absolute path of MLflow's database, or an ArtifactError."""
    path = path.expanduser().resolve()
    if not path.is_file():
        raise ArtifactError(
            f"{path} is not there",
            "expected the MLflow database that forecast train writes into the directory it is started in",
            "start forecast ui there, or give --store FILE",
        )
    with path.open("rb") as file:
        if file.read(len(SQLITE)) != SQLITE:
            raise ArtifactError(f"{path} is no SQLite database", "expected an mlflow.db", "give another --store")
    return path


def free_port(host: str, port: int) -> None:
    """Raise UsageError unless this port can be listened on; names the next free one."""
    if not 0 < port < 65536:
        raise UsageError(f"--port {port} is no port", "expected 1 to 65535", "e.g. --port 5000")
    try:
        ask = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as fault:
        raise UsageError(f"--host {host} is not known here ({fault.strerror})", "e.g. --host 127.0.0.1") from fault
    family, address = ask[0], str(ask[4][0])
    why = bind_fault(family, address, port)
    if why is None:
        return
    free = next((p for p in range(port + 1, min(port + 100, 65536)) if bind_fault(family, address, p) is None), None)
    raise UsageError(
        f"port {port} of {host} cannot be used ({why})",
        "expected a free port",
        f"e.g. --port {free}" if free else "give another --port",
    )


def bind_fault(family: int, address: str, port: int) -> str | None:
    """Why a server could not listen there; None when it can."""
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        if os.name == "posix":  # as servers do: a port in TIME_WAIT is free
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as fault:
            return (fault.strerror or str(fault)).lower()
    return None


def serve(store: Path, host: str, port: int) -> int:
    """Start the server, say where it is, wait. Ctrl-C is how it is meant to end: 0."""
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    env = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # otherwise seven more processes, 2 GB
    }
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        host,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{store.as_posix()}"]
    command += ["--artifacts-destination", str(store.parent / "mlartifacts")]
    print(f"forecast ui: starting MLflow on {store}", flush=True)
    if host not in LOOPBACK:
        print(
            f"forecast ui: {host} can be reached from other machines, and MLflow asks for no password",
            flush=True,
        )
    with tempfile.TemporaryFile() as output, Child(command, env=env, output=output, passed=SIGTERM) as child:
        code = child.wait(until=lambda: answers(url))
        if code is None and child.told is None:
            print(f"forecast ui: {url}/#/experiments?workflowType=machine_learning", flush=True)
            print("forecast ui: Ctrl-C to stop", flush=True)
            code = child.wait()
        if child.told is not None:
            print("forecast ui: stopped", flush=True)
            return 0
        raise RunError(f"mlflow server ended with code {code}", last_line(output), "see mlflow server --help")


def answers(url: str) -> bool:
    """Whether the server says that it is healthy."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def last_line(output: IO[bytes]) -> str:
    """What the server said last, an error if there was one."""
    output.seek(0)
    lines = [line.strip() for line in output.read().decode(errors="replace").split("\n") if line.strip()]
    errors = [line for line in lines if re.search(r"error|exception", line, re.IGNORECASE)]
    return (errors or lines or ["it said nothing"])[-1]
