"""`python -m forecast WORDS` without the 5 seconds that torch, Lightning and Hydra take to import, for each command.

A process imports them, and forks for every command: that is a process of its own, with its own directory, environment,
streams and end, in which `forecast` is run as `python -m` runs it. Nothing of ours is imported before the fork, so that
what a verb needs it must import. tests/test_readme.py, tests/test_cli.py and others start Python itself.
"""

import atexit
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Not polars, pyarrow, pandas or mlflow: these start threads as they are imported, and a thread does not survive a fork.
HEAVY = (
    "torch._dynamo", "pytorch_lightning", "hydra", "omegaconf", "matplotlib.figure",
    "matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg",
)  # fmt: skip
FLAGS = ("-W", "error::DeprecationWarning:forecast")
_one = threading.Lock()


class Forker:
    """The process that forks; it ends when this one does."""

    def __init__(self, env: dict[str, str]) -> None:
        self.channel, theirs = socket.socketpair()
        words = [sys.executable, *FLAGS, __file__, str(theirs.fileno())]
        self.process = subprocess.Popen(words, pass_fds=[theirs.fileno()], env=env, stdin=subprocess.DEVNULL)
        theirs.close()

    def run(
        self, words: tuple[str, ...], cwd: Path, env: dict[str, str], timeout: float,
        meanwhile: Callable[[int], None] | None = None,
    ) -> tuple[int, str, str]:  # fmt: skip
        """Exit code (of a signal: below 0), stdout and stderr, as subprocess.run gives them; `meanwhile` is called with
        the number of the process."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            request = json.dumps({"words": words, "cwd": str(cwd), "env": env}).encode()
            self.channel.settimeout(120)
            socket.send_fds(self.channel, [len(request).to_bytes(8, "big")], [out.fileno(), err.fileno()])
            self.channel.sendall(request)
            pid = self.answer()
            if meanwhile is not None:
                meanwhile(pid)
            self.channel.settimeout(timeout)
            try:
                code = self.answer()
            except TimeoutError:
                os.kill(pid, 9)
                self.channel.settimeout(60)
                self.answer()
                raise subprocess.TimeoutExpired(list(words), timeout, read(out), read(err)) from None
            return code, read(out).decode(), read(err).decode()

    def close(self) -> None:
        self.channel.close()
        self.process.wait(60)

    def answer(self) -> int:
        got = b""
        while len(got) < 8:
            piece = self.channel.recv(8 - len(got))
            assert piece, "the process that forks has ended"
            got += piece
        return int.from_bytes(got, "big", signed=True)


@cache
def forker() -> Forker:
    root = str(Path(__file__).parents[1])
    made = Forker({**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"})
    atexit.register(made.close)
    return made


def forecast(
    words: tuple[str, ...], cwd: Path, env: dict[str, str], timeout: float,
    meanwhile: Callable[[int], None] | None = None,
) -> tuple[int, str, str]:  # fmt: skip
    """Exit code, stdout and stderr of `forecast WORDS`."""
    with _one:
        return forker().run(words, cwd, env, timeout, meanwhile)


def read(file: "tempfile._TemporaryFileWrapper[bytes]") -> bytes:
    file.seek(0)
    return file.read()


# In the process that forks --------------------------------------------------------------------------------------------


def serve(channel: socket.socket) -> None:
    """Fork for each request; returns in the child, with the request done to it."""
    while True:
        head, fds, _, _ = socket.recv_fds(channel, 8, 2)
        if not head:  # the tests have ended
            os._exit(0)
        raw = b""
        while len(raw) < int.from_bytes(head, "big"):
            raw += channel.recv(1 << 16)
        pid = os.fork()
        if pid == 0:
            channel.close()
            become(json.loads(raw), fds)
            return
        for fd in fds:
            os.close(fd)
        channel.sendall(pid.to_bytes(8, "big", signed=True))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        channel.sendall(code.to_bytes(8, "big", signed=True))


def become(request: dict, fds: list[int]) -> None:
    for fd, place in zip(fds, (1, 2), strict=True):
        os.dup2(fd, place)
        os.close(fd)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = ["forecast", *request["words"]]
    sys.path[0] = request["cwd"]


if __name__ == "__main__":
    del sys.path[0]  # tests/ is no place of modules
    for name in HEAVY:
        __import__(name)
    sys.path.insert(0, "")
    assert len(os.listdir("/proc/self/task")) == 1 if os.path.isdir("/proc/self/task") else True, "a thread cannot fork"
    serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("forecast", run_name="__main__", alter_sys=True)
