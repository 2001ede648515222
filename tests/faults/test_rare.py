"""Errors that no plain command line provokes; each is still one line with its exit code."""

import json
import random
import shutil
import types
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from lightning_fabric.utilities.exceptions import MisconfigurationException

from forecast import __main__ as program
from forecast import cli
from forecast.artifacts import Run
from forecast.dashboards import load
from forecast.dashboards.series import scored
from forecast.data.infer import infer_card
from forecast.data.module import SeriesModule
from forecast.data.read import read_file, read_series
from forecast.data.scale import fit as fit_scaler
from forecast.data.table import apply_gaps
from forecast.errors import ArtifactError, DataError, RunError, UsageError
from forecast.inference.predictor import Predictor
from forecast.tasks.callbacks import Interrupt
from forecast.tasks.trainer import fit
from forecast.track import Tracker
from forecast.verbs.train import _told

from . import conftest
from .case import TRAIN
from .make import bytes_of, csv, frame, put, values

FAILING = Path("/proc/self/mem")  # a regular file that can be opened and not be read


@pytest.mark.parametrize("name", ["model.safetensors", "MANIFEST.json"])
def test_a_run_on_a_failing_disk(copied: Path, name: str) -> None:
    (copied / name).unlink()
    (copied / name).symlink_to(FAILING)
    with pytest.raises(ArtifactError, match=rf"^{copied}/{name} cannot be read: Input/output error; restore"):
        Predictor.load(copied)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv()(tmp_path)

    def refused(*_: Any, **__: Any) -> Any:  # permissions do not bind a superuser, as whom tests may run
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(DataError, match=r"f\.csv cannot be read: Permission denied; expected a csv table"):
        read_file(tmp_path / "f.csv")


def test_a_value_of_a_key_without_a_kind() -> None:
    fault = types.SimpleNamespace(full_key="a.b", parent_node=None, key="b", msg="Not so\nmore")
    assert str(cli.no_value(fault, "a.b=1")) == "a.b=1 is not valid; Not so"


def test_a_frame_of_no_rows(copied: Path) -> None:
    predictor = Predictor.load(copied)
    with pytest.raises(DataError, match="^the table has no rows; expected a table with data; give at least one row$"):
        predictor.predict(frame().head(0))


def test_words_that_the_command_line_checks_before(tmp_path: Path) -> None:
    csv()(tmp_path)
    data = SeriesModule(path=str(tmp_path / "f.csv"), context=12, horizon=3).prepare()
    with pytest.raises(UsageError, match="^there is no part 'tset'; did you mean test"):
        data.windows("tset")
    with pytest.raises(DataError, match="^data.scale is 'robust'; expected standard, mean or none"):
        fit_scaler("robust", data.series, data.split.train)
    with pytest.raises(UsageError, match="^data.gaps is 'fil'; did you mean fill"):
        apply_gaps(data.series, "fil")


def test_what_lightning_refuses_as_it_starts() -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise MisconfigurationException("no such\nthing")

    trainer: Any = types.SimpleNamespace(callbacks=[Interrupt()], fit=refused, accumulate_grad_batches=1)
    task: Any = None
    with pytest.raises(UsageError, match="^trainer: no such thing$"):
        fit(trainer, task, task)


