"""forecast backtest through the command line: the scores of the run, refits, what is refused, a kill."""

import json
import shutil

import numpy as np
import polars as pl
import pytest

from forecast.inference.predictor import Predictor
from tests.verbs.conftest import command
from tests.verbs.test_evaluate_predict import ELECTRICITY

FILES = {"forecasts.parquet", "series.parquet", "steps.parquet", "origins.parquet", "metrics.json", "backtest.png"}
SMALL = [
    "experiment=smoke", "model=linear", "data=series", "data.path=f.parquet", "task.context=24", "task.horizon=6",
    "data.splits={train: 0.6, val: 0.2, test: 0.2}", "track=none", "predictions=false", "quiet=true",
]  # fmt: skip


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
    command("train", *SMALL, cwd=folder)
    return folder


def test_all_origins_of_the_test_part_have_the_scores_saved_with_the_run(trained, home, tmp_path):
    done = command("backtest", f"run={trained}", "output=back", cwd=tmp_path)
    folder = tmp_path / "back"
    assert {path.name for path in folder.iterdir()} == FILES
    saved, found = json.loads((trained / "metrics.json").read_text()), facts(folder)
    by_name = {row["name"]: row for row in saved["rows"]}
    assert found["rows"] == [by_name[row["name"]] for row in found["rows"]]  # to the last bit
    assert [row["name"] for row in found["rows"]] == ["informer", "seasonal naive", "last value", "ridge"]
    calibrated = saved["intervals"]["calibrated"]["nominal"]["90"]
    assert found["intervals"]["informer"]["90"]["coverage"] == pytest.approx(calibrated["coverage"], abs=1e-4)
    assert found["intervals"]["informer"]["90"]["width_original"] == pytest.approx(calibrated["width_original"], 1e-5)
    frame, recorded = (pl.read_parquet(f) for f in (folder / "forecasts.parquet", trained / "predictions.parquet"))
    assert frame["y_hat"].cast(pl.Float32).equals(recorded["y_hat"]) and frame["ds"].equals(recorded["ds"])
    assert found["windows"] == found["parts"]["test"] == 5255 and "5,255 forecasts of 6 steps" in done.stdout
    assert done.stderr == ""
    assert {path.name for path in home.iterdir()} >= {"runs"}


def test_a_single_origin_is_what_predict_says_of_the_table_cut_there(trained, tmp_path):
    words = ["origins={first: 2014-12-01T05:00, last: 2014-12-01T05:00}", "levels=[0.25,0.75]"]
    command("backtest", f"run={trained}", "output=back", *words, cwd=tmp_path)
    made = pl.read_parquet(tmp_path / "back" / "forecasts.parquet")
    cut = pl.read_parquet(ELECTRICITY).filter(pl.col("time") <= made["cutoff"][0])
    alone = Predictor.load(trained).predict(cut, levels=[0.25, 0.75])
    assert str(made["cutoff"][0]) == "2014-12-01 05:00:00" and made.height == 6
    for key in ("y_hat", "q25", "q75"):
        assert made[key].to_list() == alone[key].to_list()  # one window in a batch, as there: to the last bit


def test_origins_within_the_training_are_told_and_marked(place, tmp_path):
    of_run = [f"run={place}/runs/train/{next((place / 'runs' / 'train').iterdir()).name}"]
    done = command("backtest", *of_run, "output=back", "origins={first: 2024-01-05}", "step=7", cwd=tmp_path)
    frame, found = pl.read_parquet(tmp_path / "back" / "forecasts.parquet"), facts(tmp_path / "back")
    train = frame.filter(part="train").height // 6
    assert done.stderr == (
        f"in-sample: {train} of {found['windows']} forecasts begin in the training part of the run, "
        f"{found['parts']['val']} in its validation part; the column `part` says which\n"
    )
    assert found["parts"]["train"] == train > 0 and found["series"] == 2
    assert frame.filter(part="train")["ds"].min() > frame["cutoff"].min()
    assert "hardest of 2 series" in done.stdout
    done = command("backtest", *of_run, "output=file", f"input={place}/f.parquet", "origins=3", cwd=tmp_path)
    again = pl.read_parquet(tmp_path / "file" / "forecasts.parquet")
    assert done.stderr == "" and set(again["part"]) == {"test"} and facts(tmp_path / "file")["windows"] == 6
    assert again["cutoff"].max() == frame["cutoff"].max() or again["cutoff"].max() > frame["cutoff"].max()


