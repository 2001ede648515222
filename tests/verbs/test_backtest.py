"""forecast backtest as the program calls it: the scores of the run, refits, what is refused, a kill."""

import json
import os
import shutil

import hydra
import numpy as np
import polars as pl
import pytest

from forecast import config
from forecast.artifacts import Run
from forecast.errors import DataError, UsageError
from forecast.inference.predictor import Predictor
from forecast.verbs.backtest import backtest
from forecast.verbs.train import FOLDER_OF_RANK_0, train
from forecast.where import CONF

FILES = {"forecasts.parquet", "series.parquet", "steps.parquet", "origins.parquet", "metrics.json", "backtest.png"}
SMALL = [
    "experiment=smoke", "model=linear", "data=series", "data.path=f.parquet", "task.context=24", "task.horizon=6",
    "data.splits={val: 2024-01-10, test: 2024-01-14}", "track=none", "quiet=true", "trainer.limit_train_batches=5",
]  # fmt: skip


def composed(verb, *words):
    config.register()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose(verb, list(words))


def trained(*words, **options):
    train(composed("train", *SMALL, *words), [], **options)
    return Run(type(CONF)(os.environ.pop(FOLDER_OF_RANK_0)))


def ran(*words):
    backtest(composed("backtest", "run=latest", *words), [])


