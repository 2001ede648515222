"""Forecasters of sktime: part of its own checks (all of them: `make conformance`), and what those do not ask."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sktime.base import load
from sktime.datasets import load_airline
from sktime.forecasting.base import ForecastingHorizon
from sktime.forecasting.compose import EnsembleForecaster, TransformedTargetForecaster
from sktime.forecasting.model_selection import ForecastingGridSearchCV
from sktime.split import SingleWindowSplitter
from sktime.transformations.series.detrend import Detrender
from sktime.utils._testing.hierarchical import _make_hierarchical
from sktime.utils.estimator_checks import check_estimator

from forecast import spool
from forecast.artifacts import sha256
from forecast.errors import ArtifactError, DataError, UsageError
from forecast.interop import sktime as ours
from forecast.interop.sktime import AarenForecaster, InformerForecaster, LSTMForecaster, TCNCAForecaster
from forecast.interop.sktime_table import Layout

SMALL: dict[str, Any] = {"d_model": 8, "layers": 1, "max_epochs": 1, "random_state": 1}
ALL = [AarenForecaster, InformerForecaster, LSTMForecaster, TCNCAForecaster]
QUICK = ["test_constructor", "test_valid_object_class_tags", "test_random_tags", "test_clone", "test_set_params",
         "test_get_test_params", "test_pred_int_tag", "test_fit_returns_self"]  # fmt: skip
SLOWER = ["test_fit_does_not_overwrite_hyper_params", "test_hierarchical_with_exogenous", "test_deepcopy_fitted"]


@pytest.fixture(scope="module")
def y() -> "pd.Series[float]":
    return load_airline().iloc[:60]


@pytest.fixture(scope="module")
def fitted(y: "pd.Series[float]") -> LSTMForecaster:
    return LSTMForecaster(**SMALL).fit(y.iloc[:54], fh=[1, 2, 3])


def copy(of: Any) -> Any:
    return pickle.loads(pickle.dumps(of))


@pytest.mark.parametrize("kind", [ALL[0], *(pytest.param(kind, marks=pytest.mark.long) for kind in ALL[1:])])
@pytest.mark.filterwarnings("ignore")  # the checks provoke them
def test_a_part_of_the_checks(kind: Any) -> None:
    some = [*QUICK, *SLOWER] if kind is LSTMForecaster else QUICK[:-1]
    found = check_estimator(kind, tests_to_run=some, verbose=False)
    assert found and {name: result for name, result in found.items() if result != "PASSED"} == {}


def test_all_are_there() -> None:
    assert {kind.__name__ for kind in ALL} <= set(ours.__all__)
    for kind in ALL:
        assert kind.__doc__ and f"model={kind.MODEL}" in kind.__doc__


def test_a_fit_leaves_the_process_as_it_was(y: "pd.Series[float]") -> None:
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    np.random.seed(4)
    state = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    strict = torch.are_deterministic_algorithms_enabled()
    LSTMForecaster(**SMALL).fit(y, fh=[1])
    assert torch.equal(torch.rand(3), wanted)
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index, union-attr]
    assert torch.are_deterministic_algorithms_enabled() == strict


def test_the_same_seed_gives_the_same_forecast(y: "pd.Series[float]") -> None:
    made = [TCNCAForecaster(**{**SMALL, "random_state": seed}).fit(y, fh=[1, 2]).predict() for seed in (5, 5, 6)]
    assert made[0].equals(made[1]) and not made[0].equals(made[2])


def test_no_future_warning_and_no_copy_of_the_data(fitted: LSTMForecaster) -> None:
    assert fitted.get_config()["remember_data"] is False  # warnings are errors here: sktime would have warned
    assert fitted._y is None


def test_update_moves_the_context_and_nothing_else(y: "pd.Series[float]", fitted: LSTMForecaster) -> None:
    moved = copy(fitted).update(y.iloc[54:], update_params=False)
    before, after = (f._trained.predictor.chain.state_dict() for f in (fitted, moved))
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert moved.cutoff[0] == y.index[-1] and moved.predict().index[0] == y.index[-1] + 1
    anew = copy(fitted)  # the same in pieces, and with rows that come twice
    for a, b in ((54, 56), (55, 58), (50, 60)):
        anew.update(y.iloc[a:b], update_params=False)
    assert moved.predict().equals(anew.predict())
    back = copy(moved).update(y.iloc[50:54], update_params=False)  # the present is where y ends
    assert back.predict().equals(fitted.predict())


def test_update_goes_on_training_from_the_weights(y: "pd.Series[float]", fitted: LSTMForecaster) -> None:
    more = copy(fitted).update(y.iloc[54:])
    plain = copy(fitted).update(y.iloc[54:], update_params=False)
    assert not more.predict().equals(plain.predict())
    apart = (more.predict() - plain.predict()).abs().max()
    assert apart < 20  # an epoch from where it was, not from anywhere
    now, before = (f._trained.predictor.recipe.scaler.to_dict() for f in (more, fitted))
    assert now == before  # the weights mean what they meant


def test_quantiles_are_in_order_around_the_forecast(y: "pd.Series[float]") -> None:
    made = AarenForecaster(**SMALL, output="student_t").fit(y, fh=[1, 3])
    found = made.predict_quantiles(alpha=[0.1, 0.5, 0.9])
    assert (np.diff(found.to_numpy(), axis=1) >= 0).all()
    ends = made.predict_interval(coverage=0.8)
    np.testing.assert_allclose(ends.to_numpy(), found.to_numpy()[:, [0, 2]])


def test_too_few_errors_for_a_quantile_are_told(y: "pd.Series[float]", fitted: LSTMForecaster) -> None:
    count = fitted._trained.facts["windows"]
    with pytest.warns(UserWarning, match=f"learned from {count} validation windows"):
        fitted.predict_quantiles(alpha=[0.01])
    fitted.predict_quantiles(alpha=[0.3, 0.7])
    with pytest.warns(UserWarning, match="too few to hold any back"):
        short = LSTMForecaster(**SMALL).fit(y.iloc[:7], fh=[1, 2, 3, 4])
    assert np.isfinite(short.predict()).all()
    with pytest.raises(DataError, match="the longest series has 3 steps"):
        LSTMForecaster(**SMALL).fit(y.iloc[:3], fh=[1, 2, 3])


@pytest.mark.parametrize("index", [
    pd.RangeIndex(5, 65), pd.Index(np.arange(100, 160)), pd.period_range("2000", periods=60, freq="Q"),
    pd.period_range("2000", periods=60, freq="2D"), pd.date_range("2000-01-03", periods=60, freq="B"),
    pd.date_range("2000", periods=60, freq="W"), pd.date_range("2000", periods=60, freq="ME"),
    pd.date_range("2000-03-25", periods=60, freq="h", tz="Europe/Berlin"),
    pd.date_range("2000", periods=60, freq="YS"), pd.date_range("2000", periods=60, freq="15min"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:PeriodDtype")  # sktime makes periods of business days
def test_every_kind_of_time(index: pd.Index) -> None:
    y = pd.Series(np.arange(60.0) % 7, index=index)
    made = LSTMForecaster(**SMALL).fit(y.iloc[:-2], fh=[1, 2])
    assert made.predict().index.equals(index[-2:])
    assert copy(made).update(y.iloc[-2:-1], update_params=False).predict().index[0] == index[-1]
    assert load(made.save()).predict().equals(made.predict())
    if not getattr(index, "tz", None):
        absolute = LSTMForecaster(**SMALL).fit(y.iloc[:-2], fh=ForecastingHorizon(index[-2:], is_relative=False))
        assert absolute.predict().equals(made.predict())


def test_missing_values_and_rows(y: "pd.Series[float]") -> None:
    holes = y.copy()
    holes.iloc[[3, 20, 21, 58]] = np.nan
    made = AarenForecaster(**SMALL).fit(holes, fh=[1, 2])
    assert np.isfinite(made.predict()).all()
    dates = y.copy()
    dates.index = dates.index.to_timestamp()
    left_out = AarenForecaster(**SMALL).fit(dates.asfreq("MS").drop(dates.index[[3, 20, 21, 58]]), fh=[1, 2])
    np.testing.assert_allclose(left_out.predict(), made.predict(), rtol=1e-5)


def test_x_counts_and_must_be_given(y: "pd.Series[float]") -> None:
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"n": rng.normal(size=60), "w": rng.choice(["a", "b"], 60)}, index=y.index)
    y = pd.Series(100 + 50 * X["n"] + 20 * (X["w"] == "a"), index=y.index, name="y")
    made = LSTMForecaster(**{**SMALL, "max_epochs": 30}).fit(y.iloc[:57], X.iloc[:57], fh=[1, 2, 3])
    a = made.predict(X=X.iloc[57:])
    b = made.predict(X=X.iloc[57:].assign(n=-X["n"].iloc[57:]))
    assert ((a - b) * X["n"].iloc[57:] > 0).all()  # more of it, more of y
    with pytest.raises(UsageError, match="X is not given"):
        made.predict()
    with pytest.raises(DataError, match="X has the columns n; expected n, w"):
        made.predict(X=X[["n"]].iloc[57:])
    with pytest.raises(DataError, match="has no value of 'n'"):
        made.predict(X=X.iloc[50:57])
    assert load(made.save()).predict(X=X.iloc[57:]).equals(a)


def test_panels_and_hierarchies_are_one_model(y: "pd.Series[float]") -> None:
    panel = _make_hierarchical((2, 2), min_timepoints=20, max_timepoints=30, same_cutoff=False, random_state=1)
    made = LSTMForecaster(**SMALL).fit(panel, fh=[1, 2])
    found = made.predict()
    assert found.index.names == panel.index.names and len(found) == 8
    ends = panel.reset_index(level=-1).groupby(level=[0, 1])[panel.index.names[-1]].max()
    for name, group in found.groupby(level=[0, 1]):
        assert group.index[0][-1] == ends[name] + pd.Timedelta(days=1)
    again = load(made.save())
    assert again.predict().equals(found) and not hasattr(made, "forecasters_")
    new = panel.rename(index={"h0_0": "new"}, level=0).loc[["new"]]  # series that it has not seen
    more = made.update(new, update_params=False).predict()
    assert len(more) == 12 and np.isfinite(more).all().all()


def test_names_that_collide_are_told_apart() -> None:
    y = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=[0, 1])
    X = pd.DataFrame(np.random.default_rng(1).normal(size=(42, 2)), columns=[0, "ds"])
    made = LSTMForecaster(**SMALL).fit(y, X.iloc[:40], fh=[1, 2])
    assert list(made.predict(X=X.iloc[40:]).columns) == [0, 1]
    index = pd.MultiIndex.from_product([[1, "1"], range(12)], names=["k", "t"])
    panel = pd.DataFrame({"y": np.arange(24.0)}, index=index)
    with pytest.raises(DataError, match="two series are called '1'"):
        Layout.of(panel, None).table(panel, None)


# Saved -------------------------------------------------------------------------------------------------------


def test_a_saved_forecaster_is_a_run_folder(fitted: LSTMForecaster, tmp_path: Path) -> None:
    kept = fitted.save(tmp_path / "kept").namelist()
    assert {"run/model.safetensors", "run/estimator.json", "run/y.parquet"} < set(kept)
    again = load(str(tmp_path / "kept"))
    assert again.predict().equals(fitted.predict()) and again.get_params() == fitted.get_params()
    assert again.cutoff.equals(fitted.cutoff) and (again.fh == fitted.fh).all()
    unfitted = load(AarenForecaster(**SMALL).save())
    assert not unfitted.is_fitted and unfitted.d_model == 8
    with pytest.raises(UsageError, match="a saved LSTMForecaster is no AarenForecaster"):
        AarenForecaster.load_from_path(tmp_path / "kept.zip")


def test_a_damaged_save_is_refused(fitted: LSTMForecaster, tmp_path: Path) -> None:
    kind, data = fitted.save()
    with pytest.raises(ArtifactError, match="the saved estimator cannot be read"):
        kind.load_from_serial(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match="cannot be read"):
        kind.load_from_path(tmp_path / "none.zip")
    with pytest.raises(TypeError, match="Path"):
        fitted.save(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a value of RandomState cannot be saved"):
        LSTMForecaster(**{**SMALL, "random_state": np.random.RandomState(1)}).save()


# Among sktime's own ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The default of config")  # forecasters of sktime's own
def test_pipelines_ensembles_and_searches(y: "pd.Series[float]") -> None:
    fh = [1, 2, 3]
    piped = TransformedTargetForecaster([("trend", Detrender()), ("net", LSTMForecaster(**SMALL))]).fit(y, fh=fh)
    assert (
        piped.predict().index.equals(y.index[-3:] + 3) and np.isfinite(piped.predict_quantiles(alpha=[0.3])).all().all()
    )
    both = EnsembleForecaster([("a", AarenForecaster(**SMALL)), ("b", TCNCAForecaster(**SMALL))]).fit(y, fh=fh)
    alone = [kind(**SMALL).fit(y, fh=fh).predict() for kind in (AarenForecaster, TCNCAForecaster)]
    np.testing.assert_allclose(both.predict(), (alone[0] + alone[1]) / 2)
    grid = {"context": [4, 12], "overrides": [None, ["norm=none"]]}
    cv = SingleWindowSplitter(fh=fh)
    search = ForecastingGridSearchCV(LSTMForecaster(**SMALL), cv=cv, param_grid=grid, backend=None).fit(y, fh=fh)
    assert search.best_params_.keys() == grid.keys() and len(search.cv_results_) == 4
    assert search.predict().index.equals(y.index[-3:] + 3)


# Runs --------------------------------------------------------------------------------------------------------


def test_a_run_of_the_command_line_is_a_forecaster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from omegaconf import OmegaConf

    from forecast.inference.predictor import Predictor
    from forecast.interop.sktime_config import settings
    from forecast.verbs.train import train

    monkeypatch.delenv("FORECAST_RUN_DIR", raising=False)
    time = pd.date_range("2024-01-01", periods=90, freq="D")
    rng = np.random.default_rng(0)
    frames = [pd.DataFrame({"unique_id": k, "ds": time, "y": rng.normal(size=90), "x": rng.normal(size=90),
                            "kind": rng.choice(["a", "b"], 90)}) for k in ("one", "two")]  # fmt: skip
    table = pd.concat(frames)
    table.to_parquet(tmp_path / "t.parquet", index=False)
    keys = {"task.context": 14, "task.horizon": 3, "data.path": str(tmp_path / "t.parquet"), "trainer.max_epochs": 1,
            "data.known": ["x", "kind"], "runs": str(tmp_path / "runs")}  # fmt: skip
    config = settings("aaren", "forecast", (), keys, usual=("data=series", "data.gaps=mask"))
    train(OmegaConf.create(config), ["model=aaren", "norm=rolling", "task.context=14"])
    made = AarenForecaster.from_run("latest", runs=tmp_path / "runs")
    assert made.cutoff[0] == time[71] and made.context_ == 14 and made.overrides == ["norm=rolling"]
    X = table.set_index(["unique_id", "ds"])[["x", "kind"]]
    found = made.predict(X=X)
    until = pl.from_pandas(table).filter(pl.col("ds") <= time[71])
    ahead = pl.from_pandas(table).filter(pl.col("ds") > time[71]).with_columns(y=pl.lit(None, pl.Float64))
    wanted = Predictor.load("latest", runs=tmp_path / "runs").predict(pl.concat([until, ahead]).sort("unique_id", "ds"))
    np.testing.assert_allclose(found["y"], wanted["y_hat"], rtol=1e-5)
    y = table.set_index(["unique_id", "ds"])[["y"]]
    after = X.rename(lambda t: t + pd.Timedelta(days=90), level=1)
    later = made.update(y, X=X, update_params=False).predict(X=after)
    assert later.index[0] == ("one", time[-1] + pd.Timedelta(days=1))
    assert (
        np.isfinite(made.update(y, X=X).predict(X=X.rename(lambda t: t + pd.Timedelta(days=90), level=1))).all().all()
    )
    with pytest.raises(UsageError, match="is of model=aaren, not of lstm"):
        LSTMForecaster.from_run("latest", runs=tmp_path / "runs")


def test_a_fit_is_logged_to_mlflow(fitted: LSTMForecaster, tmp_path: Path) -> None:
    """As trainings are: the journal is what a store is told (tests/test_track.py), here one that is not there."""
    folder = fitted.log("http://127.0.0.1:9", "ours", runs=tmp_path / "runs")
    told = [line for _, line in spool.lines(folder)]
    assert [line["do"] for line in told if line["do"] != "file"] == [
        "create",
        "data",
        "log",
        "scores",
        "figures",
        "end",
    ]
    assert told[0]["experiment"] == "ours" and told[0]["params"]["model.d_model"] == "8"
    logged = {name: value for line in told if line["do"] in ("log", "scores") for name, value, _ in line["rows"]}
    assert logged["val/mse"] == pytest.approx(fitted.best_score_)
    assert "validation/mse_z" in logged and not any(name.startswith("test") for name in logged)
    assert LSTMForecaster.from_run("latest", runs=tmp_path / "runs").predict().equals(fitted.predict())


def test_a_fit_becomes_a_run_and_comes_back(fitted: LSTMForecaster, y: "pd.Series[float]", tmp_path: Path) -> None:
    from forecast.inference.predictor import Predictor

    folder = fitted.to_run(tmp_path / "run")
    frame = pl.DataFrame({"Period": y.index[:54].to_timestamp().to_numpy(), str(y.name): y.to_numpy()[:54]})
    np.testing.assert_allclose(Predictor.load(folder).predict(frame)["y_hat"], fitted.predict().to_numpy())
    assert json.loads((folder / "metrics.json").read_text())["part"] == "val" and (folder / "report.html").is_file()
    source = json.loads((folder / "data.json").read_text())["source"]
    assert source["sha256"] == sha256(folder / "y.parquet")  # so that `forecast evaluate` takes it
    again = LSTMForecaster.from_run(folder)
    assert again.predict().equals(fitted.predict())
    with pytest.raises(UsageError, match="is not empty"):
        fitted.to_run(folder)
    with pytest.raises(UsageError, match="is of model=lstm, not of aaren"):
        AarenForecaster.from_run(folder)
