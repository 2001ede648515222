"""What every request to the dashboard passes first: for which host it asks, from which page it comes, how large it is.

A server on loopback can be reached by any page in a browser on the same machine: by a name that its owner lets point
there (DNS rebinding), by a form or a WebSocket that is opened across. The names in `Host` and `Origin` tell.
"""

import hmac
import ipaddress
import logging
from collections.abc import Iterable, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

HEALTH: Final = "/healthz"
METHODS: Final = ("GET", "HEAD", "POST")
LARGEST: Final = 1 << 20  # bytes of a request; what a page sends is an address and a few choices
REPORT: Final = "/report/"  # reports of runs: documents of their own, see server.py


class Guard:
    """Around the app: refuses what comes from elsewhere, and lets nothing out of a fault but one line."""

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str], port: int, token: str | None = None, scripts: Sequence[str] = ()
    ) -> None:
        """hosts: names by which it may be asked; port: distinguishes its cookie from that of another dashboard;
        token: what a browser must bring, None on loopback; scripts: hashes of inline ones that the app's page has."""
        self.app, self.token = app, token
        self.hosts = {name.lower().rstrip(".") for name in hosts}
        self.cookie = f"forecast-{port}"
        self.policy = policy(scripts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        reply = self._reply(scope, headers)
        if scope["type"] == "websocket":
            if reply is not None:
                await send({"type": "websocket.close", "code": 1008})  # before it is accepted: 403
                return
            await self.app(scope, receive, send)
            return
        began = False

        async def told(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                self._harden(message, scope["path"])
            await send(message)

        try:
            await (reply or self.app)(scope, receive, told)
        except ClientDisconnect:
            return
        except Exception as fault:
            log.error("a request failed: %s: %s", type(fault).__name__, fault)
            if not began:
                await _refusal(500, "a defect of the dashboard")(scope, receive, told)

    def _reply(self, scope: Scope, headers: Headers) -> Response | None:
        """What is answered at once; None for what the app may see."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._served(host):
            return _refusal(403, "this host is not served; ask for 127.0.0.1 or localhost, or start with --host")
        across = origin is not None and origin.partition("://")[2] != host
        if across or (scope["type"] == "websocket" and origin is None):
            return _refusal(403, "requests from pages of other hosts are not served")
        if scope["type"] == "http":
            if scope["method"] not in METHODS:
                return _refusal(405, f"expected {', '.join(METHODS)}")
            if "transfer-encoding" in headers:
                return _refusal(411, "expected a Content-Length")
            if int(headers.get("content-length", "0")) > LARGEST:
                return _refusal(413, f"a request holds at most {LARGEST >> 10:,d} KiB")
            if scope["path"] == HEALTH:
                return PlainTextResponse("ok")
        return None if self.token is None else self._known(scope, headers)

    def _served(self, host: str) -> bool:
        """Whether it may be asked by this name; with a token also by any address, which no name can be bent to."""
        name = None if set("@/\\?#") & set(host) else _host(f"//{host}")
        return name is not None and (name in self.hosts or (self.token is not None and _is_address(name)))

    def _known(self, scope: Scope, headers: Headers) -> Response | None:
        """None for whoever has the token: in a cookie, in a header, or once in an address, which leaves the cookie."""
        assert self.token is not None
        try:
            held = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            held = None
        brought = headers.get("authorization", "").removeprefix("Bearer ")
        if self._same(held.value if held else "") or self._same(brought):
            return None
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"))
        if scope["type"] == "http" and scope["method"] == "GET" and self._same(dict(query).get("token", "")):
            rest = urlencode([(key, value) for key, value in query if key != "token"])
            path = "/" + scope["path"].lstrip("/")  # two strokes would be another host
            reply = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
            reply.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return reply
        return _refusal(401, "open the address that forecast ui printed, with its token")

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self.token or "").encode())

    def _harden(self, message: Message, path: str) -> None:
        headers = MutableHeaders(scope=message)
        headers["content-security-policy"] = REPORT_POLICY if path.startswith(REPORT) else self.policy
        for name, value in HEADERS.items():
            headers[name] = value
        if "cache-control" not in headers:
            headers["cache-control"] = "no-cache"  # what has an etag is kept, and asked about each time


HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
REPORT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups"
)


def policy(scripts: Sequence[str] = ()) -> str:
    """What the dashboard's pages may load: their own files. Plotly writes styles into the page, and its menu and images
    are data: addresses; Dash hands WebSocket callbacks to a worker."""
    return "; ".join((
        "default-src 'none'",
        " ".join(("script-src 'self'", *scripts)),
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "frame-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ))  # fmt: skip


def _host(url: str) -> str | None:
    """The host of a URL, without its port."""
    try:
        found = urlsplit(url).hostname
    except ValueError:
        return None
    return None if found is None else found.rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refusal(status: int, why: str) -> Response:
    return Response(orjson.dumps({"error": why}), status, media_type="application/json")
