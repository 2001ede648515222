"""The run folder: everything a run leaves behind, and all that is needed to forecast again.

Files are written beside their target and renamed, so that a name never points at half a file. MANIFEST.json, written
last, holds a sha256 per file and one of itself; what is read back is checked against it. Nothing here is a pickle.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.errors import ArtifactError
from forecast.where import new_run_name

if TYPE_CHECKING:  # folders are looked up without torch
    from torch import Tensor, nn

MANIFEST = "MANIFEST.json"
METRICS = "metrics.json"  # the scores of a finished run
SCHEMA = 2  # of a run folder, the first word of metrics.json; 1: before it was written
WEIGHTS = "model.safetensors"
CALIBRATION = "calibration.safetensors"
LAST_CHECKPOINT = "checkpoints/last.ckpt"
BEST_CHECKPOINT = "checkpoints/best.ckpt"
JOURNAL = "mlflow.jsonl"  # what the tracking server is to be told, see forecast.spool
SENT = "mlflow.json"  # what it has acknowledged
UNSEALED = {MANIFEST, "log.txt", JOURNAL, SENT}  # they may still change; checkpoints are for resuming only
JSON_LIMIT = 256 << 20  # bytes; no honest run comes near

log = logging.getLogger(__name__)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; renamed onto it when the block ends well, removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what a kill left of files that were being written below `folder`."""
    for left in folder.rglob(".*.tmp"):
        left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows cannot open a folder; its renames are journalled
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, data: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8", newline="\n")


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def vouched(files: Mapping[str, str]) -> dict[str, Any]:
    """What a manifest holds: the digest of each file, and the digest of those lines, so that no byte can change."""
    own = hashlib.sha256(json.dumps(dict(files), indent=1).encode()).hexdigest()
    return {"files": dict(files), "sha256": own}


def refuse_newer(path: Path, metrics: Any) -> None:
    """ArtifactError where the run folder `path`, whose metrics.json holds `metrics`, is of a schema to come."""
    schema = metrics.get("schema") if isinstance(metrics, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise ArtifactError(
            f"{path} is a run of schema {schema}", f"this program reads up to {SCHEMA}", "use a newer program"
        )


class Run:
    """A run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifest: dict[str, str] | None = None

    @classmethod
    def plan(cls, runs: str | Path, verb: str) -> "Run":
        """runs/<verb>/<UTC>-<id>, a folder that does not exist yet."""
        return cls(Path(runs).expanduser().resolve() / verb / new_run_name())

    def create(self) -> "Run":
        """Make the folder of a planned run."""
        self.path.mkdir(parents=True)
        return self

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def sealed(self) -> bool:
        """Whether the run was finished."""
        return (self.path / MANIFEST).is_file()

    def write(self, name: str, data: Any) -> None:
        write_json(self.path / name, data)

    def read(self, name: str) -> Any:
        """A JSON file of the run, checked against the manifest; ArtifactError when missing, foreign or damaged."""
        return self._json(self.checked(name))[0]

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """The scores, with the schema of the folder before them."""
        self.write(METRICS, {"schema": SCHEMA, **metrics})

    def manifest(self) -> dict[str, str]:
        """The digest of each file; ArtifactError unless MANIFEST.json is, byte for byte, what a finished run wrote,
        and the run is of a schema that is known."""
        if self._manifest is None:
            path = self.path / MANIFEST
            held, raw = self._json(path)
            files = held.get("files") if isinstance(held, dict) else None
            good = isinstance(files, dict) and (json.dumps(vouched(files), indent=1) + "\n").encode() == raw
            if not isinstance(files, dict) or not good:
                raise ArtifactError(
                    f"{path} is not what the run wrote", "its own sha256 does not fit", "restore it, or train again"
                )
            scores = self.path / METRICS
            if files.get(METRICS) == (sha256(scores) if scores.is_file() else ""):  # if damaged, its reader says so
                refuse_newer(self.path, self._json(scores)[0])
            self._manifest = files
        return self._manifest

    def add(self, name: str, data: Any) -> None:
        """A JSON file more in a finished run; the manifest vouches for it too, and for nothing else anew."""
        self.manifest()  # a damaged one is said before anything is written
        self.write(name, data)
        self.vouch(name)

    def vouch(self, *names: str) -> None:
        """Files that were written into a finished run: the manifest vouches for them too, and for nothing else anew."""
        manifest = self.manifest()
        self.write(MANIFEST, vouched({**manifest, **{name: sha256(self.path / name) for name in names}}))
        self._manifest = None

    def save_weights(self, module: "nn.Module") -> None:
        self.save_tensors(WEIGHTS, module.state_dict())

    def save_tensors(self, name: str, tensors: "Mapping[str, Tensor]") -> None:
        """A file of tensors, whole or not at all."""
        from safetensors.torch import save

        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        with atomic(self.path / name) as temporary:
            temporary.write_bytes(save(plain))  # not save_file: it makes a file that only its owner may read

    def load_tensors(self, name: str) -> "dict[str, Tensor]":
        """The tensors of a file of the run, checked against the manifest; ArtifactError for anything else."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.checked(name)
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}", do="restore the run folder") from error

    def load_weights(self, module: "nn.Module") -> None:
        """Put the saved weights into a module of the same shape; names and shapes must all agree."""
        from safetensors import SafetensorError, safe_open

        path, wanted = self.checked(WEIGHTS), module.state_dict()
        try:
            with safe_open(path, framework="pt") as file:
                found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
                expected = {key: tuple(value.shape) for key, value in wanted.items()}
                if found != expected:  # before anything is allocated
                    odd = sorted(set(found.items()) ^ set(expected.items()))[0][0]
                    raise ArtifactError(
                        f"{path}: tensor {odd!r} does not fit the run's configuration", do="restore the run folder"
                    )
                tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in found}
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}", do="restore the run folder") from error
        module.load_state_dict(tensors)

    def seal(self) -> None:
        """Write the manifest: from now on the run is finished and every file in it is vouched for."""
        found = [p for p in sorted(self.path.rglob("*")) if "checkpoints" not in p.parts and p.suffix != ".tmp"]
        names = {p.relative_to(self.path).as_posix(): p for p in found if p.is_file()}
        self.write(MANIFEST, vouched({name: sha256(p) for name, p in names.items() if name not in UNSEALED}))
        self._manifest = None

    def checked(self, name: str) -> Path:
        """The path of a file; ArtifactError unless it is there and is what the run wrote."""
        path = self.path / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing", "expected a finished run", "name another run, or train one")
        try:
            changed = self.sealed and self.manifest().get(name) != sha256(path)
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}", do="restore the run folder") from error
        if changed:
            raise ArtifactError(
                f"{path} is not what the run wrote", "its sha256 is not the manifest's", "restore the run folder"
            )
        return path

    def _json(self, path: Path) -> tuple[Any, bytes]:
        """What a JSON file holds, and its bytes."""
        try:
            if path.stat().st_size > JSON_LIMIT:
                raise ArtifactError(f"{path} is larger than {JSON_LIMIT >> 20} MiB", do="train again")
            raw = path.read_bytes()
            return json.loads(raw.decode("utf-8")), raw
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}", do="restore the run folder") from error
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{path} is not JSON: {error}", do="train again, or restore the file") from error


