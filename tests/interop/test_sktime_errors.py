"""What estimators of sktime cannot do is said in one line."""

import io
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from forecast.artifacts import Run
from forecast.errors import ArtifactError, DataError, UsageError
from forecast.interop.sktime import AarenForecaster, LSTMClassifier, LSTMForecaster
from forecast.interop.sktime_config import settings
from forecast.interop.sktime_plain import plain, restored
from forecast.interop.sktime_store import read_run
from forecast.interop.sktime_time import Clock
from forecast.verbs.train import train

SMALL: dict[str, Any] = {"d_model": 8, "layers": 1, "max_epochs": 1, "random_state": 1}
Y = pd.Series(np.arange(40.0) % 5, index=pd.date_range("2024-01-01", periods=40, freq="D"))


@pytest.fixture(scope="module")
def fitted() -> LSTMForecaster:
    return LSTMForecaster(**SMALL).fit(Y, fh=[1, 2])


@pytest.mark.parametrize(("words", "message"), [
    (["model.d_modl=3"], "overrides: .*d_modl"), (["trainer.max_epochs=three"], "overrides: .*three"),
    (["a b"], "overrides: .*expected keys of forecast train"), (["model.heads=3"], "model"),
])  # fmt: skip
def test_a_wrong_override(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AarenForecaster(**SMALL, overrides=words).fit(Y, fh=[1])


def test_a_wrong_argument() -> None:
    with pytest.raises(UsageError, match="sp is wide; expected a whole number; set sp=12"):
        LSTMForecaster(**SMALL, sp="wide").fit(Y, fh=[1])
    with pytest.raises(UsageError, match="context is 0; expected at least 1"):
        LSTMForecaster(**SMALL, context=0).fit(Y, fh=[1])
    with pytest.raises(UsageError, match="max_epochs is many; expected a whole number"):
        LSTMForecaster(**{**SMALL, "max_epochs": "many"}).fit(Y, fh=[1])
    with pytest.raises(UsageError, match="validation is 1; expected a share of each series"):
        LSTMForecaster(**SMALL, validation=1).fit(Y, fh=[1])
    with pytest.raises(UsageError, match="overrides: Value 'high'"):
        LSTMForecaster(**SMALL, learning_rate="high").fit(Y, fh=[1])
    made = LSTMForecaster(**{**SMALL, "d_model": np.int64(8)}, context=np.int64(5)).fit(Y, fh=[1])
    assert made.context_ == 5


def test_a_horizon_beyond_what_was_fitted(fitted: LSTMForecaster) -> None:
    absolute = LSTMForecaster(**SMALL).fit(Y, fh=pd.DatetimeIndex(["2024-02-11"]))
    absolute.update(Y.iloc[:36], update_params=False)  # the present goes back
    with pytest.raises(DataError, match="fh asks for step 6; the model was fitted for steps 1 … 2"):
        absolute.predict()


def test_times_that_are_none() -> None:
    clock = Clock.of(Y.index, np.array([0, 40]))
    with pytest.raises(DataError, match="is no whole number of steps"):
        clock.steps(Y.index[0], pd.DatetimeIndex(["2024-01-05 07:00"]))
    with pytest.raises(DataError, match="the time index is of timedelta64"):
        Clock.of(pd.timedelta_range("1h", periods=3), np.array([0, 3]))
    with pytest.raises(DataError, match="the periods have the step ns"):
        Clock.of(pd.period_range("2024", periods=3, freq="ns"), np.array([0, 3]))


def test_x_and_y_must_stay_what_they_were(fitted: LSTMForecaster) -> None:
    X = pd.DataFrame({"x": np.arange(40.0)}, index=Y.index)
    made = LSTMForecaster(**SMALL).fit(Y, X, fh=[1])
    with pytest.raises(UsageError, match="X is not given; the forecaster was fitted with X; give it with y"):
        made.update(Y, update_params=False)
    wider = pd.DataFrame({"a": Y, "b": Y})
    with pytest.raises(DataError, match="y has the columns a, b; expected 0"):
        LSTMForecaster(**SMALL).fit(Y, fh=[1]).update(wider, update_params=False)


def test_a_damaged_save(fitted: LSTMForecaster, tmp_path: Path) -> None:
    kind, data = fitted.save()
    with ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    table = bytearray(files["run/y.parquet"])
    table[-3] ^= 1
    damaged = io.BytesIO()
    with ZipFile(damaged, "w") as archive:
        for name, content in {**files, "run/y.parquet": bytes(table)}.items():
            archive.writestr(name, content)
    with pytest.raises(ArtifactError, match="is not what the run wrote"):
        kind.load_from_serial(damaged.getvalue())
    folder = fitted.to_run(tmp_path / "run")
    (folder / "y.parquet").write_bytes(bytes(table))
    (folder / "MANIFEST.json").unlink()  # nothing vouches for the file any more
    with pytest.raises(ArtifactError, match="y.parquet cannot be read"):
        read_run(Run(folder), {"facts": {}, "held_out": True})
    with pytest.raises(ArtifactError, match="the saved estimator is damaged"):
        restored({"period": "never", "freq": "?"})
    with pytest.raises(UsageError, match="a value of object cannot be saved"):
        plain(object())


def test_what_was_written_comes_back() -> None:
    for value in (
        pd.Timestamp("2024-03-01", tz="Europe/Berlin"), pd.Period("2024-03", "M"), ("a", 1), np.array(["x", "y"]),
        [1.5, None, True], {"k": (1, 2)}, np.array([1, 2]),
    ):  # fmt: skip
        again = restored(json.loads(json.dumps(plain(value))))
        assert np.all(again == value) and type(again) is type(value)
    for index in (
        pd.RangeIndex(3, 9, 2, name="t"), pd.RangeIndex(5, 6), pd.Index(["a", "b"]), pd.Index([1, 2], name="n"),
        pd.period_range("2024", periods=3, freq="Q"), pd.MultiIndex.from_tuples([("a", 1)]),
    ):  # fmt: skip
        assert restored(json.loads(json.dumps(plain(index)))).equals(index)


def test_a_run_of_another_kind(fitted: LSTMForecaster, tmp_path: Path) -> None:
    folder = fitted.to_run(tmp_path / "run")
    with pytest.raises(UsageError, match="is of task=forecast; expected a run of task=classify"):
        LSTMClassifier.from_run(folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["data"]["path"] == str(folder / "y.parquet")  # `forecast evaluate` finds it


def test_a_run_that_looks_at_more_is_no_forecaster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORECAST_RUN_DIR", raising=False)
    frame = pd.DataFrame({"ds": Y.index, "y": Y.to_numpy(), "b": Y.to_numpy()[::-1]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    keys = {"task.context": 5, "task.horizon": 2, "data.path": str(tmp_path / "t.csv"), "data.target": ["y"],
            "data.past": ["b"], "trainer.max_epochs": 1, "runs": str(tmp_path / "runs")}  # fmt: skip
    train(OmegaConf.create(settings("lstm", "forecast", (), keys, usual=("data=series",))), [])
    with pytest.raises(UsageError, match="looks at b; a forecaster of sktime knows y, and X that is known ahead"):
        LSTMForecaster.from_run("latest", runs=tmp_path / "runs")
