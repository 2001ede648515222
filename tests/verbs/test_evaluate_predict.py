"""A finished run scores the same again, and forecasts files it has never seen."""

import json
import shutil
from importlib.metadata import version

import polars as pl
import pytest

from forecast.inference.predictor import Predictor
from forecast.where import DATASETS
from tests.verbs.conftest import command

ELECTRICITY = DATASETS / "electricity" / "electricity.parquet"


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """The last 60 hours of the data, as a user's csv."""
    path = tmp_path_factory.mktemp("files") / "load.csv"
    pl.read_parquet(ELECTRICITY).tail(60).write_csv(path)
    return path


def test_evaluate_repeats_the_scores_to_the_last_bit(trained, home, tmp_path):
    own = shutil.copytree(trained, tmp_path / "own")  # `save` writes into the run, which other tests look at
    done = command("evaluate", f"run={own}", "save=true", cwd=home)
    assert "equal to the scores saved with the run, to the last bit" in done.stdout
    assert "seasonal naive" in done.stdout
    saved = json.loads((own / "metrics.json").read_text())["rows"]
    again = json.loads((own / "metrics_test.json").read_text())["rows"]
    assert again == saved
    done = command("evaluate", f"run={trained}", "split=val", cwd=home.parent)
    assert "2,627 val windows" in done.stdout


def test_a_moved_run_folder_still_forecasts(trained, history, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(trained, moved)
    shutil.rmtree(moved / "checkpoints")
    done = command("predict", f"run={moved}", f"input={history}", "output=out.parquet", cwd=tmp_path)
    made = pl.read_parquet(tmp_path / "out.parquet")
    assert made.columns == ["unique_id", "channel", "cutoff", "ds", "step", "y_hat", "q05", "q95"]
    assert (made["q05"] < made["y_hat"]).all()
    assert (made["y_hat"] < made["q95"]).all()
    assert made["step"].to_list() == [1, 2, 3, 4, 5, 6]
    assert str(made["cutoff"][0]) == "2014-12-31 23:00:00"
    assert str(made["ds"][-1]) == "2015-01-01 05:00:00"
    assert made["y_hat"].is_between(500, 5000).all()  # kWh, not scaled
    assert "6 forecasts by informer" in done.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"elsewhere", "out.parquet"}


def test_quantiles_and_joint_paths_of_a_file(trained, tmp_path):
    pl.read_parquet(ELECTRICITY).tail(400).write_csv(tmp_path / "load.csv")
    words = ["levels=[0.025,0.5,0.9]", "paths=300", "output=out.csv", "input=load.csv", f"run={trained}"]
    done = command("predict", *words, cwd=tmp_path)
    assert "out.paths.csv: 300 joint paths of each" in done.stdout
    made, paths = (pl.read_csv(tmp_path / name) for name in ("out.csv", "out.paths.csv"))
    assert made.columns[-3:] == ["q2.5", "q50", "q90"]
    assert paths.columns == ["unique_id", "channel", "cutoff", "ds", "step", "path", "y"]
    assert paths.group_by("step").len()["len"].to_list() == [300] * 6
    spread = paths.group_by("step", maintain_order=True).agg(pl.col("y").quantile(0.9)).sort("step")["y"]
    assert spread.to_list() == pytest.approx(made["q90"].to_list(), rel=0.03)
    command("predict", *words, cwd=tmp_path, code=2)  # out.csv exists
    command("predict", *words, "overwrite=true", "adapt=200", cwd=tmp_path)
    adapted = pl.read_csv(tmp_path / "out.csv")
    assert adapted["y_hat"].equals(made["y_hat"])
    assert not adapted["q90"].equals(made["q90"])


@pytest.mark.long
def test_an_output_may_have_its_own_quantiles_and_keep_within_bounds(history, tmp_path):
    words = ["task.output=student_t", "task.calibrate=false", "task.min=2000", "task.max=2100", "predictions=false"]
    command("train", "experiment=smoke", "model=linear", "track=none", *words, cwd=tmp_path)
    (run,) = (tmp_path / "runs" / "train").iterdir()
    assert not (run / "calibration.safetensors").exists()
    assert "intervals" not in json.loads((run / "metrics.json").read_text())
    command("predict", "run=latest", f"input={history}", "output=out.csv", cwd=tmp_path)
    made = pl.read_csv(tmp_path / "out.csv").select("q05", "y_hat", "q95")
    assert 2000 <= made.min().row(0)[0] < 2000.001
    assert 2099.999 < made.max().row(0)[2] <= 2100
    assert (made["q05"] <= made["y_hat"]).all()
    done = command("predict", "run=latest", f"input={history}", "output=b.csv", "paths=3", cwd=tmp_path, code=2)
    assert "no joint paths" in done.stderr


def test_a_forecast_from_a_file_equals_the_scored_one(trained, tmp_path):
    """Same history, same forecast: the window scored in the test set, and the file that ends where it began."""
    scored = pl.read_parquet(trained / "predictions.parquet")
    cutoff = scored["cutoff"][500 * 6]
    cut = pl.read_parquet(ELECTRICITY).filter(pl.col("time") <= cutoff).tail(48)
    made = Predictor.load(trained).predict(cut)
    wanted = scored.filter(pl.col("cutoff") == cutoff)["y_hat"].cast(pl.Float64)
    assert made["y_hat"].to_list() == pytest.approx(wanted.to_list(), rel=1e-5)
    assert made["ds"].to_list() == scored.filter(pl.col("cutoff") == cutoff)["ds"].to_list()


def test_what_came_long_before_changes_no_forecast(trained):
    """The leak canary backwards: only the last context steps matter, and no later row is needed."""
    frame = pl.read_parquet(ELECTRICITY)
    predictor = Predictor.load(trained)
    assert predictor.predict(frame).equals(predictor.predict(frame.tail(48)))


