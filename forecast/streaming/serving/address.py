"""Where a server listens, by which names it may be asked, and whether others can reach it.

`key` stands before the names of options in what a person is told: `feed.` for a stream's, nothing for a server's own.
"""

import ipaddress
import os
import socket
from typing import Any, Final

from forecast.errors import UsageError
from forecast.streaming.serving.guard import LOOPBACK

BACKLOG: Final = 1024
WILD: Final = ("0.0.0.0", "::", "")  # every address, and the name of none
SHORTEST: Final = 16  # signs of a token


def known(host: str, hosts: Any, key: str) -> list[str]:
    """The names by which a server may be asked: those of loopback, its own, and `hosts`, one or a list of them."""
    names = [] if hosts is None else hosts if isinstance(hosts, list) else [hosts]
    if not all(isinstance(name, str) and name and set("/:* ").isdisjoint(name) for name in names):
        raise UsageError(f"{key}hosts is {hosts!r}", "expected names without ports, e.g. [forecast.example.org]")
    return [*LOOPBACK, *([] if host in WILD else [host]), *names]


def guarded(host: str, token: str | None, key: str) -> None:
    """UsageError where others could reach what asks for no token."""
    plain = token is None or (token.isascii() and token.isprintable() and " " not in token)
    if token is not None and (len(token) < SHORTEST or not plain):
        raise UsageError(
            f"{key}token has {len(token)} signs", f"expected at least {SHORTEST}, printable ones of ASCII, no blanks",
            "e.g. what `openssl rand -hex 32` prints",
        )  # fmt: skip
    try:
        alone = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        alone = False
    if not alone and token is None:
        raise UsageError(
            f"{key}host={host} can be reached from other machines and {key}token is not set", "expected a token",
            f"set {key}token='${{oc.env:FORECAST_TOKEN}}', or listen on 127.0.0.1",
        )  # fmt: skip


def bound(host: str, port: int, key: str) -> socket.socket:
    """A socket that listens at the address."""
    if not 0 <= port < 65536:
        raise UsageError(f"{key}port is {port}", "expected 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"{key}host {host!r} is not known here ({error.strerror})", do="e.g. 127.0.0.1") from error
    # the protocol is named, or asyncio would not know that it is TCP and leave Nagle's algorithm on: 40 ms a reply
    found = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # as servers do: a port in TIME_WAIT is free
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)  # else another that was bound before it listens would share the port
    except OSError as error:
        found.close()
        why = (error.strerror or str(error)).lower()
        raise UsageError(
            f"port {port} of {host} cannot be used ({why})",
            "expected a free port",
            f"set {key}port; 0 takes a free one",
        ) from error
    return found


def url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
