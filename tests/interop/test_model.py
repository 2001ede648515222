"""A run as a model of MLflow, and as a function of frames: of every task, in a real store, in another process, behind
MLflow's own server; what comes out is what the program forecasts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pytest
import requests

from forecast import __main__ as program
from forecast.artifacts import Run
from forecast.errors import DataError
from forecast.inference.frame import Asked, forecast_frame, load
from forecast.interop.frames import forecasts, map_in_pandas, spark_schema
from forecast.interop.table_facts import askable, asked_of, example, needed, outcome
from tests.test_track import free_port, wait
from tests.tracked import register

ROOT = Path(__file__).parents[2]
TINY = ["trainer=smoke", "quiet=true", "predictions=false", "track=none"]
SERIES = [
    "experiment=smoke", "model=linear", "data=series", "data.path=m.csv", "data.target=load", "data.past=heat",
    "data.known=price", "data.static=kind", "data.id=meter", "data.freq=h", "task.context=24", "task.horizon=6",
]  # fmt: skip
WORDS = {
    "series": SERIES,
    "events": ["experiment=smoke_events", "model=lstm"],
    "classes": ["experiment=smoke_classes", "model=aaren"],
}


def meters() -> pl.DataFrame:
    """Three series with two channels, a covariate that is known ahead, a fact."""
    draw, hours, frames = np.random.default_rng(0), np.arange(160), []
    for number, name in enumerate("abc"):
        load = 100 * (number + 1) + 10 * np.sin(hours / 24 * 2 * np.pi) + draw.standard_normal(160)
        frames.append(pl.DataFrame({
            "meter": name, "time": np.datetime64("2024-01-01T00:00", "us") + hours * np.timedelta64(1, "h"),
            "load": load, "heat": draw.standard_normal(160), "price": np.round(draw.random(160), 3),
            "kind": ("home", "shop")[number % 2],
        }))  # fmt: skip
    return pl.concat(frames)


class Made(NamedTuple):
    home: Path
    runs: dict[str, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    """A tiny run of each task, registered in one store under the name of its task."""
    home, runs = tmp_path_factory.mktemp("models"), {}
    meters().write_csv(home / "m.csv")
    for task, words in WORDS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(home)
            patch.setenv("HYDRA_FULL_ERROR", "0")
            patch.setattr(sys, "argv", ["forecast", "train", *words, *TINY])
            assert program.main() == 0
            patch.delenv("FORECAST_RUN_DIR", raising=False)
        runs[task] = sorted((home / "runs" / "train").iterdir())[-1]
        register(runs[task], home / "mlflow.db", task)
    return Made(home, runs)


@pytest.fixture(params=WORDS)
def task(request) -> str:
    return request.param


def test_the_example_can_be_forecast_and_says_what_comes_out(made, task):
    predictor = load(Run(made.runs[task]))
    table = example(predictor)
    assert table.columns == [each.name for each in needed(predictor)]
    found = forecast_frame(table, predictor)
    assert set(found["status"]) == {"forecast"}
    assert found.schema == outcome(predictor)
    assert asked_of(askable(predictor)) in (Asked(), Asked(levels=(0.05, 0.95)), Asked(levels=(0.05, 0.95), horizon=6))


IN_ANOTHER = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import mlflow
mlflow.set_tracking_uri(os.environ["STORE"])
for task in ("series", "events", "classes"):
    model = mlflow.pyfunc.load_model(f"models:/{task}@champion")
    frame = model.input_example
    made = model.predict(frame)
    made.to_parquet(f"{task}.parquet")
    frame.to_parquet(f"{task}.in.parquet")
"""