@pytest.mark.parametrize(("words", "code", "message"), [
    (["run=nosuch", "input=F", "output=o.csv"], 4, "no run 'nosuch'"),
    (["run=latest", "input=nowhere.csv", "output=o.csv"], 3, "nowhere.csv is no file"),
    (["run=latest", "input=F", "output=o.xlsx"], 2, "expected a name ending in .csv or .parquet"),
    (["run=latest", "input=F"], 2, "output"),
])  # fmt: skip
def test_bad_requests_are_one_line_and_leave_nothing(trained, home, history, words, code, message):
    before = {p.name for p in home.iterdir()}
    done = command("predict", *(w.replace("=F", f"={history}") for w in words), cwd=home, code=code)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert {p.name for p in home.iterdir()} == before


def test_output_is_never_overwritten_unasked(trained, home, history, tmp_path):
    output = tmp_path / "o.csv"
    output.write_text("precious")
    words = ["predict", "run=latest", f"input={history}", f"output={output}"]
    assert "exists" in command(*words, cwd=home, code=2).stderr
    assert output.read_text() == "precious"
    command(*words, "overwrite=true", cwd=home)
    assert pl.read_csv(output).height == 6


def test_a_history_that_is_too_short_names_what_is_missing(trained, home, tmp_path):
    pl.read_parquet(ELECTRICITY).tail(47).write_csv(tmp_path / "short.csv")
    done = command("predict", "run=latest", f"input={tmp_path / 'short.csv'}", "output=o.csv", cwd=home, code=3)
    assert "47" in done.stderr
    assert "48" in done.stderr


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "data.json"])
def test_a_tampered_run_is_refused(trained, history, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    raw = bytearray((run / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (run / name).write_bytes(raw)
    done = command("predict", f"run={run}", f"input={history}", "output=o.csv", cwd=tmp_path, code=4)
    assert "is not what the run wrote" in done.stderr
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.long
def test_scores_over_changed_data_are_refused(home, tmp_path):
    frame = pl.read_parquet(ELECTRICITY).tail(3000)
    frame.write_parquet(tmp_path / "mine.parquet")
    words = ["experiment=smoke", "data=series", f"data.path={tmp_path / 'mine.parquet'}", "predictions=false"]
    command("train", *words, cwd=tmp_path)
    command("evaluate", "run=latest", cwd=tmp_path)
    frame.with_columns(pl.col("load") * 1.01).write_parquet(tmp_path / "mine.parquet")
    done = command("evaluate", "run=latest", cwd=tmp_path, code=3)
    assert "is not the file that run" in done.stderr


def test_a_run_knows_the_days_off_and_the_local_time_it_was_trained_with(tmp_path):
    """Scored and forecast from another directory, the table of days gone."""
    frame = pl.read_parquet(ELECTRICITY).tail(3000).with_columns(pl.col("time").dt.replace_time_zone("UTC"))
    frame.write_parquet(tmp_path / "mine.parquet")
    (tmp_path / "off.csv").write_text("day,name\n2014-08-01,\n2014-12-24,half a day\n2015-01-02,\n")
    words = ["experiment=smoke", "data=series", "data.path=mine.parquet", "data.zone=Europe/Lisbon", "task.horizon=24"]
    command("train", *words, "data.holidays=[pt,off.csv]", "predictions=false", cwd=tmp_path)
    (run,) = (tmp_path / "runs" / "train").iterdir()
    kept = json.loads((run / "data.json").read_text())
    sources = ["PT", str(tmp_path / "off.csv")]
    assert kept["holidays"]["sources"] == sources and kept["holidays"]["package"] == version("holidays")
    assert kept["holidays"]["days"]["2014-12-24"] == "half a day" and "2014-12-25" in kept["holidays"]["days"]
    assert kept["spec"]["clock"][-3:] == ["holiday", "holiday_in", "holiday_ago"]
    assert json.loads((run / "config.json").read_text())["data"]["holidays"] == sources
    (tmp_path / "off.csv").unlink()
    there = tmp_path / "there"
    there.mkdir()
    done = command("evaluate", f"run={run}", cwd=there)
    assert "equal to the scores saved with the run, to the last bit" in done.stdout
    command("predict", f"run={run}", f"input={tmp_path / 'mine.parquet'}", "output=next.csv", cwd=there)
    assert pl.read_csv(there / "next.csv")["ds"][0] == "2015-01-01T00:00:00.000000+0000"


LONG = """unique_id,ds,y
{rows}
"""


def test_a_users_own_panel_trains_and_forecasts(tmp_path):
    """Long csv, two series of different level and length, no card: from file to forecast."""
    lines = []
    for name, level, n in (("a", 10, 900), ("b", 5000, 700)):
        stamps = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 6, 1), "1h", eager=True)[:n]
        lines += [f"{name},{t},{level * (1 + 0.3 * (i % 24 > 12))}" for i, t in enumerate(stamps)]
    (tmp_path / "mine.csv").write_text(LONG.format(rows="\n".join(lines)))
    done = command("train", "experiment=smoke", "data=series", "data.path=mine.csv", cwd=tmp_path)
    assert "freq" in done.stderr.lower() or "every h" in done.stderr
    command("predict", "run=latest", "input=mine.csv", "output=ahead.csv", cwd=tmp_path)
    made = pl.read_csv(tmp_path / "ahead.csv")
    assert made["unique_id"].unique().sort().to_list() == ["a", "b"]
    level = made.group_by("unique_id").agg(pl.col("y_hat").mean()).sort("unique_id")["y_hat"]
    assert 5 < level[0] < 20
    assert 2500 < level[1] < 10_000
