"""How many requests a client may send: a bucket of tokens for each address, which fills at a rate."""

import time
from collections import OrderedDict
from typing import Final

CLIENTS: Final = 10_000  # that are remembered; of those beyond, who was silent longest is forgotten


class Rate:
    """At most `rate` requests a second from one client, and as many at once; 0: any number."""

    def __init__(self, rate: float) -> None:
        self.rate, self.most = rate, max(rate, 1.0)
        self.clients: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def wait(self, client: str) -> float:
        """Seconds until a client may come again; 0: it may now, and has."""
        if not self.rate:
            return 0.0
        now = time.monotonic()
        tokens, then = self.clients.pop(client, (self.most, now))
        tokens = min(self.most, tokens + (now - then) * self.rate)
        allowed = tokens >= 1.0
        self.clients[client] = (tokens - 1.0 if allowed else tokens, now)
        if len(self.clients) > CLIENTS:
            self.clients.popitem(last=False)
        return 0.0 if allowed else (1.0 - tokens) / self.rate
