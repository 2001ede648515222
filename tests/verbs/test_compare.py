"""A leaderboard of tiny runs: what stands in it, what stands apart, what is refused."""

import csv
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forecast import __main__ as program
from forecast.artifacts import Run
from forecast.dashboards import report
from forecast.track import final_metrics
from tests.faults.make import rows, text
from tests.verbs.conftest import command

SMALL = "train experiment=smoke data=series data.path=f.csv task.context=12 task.horizon=3 quiet=true"
PLAIN = "head=direct embed=value embed.d_model=8"
RUNS = [
    f"model=none {PLAIN} seed=1 name=board",
    f"model=none {PLAIN} seed=2 name=board",
    f"model=linear {PLAIN} seed=1 name=board",
    f"model=linear {PLAIN} seed=2 name=board",
    f"model=linear {PLAIN} seed=2 name=board",  # again
    f"model=linear {PLAIN} optim.lr=0.1 name=board",
    "model=linear name=board",  # its own head and embedding
    f"model=linear {PLAIN} 'data.splits={{train: 200, val: 50, test: 100}}' name=other",
    f"model=linear {PLAIN} predictions=false name=bare",
    f"model=none {PLAIN} norm=rolling half_life=3 embed.causal=true embed.position=false name=streams",
]
Program = Callable[[str], str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("board")
    (place / "f.csv").write_text(text(rows(600)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_report", lambda folder: None)  # seconds each, and nobody reads them
        for words in RUNS:
            assert main(place, f"{SMALL} {words}") == 0
    return place


def main(place: Path, words: str) -> int:
    """The program in this process, in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("HYDRA_FULL_ERROR", "0")
        patch.setattr(sys, "argv", ["forecast", *shlex.split(words)])
        code = program.main()
        patch.delenv("FORECAST_RUN_DIR", raising=False)
    return code


def read(place: Path) -> list[dict[str, str]]:
    with open(place / "leaderboard.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_board_has_a_line_for_each_model_and_the_naive_rows(home: Path, capsys) -> None:
    assert main(home, "evaluate compare=board") == 0
    out = capsys.readouterr().out
    place = home / "runs" / "compare" / "board"
    assert {path.name for path in place.iterdir()} == {f"leaderboard.{kind}" for kind in ("md", "csv", "html")}
    made = read(place)
    lines = [row for row in made if row["kind"] == "model"]
    assert sorted((row["model"], row["embed"], row["variant"], row["seeds"]) for row in lines) == [
        ("linear", "none", "", "1"), ("linear", "value", "optim.lr=0.001", "1 2"),
        ("linear", "value", "optim.lr=0.1", "1"), ("none", "value", "", "1 2"),
    ]  # fmt: skip
    naive = [row for row in made if row["kind"] == "naive"]
    assert {row["model"] for row in naive} == {"ridge", "seasonal naive", "last value"}
    assert [row["test_mse"] for row in naive] == sorted((row["test_mse"] for row in naive), key=float)
    assert [row["val_mse"] for row in lines] == sorted((row["val_mse"] for row in lines), key=float)
    assert [row["model"] for row in lines if row["chosen"] == "true"] == ["linear", "none"]
    for row in lines:
        assert float(row["peak_mib"]) > 10
        assert (row["test_mse_sd"] != "") == (row["seeds"] == "1 2")
    assert f"{place.relative_to(home)}/leaderboard.md, .csv, .html" in out
    assert "Unequal budgets" not in out
    assert "Of 1 more runs with a seed that stands here already the newest counts." in out
    assert "1 without a none of the same embedding, norm and head: compared to none · value · instance · direct" in out


def test_the_difference_is_that_of_the_scores_and_lies_in_its_interval(home: Path) -> None:
    assert main(home, "evaluate compare=board") == 0
    lines = {(row["model"], row["variant"]): row for row in read(home / "runs" / "compare" / "board")}
    control, row = lines["none", ""], lines["linear", "optim.lr=0.001"]
    assert control["delta_mse"] == ""
    for error in ("mse", "mae"):
        difference = float(row[f"test_{error}"]) - float(control[f"test_{error}"])
        assert float(row[f"delta_{error}"]) == difference
        assert float(row[f"delta_{error}_low"]) < difference < float(row[f"delta_{error}_high"])
    assert (row["against"], row["interval"]) == ("value · instance · direct", "windows and seeds")
    assert float(lines["linear", "optim.lr=0.1"]["delta_mse_low"]) < float(lines["linear", "optim.lr=0.1"]["delta_mse"])


def test_what_a_run_is_worth_as_a_stream_stands_in_its_record_and_on_the_board(home: Path, capsys) -> None:
    runs = [Run(path) for path in sorted((home / "runs" / "train").iterdir())]
    saved = {run.read("config.json")["name"]: run.read("metrics.json") for run in runs}
    model, *_, row = saved["streams"]["rows"]
    stream = saved["streams"]["stream"]
    assert (row["kind"], row["name"]) == ("streamed", f"{model['name']}, streamed")
    assert row["values"] == model["values"]
    assert stream["ratio"] == row["scaled"]["mse"] / model["scaled"]["mse"]
    assert (stream["origin"], stream["steps"]) == ("2024-01-01 00:00", 600 - 3)
    assert saved["bare"]["stream"] == {
        "refused": "it normalises a whole window", "do": "set norm=rolling embed.causal=true model=aaren"
    }  # fmt: skip
    logged = final_metrics(saved["streams"])
    assert logged["test_streamed/ratio"] == stream["ratio"]
    assert logged["test_streamed/bytes_per_series"] == stream["bytes_per_series"]
    assert logged["test_streamed/mse_z"] == stream["mse"]
    assert not any("stream" in name for name in final_metrics(saved["bare"]))
    assert main(home, "evaluate 'compare=[board,streams]' output=streams") == 0
    assert re.search(rf"{stream['ratio']:.4f} +{stream['bytes_per_series']} B ", capsys.readouterr().out)
    made = read(home / "streams")
    assert not any("streamed" in row["model"] for row in made)
    (line,) = [row for row in made if row["norm"] == "rolling"]
    assert float(line["streamed_ratio"]) == stream["ratio"] and line["streamed_steps"] == "597.0"
    assert {row["streamed_ratio"] for row in made if row is not line} == {""}
    assert line["variant"] == ""


def test_a_stream_is_scored_again_to_the_last_bit(home: Path, capsys) -> None:
    run = next(path for path in (home / "runs" / "train").iterdir()
               if Run(path).read("config.json")["name"] == "streams")  # fmt: skip
    assert main(home, f"evaluate run={run}") == 0
    out = capsys.readouterr().out
    stream = Run(run).read("metrics.json")["stream"]
    assert f"streamed from 2024-01-01 00:00, 597 steps: {stream['ratio']:.4f} × the MSE of windows" in out
    assert "to the last bit" in out


def test_other_windows_stand_apart(home: Path, capsys) -> None:
    assert main(home, "evaluate compare=[board,other] output=both") == 0
    made = read(home / "both")
    assert len({row["setting"] for row in made}) == 2
    (alone,) = [row for row in made if row["kind"] == "model" and row["test_windows"] == "98"]
    assert alone["delta_mse"] == ""
    out = capsys.readouterr().out
    assert "Apart from another table of this title, for other scale, splits, windows." in out
    assert "No run of model=none is among them" in out


def test_runs_without_predictions_get_no_interval(home: Path, capsys) -> None:
    assert main(home, "evaluate 'compare=[board,bare]' output=both") == 0
    (row,) = [row for row in read(home / "both") if row["variant"] == "optim.lr=0.001"]
    assert row["seeds"] == "1 2"  # the newest of seed 1 is the bare one
    assert row["delta_mse"] != ""
    assert row["delta_mse_low"] == row["interval"] == ""
    assert "1 without an interval" in capsys.readouterr().out


def test_names(home: Path, capsys) -> None:
    for word, count in (("forecast/f", 10), ("all", 10), ("b*", 8), ("other", 1), ("20*", 10)):
        assert main(home, f"evaluate 'compare={word}' output=named") == 0
        assert len(" ".join(row["runs"] for row in read(home / "named")).split()) in (count, count - 1, count - 2)
    capsys.readouterr()
    assert main(home, "evaluate compare=bord") == 4
    assert "did you mean board?" in capsys.readouterr().err


def test_a_damaged_run_is_named_and_an_unfinished_one_left_out(home: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(home / "runs" / "train", tmp_path / "runs" / "train")
    first, second, *_ = sorted((tmp_path / "runs" / "train").iterdir())
    (first / "MANIFEST.json").unlink()
    assert main(tmp_path, "evaluate compare=board") == 0
    assert "forecast: 1 unfinished run left out" in capsys.readouterr().err
    with open(second / "predictions.parquet", "r+b") as file:
        file.write(b"X")
    assert main(tmp_path, "evaluate compare=board") == 4
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"forecast: {second}/predictions.parquet is not what the run wrote")


def test_texts_are_plain_and_safe(home: Path) -> None:
    assert main(home, "evaluate compare=board output=texts") == 0
    page = (home / "texts" / "leaderboard.html").read_text(encoding="utf-8")
    assert "<script" not in page and "http://" not in page.replace("http-equiv", "")
    assert page.count("<svg") == 3  # an interval for each line but the control
    table = [line for line in (home / "texts" / "leaderboard.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 2 + 4 + 3


def test_a_job_knows_its_sweep(home: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "f.csv").write_bytes((home / "f.csv").read_bytes())
    monkeypatch.setenv("FORECAST_RESULT", str(tmp_path / "runs" / "sweep" / "20260101T000000Z-0a1b2c3d" / "3.json"))
    (tmp_path / "runs" / "sweep" / "20260101T000000Z-0a1b2c3d").mkdir(parents=True)
    assert main(tmp_path, f"{SMALL} {RUNS[0]}") == 0
    (run,) = (tmp_path / "runs" / "train").iterdir()
    assert Run(run).read("env.json")["sweep"] == "20260101T000000Z-0a1b2c3d/3"
    for word in ("latest", "20260101T000000Z-0a1b2c3d", "runs/sweep/20260101T000000Z-0a1b2c3d"):
        assert main(tmp_path, f"evaluate compare={word} output=o") == 0
    assert len(read(tmp_path / "o")) == 4


@pytest.mark.long
def test_jobs_of_a_sweep_are_children_of_one_run_in_mlflow(home: Path, tmp_path: Path) -> None:
    import mlflow

    (tmp_path / "f.csv").write_bytes((home / "f.csv").read_bytes())
    words = [*shlex.split(SMALL), *shlex.split(RUNS[0]), "predictions=false", "track=mlflow", "track.wait=200"]
    command(*(word for word in words if not word.startswith("seed=")), "-m", "seed=1,2", cwd=tmp_path, fresh=True)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = [each for each in client.search_experiments() if each.name == "forecast/f"]
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    (sweep,) = (tmp_path / "runs" / "sweep").iterdir()
    assert parent.info.run_name == f"sweep {sweep.name}"
    children = [run.data.tags for run in runs if run is not parent]
    assert [tags["mlflow.parentRunId"] for tags in children] == [parent.info.run_id] * 2
    assert {tags["seed"] for tags in children} == {"1", "2"}
