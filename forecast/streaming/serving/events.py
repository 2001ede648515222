"""A reply that goes on: what a listener hears, as text/event-stream."""

import asyncio
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from forecast.streaming.serving.desk import Busy, Failed
from forecast.streaming.serving.hub import Listener

STALLED_S: Final = 30.0  # a reader that takes nothing for so long is let go


class Events(Response):
    """Until the stream ends, the reader goes, or it takes nothing."""

    media_type = "text/event-stream"

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listeners = self.listener.hub.listeners
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            listeners.discard(self.listener)
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await asyncio.gather(sending, return_exceptions=True)
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async for chunk in self.listener.chunks():
                if chunk:
                    async with asyncio.timeout(STALLED_S):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError:
            return  # without an end: the server closes the connection, and what is held for the reader is a piece
        except (Busy, Failed):
            pass  # the stream is gone, the reader may come again
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
