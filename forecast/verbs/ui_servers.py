"""Servers that run beside each other until they are told to end; when one dies, the others go on."""

import re
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Final, NamedTuple

from forecast.errors import RunError
from forecast.verbs.child import Child

SIGTERM: Final = 15
EVERY_S: Final = 0.2


class Server(NamedTuple):
    name: str  # "the dashboard"
    command: Sequence[str]
    env: Mapping[str, str]
    health: str  # the address that answers 200 once it is up
    shown: str  # what a person opens
    said: bool = False  # what it writes is for the person, too


class _Running:
    """A server and its process; `code` once it has ended."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self.server, self.up = server, False
        self.output: IO[bytes] | None = None
        if not server.said:
            self.output = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
        self.child = stack.enter_context(
            Child(server.command, env=server.env, output=self.output, passed=SIGTERM),
        )
        self.code: int | None = None

    def look(self) -> bool:
        """Whether something has happened: it is up, or it has ended."""
        code = self.child.process.poll()
        if code is not None and self.code is None:
            self.code = code
            return True
        if code is None and not self.up and answers(self.server.health):
            self.up = True
            return True
        return False

    @property
    def why(self) -> str:
        """How it ended, and what it said last."""
        name = self.server.name
        how = f"{name} ended with code {self.code}" if (self.code or 0) >= 0 else f"{name} was killed"
        return f"{how}; {last_line(self.output)}" if self.output is not None else how


def together(servers: Sequence[Server]) -> int:
    """Start them, say where each is once it answers, wait. Ctrl-C and SIGTERM are how it is meant to end: 0.

    Raises RunError when all have ended by themselves.
    """
    print(f"forecast ui: starting {' and '.join(server.name for server in servers)}; Ctrl-C to stop", flush=True)
    with ExitStack() as stack:
        running = [_Running(server, stack) for server in servers]
        while not any(each.child.told for each in running):
            for each in running:
                if each.look():
                    _tell(each, [other for other in running if other.code is None])
            if all(each.code is not None for each in running):
                ended = running[0]
                raise RunError(ended.why, do="start forecast ui again")
            time.sleep(EVERY_S)
    print("forecast ui: stopped", flush=True)
    return 0


def _tell(each: _Running, left: Sequence[_Running]) -> None:
    if each.code is None:
        print(f"forecast ui: {each.server.name} is at {each.server.shown}", flush=True)
    elif left and not any(other.child.told for other in (each, *left)):
        print(f"forecast ui: {each.why}; {left[0].server.name} goes on", file=sys.stderr, flush=True)


def answers(url: str) -> bool:
    """Whether the server says that it is healthy."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def last_line(output: IO[bytes]) -> str:
    """What the server said last, an error if there was one."""
    output.seek(0)
    lines = [line.strip() for line in output.read().decode(errors="replace").split("\n") if line.strip()]
    errors = [line for line in lines if re.search(r"error|exception", line, re.IGNORECASE)]
    return (errors or lines or ["it said nothing"])[-1]
