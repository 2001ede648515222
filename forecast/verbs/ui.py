"""`forecast ui`: the dashboard over run folders, beside it MLflow's pages of what was tracked in mlflow.db."""

import argparse
import ipaddress
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from forecast.dashboards.app.stream.link import where
from forecast.errors import ArtifactError, UsageError
from forecast.verbs.help import ui_help
from forecast.verbs.ui_servers import Server, together

SQLITE = b"SQLite format 3\0"
STORE = Path("mlflow.db")
RUNS = Path("runs")
TOKEN = "FORECAST_UI_TOKEN"
SHORTEST = 16  # signs of a token
WILD = ("0.0.0.0", "::")  # every address, and the name of none


class Parser(argparse.ArgumentParser):
    """argparse that reports in our one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, "expected forecast ui [--runs DIR] [--port N] [--host NAME] [--store FILE] …")


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C; returns the exit code.

    Raises ArtifactError for a store that is none, UsageError for a bad or taken port and other bad words, RunError
    when both servers have ended.
    """
    parser = Parser(prog="forecast ui", add_help=False, allow_abbrev=False)
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--port", type=int, default=8050)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--store", type=Path, default=STORE)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--stream")
    parser.add_argument("--jobs", type=Path, action="append", default=[])
    parser.add_argument("-h", "--help", action="store_true")
    args = parser.parse_args(list(argv))
    if args.help:
        print(ui_help())
        return 0
    store = find_store(args.store)
    checked(args)
    free_port(args.host, args.port, "--port")
    if store is not None:
        if args.port == args.mlflow_port:
            raise UsageError(f"--port and --mlflow-port are both {args.port}", "expected two ports")
        free_port(args.host, args.mlflow_port, "--mlflow-port")
    else:
        print(f"forecast ui: no {args.store} here, so MLflow is left out; forecast train writes one with track=mlflow")
    servers = [dashboard(args, store is not None), *([mlflow(args, store)] if store is not None else [])]
    return together(servers)


def checked(args: argparse.Namespace) -> None:
    """UsageError for a folder or an address that cannot be meant."""
    for flag, path in [("--jobs", path) for path in args.jobs] + ([("--runs", args.runs)] if args.runs != RUNS else []):
        if not path.expanduser().is_dir():
            raise UsageError(f"{flag} {path} is no folder", "expected one", "check the path")
    if args.stream is not None:
        where(args.stream)


def find_store(path: Path) -> Path | None:
    """The absolute path of MLflow's database; None where none was named and none is there. ArtifactError for another
    file, or none where one was named."""
    named, path = path != STORE, path.expanduser().resolve()
    if not path.is_file():
        if not named:
            return None
        raise ArtifactError(
            f"{path} is not there",
            "expected the MLflow database that forecast train writes into the directory it is started in",
            "give another --store FILE, or leave it out",
        )
    with path.open("rb") as file:
        if file.read(len(SQLITE)) != SQLITE:
            raise ArtifactError(f"{path} is no SQLite database", "expected an mlflow.db", "give another --store")
    return path


def free_port(host: str, port: int, flag: str = "--port") -> None:
    """Raise UsageError unless this port can be listened on; names the next free one."""
    if not 0 < port < 65536:
        raise UsageError(f"{flag} {port} is no port", "expected 1 to 65535", f"e.g. {flag} 8050")
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
        f"e.g. {flag} {free}" if free else f"give another {flag}",
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


def dashboard(args: argparse.Namespace, mlflow: bool) -> Server:
    """The dashboard as a process; from other machines it asks for a token."""
    token = None if is_loopback(args.host) else secret()
    words = ["-m", "forecast.dashboards.app", "--runs", str(args.runs.expanduser()), "--host", args.host]
    words += ["--port", str(args.port)]
    words += [word for path in args.jobs for word in ("--jobs", str(path.expanduser()))]
    words += ["--stream", args.stream] if args.stream else []
    words += ["--mlflow", url(near(args.host), args.mlflow_port)] if mlflow else []
    if token is not None:
        names = {socket.gethostname(), *({args.host} - set(WILD))}
        words += [word for name in sorted(names) for word in ("--hosts", name)]
    own = url(socket.gethostname() if args.host in WILD else args.host, args.port)
    return Server(
        "the dashboard", [sys.executable, *words], {**os.environ, TOKEN: token or ""},
        f"{url(near(args.host), args.port)}/healthz", f"{own}/?token={token}" if token else own, said=True,
    )  # fmt: skip


def mlflow(args: argparse.Namespace, store: Path) -> Server:
    """MLflow's own server as a process, on its database."""
    env = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # otherwise seven more processes, 2 GB
    }
    words = ["-m", "mlflow", "server", "--host", args.host, "--port", str(args.mlflow_port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{store.as_posix()}"]
    words += ["--artifacts-destination", str(store.parent / "mlartifacts")]
    if not is_loopback(args.host):
        print(
            f"forecast ui: {args.host} can be reached from other machines, and MLflow asks for no password",
            flush=True,
        )
    shown = f"{url(args.host, args.mlflow_port)}/#/experiments?workflowType=machine_learning"
    health = f"{url(near(args.host), args.mlflow_port)}/health"
    return Server("MLflow", [sys.executable, *words], env, health, shown)


def secret() -> str:
    """The token that a browser on another machine must bring: from FORECAST_UI_TOKEN, or made for this once."""
    given = os.environ.get(TOKEN)
    if not given:
        return secrets.token_urlsafe(24)
    if len(given) < SHORTEST or not given.isascii() or not given.replace("-", "").replace("_", "").isalnum():
        raise UsageError(
            f"{TOKEN} has {len(given)} signs", f"expected at least {SHORTEST} letters, digits, - and _",
            "e.g. what `openssl rand -hex 32` prints; unset, one is made",
        )  # fmt: skip
    return given


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def near(host: str) -> str:
    """By which address this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
