"""One named member out of an archive: no links, no devices, no way out of the folder, no bombs."""

import gzip
import io
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Final, Protocol

from forecast.data.address import CardFile, inside
from forecast.errors import DataError

MEMBERS: Final = 10_000
RATIO: Final = 200  # bytes out of one byte in; honest tables stay below 50
SMALL: Final = 1 << 20  # bytes that any archive may unpack to
PIECE: Final = 1 << 16
LINK: Final = 0o120000  # the file type of a symbolic link, in the high bits of a zip member
FAULTS: Final = (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError)


def unpack(part: Path, kind: str, file: CardFile, target: Path, cap: int) -> Path:
    """Write the member of `part` that the card names to a temporary file beside `target`, and return its path.

    DataError for an archive that is damaged, has no such member, or is not to be trusted; it is removed then.
    """
    limit = min(cap, max(RATIO * part.stat().st_size, SMALL))
    draft = target.with_name(target.name + ".unpacked")
    draft.unlink(missing_ok=True)
    wanted = file.member or Path(file.path).name
    try:
        with draft.open("xb") as out:
            {".zip": _zip, ".gz": _gz}.get(kind, _tar)(part, wanted, out, min(file.bytes or limit, limit), limit)
    except BaseException as fault:
        draft.unlink(missing_ok=True)
        if isinstance(fault, FAULTS):
            raise DataError(f"the archive of {file.url} cannot be unpacked: {fault}", do="get it elsewhere") from fault
        raise
    return draft


def _zip(part: Path, wanted: str, out: IO[bytes], limit: int, _: int) -> None:
    with zipfile.ZipFile(part) as packed:
        members = packed.infolist()
        _names([m.filename for m in members], wanted)
        info = packed.getinfo(wanted)
        if info.is_dir() or (info.external_attr >> 16) & 0o170000 not in (0, 0o100000):
            raise _bad(f"'{wanted}' is {'a link' if (info.external_attr >> 16) & 0o170000 == LINK else 'no file'}")
        if info.file_size > limit:
            raise _bad(f"'{wanted}' has {info.file_size:,} bytes; expected at most {limit:,}")
        with packed.open(info) as member:
            _copy(member, out, limit)


def _tar(part: Path, wanted: str, out: IO[bytes], limit: int, whole: int) -> None:
    """Read once, front to back, so that a bomb is met before it is unpacked."""
    names: list[str] = []
    with gzip.open(part) as plain, tarfile.open(fileobj=_Limited(plain, whole + SMALL), mode="r|") as packed:
        for info in packed:
            names.append(info.name)
            if len(names) > MEMBERS or not inside(info.name) or info.name == wanted:
                _names(names, wanted)
                tarfile.data_filter(info, str(part.parent))  # raises for links that lead out, and devices
                member = packed.extractfile(info) if info.isreg() else None
                if member is None:
                    raise _bad(f"'{wanted}' is no file")
                _copy(member, out, limit)
                return
    _names(names, wanted)


def _gz(part: Path, wanted: str, out: IO[bytes], limit: int, _: int) -> None:
    with gzip.open(part) as member:
        _copy(member, out, limit)


def _names(names: list[str], wanted: str) -> None:
    """Refuse an archive that names a path outside itself, has too many members, or not the wanted one."""
    if odd := next((name for name in names if not inside(name)), None):
        raise _bad(f"its member '{odd}' leads out of it")
    if len(names) > MEMBERS:
        raise _bad(f"it has more than {MEMBERS:,} members")
    if names.count(wanted) != 1:
        few = ", ".join(names[:5])
        raise _bad(f"it has {'two' if wanted in names else 'no'} '{wanted}'; found {few or 'nothing'}")


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Limited(io.BufferedIOBase):
    """A stream that ends with a fault after so many bytes."""

    def __init__(self, inner: _Readable, limit: int) -> None:
        self.inner, self.left, self.limit = inner, limit, limit

    def read(self, size: int | None = -1, /) -> bytes:
        piece = self.inner.read(min(size, PIECE) if size and size > 0 else PIECE)
        self.left -= len(piece)
        if self.left < 0:
            raise _bad(f"it unpacks to more than {self.limit:,} bytes")
        return piece


def _copy(member: _Readable, out: IO[bytes], limit: int) -> None:
    shutil.copyfileobj(_Limited(member, limit), out, PIECE)


def _bad(what: str) -> tarfile.TarError:
    return tarfile.TarError(what)
