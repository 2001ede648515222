"""An estimator as a run folder, alone or in the zip that sktime saves: safetensors, JSON and parquet."""

import csv
import io
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import polars as pl

from forecast.artifacts import CALIBRATION, Run, atomic
from forecast.errors import ArtifactError
from forecast.inference.predictor import Predictor
from forecast.interop.sktime_fit import Trained
from forecast.interop.sktime_plain import plain, restored
from forecast.tasks.callbacks import HEADER

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
    with atomic(run.path / "history.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *((s, e, k, repr(v), f"{t:.3f}") for s, e, k, v, t in trained.history)])


def read_run(run: Run, facts: dict[str, Any], *, held_out: bool) -> Trained:
    """The inverse of `write_run`, of a sealed folder."""
    config: dict[str, Any] = run.read("config.json")
    config["data"]["path"] = Path(TABLE).stem  # the table is in memory
    try:
        table = pl.read_parquet(run.checked(TABLE))
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(f"{run.path / TABLE} cannot be read: {error}", do="restore the run folder") from error
    with open(run.checked("history.csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    history = [(int(s), int(e), k, float(v), float(t)) for s, e, k, v, t in rows]
    return Trained(config, Predictor.load(run), table, held_out=held_out, facts=facts, history=history)


def packed(state: dict[str, Any], trained: Trained | None) -> bytes:
    """The folder as the bytes of a zip; `state` is what is kept beside the run, `trained` None before a fit."""
    written = io.BytesIO()
    with TemporaryDirectory(prefix="forecast-") as name:
        run = Run(Path(name))
        if trained is not None:
            write_run(trained, run)
            state = {**state, "facts": trained.facts, "held_out": trained.held_out}
        run.write(STATE, plain(state))
        run.seal()
        with ZipFile(written, "w", ZIP_DEFLATED) as archive:
            for path in sorted(run.path.iterdir()):
                archive.write(path, INSIDE + path.name)
    return written.getvalue()


def unpacked(data: bytes) -> tuple[dict[str, Any], Trained | None]:
    """The inverse of `packed`; ArtifactError for anything else."""
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
        fitted = (folder / "config.json").is_file()
        return state, read_run(run, state["facts"], held_out=state["held_out"]) if fitted else None


def archive(path: Path, cls: type, data: bytes) -> ZipFile:
    """PATH.zip as sktime's `load` reads it: the name of the class, which it unpickles, and the folder."""
    place = path.with_name(f"{path.stem}.zip")
    with atomic(place) as temporary:
        temporary.write_bytes(data)
        with ZipFile(temporary, "a", ZIP_DEFLATED) as made:
            made.writestr("_metadata", pickle.dumps(cls))
    return ZipFile(place)


__all__ = ["STATE", "TABLE", "archive", "packed", "read_run", "unpacked", "write_run"]