def facts(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of two series of hours that begin a day apart."""
    folder, draw, frames = tmp_path_factory.mktemp("backtest"), np.random.default_rng(0), []
    for n, name in enumerate("ab"):
        hours = np.arange(400)
        y = 10 * n + np.sin(hours * (2 * np.pi / 24)) + 0.2 * draw.standard_normal(400) + hours / 200
        time = np.datetime64("2024-01-01T00:00", "us") + (hours + 24 * n) * np.timedelta64(1, "h")
        frames.append(pl.DataFrame({"unique_id": name, "ds": time, "y": y}))
    pl.concat(frames).write_parquet(folder / "f.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained()
    return folder


@pytest.fixture
def here(place, tmp_path, monkeypatch):
    """A folder with the run."""
    shutil.copytree(place / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_origins_of_the_test_part_have_the_scores_saved_with_the_run(here, capsys):
    ran("output=back")
    said, folder = capsys.readouterr(), here / "back"
    assert {path.name for path in folder.iterdir()} == FILES
    (run,) = (here / "runs" / "train").iterdir()
    saved, found = json.loads((run / "metrics.json").read_text()), facts(folder)
    by_name = {row["name"]: row for row in saved["rows"]}
    assert found["rows"] == [by_name[row["name"]] for row in found["rows"]]  # to the last bit
    assert [row["name"] for row in found["rows"]] == ["linear", "seasonal naive", "last value", "ridge"]
    calibrated, interval = saved["intervals"]["calibrated"]["nominal"]["90"], found["intervals"]["linear"]["90"]
    assert interval["coverage"] == pytest.approx(calibrated["coverage"], abs=2e-3)  # a value may lie on an end
    assert interval["width_original"] == pytest.approx(calibrated["width_original"], 1e-5)
    frame, recorded = (pl.read_parquet(f) for f in (folder / "forecasts.parquet", run / "predictions.parquet"))
    assert frame["y_hat"].cast(pl.Float32).equals(recorded["y_hat"]) and frame["ds"].equals(recorded["ds"])
    assert found["windows"] == found["parts"]["test"] == saved["windows"]["test"]
    assert f"{found['windows']} forecasts of 6 steps: 2 series" in said.out and said.err == ""
    assert "hardest of 2 series" in said.out and "linear, 90 %" in said.out and "MSE by origin" in said.out
    assert (folder / "backtest.png").read_bytes().startswith(b"\x89PNG")


def test_a_single_origin_is_what_predict_says_of_the_table_cut_there(here, place):
    ran("output=back", "origins={first: 2024-01-15T05:00, last: 2024-01-15T05:00}", "levels=[0.25,0.75]")
    made = pl.read_parquet(here / "back" / "forecasts.parquet")
    cut = pl.read_parquet(place / "f.parquet").filter(pl.col("ds") <= made["cutoff"][0])
    alone = Predictor.load("latest").predict(cut, levels=[0.25, 0.75])
    assert str(made["cutoff"][0]) == "2024-01-15 05:00:00" and made.height == 12
    for key in ("y_hat", "q25", "q75"):
        assert made[key].to_list() == alone[key].to_list()  # the same windows in the batch: to the last bit


def test_origins_within_the_training_are_told_and_marked(here, place, capsys):
    ran("output=back", "origins={first: 2024-01-05}", "step=7", "levels=[]")
    frame, found = pl.read_parquet(here / "back" / "forecasts.parquet"), facts(here / "back")
    train = frame.filter(part="train").height // 6
    assert found["parts"]["train"] == train > 0 and found["series"] == 2
    assert capsys.readouterr().err == (
        f"in-sample: {train} of {found['windows']} forecasts begin in the training part of the run, "
        f"{found['parts']['val']} in its validation part; the column `part` says which\n"
    )
    assert "q05" not in frame.columns and found["intervals"] == {}
    ran("output=file", f"input={place}/f.parquet", "origins=3")
    again = pl.read_parquet(here / "file" / "forecasts.parquet")
    assert capsys.readouterr().err == "" and set(again["part"]) == {"test"} and facts(here / "file")["windows"] == 6
    (place / "f.parquet").rename(place / "g.parquet")
    try:
        ran("output=moved", f"input={place}/g.parquet", "origins=3")
    finally:
        (place / "g.parquet").rename(place / "f.parquet")
    assert "is not known: its data are not there" in capsys.readouterr().err
    moved = pl.read_parquet(here / "moved" / "forecasts.parquet")
    assert moved["part"].null_count() == moved.height and moved.drop("part").equals(again.drop("part"))


def test_a_refit_learns_from_what_was_known_and_from_nothing_else(here, place, capsys, monkeypatch):
    """Two trainings for four origins; their data are cut, and what comes after a cutoff changes nothing before it."""
    words = ["origins={first: 2024-01-12, last: 2024-01-15}", "step=24", "refit=every:2", "warm=true", "output=back"]
    ran(*words)
    said, found, folder = capsys.readouterr().err, facts(here / "back"), here / "back" / "refits" / "train"
    assert [each["since"] for each in found["refits"]] == ["2024-01-12 00:00", "2024-01-14 00:00"]
    assert said.count(": trained, ") == 2 and "refit 2 of 2, on what was known at 2024-01-14 00:00" in said
    frame = pl.read_parquet(here / "back" / "forecasts.parquet")
    used = frame.group_by("cutoff").agg(pl.col("run").unique()).sort("cutoff")["run"].to_list()
    assert used == [[found["refits"][k // 2]["run"]] for k in range(4)] and set(frame["part"]) == {"test"}
    assert {path.name for path in folder.iterdir()} == {each["run"] for each in found["refits"]}
    one, second = Predictor.load(folder / found["refits"][0]["run"]), pl.datetime(2024, 1, 13)
    cut = pl.read_parquet(place / "f.parquet").filter(pl.col("ds") <= second)
    np.testing.assert_allclose(one.predict(cut)["y_hat"], frame.filter(pl.col("cutoff") == second)["y_hat"], rtol=1e-6)
    assert [row["name"] for row in found["rows"]] == ["linear, refitted", "seasonal naive", "last value", "ridge"]
    splits = json.loads((folder / found["refits"][0]["run"] / "config.json").read_text())["data"]["splits"]
    assert splits["test"] == "2024-01-12T00:00:00.000001Z" and splits["end"] == "2024-01-13T06:00:00.000001Z"
    assert splits["val"] == "2024-01-08T01:00:00.000000Z"  # as long as the run's own

    # A kill before the end: the refits that were finished are there, and are not done again.
    (here / "back" / "metrics.json").unlink()
    (here / "back" / "forecasts.parquet").unlink()
    ran(*words)
    assert capsys.readouterr().err.count(": was there, ") == 2
    assert pl.read_parquet(here / "back" / "forecasts.parquet").equals(frame)

    # The canary: a run on other data after the second origin.
    late = pl.col("ds") > second
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    changed = pl.read_parquet(place / "f.parquet").with_columns(y=pl.when(late).then(pl.col("y") * -9).otherwise("y"))
    changed.write_parquet("f.parquet")
    trained()
    ran(*words[1:], "origins={first: 2024-01-12, last: 2024-01-13}")
    other = pl.read_parquet("back/forecasts.parquet").drop("y", "run")
    assert other.height == 24 and other.equals(frame.filter(pl.col("cutoff") <= second).drop("y", "run"))


def test_a_warm_start_begins_with_the_weights_before_it(here):
    before = Run(next((here / "runs" / "train").iterdir()))
    run = trained(f"data.path={before.read('config.json')['data']['path']}", "seed=7", "optim.lr=0", before=before)
    one, two = (each.load_tensors("model.safetensors") for each in (before, run))
    assert all(one[key].equal(two[key]) for key in one)


def test_an_output_is_replaced_only_when_asked(here):
    ran("output=back", "origins=2")
    with pytest.raises(UsageError, match="back exists"):
        ran("output=back", "origins=2")
    ran("output=back", "origins=2", "overwrite=true", "horizon=3")
    assert facts(here / "back")["horizon"] == 3
    (here / "back" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"back holds notes.txt"):
        ran("output=back", "overwrite=true")
    (here / "file").write_text("mine")
    with pytest.raises(UsageError, match="file is no folder"):
        ran("output=file")
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        ran("output=file/b")


@pytest.mark.parametrize(
    ("words", "fault", "said"),
    [
        (["horizon=7"], UsageError, "horizon is 7; expected 1 … 6, what the run forecasts"),
        (["origins=9999"], DataError, "origins=9,999 with step=1: series 'a' has 371"),
        (["refit=every:2", "origins={first: 2024-01-03T06:00}"], DataError, "a refit needs 126"),
        (["policy=start"], UsageError, "this model cannot stream"),
        (["policy=both", "refit=every:2"], UsageError, "a stream keeps its model"),
    ],
)
def test_bad_requests_leave_nothing(here, words, fault, said):
    with pytest.raises(fault, match=said):
        ran("output=o", *words)
    assert [path.name for path in here.iterdir()] == ["runs"]


def test_a_refit_on_several_devices_is_refused(here):
    run = Run(next((here / "runs" / "train").iterdir()))
    made = run.read("config.json")
    (run.path / "MANIFEST.json").unlink()
    run.write("config.json", {**made, "trainer": {**made["trainer"], "devices": 2}})
    run.seal()
    with pytest.raises(UsageError, match="trained on 2 devices; expected one"):
        ran("output=o", "refit=every:2")


@pytest.mark.parametrize(("task", "what"), [("event", "events"), ("classify", "classes")])
def test_events_and_classes_are_refused_with_what_to_use_instead(here, task, what):
    run = Run(next((here / "runs" / "train").iterdir()))
    made = run.read("config.json")
    (run.path / "MANIFEST.json").unlink()
    run.write("config.json", {**made, "task": {"name": task}})
    run.seal()
    with pytest.raises(UsageError, match=f"is of {what}, which have no rolling origins; forecast evaluate .*replay"):
        ran("output=o")
