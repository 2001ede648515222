"""Runs of events through the real command line: trained, resumed, scored again, forecast from."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecast.artifacts import Run
from forecast.dashboards.events.sequences import chosen, listed
from forecast.errors import ArtifactError, DataError, UsageError
from forecast.inference.event_predictor import EventPredictor
from tests.verbs.conftest import command

SMOKE = "experiment=smoke_events"
FLOORS = {"constant gap", "Poisson", "mixture", "majority mark", "repeat-last mark", "Markov marks",
          "mixture and Markov marks", "oracle"}  # fmt: skip


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Path:
    """A folder with a file of events and a run on them: stamps, marks, a covariate, a clock."""
    home = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    time = np.datetime64("2024-01-01") + rng.integers(1, 3000, (30, 12)).cumsum(1) * np.timedelta64(1, "m")
    pl.DataFrame({
        "who": np.repeat([f"c{i:02d}" for i in range(30)], 12), "at": time.reshape(-1).astype("datetime64[us]"),
        "what": rng.choice(["buy", "look"], 360), "value": rng.normal(size=360),
    }).write_csv(home / "shop.csv")  # fmt: skip
    words = [
        "data=events",
        "data.path=shop.csv",
        "data.id=who",
        "data.mark=what",
        "data.covariates=value",
        "data.periods=day",
        "data.unit=hour",
    ]
    done = command("train", SMOKE, *words, "model=lstm", "name=mine", cwd=home)
    assert "mine ◀" in done.stderr
    return home


def last(home: Path) -> Path:
    return sorted((home / "runs" / "train").iterdir())[-1]


@pytest.mark.parametrize("model", ["aaren", "informer", "transformer", "tcnca", "none"])
def test_every_model_learns_events_and_is_scored_beside_the_floors(tmp_path, model):
    done = command("train", SMOKE, f"model={model}", cwd=tmp_path)
    run = last(tmp_path)
    metrics = json.loads((run / "metrics.json").read_text())
    assert {row["name"] for row in metrics["rows"][1:]} == FLOORS
    model_row = metrics["rows"][0]
    assert metrics["events"]["test"] == model_row["events"] > 300
    assert model_row["nats"]["total"] == pytest.approx(model_row["nats"]["time"] + model_row["nats"]["mark"])
    assert sum(model_row["pit"]) == pytest.approx(1)
    assert {row["kind"] for row in metrics["horizon"]["rows"]} == {"model", "floor"}
    assert metrics["metatpp"]["protocol"] == "metatpp"
    made = pl.read_parquet(run / "predictions.parquet")
    assert made.height == metrics["events"]["test"]
    assert float(made["nats_time"].mean() or 0) == pytest.approx(model_row["nats"]["time"], abs=1e-5)
    assert (made["q05"] < made["median"]).all() and (made["median"] < made["q95"]).all()
    hazard = pl.read_parquet(run / "timeline.parquet")
    assert (hazard["hazard"] >= 0).all() and hazard["unique_id"].n_unique() >= 3
    assert_kept(run, made)
    assert "<svg" in (run / "report.html").read_text()
    assert "oracle" in done.stderr


def assert_kept(run: Path, made: pl.DataFrame) -> None:
    """The densities that a run keeps are those its events were scored by."""
    ahead = pl.read_parquet(run / "timeline_next.parquet")
    names = set(pl.read_parquet(run / "timeline.parquet")["unique_id"])
    assert set(ahead["unique_id"]) == names >= set(chosen(listed(made.lazy()), 6))
    both = ahead.join(made.rename({"gap": "came"}), on=["unique_id", "event"])
    assert both.height == ahead.height
    for row in both.iter_rows(named=True):
        gap, density = np.array(row["gap"]), np.array(row["density"])
        assert (np.diff(gap) >= 0).all() and len(row["names"]) == len(row["p"])
        at = int(np.abs(gap - row["came"]).argmin())
        assert np.log(density[at]) == pytest.approx(row["nats_time"], abs=1e-3)
        assert np.trapezoid(density, gap) == pytest.approx(0.99, abs=0.08)
        assert row["names"][0] == row["guess"] and sum(row["p"]) <= 1 + 1e-5


def test_a_model_that_looks_ahead_is_refused(tmp_path):
    for words, said in (
        (["model.causal=false"], "Informer looks ahead; task=event needs a model that does not"),
        (["model.causal=false", "model.aligned=false"], "Informer gives fewer tokens than it takes"),
    ):
        done = command("train", SMOKE, "model=informer", *words, cwd=tmp_path, code=2)
        assert said in done.stderr and not (tmp_path / "runs").exists()


@pytest.mark.long
def test_a_run_that_is_resumed_is_the_run_that_was_not_interrupted(tmp_path):
    more = ["trainer.max_epochs=3", "trainer.limit_train_batches=1.0", "task.window=0"]
    command("train", SMOKE, "trainer.max_epochs=1", *more[1:], "optim.schedule=constant", cwd=tmp_path)
    first = last(tmp_path)
    command("train", f"resume={first}", "trainer.max_epochs=3", cwd=tmp_path)
    command("train", SMOKE, *more, "optim.schedule=constant", cwd=tmp_path)
    again, straight = (Run(path).read("metrics.json") for path in (first, last(tmp_path)))
    assert again["rows"] == straight["rows"] and again["best"] == straight["best"]


@pytest.mark.long
def test_two_processes_share_the_sequences(tmp_path):
    words = ["trainer=ddp_cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=4", "task.window=0"]
    command("train", SMOKE, *words, cwd=tmp_path, fresh=True)
    assert len(list((tmp_path / "runs" / "train").iterdir())) == 1
    assert Run(last(tmp_path)).read("metrics.json")["rows"][0]["nats"]["total"] < 0


def test_evaluation_repeats_the_scores_to_the_last_bit(shop):
    old = last(shop) / "timeline_next.parquet"  # as if it were of before they were kept
    old.unlink()
    done = command("evaluate", "run=latest", "insight=true", cwd=shop)
    assert Run(last(shop)).checked(old.name) and Run(last(shop)).checked("timeline.parquet")
    assert "equal to the scores saved with the run, to the last bit" in done.stdout
    done = command("evaluate", "run=latest", "split=val", "save=true", cwd=shop)
    assert "events of val" in done.stdout and (last(shop) / "metrics_val.json").is_file()


def test_a_file_is_forecast(shop):
    words = ["run=latest", "input=shop.csv", "output=next.parquet", "now=2024-03-01", "window=48", "paths=20"]
    done = command("predict", *words, "hazard=10", "levels=[0.1,0.9]", cwd=shop)
    assert "the next event of 30 sequences by mine, times in hours from the cutoff" in done.stdout
    made = pl.read_parquet(shop / "next.parquet")
    assert made.height == 30 and made["unique_id"].to_list() == [f"c{i:02d}" for i in range(30)]
    assert (made["q10"] < made["median"]).all() and (made["median"] < made["q90"]).all()
    np.testing.assert_allclose(made["p_buy"] + made["p_look"], 1, atol=1e-5)
    assert (made["cutoff"].dt.strftime("%Y-%m-%d") == "2024-03-01").all()
    near = made.filter(pl.col("ds").is_not_null())
    hours = (near["ds"] - near["cutoff"]).dt.total_seconds() / 3600
    np.testing.assert_allclose(hours, near["median"], rtol=1e-3, atol=2e-3)
    assert ((made["some"] >= 0) & (made["some"] <= 1)).all()
    np.testing.assert_allclose(made["count_buy"] + made["count_look"], made["count"], atol=1e-9)
    paths = pl.read_parquet(shop / "next.paths.parquet")
    assert paths["path"].max() <= 20 and (paths["after"] <= 48).all() and set(paths["mark"]) <= {"buy", "look"}
    shares = paths.group_by("unique_id").len().sort("unique_id")
    counts = dict(zip(shares["unique_id"], shares["len"] / 20, strict=True))
    assert [counts.get(name, 0.0) for name in made["unique_id"]] == pytest.approx(made["count"].to_list())
    hazard = pl.read_parquet(shop / "next.hazard.parquet")
    assert hazard.height == 300 and (hazard["survival"] <= 1).all() and (hazard["hazard"] > 0).all()


def test_the_next_events_are_sampled(shop):
    command("predict", "run=latest", "input=shop.csv", "output=n.csv", "events=3", "paths=5", cwd=shop)
    paths = pl.read_csv(shop / "n.paths.csv")
    assert paths.group_by("unique_id", "path").len()["len"].to_list() == [3] * 150
    assert paths["event"].unique().sort().to_list() == [1, 2, 3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["window=-1"], "window is -1.0; expected a time above 0"),
        (["window=5", "events=2", "paths=3"], "events= with window=; futures end after so many events or after a time"),
        (["events=2"], "events=2 without paths=; they are sampled; set paths=100"),
        (["paths=2"], "paths=2 without events= or window="),
        (["adapt=3"], "adapt=3 with a run of events; it is about series; leave it out"),
        (["levels=[0]"], "levels has 0; expected numbers between 0 and 1"),
    ],
)
def test_what_means_nothing_is_refused(shop, words, said):
    done = command("predict", "run=latest", "input=shop.csv", "output=o.csv", *words, cwd=shop, code=2)
    assert said in done.stderr and not (shop / "o.csv").exists()


def test_now_before_an_event_is_refused(shop):
    done = command("predict", "run=latest", "input=shop.csv", "output=o.csv", "now=2024-01-02", cwd=shop, code=3)
    assert (
        "has an event at 2024-01-" in done.stderr
        and "after now=2024-01-02; expected what came until now" in done.stderr
    )


def test_keys_of_one_task_are_no_keys_of_the_other(shop, home, trained):
    done = command("predict", f"run={trained}", "input=x", "output=o.csv", "now=latest", cwd=shop, code=3)
    assert "x is no file" in done.stderr
    done = command("predict", f"run={trained}", "input=shop.csv", "output=o.csv", "now=latest", cwd=shop, code=2)
    assert "now=latest with a run of series; it is about events; leave it out" in done.stderr
    done = command("train", SMOKE, "baseline=theta", cwd=shop, code=2)
    assert "baseline= with task=event; its floors are always beside it" in done.stderr
    with pytest.raises(UsageError, match="forecasts series, not events"):
        EventPredictor.load(trained)


def test_a_config_that_is_none_is_refused(shop, tmp_path):
    run = Run(last(shop))
    config = run.read("config.json")
    for name in ("config.json", "data.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run.path / name).read_bytes())
    config.pop("name")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=r"is no configuration of a run: 'name'"):
        EventPredictor.load(Run(tmp_path))
    predictor = EventPredictor.load(run)
    with pytest.raises(DataError, match="now is soon; expected a date"):
        predictor.predict(shop / "shop.csv", now="soon")


def test_a_task_that_is_none_is_refused(tmp_path):
    done = command("train", "task.name=classfy", cwd=tmp_path, code=2)
    assert "task.name is 'classfy'; expected forecast, event or classify" in done.stderr


def test_a_part_without_anything_to_forecast_is_refused(tmp_path):
    rows = ["who,at,what", *(f"s{i},{j}.5,{'xy'[j % 2]}" for i in range(12) for j in range(1 if i in (9, 8) else 3))]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    words = ["data=events", "data.path=t.csv", "data.id=who", "data.time=at", "data.mark=what", "data.grid=0"]
    done = command("train", SMOKE, *words, "data.splits={train: 0.7, val: 0.1, test: 0.2}", cwd=tmp_path, code=3)
    assert "no event is a target of val" in done.stderr


@pytest.mark.long
def test_a_run_is_trained_again_and_tuned(tmp_path):
    command("train", SMOKE, "task.window=0", cwd=tmp_path)
    done = command("reproduce", "run=latest", cwd=tmp_path)
    assert "scores are equal, to the last bit" in done.stdout
    done = command("tune", SMOKE, "task.window=0", "optim.lr=log(1e-3,1e-2)", "trials=2", cwd=tmp_path)
    assert "optim.lr" in done.stdout + done.stderr


def test_verbs_of_series_refuse_a_run_of_events(shop):
    done = command("export", "run=latest", "output=m.onnx", cwd=shop, code=2)
    assert "is of task=event; expected a run of series or of classes" in done.stderr


@pytest.mark.parametrize("labels", [False, True])
def test_events_without_marks_and_with_many_at_once(tmp_path, labels):
    rng = np.random.default_rng(1)
    marks = rng.choice(["a", "b", "a;b", "b;c"], 240)
    pl.DataFrame({"who": np.repeat([f"s{i:02d}" for i in range(20)], 12), "at": rng.exponential(1, 240).cumsum(),
                  "what": marks}).write_csv(tmp_path / "t.csv")  # fmt: skip
    words = ["data=events", "data.path=t.csv", "data.id=who", "data.time=at", "data.grid=0"]
    words += ["data.splits={train: 0.6, val: 0.2, test: 0.2}"]
    if labels:
        words += ["data.mark=what", "data.labels=';'"]
    else:
        pl.read_csv(tmp_path / "t.csv").drop("what").write_csv(tmp_path / "t.csv")
    command("train", SMOKE, *words, cwd=tmp_path)
    metrics = Run(last(tmp_path)).read("metrics.json")
    assert metrics["marks"] == (["a", "b", "c"] if labels else ["event"])
    names = [row["name"] for row in metrics["rows"]]
    assert ("usual labels" in names) == labels and (metrics["horizon"] is None) == labels
    command("predict", "run=latest", "input=t.csv", "output=o.csv", cwd=tmp_path)
    made = pl.read_csv(tmp_path / "o.csv")
    assert ({"p_a", "p_b", "p_c"} <= set(made.columns)) == labels and "mark" not in made.columns
    if not labels:
        assert not {"p_mark", "p_event"} & set(made.columns)


def test_marks_that_training_did_not_have_are_told_and_not_scored(tmp_path):
    rng = np.random.default_rng(0)
    pl.DataFrame({
        "id": np.repeat(np.arange(40), 15), "time": rng.exponential(size=(40, 15)).cumsum(1).reshape(-1),
        "mark": [f"m{k}" for k in rng.integers(0, 400, 600)],
    }).write_csv(tmp_path / "many.csv")  # fmt: skip
    command("train", SMOKE, "data=events", "data.path=many.csv", "data.grid=0", cwd=tmp_path)
    metrics = json.loads((last(tmp_path) / "metrics.json").read_text())
    made = pl.read_parquet(last(tmp_path) / "predictions.parquet")
    unknown = made["mark"].is_null()
    assert 0 < unknown.sum() < made.height
    assert (made["nats_mark"].is_null() == unknown).all() and (made["p_mark"].is_null() == unknown).all()
    nats = metrics["rows"][0]["nats"]
    assert nats["mark"] == pytest.approx(float(made["nats_mark"].cast(pl.Float64).mean() or 0), abs=1e-5)
    assert "unknown" in (last(tmp_path) / "report.html").read_text()
