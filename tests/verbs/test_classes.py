"""Runs of classification through the real command line: trained, resumed, scored again, asked for classes."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecast.artifacts import Run
from forecast.errors import ArtifactError, UsageError
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.predictor import Predictor
from tests.verbs.conftest import command

SMOKE = "experiment=smoke_classes"
LONG = ["trainer.max_epochs=12", "trainer.limit_train_batches=1.0", "optim.lr=1e-2"]


@pytest.fixture(scope="session")
def plant(tmp_path_factory) -> Path:
    """A folder with a file of labelled series of unequal length, some values missing, and a run on them."""
    home = tmp_path_factory.mktemp("plant")
    table().write_csv(home / "pumps.csv")
    words = ["data=labelled", "data.path=pumps.csv", "data.id=pump", "data.label=state", "model=aaren", "name=mine"]
    done = command("train", SMOKE, *words, *LONG, cwd=home)
    assert "mine ◀" in done.stderr
    return home


def table(seed: int = 0) -> pl.DataFrame:
    """60 series of a slow or a fast wave and noise, 20 to 40 steps."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(60):
        steps, kind = int(rng.integers(20, 41)), number % 2
        wave = np.sin(np.arange(steps) * (0.3 + 0.9 * kind) + rng.uniform(0, 6)) + 0.2 * rng.normal(size=steps)
        wave[rng.random(steps) < 0.05] = np.nan
        parts.append(pl.DataFrame({
            "pump": f"p{number:02d}", "minute": np.arange(steps), "flow": wave, "heat": rng.normal(size=steps),
            "state": ("worn", "sound")[kind],
        }).with_columns(pl.col("flow").fill_nan(None)))  # fmt: skip
    return pl.concat(parts)


def last(home: Path) -> Path:
    return sorted((home / "runs" / "train").iterdir())[-1]


LONG_MODELS = [pytest.param(name, marks=pytest.mark.long) for name in ("transformer", "tcnca", "lstm", "none")]


@pytest.mark.parametrize("model", ["aaren", "informer", *LONG_MODELS])
def test_every_model_learns_classes_and_is_scored(tmp_path, model):
    command("train", SMOKE, f"model={model}", cwd=tmp_path)
    run = last(tmp_path)
    metrics = json.loads((run / "metrics.json").read_text())
    assert [row["kind"] for row in metrics["rows"]] == ["model", "floor"]
    own = metrics["rows"][0]
    assert metrics["series"] == {"train": 32, "val": 8, "test": 40} and own["series"] == 40
    confusion = np.array(metrics["confusion"])
    assert confusion.sum() == 40 and own["accuracy"] == pytest.approx(np.trace(confusion) / 40)
    assert [row["fraction"] for row in metrics["early"]] == [n / 10 for n in range(1, 11)]
    assert metrics["early"][-1]["accuracy"] == own["accuracy"]
    assert metrics["early"][-1]["log_loss"] == pytest.approx(own["log_loss"])
    made = pl.read_parquet(run / "predictions.parquet")
    assert made.height == 40 and float((made["label"] == made["guess"]).mean()) == pytest.approx(own["accuracy"])
    chance = made.select(f"p_{name}" for name in metrics["classes"]).to_numpy()
    np.testing.assert_allclose(chance.sum(1), 1, atol=1e-5)
    assert float(-np.log(made["p_label"].to_numpy()).mean()) == pytest.approx(own["log_loss"], abs=1e-4)
    wrong = pl.read_parquet(run / "examples.parquet")
    assert wrong["unique_id"].n_unique() == min(300, int((made["label"] != made["guess"]).sum()))
    assert "<svg" in (run / "report.html").read_text()
    assert not list(run.glob(".refit*"))


