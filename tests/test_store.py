"""Runs by what MLflow calls them: a real store, a registered run, an alias that moves; files that are not the run's."""

import json
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import mlflow
import pytest

from forecast import __main__ as program
from forecast import store
from forecast.artifacts import MANIFEST, Run, vouched
from forecast.errors import ArtifactError, RunError, UsageError
from forecast.inference.predictor import Predictor
from forecast.verbs.checks import run_at, run_of
from tests.faults.conftest import train_tiny
from tests.tracked import register


class Here(NamedTuple):
    folder: Path
    run: Path
    uri: str
    logged: str  # the run's id in MLflow


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Here:
    folder = tmp_path_factory.mktemp("registry")
    run = train_tiny(folder)
    (run / "checkpoints").mkdir(exist_ok=True)
    return Here(folder, run, f"sqlite:///{folder}/mlflow.db", register(run, folder / "mlflow.db", "load"))


def test_a_registered_run_comes_whole(here, tmp_path):
    found = store.registered("models:/load@champion", here.uri, tmp_path / "cache")
    assert (found.name, found.version) == ("load", store.version("models:/load@champion", here.uri)) == ("load", "1")
    assert found.run.id == here.run.name
    assert found.run.manifest() == Run(here.run).manifest()
    for name in found.run.manifest():
        found.run.checked(name)
    came = {path.name for path in found.run.path.rglob("*")}
    assert not came & {"checkpoints", "mlflow.jsonl", "mlflow.json"}  # for resuming, and for the store
    assert not [name for name in came if name.endswith((".pkl", ".pickle", ".ckpt"))]
    frame = here.folder / "f.csv"
    assert Predictor.load(found.run).predict(frame).equals(Predictor.load(Run(here.run)).predict(frame))


def test_it_is_fetched_once_for_a_version(here, tmp_path):
    first = store.registered("models:/load/1", here.uri, tmp_path)
    mark = (first.run.path / MANIFEST).stat().st_ino
    assert store.registered("models:/load@champion", here.uri, tmp_path).run.path == first.run.path
    assert (first.run.path / MANIFEST).stat().st_ino == mark
    assert len([*tmp_path.iterdir()]) == 1  # and nothing half-fetched beside it


def test_the_run_that_logged_it_names_it_too(here, tmp_path):
    found = store.registered(f"runs:/{here.logged}/model", here.uri, tmp_path)
    assert (found.name, found.version, found.run.id) == ("model", here.logged, here.run.name)
    assert store.version(f"runs:/{here.logged}/model", here.uri) == here.logged


def test_an_alias_may_move(here, tmp_path):
    client = mlflow.MlflowClient(here.uri)
    known = client.get_model_version("load", "1")
    other = client.create_model_version("load", known.source, known.run_id)
    client.set_registered_model_alias("load", "challenger", "1")
    assert store.version("models:/load@challenger", here.uri) == "1"
    client.set_registered_model_alias("load", "challenger", str(other.version))
    assert store.version("models:/load@challenger", here.uri) == "2"
    assert store.registered("models:/load@challenger", here.uri, tmp_path).version == "2"


def test_verbs_find_it_in_the_directory_and_by_the_environment(here, tmp_path, monkeypatch):
    asked = {"run": "models:/load@champion", "runs": str(tmp_path / "runs")}
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(here.folder)
    found = run_of(asked)
    assert found.path.parents[1] == tmp_path / "runs" / "models"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=r"mlflow\.db is not there; expected MLflow's database; set MLFLOW_TRACK"):
        run_of(asked)
    assert not (tmp_path / "mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here.uri)
    assert run_of(asked).path == found.path
    assert run_at(str(here.run), "runs").path == here.run  # a folder is what it was


def test_the_program_forecasts_with_it(here, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here.uri)
    monkeypatch.chdir(tmp_path)
    made = []
    for run in (str(here.run), "models:/load@champion", "models:/load/1", f"runs:/{here.logged}/model"):
        words = ["forecast", "predict", f"run={run}", f"input={here.folder}/f.csv", f"output={len(made)}.csv"]
        monkeypatch.setattr(sys, "argv", words)
        assert program.main() == 0, capfd.readouterr().err
        made.append((tmp_path / f"{len(made)}.csv").read_bytes())
    assert len(set(made)) == 1


@pytest.mark.parametrize(
    "wrong", ["models:/load", "models:/load/champion", "models:/@x", "runs:/1/../../etc", "runs:/"]
)
def test_words_that_name_nothing(here, tmp_path, wrong):
    with pytest.raises(UsageError, match="expected models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/model"):
        store.registered(wrong, here.uri, tmp_path)


@pytest.mark.parametrize(
    "wrong", ["models:/none@champion", "models:/load@none", "models:/load/99", "runs:/0123abcd/model"]
)
def test_what_the_store_has_not(here, tmp_path, wrong):
    with pytest.raises((ArtifactError, RunError), match=r"mlflow\.db"):
        store.registered(wrong, here.uri, tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_a_store_that_is_dead(tmp_path):
    with pytest.raises(RunError, match=r"http://127\.0\.0\.1:9: .*set MLFLOW_TRACKING_URI, or try again later"):
        store.registered("models:/load@champion", "http://127.0.0.1:9", tmp_path)


def version_of(here: Here, folder: Path, name: str) -> str:
    """A model version whose files are those of a folder."""
    client = mlflow.MlflowClient(here.uri)
    client.create_registered_model(name)
    client.create_model_version(name, folder.as_uri(), await_creation_for=0)
    return f"models:/{name}/1"


def test_a_model_of_somebody_else(here, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}\n")
    uri = version_of(here, tmp_path / "model", "foreign")
    with pytest.raises(ArtifactError, match=r"models:/foreign/1 holds no run of forecast; expected one MANIFEST\.json"):
        store.registered(uri, here.uri, tmp_path / "cache")
    assert [*(tmp_path / "cache").iterdir()] == []


def test_a_file_that_was_changed_in_the_store(here, tmp_path):
    shutil.copytree(here.run, tmp_path / "model" / "run")
    weights = tmp_path / "model" / "run" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(ArtifactError, match=r"model\.safetensors is not what the run wrote"):
        store.registered(version_of(here, tmp_path / "model", "changed"), here.uri, tmp_path / "cache")
    assert [*(tmp_path / "cache").iterdir()] == []


@pytest.mark.parametrize("name", ["../../out.json", "/tmp/out.json"])
def test_a_manifest_that_points_out_of_the_folder(here, tmp_path, name):
    """Its own digest fits; nothing outside is read, moved or written."""
    folder = tmp_path / "model" / "a" / "run"
    folder.mkdir(parents=True)
    text = json.dumps(vouched({name: "0" * 64}), indent=1) + "\n"
    (folder / MANIFEST).write_text(text)
    mark = "up" if name.startswith(".") else "root"
    with pytest.raises(ArtifactError, match=r"out\.json is no file of a run; register the run again"):
        store.registered(version_of(here, tmp_path / "model", mark), here.uri, tmp_path / "cache")
    assert [*(tmp_path / "cache").iterdir()] == []
