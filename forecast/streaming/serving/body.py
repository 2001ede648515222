"""A request's body into lines: bounded in bytes, in readings and in the time it may take to come."""

import asyncio
from typing import Final

import orjson
from starlette.requests import Request

from forecast.streaming.serving.guard import Refusal

BODY_S: Final = 30.0  # in which a body must have come
LINES: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
MANY: Final = 10  # batches in one request, at most
ROOM: Final = 8  # bodies of the largest size that are held at once, at most


class Bodies:
    """Reads bodies, and holds no more of them at once than there is room for."""

    def __init__(self, most: int, batch: int) -> None:
        """most: bytes of one; batch: lines in a transaction."""
        self.most, self.lines = most, MANY * batch
        self.room = ROOM * most

    async def read(self, request: Request) -> bytearray:
        """All of one. Its room is taken until `done`. Refusal: 413 too large, 408 too slow, 415 packed, 503 no room."""
        headers = request.headers
        if headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "the body is packed; expected one without Content-Encoding")
        told = headers.get("content-length", "0")
        if not told.isdigit() or int(told) > self.most:
            raise self._large()
        found = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                async for chunk in request.stream():
                    if len(found) + len(chunk) > self.most:
                        raise self._large()
                    if len(chunk) > self.room:
                        raise Refusal(503, "other requests hold all the memory for bodies", {"Retry-After": "1"})
                    self.room -= len(chunk)
                    found += chunk
        except TimeoutError:
            self.done(found)
            raise Refusal(408, f"the body did not come within {BODY_S:.0f} s", {"Connection": "close"}) from None
        except BaseException:
            self.done(found)
            raise
        return found

    def done(self, body: bytearray) -> None:
        self.room += len(body)

    def _large(self) -> Refusal:
        return Refusal(413, f"expected a body of at most {self.most:,} bytes")

    def split(self, body: bytes, kind: str) -> list[bytes]:
        """The readings of a body of a content type, each as a line. Refusal: 400 no JSON, 413 too many."""
        if kind.partition(";")[0].strip().lower() in LINES:
            lines = [line for line in body.split(b"\n") if line and not line.isspace()]
        else:
            lines = _json(body)
        if not lines:
            raise Refusal(400, "there is no reading; expected a JSON object, an array of them, or JSON lines")
        if len(lines) > self.lines:
            raise Refusal(413, f"there are {len(lines):,} readings; expected at most {self.lines:,} in a request")
        return lines


def _json(body: bytes) -> list[bytes]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"no JSON: {error}; JSON lines are sent as application/x-ndjson") from None
    if isinstance(found, dict):
        return [body]
    if isinstance(found, list):
        return [orjson.dumps(each) for each in found]
    raise Refusal(400, "no JSON object or array of them")