def test_a_rank_without_its_first(
    run_program: conftest.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv()(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCAL_RANK", "1")
    said = run_program(TRAIN)
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert said.err.startswith("forecast: LOCAL_RANK is 1, but FORECAST_RUN_DIR is not set; ")


SRUN = {"SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}  # fmt: skip


@pytest.mark.parametrize(
    ("env", "words", "line"),
    [
        (SRUN, "", "trainer.devices is 1 and trainer.nodes 1, but srun started 2 processes; expected one for each"),
        ({"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "1"}, " trainer.nodes=2",
         "trainer.devices is 1 and trainer.nodes 2, but torchrun started 1 process; expected one for each"),
        ({**SRUN, "SLURM_NTASKS_PER_NODE": ""}, " trainer.nodes=2", "trainer: You set `--ntasks=2`"),
        ({**SRUN, "SLURM_NNODES": "1"}, " trainer.nodes=2",
         "trainer.devices is 1 and trainer.nodes 2, but srun started 2 processes on 1 machine; expected one for each"),
    ],
)  # fmt: skip
def test_launchers_that_start_another_number_of_processes(
    env: dict[str, str], words: str, line: str,
    run_program: conftest.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    csv()(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
        if not value:
            monkeypatch.delenv(name)
    said = run_program(TRAIN + words)
    assert (said.code, said.err.count("\n")) == (2, 1), said.err
    assert said.err.startswith(f"forecast: {line}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words", [f"{TRAIN} -m seed=1,2", "tune seed=1,2 trials=2"])
def test_a_sweep_in_one_of_several_processes(
    words: str, run_program: conftest.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    said = run_program(words)
    what = "-m" if "-m" in words else "forecast tune"
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert said.err.startswith(f"forecast: {what} in one of 2 processes that srun started; expected one training")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_while_training(tmp_path: Path) -> None:
    said = "^training failed: .* No space left on device; see .*log.txt$"
    with pytest.raises(RunError, match=said), _told(Tracker(), Run(tmp_path)):
        raise OSError(28, "No space\nleft on device")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", r"^config\.json is not JSON"),
        ("metrics.json", "[]", r"^metrics\.json holds a list; a dict; run it again$"),
        ("history.csv", "a,b\n1,2\n", r"^history\.csv cannot be read"),
    ],
)
def test_a_report_of_a_damaged_run(copied: Path, name: str, content: str, message: str) -> None:
    (copied / name).write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        load.read(copied)
    shutil.rmtree(copied)
    with pytest.raises(ArtifactError, match="^no run folder at "):
        load.read(copied)


def test_a_report_of_damaged_predictions(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    path.write_bytes(bytes_of(frame())[:-50])
    with pytest.raises(ArtifactError, match=r"^predictions\.parquet cannot be read"):
        scored.scan(path)
    frame().write_parquet(path)
    with pytest.raises(ArtifactError, match=r"^predictions\.parquet has no column "):
        scored.scan(path)


def test_a_panic_of_polars_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def panics() -> int:
        raise pl.exceptions.PanicException("index out of\nbounds")

    assert program.guarded(panics) == 5
    assert capsys.readouterr().err.startswith("forecast: PanicException: index out of bounds; this is a defect of")


# What is no error, and is said


@pytest.mark.parametrize(
    ("value", "changes", "said"),
    [
        (lambda i: 5, {}, ["target 'y' is 5 in every training row: nothing to learn"]),
        (lambda i: -9999 if i % 10 == 3 else i % 7, {}, [
            "f.csv: column 'y' holds -9999 in 10 rows, far from its other values (mostly 0 to 6); "
            "if that means that nothing was measured, set data.missing=-9999"
        ]),
        (lambda i: -9999 if i % 10 == 3 else i % 7, {"missing": -9999, "gaps": "mask"}, []),
        (lambda i: 999 if i % 50 == 3 else i, {}, []),  # twice is no habit
        (lambda i: 99 if i % 10 == 3 else i, {}, []),  # a value among others
        (lambda i: i, {}, []),
    ],
)  # fmt: skip
def test_notes_about_values(tmp_path: Path, value: Any, changes: dict[str, Any], said: list[str]) -> None:
    values(value)(tmp_path)
    data = SeriesModule(path=str(tmp_path / "f.csv"), context=12, horizon=3, **changes).prepare()
    assert [line for line in data.findings if "nothing" in line] == said


def test_a_constant_target_trains(run_program: conftest.Program, tmp_path: Path, monkeypatch: Any) -> None:
    values(lambda i: "5,7", "ds,y,z")(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = run_program(f"{TRAIN} data.target=y data.past=z model=linear predictions=false")
    assert said.code == 0, said.err
    assert "target 'y' is 5 in every training row: nothing to learn" in said.err
    assert "channel 'z' is 7 in every training row: nothing to learn" in said.err
    (run,) = (tmp_path / "runs" / "train").iterdir()
    scaled = json.loads((run / "metrics.json").read_text())["rows"][0]["scaled"]
    assert 0 <= scaled["mse"] < 1


def test_offsets_that_differ_are_instants(tmp_path: Path) -> None:
    put("ds,y\n2024-03-31 01:00+01:00,1\n2024-03-31 03:00+02:00,2\n2024-03-31 04:00+02:00,3\n")(tmp_path)
    card = infer_card(tmp_path / "f.csv")
    series = read_series(card, path=tmp_path / "f.csv")
    assert [str(t)[:16] for t in series.time] == ["2024-03-31T00:00", "2024-03-31T01:00", "2024-03-31T02:00"]


def test_a_damaged_parquet_never_ends_the_process(tmp_path: Path) -> None:
    """1 or more bytes changed, 150 times: a table or one line, no panic, nothing on stderr but ours."""
    raw = bytes_of(pl.DataFrame({"unique_id": ["a"] * 500 + ["b"] * 500, "y": [i / 8 for i in range(1000)]}))
    draw, path, refused = random.Random(1), tmp_path / "f.parquet", 0
    for _ in range(150):
        harmed = bytearray(raw)
        for _ in range(draw.choice((1, 3, 20))):
            harmed[draw.randrange(4, len(raw) - 4)] = draw.randrange(256)
        path.write_bytes(harmed)
        try:
            read_file(path)
        except DataError as fault:
            assert "\n" not in str(fault)
            refused += 1
    assert refused > 75
