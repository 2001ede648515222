"""Naive rows and ridge on tables that are easy to check."""

import numpy as np
import pytest
import torch

from forecast.data.batch import batches
from forecast.data.module import SeriesModule
from forecast.inference import baseline
from forecast.inference.baseline import Ridge, Seasonal, naive_rows
from forecast.inference.scoring import score


@pytest.fixture(scope="module")
def data():
    return SeriesModule(card="electricity", context=48, horizon=24).prepare()


def rows_of(data):
    return naive_rows(data.spec, data.gather, torch.from_numpy(data.series.start[:-1]))


def test_the_seasonal_row_needs_no_window_as_long_as_a_season(data):
    """The published floor, same hour yesterday, whatever the context; a day fits, a week does not."""
    short = SeriesModule(card="electricity", context=12, horizon=24).prepare()
    scores = [score(d, rows_of(d)["seasonal naive"], "m", others={})[0]["scaled"]["mse"] for d in (data, short)]
    assert scores == [pytest.approx(0.0267, abs=5e-5)] * 2
    week = SeriesModule(card="electricity", context=48, horizon=24, season=168).prepare()
    assert score(week, rows_of(week)["seasonal naive"], "m", others={})[0]["scaled"]["mse"] == pytest.approx(
        0.0792, abs=5e-5
    )


def test_missing_values_are_bridged_and_counted():
    data = SeriesModule(card="household", context=48, horizon=24, gaps="mask").prepare()
    row = score(data, lambda b: b.future, "m", others=rows_of(data))[1]
    assert row["name"] == "seasonal naive"
    assert row["bridged"] > 0
    assert row["scaled"]["mse"] == pytest.approx(1.045, abs=2e-3)


def test_the_seasonal_row_never_looks_past_the_origin(data):
    windows = data.windows("test")
    seasonal = rows_of(data)["seasonal naive"]
    assert isinstance(seasonal, Seasonal)
    assert (seasonal.back > 0).all()
    assert ((seasonal.back + torch.arange(24)) % 24 == 0).all()
    assert len(windows) == 5237


def test_ridge_solves_a_linear_world_exactly(data):
    ridge = Ridge.fit(data.gather, data.windows("train"))
    (first, *_) = batches(data.gather, data.windows("test"), 64)
    assert ridge(first).shape == (64, 24, 1)
    plain = Ridge.fit(data.gather, data.windows("train"), intercept=False)
    matrix = plain.matrix()
    by_hand = torch.einsum("blc,lh->bhc", first.past, matrix)
    torch.testing.assert_close(by_hand, plain(first), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(matrix.sum(0), torch.ones(24), rtol=1e-4, atol=1e-4)


def test_thinning_sees_every_hour_of_the_day(data, monkeypatch):
    whole = Ridge.fit(data.gather, data.windows("train"))
    monkeypatch.setattr(baseline, "ROWS_AT_MOST", 3000)
    thin = Ridge.fit(data.gather, data.windows("train"))
    mse = [score(data, f, "m", others={})[0]["scaled"]["mse"] for f in (whole, thin)]
    assert mse[1] < 1.3 * mse[0]
    assert np.isfinite(mse).all()