def test_a_refit_learns_from_what_was_known_and_from_nothing_else(place, tmp_path):
    """Two trainings for four origins; their data are cut, and what comes after a cutoff changes nothing before it."""
    shutil.copytree(place / "runs", tmp_path / "runs")
    words = ["run=latest", "origins={first: 2024-01-12, last: 2024-01-15}", "step=24", "refit=every:2"]
    done = command("backtest", *words, "output=back", cwd=tmp_path)
    found, folder = facts(tmp_path / "back"), tmp_path / "back" / "refits" / "train"
    assert [each["since"] for each in found["refits"]] == ["2024-01-12 00:00", "2024-01-14 00:00"]
    assert (
        done.stderr.count(": trained, ") == 2 and "refit 2 of 2, on what was known at 2024-01-14 00:00" in done.stderr
    )
    frame = pl.read_parquet(tmp_path / "back" / "forecasts.parquet")
    used = frame.group_by("cutoff").agg(pl.col("run").unique()).sort("cutoff")["run"].to_list()
    assert used == [[found["refits"][k // 2]["run"]] for k in range(4)] and set(frame["part"]) == {"test"}
    assert {path.name for path in folder.iterdir()} == {each["run"] for each in found["refits"]}
    one = Predictor.load(folder / found["refits"][0]["run"])
    mine = frame.filter(pl.col("cutoff") == pl.datetime(2024, 1, 13))
    cut = pl.read_parquet(place / "f.parquet").filter(pl.col("ds") <= pl.datetime(2024, 1, 13))
    np.testing.assert_allclose(one.predict(cut)["y_hat"], mine["y_hat"], rtol=1e-6)
    assert found["rows"][0]["name"] == "linear, refitted" and {"ridge"} <= {row["name"] for row in found["rows"]}
    splits = json.loads((folder / found["refits"][0]["run"] / "config.json").read_text())["data"]["splits"]
    assert splits["test"] == "2024-01-12T00:00:00.000001Z" and splits["end"] == "2024-01-13T06:00:00.000001Z"

    # A kill before the end: the refits that were finished are there, and are not done again.
    (tmp_path / "back" / "metrics.json").unlink()
    (tmp_path / "back" / "forecasts.parquet").unlink()
    again = command("backtest", *words, "output=back", cwd=tmp_path)
    assert again.stderr.count(": was there, ") == 2
    assert pl.read_parquet(tmp_path / "back" / "forecasts.parquet").equals(frame)

    # The canary: other data after the second origin.
    late = pl.col("ds") > pl.datetime(2024, 1, 13)
    changed = pl.read_parquet(place / "f.parquet").with_columns(y=pl.when(late).then(pl.col("y") * -9).otherwise("y"))
    (tmp_path / "other").mkdir()
    changed.write_parquet(tmp_path / "other" / "f.parquet")
    command("train", *SMALL, "data.splits={val: 2024-01-08, test: 2024-01-11}", cwd=tmp_path / "other")
    command("train", *SMALL, "data.splits={val: 2024-01-08, test: 2024-01-11}", f"data.path={place}/f.parquet",
            cwd=tmp_path)  # fmt: skip
    warm = [*words, "warm=true", "output=warm"]
    early = []
    for where in (tmp_path, tmp_path / "other"):
        command("backtest", *warm, cwd=where)
        early.append(pl.read_parquet(where / "warm" / "forecasts.parquet").filter(pl.col("cutoff") <= pl.datetime(2024, 1, 13)))  # fmt: skip  # noqa: E501
    assert early[0].height == 2 * 2 * 6 and early[0].drop("y", "run").equals(early[1].drop("y", "run"))


def test_an_output_is_replaced_only_when_asked(place, tmp_path):
    words = ["run=latest", f"runs={place}/runs", "output=back", "origins=2"]
    command("backtest", *words, cwd=tmp_path)
    assert "back exists" in command("backtest", *words, cwd=tmp_path, code=2).stderr
    command("backtest", *words, "overwrite=true", "horizon=3", cwd=tmp_path)
    assert facts(tmp_path / "back")["horizon"] == 3
    (tmp_path / "back" / "notes.txt").write_text("mine")
    assert "back holds notes.txt" in command("backtest", *words, "overwrite=true", cwd=tmp_path, code=2).stderr
    (tmp_path / "file").write_text("mine")
    assert "file is no folder" in command("backtest", *words[:2], "output=file", cwd=tmp_path, code=2).stderr
    assert "cannot be written" in command("backtest", *words[:2], "output=file/b", cwd=tmp_path, code=2).stderr


def test_bad_requests_leave_nothing(place, tmp_path):
    for words, code in (
        (["horizon=7"], 2),
        (["origins=9999"], 3),
        (["refit=every:2", "origins={first: 2024-01-03}"], 3),
    ):
        done = command("backtest", "run=latest", f"runs={place}/runs", "output=o", *words, cwd=tmp_path, code=code)
        assert done.stderr.count("\n") == 1 and list(tmp_path.iterdir()) == []
