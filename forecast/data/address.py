"""A card's file: where it may come from and where it may go, checked without a network or a disk."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final
from urllib.parse import urlsplit

from forecast.errors import DataError

ARCHIVES: Final = (".zip", ".tar.gz", ".tgz", ".gz")
PACKAGES: Final = ("sktime",)  # whose files a card may name


@dataclass(frozen=True, slots=True)
class CardFile:
    """One file, relative to the data set's folder or to FORECAST_DATA.

    `url` is where `forecast data fetch` gets it; of an archive, `member` is its name there (else that of `path`).
    `package`: the file comes with that Python package, one of PACKAGES, and `path` is below the package's folder.
    """

    path: str
    sha256: str = ""
    rows: int | None = None
    bytes: int | None = None
    url: str = ""
    member: str = ""
    package: str = ""


def check_file(file: CardFile, where: str) -> None:
    """A path below the data folder, a digest, a size, and an address that may be fetched from."""
    for key in ("path", "sha256", "url", "member", "package"):
        if not isinstance(value := getattr(file, key), str):
            raise DataError(f"{where}: {key} is {value}", "expected text", "write it in quotation marks")
    out = Path(file.path).is_absolute() or ".." in Path(file.path).parts  # as this system writes paths
    for path in (file.path, file.member or file.path):
        if out or file.url and not inside(path):  # what is fetched must fit everywhere
            raise DataError(
                f"{where} names the file '{path}'",
                "expected a path below the data folder",
                "write it relative to the card",
            )
    if file.sha256 and not re.fullmatch("[0-9a-f]{64}", file.sha256):
        raise DataError(f"{where} has the sha256 '{file.sha256}'", "expected 64 hexadecimal digits", "correct it")
    for key, count in (("rows", file.rows), ("bytes", file.bytes)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
            raise DataError(f"{where}: {key} is '{count}'", "expected a number", "correct the card")
    if file.package and (file.package not in PACKAGES or file.url):
        raise DataError(
            f"{where} takes {file.path} from the package '{file.package}'{' and from an address' if file.url else ''}",
            f"expected no package but {', '.join(PACKAGES)}, and then no url",
            "correct the card",
        )
    if file.url:
        check_url(file.url, where)
    if file.member and not archive(file.url):
        raise DataError(f"{where} names the member '{file.member}'", "expected the url of an archive", "leave it out")


def check_url(url: str, where: str, *, within: str | None = None) -> None:
    """https, or http on this very machine; DataError otherwise.

    `within` is the address that redirected here: plain http is followed only where it began on this machine.
    """
    odd = [c for c in url if c == "\\" or c.isspace() or not c.isprintable()]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    plain = parts.scheme == "http" and loopback(host) and (within is None or loopback(urlsplit(within).hostname or ""))
    if odd or not host or parts.username is not None or not (parts.scheme == "https" or plain):
        raise DataError(f"{where} names the address '{url}'", "expected https://…", "give another address")


def loopback(host: str) -> bool:
    """Whether a host name or number is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def inside(path: str) -> bool:
    """Whether a path of a card or an archive stays below the folder it is put in, on any system."""
    pure = PurePosixPath(path), PureWindowsPath(path)
    return bool(path) and not any(p.is_absolute() or p.drive or p.root or ".." in p.parts for p in pure)


def archive(url: str) -> str:
    """The ending of an address that names an archive, "" for a plain file."""
    name = urlsplit(url).path.lower()
    return next((end for end in ARCHIVES if name.endswith(end)), "")