def test_the_rival_stands_in_the_table(tmp_path):
    done = command("train", SMOKE, "model=none", "data=italy_power_demand", "task.rival=true", cwd=tmp_path)
    rival = Run(last(tmp_path)).read("metrics.json")["rows"][1]
    assert rival["kind"] == "rival" and rival["accuracy"] > 0.93 and rival["log_loss"] is None
    assert "MiniRocket + ridge" in done.stderr


def test_logistic_regression_is_one_word(tmp_path):
    words = ["experiment=linear_classes", "data=basic_motions", "trainer=smoke", "track=none", "task.rival=false"]
    command("train", *words, cwd=tmp_path)
    config = Run(last(tmp_path)).read("config.json")
    assert (config["embed"]["_target_"], config["head"]["_target_"]) == (
        "forecast.models.FlatSeries", "forecast.heads.FlatLabel",
    )  # fmt: skip
    predictor = ClassPredictor.load(Run(last(tmp_path)))
    channels = predictor.recipe.spec.channels
    long = pl.DataFrame({"id": "a", **{name: np.sin(np.arange(120) * k) for k, name in enumerate(channels)}})
    notes: list[str] = []
    told = [predictor.predict(table, tell=notes.append) for table in (long, long.head(100))]
    assert told[0].equals(told[1])
    assert notes[0] == "of 1 series only the first 100 steps are looked at: training had no longer ones"


@pytest.mark.long
def test_a_run_that_is_resumed_is_the_run_that_was_not_interrupted(tmp_path):
    more = ["task.average=0.9", "task.augment.mixup=0.2", "task.augment.warp=0.2"]
    words = [*more, "optim.schedule=constant", "trainer.limit_train_batches=1.0"]
    command("train", SMOKE, *words, "trainer.max_epochs=1", cwd=tmp_path)
    first = last(tmp_path)
    command("train", f"resume={first}", "trainer.max_epochs=3", cwd=tmp_path)
    command("train", SMOKE, *words, "trainer.max_epochs=3", cwd=tmp_path)
    again, straight = (Run(path).read("metrics.json") for path in (first, last(tmp_path)))
    for key in ("rows", "best", "temperature", "confusion"):
        assert again[key] == straight[key]


@pytest.mark.long
def test_all_of_train_is_learned_for_as_many_epochs_as_were_best(tmp_path):
    command("train", SMOKE, "trainer.max_epochs=3", "trainer.limit_train_batches=1.0", cwd=tmp_path)
    refitted = Run(last(tmp_path))
    command("train", SMOKE, "trainer.max_epochs=3", "trainer.limit_train_batches=1.0", "task.refit=false", cwd=tmp_path)
    plain = Run(last(tmp_path))
    one, other = refitted.read("metrics.json"), plain.read("metrics.json")
    assert one["refit"] and not other["refit"]
    assert one["best"] == other["best"] and one["temperature"] == other["temperature"]
    assert one["rows"][0] != other["rows"][0]
    assert "again from train and val together" in (refitted.path / "log.txt").read_text()


