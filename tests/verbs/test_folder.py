"""A training from a folder: the run of a training in memory, to the bit; killed and resumed; ten thousand series."""

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecast.artifacts import sha256
from tests.verbs.conftest import command
from tests.verbs.killing import kill_after, outcome, start

WORDS = [
    "experiment=smoke", "model=linear", "task.context=24", "task.horizon=6", "trainer.max_epochs=2",
    "trainer.patience=null", "trainer.save_every=5", "trainer.limit_train_batches=1.0",
]  # fmt: skip


def panel(count: int, rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    hours = np.datetime64("2024-01-01", "us") + np.arange(rows) * np.timedelta64(1, "h")
    level = rng.uniform(1, 100, count).repeat(rows)
    return pl.DataFrame({
        "unique_id": pl.Series([f"s{i}" for i in range(count)]).gather(np.arange(count).repeat(rows)),
        "ds": np.tile(hours, count),
        "y": level * (1 + 0.2 * np.sin(np.arange(count * rows) * 2 * np.pi / 24) + rng.normal(0, 0.1, count * rows)),
    })  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows in one file and in a folder of three, sorted by month, not by series."""
    place = tmp_path_factory.mktemp("folder")
    frame = panel(20, 150)
    frame.write_parquet(place / "one.parquet")
    (place / "many").mkdir()
    by_time = frame.sort("ds", maintain_order=True)
    for i in range(3):
        by_time[i * 1000 : (i + 1) * 1000].write_parquet(place / "many" / f"{i}.parquet")
    return place


@pytest.fixture(scope="module")
def run(home: Path) -> Path:
    command("train", *WORDS, "data=folder", "data.path=many", "runs=folder", cwd=home)
    (found,) = (home / "folder" / "train").iterdir()
    return found


def test_the_run_is_that_of_a_training_in_memory(home: Path, run: Path) -> None:
    command("train", *WORDS, "data=series", "data.path=one.parquet", "runs=series", cwd=home)
    (other,) = (home / "series" / "train").iterdir()
    assert outcome(run) == outcome(other)
    assert sha256(run / "predictions.parquet") == sha256(other / "predictions.parquet")
    assert sha256(run / "calibration.safetensors") == sha256(other / "calibration.safetensors")
    a, b = (json.loads((each / "metrics.json").read_text()) for each in (run, other))
    assert a["rows"] == b["rows"] and a["intervals"] == b["intervals"] and a["windows"] == b["windows"]


def test_a_run_is_scored_again_and_forecasts(home: Path, run: Path) -> None:
    done = command("evaluate", f"run={run}", cwd=home)
    assert "equal to the scores saved with the run, to the last bit" in done.stdout
    panel(3, 40).write_parquet(home / "new.parquet")
    command("predict", f"run={run}", "input=new.parquet", "output=next.parquet", cwd=home)
    assert pl.read_parquet(home / "next.parquet").height == 3 * 6
    frame = pl.read_parquet(home / "many" / "0.parquet")
    (home / "other").mkdir()
    frame.with_columns(pl.col("y") * 2).write_parquet(home / "other" / "0.parquet")
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["path"] == str(home / "many") and config["data"]["cache"] is None


def test_a_kill_within_an_epoch_costs_nothing(home: Path, run: Path, tmp_path: Path) -> None:
    words = [*WORDS, "data=folder", f"data.path={home / 'many'}"]
    with open(run / "history.csv", newline="", encoding="utf-8") as file:
        steps = max(int(row["step"]) for row in csv.DictReader(file))
    killed = kill_after(start(*words, cwd=tmp_path), tmp_path, steps // 2 + 5)
    assert not (killed / "model.safetensors").exists()
    command("train", "resume=latest", cwd=tmp_path)
    assert outcome(killed) == outcome(run)


def test_ten_thousand_series(tmp_path: Path) -> None:
    """Their scales lie beside the record; a forecast finds them there."""
    frame = panel(10_001, 45)
    (tmp_path / "many").mkdir()
    frame.write_parquet(tmp_path / "many" / "0.parquet")
    words = ["data.batch_size=256", "trainer.limit_train_batches=5", "trainer.max_epochs=1", "predictions=false"]
    splits = "data.splits={train: 31, val: 7, test: 7}"
    command("train", *WORDS, *words, "data=folder", "data.path=many", splits, cwd=tmp_path)
    (run,) = (tmp_path / "runs" / "train").iterdir()
    assert (run / "data.json").stat().st_size < 20_000 and (run / "scaler.parquet").is_file()
    assert "scaler.parquet" in json.loads((run / "MANIFEST.json").read_text())["files"]
    new = frame.filter(pl.col("unique_id").is_in(["s7", "s10000"]))
    pl.concat([new, new[:45].with_columns(unique_id=pl.lit("new"))]).write_parquet(tmp_path / "new.parquet")
    done = command("predict", "run=latest", "input=new.parquet", "output=next.parquet", cwd=tmp_path)
    assert "1 of 3 series was not in training" in done.stderr
    (run / "scaler.parquet").write_bytes((run / "scaler.parquet").read_bytes()[:-1])
    refused = command("predict", "run=latest", "input=new.parquet", "output=o.parquet", cwd=tmp_path, code=4)
    assert "scaler.parquet is not what the run wrote" in refused.stderr