def resumable(run: Run) -> bool:
    """Whether a training can go on from it."""
    return (run.path / LAST_CHECKPOINT).is_file()


def find(wanted: str, runs: str | Path, *, to_resume: bool = False) -> Run:
    """The training run named by a path, an id (or the start of one) or `latest`.

    It must be finished, or, to resume, may have been interrupted: `latest` is then the newest with a checkpoint.
    """
    run = _named(wanted, runs, to_resume)
    if not to_resume and not run.sealed:
        go_on = f"go on with: forecast train resume={run.path}" if resumable(run) else "train again"
        raise ArtifactError(f"{run.path} is not finished", f"expected a run with a {MANIFEST}", go_on)
    return run


def _named(wanted: str, runs: str | Path, to_resume: bool) -> Run:
    folder, given = Path(runs).expanduser() / "train", Path(wanted).expanduser()
    if wanted != "latest" and (given / "config.json").is_file():
        return Run(given.resolve())
    known = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if wanted == "latest":
        for path in reversed(known):
            if resumable(Run(path)) if to_resume else Run(path).sealed:
                return Run(path.resolve())
        what = "run with a checkpoint" if to_resume else "finished run"
        raise ArtifactError(f"no {what} in {folder}", do="train one: forecast train")
    matches = [p for p in known if p.name == wanted or p.name.startswith(wanted) or p.name.endswith(f"-{wanted}")]
    if len(matches) == 1:
        return Run(matches[0].resolve())
    if matches:
        raise ArtifactError(f"run {wanted!r} names {len(matches)} runs in {folder}", do="give more of the name")
    if given.is_dir():
        raise ArtifactError(f"{given} is no run folder", "it has no config.json", "name another run, or train one")
    newest = f"the newest is {known[-1].name}" if known else "there are none; train one: forecast train"
    raise ArtifactError(f"no run {wanted!r} in {folder}", "expected an id, a path or latest", newest)
