"""Models beside ours: equal to the libraries they stand for, blind to the future, honest about failures."""

import json
import warnings

import numpy as np
import polars as pl
import pytest
import torch

from forecast.dashboards import load
from forecast.data.batch import batches
from forecast.data.module import SeriesModule
from forecast.inference import fits
from forecast.inference.beside import beside, some
from forecast.inference.boosting import Boosting
from forecast.inference.histories import Histories, bridge
from forecast.inference.local import Local, processes
from forecast.inference.named import make, parse
from forecast.inference.scoring import score
from forecast.inference.theta import theta

SEASON, ROWS = 12, 480


def table(path, change=None, gaps=0):
    """A seasonal series that climbs, with noise."""
    rng, t = np.random.default_rng(3), np.arange(ROWS)
    y = (
        50
        + 0.05 * t
        + 8 * np.sin(2 * np.pi * t / SEASON)
        + 3 * np.cos(4 * np.pi * t / SEASON)
        + rng.normal(0, 1.5, ROWS)
    )
    y[rng.integers(0, ROWS, gaps)] = np.nan
    if change is not None:
        y[change:] = 1e3 * rng.normal(size=ROWS - change)
    start = np.datetime64("2024-01-01T00", "us")
    frame = pl.DataFrame({"ds": start + t * np.timedelta64(1, "h"), "y": y}).with_columns(pl.col("y").fill_nan(None))
    frame.write_parquet(path)
    return SeriesModule(path=str(path), freq="h", season=SEASON, context=24, horizon=8, gaps="mask").prepare()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return table(tmp_path_factory.mktemp("named") / "y.parquet")


@pytest.mark.parametrize(("season", "model"), [(1, "additive"), (7, "multiplicative"), (12, "additive")])
def test_theta_is_that_of_sktime(season, model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pd = pytest.importorskip("pandas")
        from sktime.forecasting.theta import ThetaForecaster

        rng = np.random.default_rng(season)
        values = np.cumsum(rng.normal(0.05, 0.3, (4, 90)), 1) + rng.normal(0, 0.5, (4, 90))
        values += 30 - values.min() if model == "multiplicative" else -values.mean()
        kind = ThetaForecaster(sp=season, deseasonalize_model=model)
        wanted = [kind.clone().fit(pd.Series(y), fh=range(1, 15)).predict().to_numpy() for y in values]
    np.testing.assert_allclose(theta(values, season, 14, test=False), wanted, atol=5e-3)


@pytest.mark.parametrize("form", fits.FORMS)
def test_ets_runs_on_as_statsmodels_does(form):
    """The same parameters and first states over 40 more rows, then a forecast."""
    trend, damped, seasonal = form
    rng, t = np.random.default_rng(0), np.arange(160)
    y = 10 + 2 * np.sin(2 * np.pi * t / SEASON) + np.cumsum(rng.normal(0.02, 0.1, 160)) + rng.normal(0, 0.3, 160)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.tsa.exponential_smoothing.ets import ETSModel

        words = {"error": "add", "trend": "add" if trend else None, "damped_trend": damped,
                 "seasonal": "add" if seasonal else None, "seasonal_periods": SEASON if seasonal else None}  # fmt: skip
        fitted = ETSModel(y[:120], initialization_method="heuristic", **words).fit(disp=False)
        first = {"initial_level": fitted.initial_level, "initial_trend": fitted.initial_trend if trend else None,
                 "initial_seasonal": fitted.initial_seasonal if seasonal else None}  # fmt: skip
        longer = ETSModel(y, initialization_method="known", **first, **words)
        wanted = longer.smooth(fitted.params).forecast(30)
    mine = fits._form(fitted, 0.0, 1.0)
    level, slope, season = fits.states([mine], y[None])
    made = fits.ahead([mine], level[:, -1], slope[:, -1], season[:, 160:], 30)[0]
    np.testing.assert_allclose(made, wanted, rtol=1e-8)


def test_boosting_beats_the_naive_rows(data):
    rows = {row["name"]: row["scaled"]["mse"] for row in score(data, Boosting(data), "boosting")}
    assert rows["boosting"] < 0.8 * rows["seasonal naive"]


def test_what_comes_after_an_origin_changes_no_forecast(data, tmp_path):
    """Scrambled from the 30th test window on: whatever is fitted, the first 30 forecasts are equal to the last bit."""
    cut = int(data.windows("test").first[0]) + 30
    other = table(tmp_path / "y.parquet", change=cut)
    names = parse(["theta", "ets", "ets(refit=True)", "boosting(trees=20)", "sktime:NaiveForecaster(strategy='mean')"])
    with processes() as spread:
        for each in names:
            one, two = (
                make(each, d, "test", spread)(next(iter(batches(d.gather, d.windows("test"), 31))))
                for d in (data, other)
            )
            assert one.shape == (31, 8, 1)
            assert torch.equal(one, two), each.label


def test_gaps_are_bridged_from_before_and_counted(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 2))
    values[rng.random((60, 2)) < 0.4] = np.nan
    whole = bridge(values, 7)
    for n in (1, 9, 30):
        np.testing.assert_array_equal(whole[:n], bridge(values[:n], 7))
    seen = ~np.isnan(values)
    np.testing.assert_array_equal(whole[seen], values[seen])
    data = table(tmp_path / "gaps.parquet", gaps=60)
    rows, records = beside(data, lambda b: b.future, "m", parse(["theta", "ets", "boosting(trees=10)"]))
    assert [row["kind"] for row in rows] == ["baseline"] * 3
    assert records["theta"]["bridged"] > 0
    assert all(record["failed"] == 0 for record in records.values())


