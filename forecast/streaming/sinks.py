"""Where output lines go: a file that can be cut back, or another program."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from forecast.errors import UsageError


class FileSink:
    """Appends to a file; what was written is on the disk before `write` returns, if `sync`."""

    exact = True

    def __init__(self, path: str | Path, *, sync: bool) -> None:
        self.path, self.sync = Path(path).expanduser(), sync
        try:
            self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115  closed with the stream
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}", do="name another place") from error

    def write(self, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        left = memoryview(b"\n".join([*lines, b""]))
        while left:
            left = left[self.file.write(left) :]
        if self.sync:
            os.fsync(self.file.fileno())

    def close(self) -> None:
        self.file.close()

    def length(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def cut(self, length: int) -> None:
        """Back to what was committed. UsageError where the file is shorter: it is not the one that was written."""
        if self.length() < length:
            if not self.length():  # it was made just now
                self.path.unlink(missing_ok=True)
            raise UsageError(
                f"{self.path} has {self.length():,} bytes, fewer than this stream has written ({length:,})",
                "expected the file that it wrote", "name or put back that file, or begin anew with another state.path",
            )  # fmt: skip
        self.file.truncate(length)


class Stdout:
    """The program behind the pipe. It may see a line twice after a kill, with the same `seq`."""

    exact = False

    def write(self, lines: Sequence[bytes]) -> None:
        if lines:
            sys.stdout.buffer.write(b"\n".join([*lines, b""]))
            sys.stdout.buffer.flush()

    def close(self) -> None:
        pass

    def length(self) -> int:
        return 0

    def cut(self, length: int) -> None:
        pass
