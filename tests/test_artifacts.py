"""Run folders: atomic writes, checked reads, and how a run is named."""

import json
import os

import pytest
import torch

from forecast.artifacts import SCHEMA, Run, atomic, find
from forecast.dashboards import load
from forecast.errors import ArtifactError


@pytest.fixture
def run(tmp_path):
    made = Run.plan(tmp_path, "train").create()
    made.write("config.json", {"a": [1, 2.5, None]})
    made.save_weights(torch.nn.Linear(3, 2))
    made.seal()
    return Run(made.path)


def test_what_is_written_is_read_back(run):
    assert run.read("config.json") == {"a": [1, 2.5, None]}
    other = torch.nn.Linear(3, 2)
    run.load_weights(other)
    again = torch.nn.Linear(3, 2)
    run.load_weights(again)
    assert other.weight.equal(again.weight)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk"), atomic(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_nan_is_no_json(run):
    with pytest.raises(ValueError, match="JSON"):
        run.write("bad.json", {"x": float("nan")})
    assert not (run.path / "bad.json").exists()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "MANIFEST.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "remove"])
def test_a_damaged_file_is_refused_in_one_line(run, name, harm):
    path = run.path / name
    raw = bytearray(path.read_bytes())
    if harm == "flip":
        raw[len(raw) // 2] ^= 0xFF
    path.write_bytes({"flip": bytes(raw), "cut": bytes(raw[: len(raw) // 2]), "empty": b"", "remove": b""}[harm])
    if harm == "remove":
        path.unlink()
    if name == "MANIFEST.json" and harm == "remove":
        assert not run.sealed  # no longer vouched for, and `latest` passes it by
        return
    with pytest.raises(ArtifactError, match="^[^\n]+$"):
        run.read("config.json")
        run.load_weights(torch.nn.Linear(3, 2))


def test_weights_of_another_shape_are_refused(run):
    with pytest.raises(ArtifactError, match="does not fit"):
        run.load_weights(torch.nn.Linear(4, 2))
    with pytest.raises(ArtifactError, match="does not fit"):
        run.load_weights(torch.nn.Linear(3, 2, bias=False))


def test_no_pickle_is_in_a_run(run):
    magic = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # zip archives of torch, pickles
    assert not [p for p in run.path.rglob("*") if p.is_file() and p.read_bytes().startswith(magic)]


def test_a_run_is_found_by_path_id_part_and_latest(run, tmp_path):
    older = tmp_path / "train" / "20200101T000000Z-aaaaaaaa"
    older.mkdir()
    (older / "config.json").write_text("{}")
    for name in (str(run.path), run.id, run.id.rpartition("-")[2], "latest"):
        assert find(name, tmp_path).path == run.path
    assert find("20200101", tmp_path, to_resume=True).path == older
    with pytest.raises(ArtifactError, match="is not finished; expected a run with a MANIFEST.json; train again"):
        find("20200101", tmp_path)
    with pytest.raises(ArtifactError, match="names 2 runs"):
        find("20", tmp_path)
    with pytest.raises(ArtifactError, match=f"the newest is {run.id}"):
        find("zzz", tmp_path)
    with pytest.raises(ArtifactError, match="train one: forecast train"):
        find("latest", tmp_path / "nowhere")


def test_an_unfinished_run_is_not_the_latest(run, tmp_path):
    unfinished = tmp_path / "train" / "29990101T000000Z-bbbbbbbb"
    unfinished.mkdir()
    (unfinished / "config.json").write_text(json.dumps({}))
    assert find("latest", tmp_path).path == run.path


def test_the_scores_say_of_which_schema_the_folder_is_and_one_to_come_is_refused(run):
    run.write_metrics({"rows": []})
    run.seal()
    assert list(run.read("metrics.json")) == ["schema", "rows"]
    assert load.read(run.path).schema == SCHEMA
    run.write("metrics.json", {"schema": SCHEMA + 1, "rows": []})
    run.seal()
    for reader in (lambda: Run(run.path).read("config.json"), lambda: load.read(run.path)):
        with pytest.raises(ArtifactError, match=f"a run of schema {SCHEMA + 1}; this program reads up to {SCHEMA};"):
            reader()
    run.write("metrics.json", {"rows": []})
    assert load.read(run.path).schema == 1
