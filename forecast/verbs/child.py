"""A child process that ends when we are told to end: one job of a sweep, the MLflow server."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import IO

GRACE_S = 10.0


class Child:
    """`with Child(command) as child:` starts it; leaving the block ends it and all that it started.

    While the block runs, Ctrl-C and SIGTERM are passed to the child, and `told` holds the signal's number.
    The child has a group of its own: a Ctrl-C in the terminal reaches it once, through us.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        output: IO[bytes] | None = None,
        passed: int | None = None,
    ) -> None:
        """`output`: where stdout and stderr go (None: ours); `passed`: sent for any signal."""
        self.command, self.env, self.output, self.passed = list(command), env, output, passed
        self.told: int | None = None

    def __enter__(self) -> "Child":
        self.process = subprocess.Popen(
            self.command,
            env=None if self.env is None else dict(self.env),
            stdout=self.output,
            stderr=None if self.output is None else subprocess.STDOUT,
            start_new_session=True,
        )
        self._before = {number: signal.signal(number, self._pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.end()
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def wait(self, until: Callable[[], bool] = lambda: False, every_s: float = 0.2) -> int | None:
        """The child's exit code; None when `until` came true first."""
        while True:
            try:
                return self.process.wait(timeout=every_s)
            except subprocess.TimeoutExpired:
                if until():
                    return None

    def end(self) -> None:
        """Ask the child to end, wait, and at last force it."""
        if self.process.poll() is None:
            self._send(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_S)
        if hasattr(signal, "SIGKILL"):
            self._send(signal.SIGKILL)  # what is left of the group, when the child did not end its own
        self.process.wait()

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        again, self.told = self.told is not None, number
        if again and hasattr(signal, "SIGKILL"):
            self._send(signal.SIGKILL)
        else:
            self._send(self.passed or number)

    def _send(self, number: int) -> None:
        try:
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, number)  # the child leads its group
            else:
                self.process.terminate()
        except ProcessLookupError:
            pass  # it has ended already
