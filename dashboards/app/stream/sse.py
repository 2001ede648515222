"""Server-Sent Events out of pieces of bytes, as they come from a socket."""

from typing import Final, NamedTuple

LONGEST: Final = 16 << 20  # bytes of a line: no forecast is so long


class Event(NamedTuple):
    name: str  # message, where the server gave none
    data: bytes


class Parser:
    """Pieces in, whole events out; `last` is the id of the last one that had a number, also of one without data."""

    def __init__(self, last: int | None = None) -> None:
        self.last = last
        self.rest = b""
        self.name, self.data = "", list[bytes]()

    def feed(self, piece: bytes) -> list[Event]:
        """The events that end in this piece. ValueError for a line that does not end."""
        *lines, self.rest = (self.rest + piece).split(b"\n")
        if len(self.rest) > LONGEST:
            raise ValueError(f"a line of more than {LONGEST:,} bytes")
        found = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if not line:
                if self.data:
                    found.append(Event(self.name or "message", b"\n".join(self.data)))
                self.name, self.data = "", []
                continue
            key, _, value = line.partition(b":")  # a comment has no key
            self._field(key, value.removeprefix(b" "))
        return found

    def _field(self, key: bytes, value: bytes) -> None:
        match key:
            case b"id" if value.isdigit() and len(value) < 19:
                self.last = int(value)
            case b"event":
                self.name = value.decode(errors="replace")
            case b"data":
                self.data.append(value)