@pytest.mark.long
def test_two_processes_share_the_series(tmp_path):
    words = ["trainer=ddp_cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "task.refit=false"]
    command("train", SMOKE, *words, cwd=tmp_path, fresh=True)
    assert len(list((tmp_path / "runs" / "train").iterdir())) == 1
    assert Run(last(tmp_path)).read("metrics.json")["rows"][0]["series"] == 40


def test_evaluation_repeats_the_scores_to_the_last_bit(plant):
    done = command("evaluate", "run=latest", cwd=plant)
    assert "equal to the scores saved with the run, to the last bit" in done.stdout
    done = command("evaluate", "run=latest", "split=val", "save=true", cwd=plant)
    assert "series of val" in done.stdout and (last(plant) / "metrics_val.json").is_file()
    done = command("evaluate", "run=latest", "batch_size=7", cwd=plant, code=2)
    assert "batch_size=7 with a run of classification; it is about forecasts; leave it out" in done.stderr


def test_a_second_file_of_the_test_part_is_found_from_elsewhere(tmp_path):
    table(0).write_csv(tmp_path / "a.csv")
    table(1).write_csv(tmp_path / "b.csv")
    words = ["data=labelled", "data.path=a.csv", "data.test=b.csv", "data.id=pump", "data.label=state"]
    command("train", SMOKE, *words, cwd=tmp_path)
    run = last(tmp_path)
    (away := tmp_path / "away").mkdir()
    command("evaluate", f"run={run}", cwd=away)
    assert json.loads((run / "metrics.json").read_text())["series"]["test"] == 60


def test_a_file_without_labels_is_told_its_classes(plant):
    table(1).drop("state").write_parquet(plant / "new.parquet")
    done = command("predict", "run=latest", "input=new.parquet", "output=told.csv", cwd=plant)
    assert "told.csv: the classes of 60 series by mine" in done.stdout
    made = pl.read_csv(plant / "told.csv")
    assert made.columns == ["unique_id", "label", "p", "p_sound", "p_worn"]
    truth = [("worn", "sound")[int(name[1:]) % 2] for name in made["unique_id"]]
    assert np.mean([a == b for a, b in zip(made["label"], truth, strict=True)]) > 0.8
    done = command("predict", "run=latest", "input=new.parquet", "output=x.csv", "window=3", cwd=plant, code=2)
    assert "window=3.0 with a run of classification" in done.stderr


def test_a_series_alone_is_told_what_it_is_told_among_others(plant):
    predictor = ClassPredictor.load(last(plant))
    whole = predictor.predict(table(1))
    alone = predictor.predict(table(1).filter(pl.col("pump") == "p07"))
    among = whole.filter(pl.col("unique_id") == "p07")
    assert alone["p_worn"].to_list() == pytest.approx(among["p_worn"].to_list(), abs=1e-6)


@pytest.mark.long
def test_seeds_together_stand_beside_each_alone(tmp_path):
    for seed in (1, 2):
        command("train", SMOKE, f"seed={seed}", cwd=tmp_path)
    ids = [path.name for path in sorted((tmp_path / "runs" / "train").iterdir())]
    done = command("evaluate", f"ensemble=[{','.join(ids)}]", cwd=tmp_path)
    assert "ensemble of 2" in done.stdout and f"aaren {ids[0][-8:]}" in done.stdout
    done = command("evaluate", f"ensemble=[{ids[0]}]", cwd=tmp_path, code=2)
    assert "ensemble= names 1 different runs" in done.stderr


@pytest.mark.long
def test_runs_on_other_data_are_no_ensemble(tmp_path):
    for name in ("basic_motions", "gunpoint"):
        command("train", SMOKE, f"data={name}", "model=none", cwd=tmp_path)
    ids = [path.name for path in sorted((tmp_path / "runs" / "train").iterdir())]
    done = command("evaluate", f"ensemble=[{','.join(ids)}]", cwd=tmp_path, code=2)
    assert f"runs {ids[0]} and {ids[1]} differ in their data; leave one out" in done.stderr


def test_a_run_of_another_task_is_named(plant, tmp_path):
    with pytest.raises(UsageError, match="tells classes, and forecasts nothing"):
        Predictor.load(Run(last(plant)))
    command("train", "experiment=smoke", "model=linear", cwd=tmp_path)
    with pytest.raises(UsageError, match="is of task=forecast"):
        ClassPredictor.load(Run(last(tmp_path)))
    damaged = tmp_path / "run"
    damaged.mkdir()
    for path in last(plant).iterdir():
        if path.is_file() and path.name != "MANIFEST.json":
            (damaged / path.name).write_bytes(path.read_bytes())
    (damaged / "temperature.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is no configuration of a run"):
        ClassPredictor.load(Run(damaged))


@pytest.mark.long
def test_a_run_is_repeated_from_what_it_recorded(tmp_path):
    command("train", SMOKE, cwd=tmp_path)
    done = command("reproduce", "run=latest", cwd=tmp_path)
    assert "equal" in done.stdout
