"""The loop of HTTP in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable
from socket import socket
from typing import Protocol

import uvicorn

Factory = Callable[[], asyncio.AbstractEventLoop] | None


class Looped(Protocol):
    """A desk, which knows the loop while it runs."""

    loop: asyncio.AbstractEventLoop | None


def begun(server: uvicorn.Server, listening: socket, desk: Looped, factory: Factory = None) -> threading.Thread:
    """The thread in which a server answers, once its loop is there."""
    up = threading.Event()

    def serve() -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            desk.loop = runner.get_loop()
            up.set()
            try:
                runner.run(server.serve([listening]))
            finally:
                desk.loop = None

    thread = threading.Thread(target=serve, name="http", daemon=True)
    thread.start()
    up.wait()
    return thread