@pytest.mark.long
def test_another_process_loads_it_without_a_pickle(made, tmp_path):
    env = {
        **os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "STORE": f"sqlite:///{made.home}/mlflow.db",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", IN_ANOTHER], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for task in WORDS:
        frame = pl.from_pandas(pd.read_parquet(tmp_path / f"{task}.in.parquet"))
        ours = forecast_frame(frame, load(Run(made.runs[task])))
        theirs = pl.from_pandas(pd.read_parquet(tmp_path / f"{task}.parquet"))
        assert theirs.columns == ours.columns
        sound = ours.drop("reason", "detail")  # nothing is wrong: these are empty
        assert theirs.select(sound.columns).cast(dict(sound.schema)).equals(sound)
    files = [path.name for path in (made.home / "mlartifacts").rglob("*") if path.is_file()]
    assert "pyfunc.py" in files and not [name for name in files if name.endswith((".pkl", ".pickle", ".ckpt", ".pt"))]


def test_the_model_says_what_it_takes(made, task):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{made.home}/mlflow.db")
    info = mlflow.models.get_model_info(f"models:/{task}@champion")
    predictor = load(Run(made.runs[task]))
    assert info.signature.inputs.input_names() == [each.name for each in needed(predictor)]
    assert info.signature.outputs.input_names() == outcome(predictor).names()
    assert {param.name for param in info.signature.params} == set(askable(predictor))
    if task == "series":
        kinds = {column.name: column.type.name for column in info.signature.inputs}
        assert kinds == {
            "meter": "string", "time": "datetime", "load": "double", "heat": "double", "price": "double",
            "kind": "string",
        }  # fmt: skip


def cut(frame: pd.DataFrame, *places: int) -> list[pd.DataFrame]:
    ends = [0, *places, len(frame)]
    return [frame.iloc[a:b] for a, b in zip(ends, ends[1:], strict=False)]


def test_frames_that_end_anywhere_give_what_one_table_gives(made):
    """Also inside a series, and with a series that is bad among them."""
    ahead = meters().filter(pl.col("time") < pl.datetime(2024, 1, 3)).to_pandas()
    ahead.loc[ahead["time"] >= "2024-01-02 18:00", ["load", "heat"]] = np.nan  # prices alone are known
    ahead.loc[50, "load"] = np.inf
    run = made.runs["series"]
    whole = pd.concat(map_in_pandas(run)(iter([ahead])))
    assert set(whole["status"]) == {"forecast", "quarantined"}
    for places in ((48,), (1, 2, 60, 61, 143), (10, 47, 49, 120)):
        parts = pd.concat(map_in_pandas(run)(iter(cut(ahead, *places))))
        pd.testing.assert_frame_equal(parts.reset_index(drop=True), whole.reset_index(drop=True), check_dtype=False)
    ours = forecast_frame(pl.from_pandas(ahead), load(Run(run)))
    assert whole["y_hat"].tolist()[:6] == ours["y_hat"].to_list()[:6]


def test_a_series_whose_rows_come_apart_is_refused(made):
    frame = meters().to_pandas()
    apart = [frame.iloc[:200], frame.iloc[320:], frame.iloc[200:320]]
    with pytest.raises(DataError, match="rows of series 'b' come apart; expected those of a series next to each other"):
        list(forecasts(iter(apart), load(Run(made.runs["series"]))))


def test_frames_of_every_task(made, task):
    predictor = load(Run(made.runs[task]))
    table = example(predictor).to_pandas()
    found = pd.concat(forecasts(iter(cut(table, 3, len(table) // 2 + 1)), predictor))
    ours = forecast_frame(pl.from_pandas(table), predictor)
    assert found["unique_id"].tolist() == ours["unique_id"].to_list() and list(found) == ours.columns
    numbers = [name for name, dtype in ours.schema.items() if dtype.is_float()]
    np.testing.assert_allclose(found[numbers].to_numpy(float), ours[numbers].to_numpy(), rtol=1e-6)
    assert list(forecasts(iter([]), predictor)) == []


def test_the_schema_that_spark_is_told(made):
    assert spark_schema(made.runs["series"]) == (
        "`unique_id` STRING, `channel` STRING, `cutoff` TIMESTAMP_NTZ, `ds` TIMESTAMP_NTZ, `step` INT, "
        "`y_hat` DOUBLE, `q05` DOUBLE, `q95` DOUBLE, `status` STRING, `reason` STRING, `detail` STRING"
    )
    assert "`q10` DOUBLE, `status`" in spark_schema(made.runs["series"], Asked(levels=(0.1,)))
    assert spark_schema(made.runs["classes"]).startswith("`unique_id` STRING, `label` STRING, `p` FLOAT")


@pytest.mark.long
def test_mlflows_server_answers_what_the_program_forecasts(made, tmp_path):
    """`mlflow models serve`, a real one; a frame or a parameter that makes no sense is 400 and no traceback."""
    port = free_port()
    env = {
        **os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_TRACKING_URI": f"sqlite:///{made.home}/mlflow.db", "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    words = ["-m", "models:/series@champion", "--env-manager", "local", "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "models", "serve", *words], cwd=tmp_path, env=env, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait(lambda: answers(port), 240)
        told_by_server(made, tmp_path, f"http://127.0.0.1:{port}/invocations")
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ping", timeout=2).status_code == 200
    except requests.ConnectionError:
        return False


def told_by_server(made: Made, place: Path, url: str) -> None:
    table = meters().filter(pl.col("time") < pl.datetime(2024, 1, 3)).with_columns(
        pl.when(pl.col("time") < pl.datetime(2024, 1, 2, 18)).then(pl.col("load", "heat"))
    )  # fmt: skip
    table.write_csv(place / "in.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("HYDRA_FULL_ERROR", "0")
        words = ["predict", f"run={made.runs['series']}", "input=in.csv", "output=out.parquet"]
        patch.setattr(sys, "argv", ["forecast", *words])
        assert program.main() == 0
    asked = {"dataframe_split": json.loads(table.to_pandas().to_json(orient="split", index=False, date_format="iso"))}
    got = requests.post(url, json=asked, timeout=60)
    assert got.status_code == 200, got.text
    json.loads(got.text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    theirs = pl.DataFrame(got.json()["predictions"]).with_columns(pl.col("ds", "cutoff").str.to_datetime())
    ours = pl.read_parquet(place / "out.parquet")
    assert theirs.height == ours.height == 18
    names = ["unique_id", "channel", "ds", "step", "y_hat", "q05", "q95"]
    assert theirs.select(names).cast({"step": pl.Int32}).equals(ours.select(names).cast({"ds": pl.Datetime("us")}))
    two = requests.post(url, json={**asked, "params": {"horizon": 2, "levels": [0.1]}}, timeout=60).json()
    assert len(two["predictions"]) == 6 and "q10" in two["predictions"][0] and "q05" not in two["predictions"][0]
    asked["dataframe_split"]["data"][0][2] = "many"
    bad = requests.post(url, json=asked, timeout=60)
    assert bad.status_code == 400 and "Traceback" not in bad.text
    asked["dataframe_split"]["data"][0][2] = 1.0
    for params in ({"horizon": 99}, {"levels": [2.0]}, {"levels": "all"}, {"on_bad": "shrug"}):
        bad = requests.post(url, json={**asked, "params": params}, timeout=60)
        assert bad.status_code == 400 and "Traceback" not in bad.text, params
