"""What the tracking server is to be told, kept in the run folder until it has heard it. Nothing here needs MLflow.

mlflow.jsonl, the journal, has one JSON line for each thing to tell, in order; only the training appends to it. A kill
may tear its last line: readers stop before it, the resumed run cuts it off. mlflow.json says, for each store, which
MLflow run the journal became and up to which byte of it the store has acknowledged.

Lines, by `do`: create, resume, data, log (metrics of the history), scores, file, figures, register, end. Each has `at`,
milliseconds since 1970, so that a line sent twice says the same thing twice.
"""

import errno
import json
import os
import re
import sqlite3
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from forecast.artifacts import JOURNAL, SENT, write_json
from forecast.errors import ArtifactError

try:
    import fcntl
except ImportError:  # Windows: there nobody keeps two processes from sending one run at once
    fcntl = None  # type: ignore[assignment]

Line = dict[str, Any]
SQLITE = "sqlite:///"


class Journal:
    """The journal of a run, open for appending; as long as it is open, `writing` tells other processes so."""

    def __init__(self, folder: Path) -> None:
        self.file = open(folder / JOURNAL, "ab", buffering=0)  # noqa: SIM115  nothing is left behind in us by a kill
        locked(self.file.fileno())
        whole = 0
        with open(folder / JOURNAL, "rb") as file:
            for line in file:
                whole += len(line) if line.endswith(b"\n") else 0
        self.file.truncate(whole)

    def append(self, do: str, **what: Any) -> None:
        """One line, with the system before this returns. OSError: the disk is full."""
        line = {"do": do, "at": int(time.time() * 1000), **what}
        text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        if self.file.write(text) != len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self.file.close()


def lines(folder: Path, start: int = 0) -> Iterator[tuple[int, Line]]:
    """(byte after it, line) of every whole line from byte `start` on; one that is no line of ours is passed over."""
    with open(folder / JOURNAL, "rb") as file:
        file.seek(start)
        for text in file:
            start += len(text)
            if not text.endswith(b"\n"):
                return
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and "do" in line and "at" in line:
                yield start, line


def tracked(folder: Path) -> bool:
    """Whether the run has a journal."""
    return (folder / JOURNAL).is_file()


def writing(folder: Path) -> bool:
    """Whether a training has the journal open."""
    with open(folder / JOURNAL, "rb") as file:
        return not locked(file.fileno())


@contextmanager
def sending(folder: Path) -> Iterator[bool]:
    """Whether this process may send the journal now: one at a time may. It is the folder that is locked."""
    if fcntl is None:
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield locked(handle)
    finally:
        os.close(handle)


def locked(handle: int) -> bool:
    """Lock an open file until it is closed or its process ends; False when another has done so."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


class Sent:
    """How far one store has come with a run's journal."""

    def __init__(self, folder: Path, uri: str) -> None:
        self.folder, self.uri = folder, uri
        mine = self._all().get(uri, {})
        self.run_id: str = mine.get("run_id", "")
        self.status: str = mine.get("status", "")
        self.offset: int = mine.get("offset", 0)

    def save(self) -> None:
        mine = {"run_id": self.run_id, "status": self.status, "offset": self.offset}
        write_json(self.folder / SENT, {**self._all(), self.uri: mine})

    def _all(self) -> dict[str, Any]:
        path = self.folder / SENT
        if not path.is_file():
            return {}
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{path} is damaged", do="delete it, and the run is sent from its beginning") from error


def absolute(uri: str) -> str:
    """The address of a store as it holds in every directory."""
    if uri.startswith(SQLITE) and uri != f"{SQLITE}:memory:":
        return SQLITE + Path(uri.removeprefix(SQLITE)).expanduser().absolute().as_posix()
    return uri


def shown(uri: str) -> str:
    """The address of a store without the password that may stand in it."""
    return re.sub(r"//[^/@]*@", "//", uri)


def trouble(uri: str, timeout_s: float) -> str:
    """Why a store cannot be used just now, found without MLflow in about `timeout_s`; empty when nothing speaks
    against it."""
    if uri.startswith(SQLITE):
        return _locked_by_another(Path(uri.removeprefix(SQLITE)), timeout_s)
    if not uri.startswith(("http://", "https://")):
        return ""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}" if error.code >= 500 else ""  # 401, 404: somebody is there
    except TimeoutError:
        return "it does not answer"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return "it does not answer"
        if isinstance(reason, ssl.SSLError):  # MLflow may have been told to trust it
            return ""
        return (getattr(reason, "strerror", None) or str(reason) or type(reason).__name__).lower()
    except Exception as error:  # http.client's: whatever listens there speaks no HTTP
        return f"what answers is no MLflow ({type(error).__name__})"


def _locked_by_another(path: Path, timeout_s: float) -> str:
    if not path.is_file() or path.stat().st_size == 0:
        return ""
    try:
        with closing(sqlite3.connect(path, timeout=timeout_s)) as base:
            base.execute("BEGIN IMMEDIATE")
            base.rollback()
    except sqlite3.Error as error:
        return str(error)
    return ""


__all__ = ["Journal", "Line", "Sent", "absolute", "lines", "sending", "shown", "tracked", "trouble", "writing"]
