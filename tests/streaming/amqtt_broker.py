"""An MQTT 3.1.1 broker of pure Python, as a process: python -m tests.streaming.amqtt_broker PORT.

Who gives a name is let in, and only for those it keeps messages."""

import asyncio
import sys

from amqtt.broker import Broker

LOGIN = "amqtt.plugins.authentication.AnonymousAuthPlugin"


async def serve(port: int) -> None:
    settings = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
        "plugins": {LOGIN: {"allow_anonymous": False}},
    }
    await Broker(settings).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
