"""What the page of a run says besides its curves and scores: what differs from another run, and its files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from forecast.artifacts import MANIFEST, SENT, UNSEALED, sha256
from forecast.dashboards.boards.lines import flat, shown
from forecast.dashboards.load import Run

NO: Final = "–"
CHECKED: Final = 1 << 30  # bytes that are read at most to check digests


class Held(NamedTuple):
    """A file of a run."""

    name: str
    size: int | None  # bytes; None: it is gone
    sha256: str  # as the manifest has it, "" where it vouches for none
    state: str  # "", or what is wrong


def differences(mine: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(key, here, there) of two nested settings where they are not equal; what one lacks is a dash."""
    here, there = dict(flat(mine)), dict(flat(other))
    keys = [*here, *(key for key in there if key not in here)]
    return [(key, _told(here, key), _told(there, key)) for key in keys if here.get(key) != there.get(key)]


def _told(values: Mapping[str, Any], key: str) -> str:
    return shown(values[key]) if key in values else NO


def held(folder: Path, check: bool = False) -> list[Held]:
    """The files of a run folder by name, those that are missing too. `check`: their digests are made anew, of CHECKED
    bytes at most."""
    vouched = _manifest(folder)
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    left, made = CHECKED, []
    for name in sorted({*found, *vouched}):
        path, digest = found.get(name), vouched.get(name, "")
        if path is None:
            made.append(Held(name, None, digest, "missing"))
            continue
        size, state = path.stat().st_size, ""
        if digest and check:
            left -= size
            state = "too large to check here" if left < 0 else "" if sha256(path) == digest else "changed"
        elif not digest and vouched and name not in UNSEALED and not name.startswith("checkpoints/"):
            state = "not in the manifest"
        made.append(Held(name, size, digest, state))
    return made


def _manifest(folder: Path) -> dict[str, str]:
    """Digests by name; nothing of an unfinished run, or where the file is damaged (the loading of it says so)."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(k): str(v) for k, v in files.items()} if isinstance(files, dict) else {}


def elsewhere(folder: Path) -> list[tuple[str, str]]:
    """(address, run id) of each MLflow store that has heard of the run."""
    try:
        stores = json.loads((folder / SENT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    if not isinstance(stores, dict):
        return []
    return [(str(uri), str(each["run_id"])) for uri, each in stores.items()
            if isinstance(each, dict) and each.get("run_id")]  # fmt: skip


def described(run: Run) -> Run:
    """A run that has not written its scores yet, with the task that its settings name."""
    task = run.config.get("task")
    name = task.get("name") if isinstance(task, dict) else None
    return run if run.metrics or not name else run._replace(metrics={"task": name})


def listed(items: Mapping[str, Any], above: str = "") -> Sequence[tuple[str, str]]:
    """Nested facts as pairs of words."""
    return [(key.replace(".", " "), ", ".join(map(str, value)) if isinstance(value, list) else shown(value))
            for key, value in flat(items, above)]  # fmt: skip
