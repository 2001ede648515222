"""What every request passes first: which host it asks for, from which page it comes, whether it knows the token.

A server on the loopback address can be reached by any page in a browser on the same machine: by a name that its owner
lets point there (DNS rebinding), or by a form that is sent across. The names in `Host` and `Origin` tell.
"""

import hmac
import logging
import time
from collections.abc import Collection, Iterable
from typing import Final, Protocol
from urllib.parse import urlsplit

import orjson
from prometheus_client import Histogram
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
OPEN: Final = ("/healthz", "/readyz")  # without a token: they tell nothing else
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)


class Refusal(Exception):
    """A request that is not served: its status, and why in one line."""

    def __init__(self, status: int, why: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.headers = status, why, headers or {}

    @property
    def response(self) -> Response:
        return Response(orjson.dumps({"error": self.why}), self.status, self.headers, "application/json")


class Timed(Protocol):
    """What takes the seconds of requests, by route and code."""

    request: Histogram


class Guard:
    """Around an app: refuses, times, and lets nothing out of a fault but one line."""

    def __init__(
        self, app: ASGIApp, metrics: Timed, hosts: Iterable[str], token: str | None, *, key: str,
        untimed: Collection[str] = (),
    ) -> None:  # fmt: skip
        """key: of the option that names hosts; untimed: routes that take as long as their reader likes."""
        self.app, self.metrics, self.key, self.untimed = app, metrics, key, untimed
        self.hosts = {name.lower().rstrip(".") for name in hosts}
        self.token = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began, code = time.perf_counter(), 0

        async def told(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            if (refusal := self._refusal(scope)) is not None:
                await refusal.response(scope, receive, told)
            else:
                await self.app(scope, receive, told)
        except ClientDisconnect:
            return
        except Exception as error:
            log.error("a request failed: %s: %s", type(error).__name__, error)
            if code == 0:
                await Refusal(500, "a defect of the server").response(scope, receive, told)
        route = getattr(scope.get("route"), "path", "other")
        if route not in self.untimed:
            self.metrics.request.labels(route, str(code)).observe(time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if set("@/\\?#") & set(host) or _name(f"//{host}") not in self.hosts:
            return Refusal(403, f"this host is not served; expected a loopback name or one of {self.key}")
        if (origin := headers.get("origin")) is not None and _name(origin) not in self.hosts:
            return Refusal(403, "requests from pages of other hosts are not served")
        if self.token is None or scope["path"] in OPEN:
            return None
        if not hmac.compare_digest(headers.get("authorization", "").encode(), self.token):
            return Refusal(401, "expected Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        return None


def _name(url: str) -> str | None:
    """The host of a URL, without its port."""
    try:
        found = urlsplit(url).hostname
    except ValueError:
        return None
    return None if found is None else found.rstrip(".")