def test_a_failed_fit_is_the_naive_forecast_and_is_counted(data):
    def fit(pieces):
        made = np.zeros((len(pieces), 8))
        made[::2] = np.nan
        return fits.Made(made, "no luck")

    local = Local(Histories(data), 50, fit)
    batch = next(iter(batches(data.gather, data.windows("test"), 10)))
    made = local(batch)
    assert torch.equal(made[::2], local.fallback(batch)[::2])
    assert (local.count, local.failed, local.reason) == (10, 5, "no luck")


def test_a_model_whose_every_fit_fails_has_no_row(data):
    rows, records = beside(
        data, lambda b: b.future, "m", parse(["sktime:TrendForecaster(regressor=3)", "theta"]), few=3
    )
    assert [row["name"] for row in rows] == ["theta, 3 of 89 windows"]
    lost = records["sktime:TrendForecaster(regressor=3)"]
    assert (lost["failed"], lost["fits"]) == (3, 3)
    assert lost["reason"]


def test_fewer_windows_are_said_and_paired(data):
    windows = data.windows("test")
    chosen = some(windows, 5)
    origin, _ = chosen.at(np.arange(5))
    every, _ = windows.at(np.arange(len(windows)))
    assert (origin[0], origin[-1]) == (every[0], every[-1])
    assert len(set(origin.tolist())) == 5
    assert some(windows, len(windows) + 1) is windows
    (row,), _ = beside(data, lambda b: b.future + 1, "m", parse("theta"), few=5)
    assert row["windows"] == 5
    assert row["values"] == 40
    assert row["paired"]["scaled"]["mse"] == pytest.approx(1.0)


def test_a_named_model_is_no_yardstick_of_the_report(tmp_path):
    def row(name, kind, mse):
        return {"name": name, "kind": kind, "scaled": {"mse": mse, "mae": mse}, "original": {}}

    rows = [row("m", "model", 1.0), row("theta(season=24)", "baseline", 0.5), row("seasonal naive", "naive", 2.0)]
    (tmp_path / "metrics.json").write_text(json.dumps({"rows": rows}))
    run = load.read(tmp_path)
    assert run.naive == "seasonal naive"
    assert [each.name for each in run.baseline_rows] == ["theta(season=24)"]
    assert [each.name for each in run.naive_rows] == ["seasonal naive"]


def test_what_a_library_cannot_fit_loses_no_run(data, monkeypatch):
    def broken(*_, **__):
        raise ValueError("no luck")

    monkeypatch.setattr("forecast.inference.boosting.Boosting._fit", broken)
    rows, records = beside(data, lambda b: b.future, "m", parse(["boosting", "theta"]), few=2)
    assert [row["kind"] for row in rows] == ["baseline"]
    assert records["boosting"]["reason"] == "no luck"
