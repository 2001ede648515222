"""Where a stream is, and one request to it. Only loopback or https: a token must not travel in the clear."""

import http.client
import ipaddress
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from forecast.errors import UsageError

ANSWER: Final = 16 << 20  # bytes of one answer, at most


class Where(NamedTuple):
    """The address of a stream."""

    secure: bool
    host: str
    port: int
    path: str  # before /v1/…, "" or "/below"

    def connection(self, timeout_s: float) -> http.client.HTTPConnection:
        if self.secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self.host, self.port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout_s)


class Refused(Exception):
    """The stream answered, and it was no 200; the words are its own."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def where(url: str) -> Where:
    """The parts of an address. UsageError for one that is none, or that others on the network could read."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query or parts.fragment:
        raise UsageError(f"the stream's address is {url!r}", "expected e.g. http://127.0.0.1:8000")
    if parts.scheme == "http" and not _loopback(host):
        raise UsageError(
            f"the stream's address is {url!r}, which is neither on this machine nor https",
            "expected http on a loopback address, or https", "put a proxy with TLS before the stream",
        )  # fmt: skip
    secure = parts.scheme == "https"
    return Where(secure, host, port or (443 if secure else 80), parts.path.rstrip("/"))


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def ask(at: Where, path: str, headers: Mapping[str, str], timeout_s: float) -> dict[str, Any]:
    """One answer as JSON. OSError or HTTPException where nobody answers, Refused for another status."""
    link = at.connection(timeout_s)
    try:
        link.request("GET", at.path + path, headers=dict(headers))
        answer = link.getresponse()
        body = answer.read(ANSWER)
    finally:
        link.close()
    checked(answer.status, body)
    found = _json(body)
    if not isinstance(found, dict):
        raise Refused(502, f"{path} answered with something else than a stream's state")
    return found


def checked(status: int, body: bytes) -> None:
    """Refused for what is no 200, in the words of the server."""
    if status != 200:
        found = _json(body)
        words = found.get("error") if isinstance(found, dict) else None
        raise Refused(status, str(words or f"it answered with status {status}")[:300])


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def cut(link: socket.socket) -> None:
    """End a connection on which another thread waits."""
    try:
        link.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself
