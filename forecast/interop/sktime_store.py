"""An estimator as a run folder, alone or in the zip that sktime saves: safetensors, JSON and parquet."""

import csv
import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import polars as pl

from forecast.artifacts import CALIBRATION, Run, atomic
from forecast.errors import ArtifactError
from forecast.inference.predictor import Predictor
from forecast.interop.sktime_fit import Trained
from forecast.interop.sktime_plain import plain, restored
from forecast.tasks.callbacks import HEADER, Row

T = TypeVar("T")
STATE: Final = "estimator.json"  # what sktime knows beside our run
TABLE: Final = "y.parquet"  # the data that it was fitted on and updated with
INSIDE: Final = "run/"  # the folder in the zip


def write_run(trained: Trained, run: Run) -> None:
    """A folder that `forecast predict run=…` reads. It is not sealed yet."""
    run.path.mkdir(parents=True, exist_ok=True)
    with atomic(run.path / TABLE) as temporary:
        trained.table.write_parquet(temporary)
    place = {**trained.config["data"], "path": str((run.path / TABLE).resolve())}
    run.write("config.json", {**trained.config, "data": place})
    run.write("data.json", trained.predictor.recipe.to_state())
    run.save_weights(trained.predictor.chain)
    if trained.predictor.calibration is not None:
        run.save_tensors(CALIBRATION, trained.predictor.calibration.tensors())
    write_history(trained.history, run)


def write_history(history: Sequence[Row], run: Run) -> None:
    """As a training of the command line leaves it."""
    with atomic(run.path / "history.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *((s, e, k, repr(v), f"{t:.3f}") for s, e, k, v, t in history)])


def read_history(run: Run) -> list[Row]:
    """The inverse of `write_history`."""
    with open(run.checked("history.csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return [(int(s), int(e), k, float(v), float(t)) for s, e, k, v, t in rows]


def read_run(run: Run, state: dict[str, Any]) -> Trained:
    """The inverse of `write_run`, of a sealed folder; `state`: facts and held_out."""
    config: dict[str, Any] = run.read("config.json")
    config["data"]["path"] = Path(TABLE).stem  # the table is in memory
    try:
        table = pl.read_parquet(run.checked(TABLE))
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(f"{run.path / TABLE} cannot be read: {error}", do="restore the run folder") from error
    words = {"held_out": state["held_out"], "facts": state["facts"], "history": read_history(run)}
    return Trained(config, Predictor.load(run), table, **words)


def packed(state: dict[str, Any], write: Callable[[Run], None] | None) -> bytes:
    """The folder as the bytes of a zip; `state` is kept beside what `write` writes, None where nothing was fitted."""
    written = io.BytesIO()
    with TemporaryDirectory(prefix="forecast-") as name:
        run = Run(Path(name))
        if write is not None:
            write(run)
        run.write(STATE, plain(state))
        run.seal()
        with ZipFile(written, "w", ZIP_DEFLATED) as archive:
            for path in sorted(run.path.iterdir()):
                archive.write(path, INSIDE + path.name)
    return written.getvalue()


def unpacked(data: bytes, read: Callable[[Run, dict[str, Any]], T]) -> tuple[dict[str, Any], T | None]:
    """The inverse of `packed`, with what `read` makes of the folder; ArtifactError for anything else."""
    with TemporaryDirectory(prefix="forecast-") as name:
        folder = Path(name)
        try:
            with ZipFile(io.BytesIO(data)) as archive:
                for member in archive.namelist():  # names of files in one folder, nothing that leads out of it
                    inner = member.removeprefix(INSIDE)
                    if member.startswith(INSIDE) and inner and Path(inner).name == inner:
                        (folder / inner).write_bytes(archive.read(member))
        except (BadZipFile, ValueError, OSError, RuntimeError) as error:
            raise ArtifactError(f"the saved estimator cannot be read: {error}", do="save it again") from error
        run = Run(folder)
        run.manifest()
        state: dict[str, Any] = restored(run.read(STATE))
        return state, read(run, state) if (folder / "config.json").is_file() else None


def archive(path: Path, cls: type, data: bytes) -> ZipFile:
    """PATH.zip as sktime's `load` reads it: the name of the class, which it unpickles, and the folder."""
    place = path.with_name(f"{path.stem}.zip")
    with atomic(place) as temporary:
        temporary.write_bytes(data)
        with ZipFile(temporary, "a", ZIP_DEFLATED) as made:
            made.writestr("_metadata", pickle.dumps(cls))
    return ZipFile(place)
