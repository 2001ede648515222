"""A file of JSON lines. Batches are cut by the count of lines alone: a stream that was killed cuts them alike."""

from pathlib import Path
from threading import Event
from typing import BinaryIO, Final

from forecast.errors import DataError, UsageError
from forecast.streaming.streamer import Streamer

LONGEST: Final = 1 << 20  # bytes of a line; the rest of a longer one is left out
PAUSE_S: Final = 0.2


class File:
    """Lines `batch` at a time. follow: wait for lines that are added, as `tail -f` does."""

    def __init__(self, *, path: str, batch: int = 1000, follow: bool = False) -> None:
        if batch < 1:
            raise UsageError(f"feed.batch is {batch}", "expected lines, at least 1")
        self.path, self.batch, self.follow = Path(path).expanduser(), batch, follow
        if not self.path.is_file():
            raise DataError(f"{self.path} is no file", "expected one with a JSON object in each line")

    def run(self, streamer: Streamer, stop: Event) -> None:
        """From where the stream was left: its position is a count of bytes."""
        offset = streamer.position or 0
        if not isinstance(offset, int) or self.path.stat().st_size < offset:
            raise DataError(
                f"{self.path} is shorter than what was read of it ({offset})", "expected that file, or a longer one",
                "give that file, or another state.path",
            )  # fmt: skip
        with open(self.path, "rb") as file:
            file.seek(max(0, offset - 1))
            if 0 < offset < self.path.stat().st_size and file.read(1) != b"\n":
                raise DataError(
                    f"{self.path} is not what was read before: no line begins at byte {offset:,}",
                    "expected that file, or a longer one", "give that file, or another state.path",
                )  # fmt: skip
            file.seek(offset)
            while not stop.is_set():
                lines = self._lines(file, stop)
                if not lines:
                    return
                streamer.process(lines, file.tell())

    def _lines(self, file: BinaryIO, stop: Event) -> list[bytes]:
        """The next lines; fewer at the end, and none when there will be none."""
        lines: list[bytes] = []
        while len(lines) < self.batch:
            at = file.tell()
            line = file.readline(LONGEST + 1)
            if line.endswith(b"\n") or (line and not self.follow):
                lines.append(line)
                while not line.endswith(b"\n") and (line := file.readline(LONGEST)):
                    pass  # what is too long is refused; its end is no line of its own
                continue
            file.seek(at)  # a line that is being written
            if not self.follow or lines or stop.wait(PAUSE_S):
                return lines
        return lines
