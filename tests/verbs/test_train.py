"""The main job end to end, in small: what it prints, what it leaves, and that it can be gone on with."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import polars as pl
import pytest

from forecast.artifacts import MANIFEST, sha256
from forecast.inference.record import QUANTILES
from tests.verbs.conftest import REPO, command

FILES = {
    "MANIFEST.json", "calibration.safetensors", "checkpoints", "config.json", "data.json", "env.json", "gaps.json",
    "history.csv", "insight.json", "insight.parquet", "log.txt", "metrics.json", "mlflow.json", "mlflow.jsonl",
    "model.safetensors", "overrides.json", "predictions.parquet", "report.html",
}  # fmt: skip


def test_a_run_leaves_its_folder_and_the_mlflow_store_and_nothing_else(trained, home):
    assert {p.name for p in trained.iterdir()} == FILES
    assert {p.name for p in home.iterdir()} == {"runs", "mlflow.db"}
    assert {p.name for p in (home / "runs").iterdir()} == {"train", "mlflow"}
    assert {p.name for p in (trained / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_the_manifest_vouches_for_every_file(trained):
    manifest = json.loads((trained / MANIFEST).read_text())
    assert set(manifest["files"]) == FILES - {"MANIFEST.json", "checkpoints", "log.txt", "mlflow.json", "mlflow.jsonl"}
    assert all(sha256(trained / name) == value for name, value in manifest["files"].items())


def test_scores_stand_beside_the_naive_rows(trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    assert [row["name"] for row in metrics["rows"]] == ["informer", "seasonal naive", "last value", "ridge"]
    assert metrics["windows"] == {"train": 18_359, "val": 2_627, "test": 5_255}  # all of them
    for row in metrics["rows"]:
        assert set(row["original"]) == {"mse", "mae", "rmse", "mase", "smape", "wape", "bias"}
        assert len(row["horizon"]["mse"]) == 6
        assert row["values"] == 5_255 * 6


def test_predictions_agree_with_the_scores(trained):
    made = pl.read_parquet(trained / "predictions.parquet")
    assert made.height == 5_255 * 6
    assert made.columns == ["unique_id", "channel", "cutoff", "ds", "step", "y", "y_hat", "naive", *QUANTILES]
    order = sorted(QUANTILES, key=lambda name: QUANTILES[name])
    assert all((made[below] <= made[above]).all() for below, above in pairwise(order))
    metrics = json.loads((trained / "metrics.json").read_text())
    error = (made["y_hat"].cast(float) - made["y"].cast(float)).abs().mean()
    assert error == pytest.approx(metrics["rows"][0]["original"]["mae"], rel=1e-5)
    assert (made["ds"] - made["cutoff"]).unique().sort().to_list() == [
        step * (made["ds"][0] - made["cutoff"][0]) for step in range(1, 7)
    ]


def test_history_has_losses_rates_and_validation(trained):
    with open(trained / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} == {"train/loss", "lr", "val/mse", "val/mae"}
    assert all(float(row["value"]) >= 0 for row in rows)


def test_mlflow_has_the_run_its_data_and_the_registered_model(trained, home):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "forecast/electricity"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["run_folder"] == str(trained)
    assert run.data.params["model.d_model"] == "16"
    assert run.data.tags["mlflow.source.name"].startswith("forecast train experiment=smoke")
    metrics = json.loads((trained / "metrics.json").read_text())
    assert run.data.metrics["test/mse_z"] == metrics["rows"][0]["scaled"]["mse"]
    assert run.data.metrics["test_seasonal_naive/mae"] == metrics["rows"][1]["original"]["mae"]
    contexts = {tag.value for item in run.inputs.dataset_inputs for tag in item.tags}
    assert contexts == {"train", "val", "test"}
    assert all(item.dataset.digest for item in run.inputs.dataset_inputs)
    assert {"run", "figures"} <= {f.path for f in client.list_artifacts(run.info.run_id)}
    version = client.get_model_version_by_alias("load", "champion")
    assert version.run_id == run.info.run_id


def test_the_registered_model_forecasts_without_a_pickle(trained, home):
    code = """
