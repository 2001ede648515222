"""Downloads that can be broken off at any moment and go on later: https, size, disk and digest are checked.

A part goes on only if its source still has the file it is of; it becomes the file only if its digest is the card's.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from forecast.data.address import CardFile, archive, check_url, inside, loopback
from forecast.data.part import Part, sync_folder
from forecast.data.read import sha256
from forecast.data.unpack import unpack
from forecast.errors import DataError

PIECE: Final = 1 << 16
MANY: Final = 1 << 20  # bytes after which a broken connection counts as a new trouble
SPARE: Final = 16 << 20  # bytes that must stay free on the disk
AGAIN: Final = (408, 429, 500, 502, 503, 504)
BROKEN: Final = (requests.ConnectionError, requests.Timeout, HTTPError, ConnectionError, TimeoutError)

Report: TypeAlias = Callable[[str, int, int | None], None]  # name, bytes so far, bytes in all


class Limits(NamedTuple):
    """What a download may take: bytes, seconds, tries in a row, redirects."""

    cap: int = 2 << 30
    connect: float = 15.0
    read: float = 60.0
    tries: int = 5
    pause: float = 0.5  # doubles after each try
    redirects: int = 5


USUAL: Final = Limits()


class Fetched(NamedTuple):
    """A file of a card that is there now."""

    path: Path
    sha256: str
    new: bool
    claimed: bool  # whether the card names the digest


class _Job(NamedTuple):
    """One download."""

    url: str
    part: Part
    size: int | None  # bytes that the card expects
    limits: Limits
    report: Report

    @property
    def cap(self) -> int:
        return self.limits.cap if self.size is None else self.size


class _Moved(Exception):
    """The part does not fit what the source has now."""


def fetch(
    files: tuple[CardFile, ...], folder: Path, report: Report = lambda *_: None, limits: Limits = USUAL
) -> Iterator[Fetched]:
    """Get the files of a card that name an address, in order, below `folder`; DataError for whatever goes wrong.

    What is already there is never written over: it is the right file, or a DataError. A part stays for the next
    time, except one with a wrong digest.
    """
    for file in files:
        if not file.url:
            continue
        target = place(folder, file.path)
        if not target.exists():
            yield Fetched(target, _get(file, target, report, limits), True, bool(file.sha256))
            continue
        if not target.is_file():
            raise DataError(f"{target} is no file", "expected the data there", "move it away to fetch the file")
        if (found := sha256(target)) != file.sha256 and file.sha256:
            raise DataError(
                f"{target} is there, with the sha256 {found[:12]}…",
                f"the card expects {file.sha256[:12]}…",
                "move it away to fetch the file",
            )
        yield Fetched(target, found, False, bool(file.sha256))


def place(folder: Path, path: str) -> Path:
    """The path of a file below `folder`, whose own folders are made; a link that leads out of it is refused."""
    target = folder / path
    if not inside(path) or not target.parent.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{target} leads out of {folder}", "expected a path below it", "remove the link, or set to=DIR")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise DataError(f"{target.parent} cannot be made: {fault.strerror}", do="set to=DIR to a folder") from fault
    return target


def _get(file: CardFile, target: Path, report: Report, limits: Limits) -> str:
    """Download, unpack, check and rename; the digest of the file."""
    packed = archive(file.url)
    with Part.opened(target.with_name(f"{target.name}{packed}.part"), file.url) as part:
        try:
            _download(_Job(file.url, part, None if packed else file.bytes, limits, report))
        finally:
            if not part.end():
                part.forget()
        whole = part.path
        try:
            whole = unpack(part.path, packed, file, target, limits.cap) if packed else whole
            found = _checked(file, whole)
        except DataError:
            part.forget()
            whole.unlink(missing_ok=True)
            raise
        os.replace(whole, target)
        part.note.unlink(missing_ok=True)
        if packed:
            part.forget()
    sync_folder(target.parent)
    return found


def _checked(file: CardFile, path: Path) -> str:
    """The digest of a download; DataError when it, or the size, is not that of the card."""
    found, size = sha256(path), path.stat().st_size
    if file.sha256 not in ("", found) or file.bytes not in (None, size):
        raise DataError(
            f"{file.url} gave {size:,} bytes with the sha256 {found[:12]}…, which are removed",
            f"the card expects {f'{file.sha256[:12]}…' if file.sha256 else f'{file.bytes:,} bytes'}",
            "run it again; if it stays so, the file at its source has changed: see the card for where else it is",
        )
    return found


def _download(job: _Job) -> None:
    """Fill the part, going on after a broken connection; DataError when that does not help."""
    troubles = 0
    with requests.Session() as session:
        session.trust_env = not loopback(urlsplit(job.url).hostname or "")  # a proxy knows nothing of this machine
        while True:
            before = job.part.end()
            try:
                _attempt(session, job)
                os.fsync(job.part.stream.fileno())
                return
            except _Moved:
                job.part.begin()
                fault: Exception = ConnectionError("it changes while it is fetched")
            except BROKEN as broken:
                fault = broken
            except requests.RequestException as wrong:
                raise DataError(f"{job.url} cannot be fetched: {_reason(wrong)}", do="correct the card") from wrong
            except OSError as full:
                raise DataError(
                    f"{job.part.path} cannot be written: {full.strerror}", do="make room, and go on"
                ) from full
            troubles = 1 if job.part.end() - before > MANY else troubles + 1
            if troubles >= job.limits.tries:
                kept = f"{job.part.end():,} bytes are kept: run the same command again to go on"
                raise DataError(
                    f"{job.url} cannot be fetched after {troubles} tries: {_reason(fault)}",
                    do=kept if job.part.end() else "check the connection",
                ) from fault
            time.sleep(job.limits.pause * 2 ** (troubles - 1))


def _attempt(session: requests.Session, job: _Job) -> None:
    """One request, from where the part ends; returns when the file is whole."""
    part = job.part
    have, mark = part.end(), part.mark
    if have and not mark:
        have = part.begin()
    headers = {"Accept-Encoding": "identity", "User-Agent": "forecast"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({} if mark.startswith("W/") else {"If-Range": mark})
    with _request(session, job, headers) as response:
        same = _mark(response) in (mark, "" if "If-Range" in headers else mark)
        if response.status_code == 416:
            if same and response.headers.get("Content-Range") == f"bytes */{have}":
                return
            raise _Moved
        if response.status_code == 206:
            start, total = _range(response)
            if not same or start != have:
                raise _Moved
        else:
            have, total = part.begin(_mark(response)), _length(response)
        _room(job, have, total)
        total, name = total or job.size, part.path.name.removesuffix(".part")
        job.report(name, have, total)
        for piece in response.raw.stream(PIECE, decode_content=False):
            have += len(piece)
            if have > job.cap:
                part.begin()
                raise DataError(f"{job.url} sends more than {job.cap:,} bytes", "the most that is taken", "stopped")
            part.write(piece)
            job.report(name, have, total)
    if total is not None and have < total:
        raise ConnectionError(f"it ends after {have:,} of {total:,} bytes")


def _request(session: requests.Session, job: _Job, headers: dict[str, str]) -> requests.Response:
    """The answer after redirects, each of which is checked; ConnectionError for what may pass, else DataError."""
    at, timeout = job.url, (job.limits.connect, job.limits.read)
    for _ in range(job.limits.redirects + 1):
        response = session.get(at, headers=headers, stream=True, allow_redirects=False, timeout=timeout)
        if not response.is_redirect:
            break
        at = urljoin(at, response.headers["Location"])
        response.close()
        check_url(at, f"{job.url} redirects, and", within=job.url)
    else:
        raise DataError(f"{job.url} redirects more than {job.limits.redirects} times", do="correct the card")
    code, coding = response.status_code, response.headers.get("Content-Encoding", "identity")
    if code == 416 or code in (200, 206) and coding == "identity":
        return response
    what = f"{code} {response.reason}" if code not in (200, 206) else f"a transfer in {coding}, which was not asked for"
    response.close()
    if code in AGAIN:
        raise ConnectionError(f"the server says {what}")
    raise DataError(f"{job.url} cannot be fetched", f"the server says {what}", "see the card for where else it is")


def _room(job: _Job, have: int, total: int | None) -> None:
    """Refuse what is not the card's size, what is too much, and what the disk cannot take, before any of it comes."""
    if total is not None and (job.size not in (None, total) or total > job.cap):
        most = "" if job.size is not None else "at most "
        raise DataError(f"{job.url} has {total:,} bytes", f"expected {most}{job.cap:,}", "see where else it is")
    folder, need = job.part.path.parent, (total or job.size or 0) - have
    if (free := shutil.disk_usage(folder).free) < need + SPARE:
        raise DataError(f"{folder} has {free >> 20:,} MiB free", f"{need >> 20:,} MiB are needed", "make room")


def _range(response: requests.Response) -> tuple[int, int | None]:
    """The first byte of a partial answer, and how many the whole file has if that is said."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        raise _Moved
    return int(first), int(total) if total.isdigit() else None


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _mark(response: requests.Response) -> str:
    """What identifies the file at its source: its ETag, or else the time of its last change."""
    return str(response.headers.get("ETag") or response.headers.get("Last-Modified") or "")


def _reason(fault: BaseException) -> str:
    """The innermost cause, in one line."""
    while inner := fault.__cause__ or fault.__context__:
        fault = inner
    return " ".join(str(fault).split()) or type(fault).__name__
