"""MLflow itself: a connection to a store, and the runs that are registered there.

What MLflow has of a run is a run folder inside a model (interop/pyfunc.py). It is fetched as files, checked against
their manifest and read by us; nothing of it is executed, and MLflow's own loader of models is never called here.
"""

import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

from forecast.artifacts import MANIFEST, Run
from forecast.errors import ArtifactError, RunError, UsageError
from forecast.spool import SQLITE, absolute, shown

DEFAULT: Final = f"{SQLITE}mlflow.db"  # where track=mlflow writes
TIMEOUT_S: Final = 30


class Unsent(Exception):
    """The store does not take it now; it may later."""


class Store:
    """A connection to the tracking server or database at `uri`; a request gets `timeout_s` and no second try."""

    def __init__(self, uri: str, timeout_s: int) -> None:
        for key, value in {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "GIT_PYTHON_REFRESH": "quiet",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": str(timeout_s),
        }.items():
            os.environ.setdefault(key, value)
        import mlflow

        for name in ("mlflow", "alembic", "git", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.mlflow, self.uri = mlflow, uri
        mlflow.set_tracking_uri(uri)  # for log_model, which takes no client

    def open(self) -> "Store":
        """Make the database if there is none, ask the server something; Unsent when that fails."""
        try:
            self.client = self.mlflow.MlflowClient(self.uri)
            self.client.search_experiments(max_results=1)
        except Exception as error:
            raise Unsent(short(error)) from error
        return self

    def download(self, run_id: str, folder: str, names: Sequence[str], limit: int, place: Path) -> list[Path]:
        """Files `names` of a run's artefact folder, each at most `limit` bytes, in the folder `place`; Unsent when
        one is not there, is larger, or cannot be had."""
        try:
            there = {item.path: item.file_size or 0 for item in self.client.list_artifacts(run_id, folder)}
            for name in names:
                if f"{folder}/{name}" not in there:
                    raise Unsent(f"it has no {folder}/{name}")
                if there[f"{folder}/{name}"] > limit:
                    raise Unsent(f"{folder}/{name} is larger than {limit >> 20} MiB")
            paths = [Path(self.client.download_artifacts(run_id, f"{folder}/{name}", str(place))) for name in names]
        except Exception as error:
            raise error if isinstance(error, Unsent) else Unsent(short(error)) from error
        if any(path.is_symlink() or not path.is_file() or path.stat().st_size > limit for path in paths):
            raise Unsent("what came is not what was listed")
        return paths


class Registered(NamedTuple):
    """A run that came from a store. `version` changes when the same words mean another model."""

    name: str
    version: str
    run: Run


class _Named(NamedTuple):
    """`models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/ID/PATH`."""

    uri: str
    name: str
    version: str  # empty where an alias is to be looked up
    alias: str = ""


def tracking_uri(tracking: str | None = None) -> str:
    """The store that is meant: the one given, MLFLOW_TRACKING_URI, or mlflow.db in this directory."""
    return absolute(tracking or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT)


def version(uri: str, tracking: str | None = None) -> str:
    """What `uri` stands for now: the version that an alias points to. One request; nothing is fetched.

    ArtifactError where the store has no such model, RunError where it cannot be asked.
    """
    return _version(_parsed(uri), _opened(tracking_uri(tracking)))


def registered(uri: str, tracking: str | None, cache: Path) -> Registered:
    """The run that `uri` names, as a folder in `cache`: fetched once for each version, whole or not at all.

    uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/ID/model`. tracking: the store, see `tracking_uri`.
    Every file is what its manifest says, or this raises ArtifactError; RunError where the store cannot be asked.
    """
    named, store = _parsed(uri), _opened(tracking_uri(tracking))
    found = _version(named, store)
    exact = named.uri if not named.alias else f"models:/{named.name}/{found}"
    place = cache.expanduser() / _folder(named, found, store, exact)
    if not place.is_dir():
        _fetch(store, exact, place)
    (folder,) = (path for path in place.iterdir() if path.is_dir())
    return Registered(named.name, found, Run(folder.resolve()))


def _parsed(uri: str) -> _Named:
    if match := re.fullmatch(r"models:/([^/@]+)@([^/@]+)", uri):
        return _Named(uri, match[1], "", match[2])
    if match := re.fullmatch(r"models:/([^/@]+)/([0-9]+)", uri):
        return _Named(uri, match[1], match[2])
    if match := re.fullmatch(r"runs:/([0-9a-zA-Z_-]+)/([^/@]+)", uri):
        return _Named(uri, match[2], match[1])
    raise UsageError(f"run={uri}", "expected models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/model")


def _version(named: _Named, store: "Store") -> str:
    if named.uri.startswith("runs:/"):
        return named.version
    try:
        if named.alias:
            return str(store.client.get_model_version_by_alias(named.name, named.alias).version)
        return str(store.client.get_model_version(named.name, named.version).version)
    except Exception as error:
        raise _failed(store, named.uri, error) from error


def _failed(store: "Store", uri: str, error: Exception) -> ArtifactError | RunError:
    """What a request ended with, in our words: it is not there, or cannot be had."""
    code = getattr(error, "error_code", "")
    if code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
        return ArtifactError(
            f"{shown(store.uri)} has no {uri}: {short(error)}", "expected a registered model, version or alias",
            "set MLFLOW_TRACKING_URI, or register one: forecast train track=mlflow track.register=NAME",
        )  # fmt: skip
    return RunError(f"{shown(store.uri)}: {uri} cannot be read: {short(error)}", do="try again later")


@lru_cache(maxsize=8)
def _opened(uri: str) -> "Store":
    """A connection, kept: an alias may be asked for every few seconds."""
    base = Path(uri.removeprefix(SQLITE))
    if uri.startswith(SQLITE) and not base.is_file():  # opening it would make one
        raise ArtifactError(f"{base} is not there", "expected MLflow's database", "set MLFLOW_TRACKING_URI")
    try:
        return Store(uri, TIMEOUT_S).open()
    except Unsent as error:
        raise RunError(f"{shown(uri)}: {error}", do="set MLFLOW_TRACKING_URI, or try again later") from error


def _folder(named: _Named, found: str, store: "Store", exact: str) -> str:
    """A name in the cache that no other model has, in no other store."""
    source = "" if exact.startswith("runs:/") else str(store.client.get_model_version(named.name, found).source)
    mark = hashlib.sha256("\n".join((store.uri, exact, source)).encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', named.name)[:40]}-{found}-{mark}"


def _fetch(store: "Store", uri: str, place: Path) -> None:
    """Fetch a model, and keep the run folder in it as the one folder in `place`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".") as temporary:
        raw, kept = Path(temporary) / "raw", Path(temporary) / "kept"
        raw.mkdir()
        store.mlflow.set_tracking_uri(store.uri)  # the registry that models:/ is looked up in has no argument
        try:
            store.mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(raw), tracking_uri=store.uri)
        except Exception as error:
            raise _failed(store, uri, error) from error
        manifests = [path for path in raw.rglob(MANIFEST) if path.is_file() and not path.is_symlink()]
        if len(manifests) != 1:
            raise ArtifactError(
                f"{uri} holds no run of forecast", f"expected one {MANIFEST} in it, found {len(manifests)}"
            )
        came = Run(manifests[0].parent)
        for name in came.manifest():
            _keep(came, name, kept / came.id)
        shutil.copyfile(manifests[0], kept / came.id / MANIFEST)
        try:
            os.rename(kept, place)
        except OSError:
            if not place.is_dir():  # or another process was quicker
                raise


def _keep(came: Run, name: str, folder: Path) -> None:
    """One file that the manifest vouches for; what it names lies in the run folder."""
    path = came.path / name
    if Path(name).is_absolute() or ".." in Path(name).parts or path.is_symlink():
        raise ArtifactError(f"{path} is no file of a run", do="register the run again")
    came.checked(name)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, folder / name)


def short(error: BaseException) -> str:
    """What a store says when it fails, in a line that can be read."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]} …"
