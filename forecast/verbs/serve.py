"""forecast serve: a model answers requests on HTTP; docs/serving.md."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.errors import UsageError
from forecast.serving.server import Server
from forecast.serving.source import Folder, Registry, Source
from forecast.verbs.checks import FOREIGN
from forecast.verbs.stream import stopping

if TYPE_CHECKING:
    from omegaconf import DictConfig

POLL_S = 10.0  # where an alias is served and nothing was said
OWN = ("run", "runs", "threads", "poll_s")  # keys that are none of the server's


def serve(cfg: "DictConfig", overrides: list[str]) -> None:
    """Until SIGTERM or Ctrl-C comes: then what was taken is answered."""
    from forecast import config as schema

    asked: dict[str, Any] = schema.plain(cfg)
    poll_s = polled(asked["run"], asked["poll_s"])
    if asked["threads"] < 1:
        raise UsageError(f"threads is {asked['threads']}", "expected at least 1")
    import torch

    torch.set_num_threads(asked["threads"])
    with stopping() as stop:
        server = Server(**{key: value for key, value in asked.items() if key not in OWN})
        try:
            server.run(source(asked["run"], asked["runs"]), stop, poll_s=poll_s)
        finally:
            server.close()
    if stop.signal == signal.SIGINT:
        raise KeyboardInterrupt


def source(wanted: str, runs: str) -> Source:
    """What `run` names."""
    if wanted.startswith(FOREIGN):
        return Registry(wanted, Path(runs) / "models")
    return Folder(wanted, runs)


def polled(wanted: str, given: float | None) -> float:
    """Seconds from look to look for another model; 0: what is named stays what it is."""
    if given is not None and not given >= 0:
        raise UsageError(f"poll_s is {given:g}", "expected seconds, 0 for never")
    moves = "@" in wanted and wanted.startswith(FOREIGN)
    if given and not moves and wanted != "latest":
        raise UsageError(
            f"poll_s={given:g} with run={wanted}, which stays what it is", "expected an alias or latest", "leave it out"
        )
    return given if given is not None else POLL_S if moves else 0.0