import os, mlflow, polars as pl
mlflow.set_tracking_uri("sqlite:///mlflow.db")
model = mlflow.pyfunc.load_model("models:/load@champion")
frame = pl.read_parquet(os.environ["FILE"]).tail(100).to_pandas()
print(len(model.predict(frame)))
"""
    from forecast.where import DATASETS

    env = {**os.environ, "PYTHONPATH": str(REPO), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
           "FILE": str(DATASETS / "electricity" / "electricity.parquet")}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=home, env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "6", done.stderr
    assert not [p for p in (home / "runs" / "mlflow").rglob("*.pkl")]


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(trained, tmp_path):
    command("train", "experiment=smoke", cwd=tmp_path)
    command("train", "experiment=smoke", "seed=2", "predictions=false", cwd=tmp_path)
    first, second = sorted((tmp_path / "runs" / "train").iterdir())
    assert sha256(first / "model.safetensors") == sha256(trained / "model.safetensors")
    assert sha256(first / "metrics.json") != sha256(second / "metrics.json")
    assert not (second / "predictions.parquet").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"runs"}  # track=none leaves no store


def test_ctrl_c_keeps_the_last_checkpoint_and_resume_goes_on(tmp_path):
    words = ["train", "experiment=smoke", "trainer.max_epochs=2000", "trainer.limit_train_batches=3",
             "trainer.patience=null", "data.splits={train: 1000, val: 200, test: 200}"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "forecast", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob("runs/train/*/checkpoints/last.ckpt")):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    (run,) = (tmp_path / "runs" / "train").iterdir()
    assert f"forecast train resume={run.name}" in said
    with open(run / "history.csv", newline="") as file:
        done = int(list(csv.DictReader(file))[-1]["epoch"]) + 1
    command("train", "resume=latest", f"trainer.max_epochs={done + 2}", cwd=tmp_path)
    assert [p.name for p in (tmp_path / "runs" / "train").iterdir()] == [run.name]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["epochs"] == done + 2
    with open(run / "history.csv", newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["name"] == "val/mse"]
    assert steps == [3 * (i + 1) for i in range(done + 2)]  # every epoch once, those before the resume included
    command("train", "resume=latest", "trainer.max_epochs=0", cwd=tmp_path, code=2)
    command("evaluate", "run=latest", "split=val", cwd=tmp_path)  # what was refused harmed nothing
    resumes = json.loads((run / "resumes.json").read_text())
    assert [r["command"] for r in resumes] == [f"forecast train resume=latest trainer.max_epochs={done + 2}"]
    assert "resume" not in json.loads((run / "env.json").read_text())["command"]


def test_resume_refuses_what_the_run_has_settled(trained, home):
    done = command("train", f"resume={trained.name}", "model.d_model=32", cwd=home, code=2)
    assert done.stderr.startswith("forecast: resume= with model.d_model=: that is settled by the run")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("words", "code", "message"), [
    (["data=series", "data.path=nowhere.csv"], 3, "nowhere.csv"),
    (["task.horizon=9000"], 3, "a window needs"),
    (["model.heads=5"], 2, "not a multiple of heads 5"),
    (["head.label=400"], 2, "head.label is 400"),
    (["data=etth1"], 3, "FORECAST_DATA"),
    (["trainer.accelerator=gpu"], 2, "gpu"),
    (["trainer.max_epochs=0"], 2, "expected at least 1"),
    (["optim.lr=-1"], 2, "optim: Invalid learning rate"),
    (["model.dropout=much"], 2, "model.dropout is 'much'"),
    (["resume=latest"], 4, "no run with a checkpoint"),
    (["trainer.val_every=2"], 2, "expected a share of an epoch"),
    (["seed=-1"], 2, "seed is -1"),
    (["model.heads=0"], 2, "both must be at least 1"),
    (["optim.betas=[0.9]"], 2, "optim"),
    (["optim.schedule=plateau", "optim.warmup=5"], 2, "a plateau has no warmup"),
    (["runs=/proc/nowhere"], 2, "cannot be made"),
])  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, words, code, message):
    done = command("train", *words, cwd=tmp_path, code=code, FORECAST_DATA="")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_quiet_prints_nothing(tmp_path):
    done = command("train", "experiment=smoke", "model=linear", "quiet=true", "predictions=false", cwd=tmp_path)
    assert done.stdout + done.stderr == ""


@pytest.mark.long
def test_which_operators_ran_stands_in_the_log_and_not_on_the_terminal(tmp_path):
    done = command("train", "experiment=smoke", "model=informer_tiny", "track=none", cwd=tmp_path)
    (log,) = tmp_path.glob("runs/train/*/log.txt")
    assert "probsparse.chosen_attention: torch (FORECAST_KERNELS=auto, tensors on cpu)" in log.read_text()
    assert "FORECAST_KERNELS" not in done.stdout + done.stderr
