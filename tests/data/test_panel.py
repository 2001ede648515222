"""Panels: nothing before a start is seen, a series alone is what it is among others, all are drawn as often."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forecast import build
from forecast.data.batch import take
from forecast.data.clock import clock
from forecast.data.loader import BatchOrder
from forecast.data.module import SeriesModule
from forecast.data.panel import by_series, pad
from forecast.data.recipe import Recipe
from forecast.data.scale import FEW, Scaler
from forecast.errors import DataError, UsageError
from forecast.heads import Point
from forecast.inference.predictor import Predictor
from forecast.inference.scoring import score, units

from .conftest import toy

L, H = 12, 4
DAY = np.timedelta64(1, "D")
LENGTHS = {"old": 120, "mid": 60, "late": 16, "new": 3}  # days; all end on the same one


def panel(lengths: dict[str, int] = LENGTHS, seed: int = 0, **columns: Any) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    end = np.datetime64("2024-06-01", "us")
    return pl.concat(
        pl.DataFrame(
            {
                "unique_id": [name] * n,
                "ds": end - np.arange(n)[::-1] * DAY,
                "y": rng.poisson(3 + i, n).astype(float) + 1,
                **{key: [value(name)] * n for key, value in columns.items()},
            }
        )
        for i, (name, n) in enumerate(lengths.items())
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    panel(volume=lambda name: float(len(name) + (name == "old"))).write_parquet(tmp_path / "panel.parquet")
    return tmp_path / "panel.parquet"


def module(path: Path, **changes: Any) -> SeriesModule:
    facts: dict[str, Any] = {
        "context": L, "horizon": H, "path": str(path), "target": "y", "gaps": "mask", "min_context": 1,
        "batch_size": 8, "splits": {"val": "2024-05-01", "test": "2024-05-16"},
    }  # fmt: skip
    return SeriesModule(**{**facts, **changes}).prepare()


def predictor(data: SeriesModule) -> Predictor:
    """A small chain of random weights."""
    torch.manual_seed(0)
    config = {
        "model": {"_target_": "forecast.models.LSTM", "d_model": 8, "layers": 1},
        "embed": {"_target_": "forecast.models.ValueEmbedding", "d_model": 8},
        "head": {"_target_": "forecast.heads.Direct"}, "norm": "instance", "seed": 1,
    }  # fmt: skip
    return Predictor(build.chain(config, data.spec, masked=True), Recipe.from_state(data.state()), "toy")


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9)), min_size=1, max_size=4))
def test_steps_in_front_are_a_longer_grid_in_which_nothing_was_seen(sizes: list[tuple[int, int]]) -> None:
    series = toy(tuple(n for n, _ in sizes), 2)
    before = np.array([k for _, k in sizes])
    longer, moved = pad(series, before)
    assert longer.rows.tolist() == (series.rows + before).tolist()
    kept = np.arange(len(series.time)) + moved[series.number]
    np.testing.assert_array_equal(longer.values[kept], series.values)
    assert (longer.time[kept] == series.time).all()
    new = np.setdiff1d(np.arange(len(longer.time)), kept)
    assert np.isnan(longer.values[new]).all()
    within = np.diff(longer.time)[np.diff(longer.number) == 0]
    assert (within == np.timedelta64(1, "h")).all()
    np.testing.assert_array_equal(longer.clock, clock(longer.time, series.fields))


def test_no_window_of_the_test_part_is_dropped_and_short_series_are_named(path: Path) -> None:
    data = module(path)
    origin, number = data.windows("test").at(np.arange(len(data.windows("test"))))
    per = dict(zip(*np.unique(np.array(data.series.ids)[number], return_counts=True), strict=True))
    rows = 17  # 16 May to 1 June
    assert per == {"old": rows - H + 1, "mid": rows - H + 1, "late": min(rows, 16) - H - 1 + 1}
    assert data.left_out == {"train": ["late", "new"], "val": ["late", "new"], "test": ["new"]}
    assert "test: 1 of 4 series has no window there (new)" in data.findings
    assert data.state()["left_out"] == data.left_out
    batch = take(data.gather, data.windows("test"), np.flatnonzero(data.series.ids.index("late") == number)[:1])
    assert batch.past_mask[0, :, 0].tolist() == [False] * (L - 1) + [True]  # one row of history
    assert batch.future_mask.all() and batch.past[0, : L - 1].eq(0).all()


def test_whole_contexts_are_what_they_were(path: Path) -> None:
    """data.min_context=context pads nothing, and gives the batches of a run without the key."""
    whole, before = module(path, min_context=L), module(path, min_context=None)
    assert whole.series.rows.tolist() == before.series.rows.tolist() == list(LENGTHS.values())
    assert whole.windows("train").until.tolist() == before.windows("train").until.tolist()


def test_nothing_before_a_start_is_scored_or_changes_a_score(path: Path) -> None:
    data = module(path)
    assert not data.observed[np.isnan(data.series.values)].any()
    ahead = predictor(data)
    rows = score(data, ahead.forecast, "toy", others={})
    assert rows[0]["values"] == len(data.windows("test")) * H
    _, number = data.windows("test").at(np.arange(len(data.windows("test"))))
    alone = []
    for s in np.unique(number):
        each = take(data.gather, data.windows("test"), np.flatnonzero(number == s))
        denominator = units(data)[2][s]
        if float(denominator) > 0:  # of late there are no two training rows
            off = (ahead.forecast(each) - each.future).double() * data.scaler.std[s, 0]
            alone.append(float((off.abs() / denominator).mean()))
    assert rows[0]["series"]["count"] == len(alone) == 2
    assert rows[0]["series"]["mase"] == pytest.approx(np.mean(alone), rel=1e-5)
    batch = take(data.gather, data.windows("test"), np.arange(len(data.windows("test"))))
    wild = batch._replace(past=torch.where(batch.past_mask, batch.past, 1e6))
    torch.testing.assert_close(ahead.forecast(wild), ahead.forecast(batch))


def test_a_series_alone_is_forecast_as_among_others(path: Path) -> None:
    ahead = predictor(module(path))
    frame = panel({**LENGTHS, "fresh": 1, "fresher": 2}, seed=3)
    told: list[str] = []
    together = ahead.predict(frame, tell=told.append)
    assert any("2 of 6 series were not in training" in line and "'fresh'" in line for line in told)
    assert together["y_hat"].is_finite().all() and together.height == 6 * H
    for name in together["unique_id"].unique():
        alone = ahead.predict(frame.filter(pl.col("unique_id") == name), tell=told.append)
        among = together.filter(pl.col("unique_id") == name)
        np.testing.assert_allclose(alone["y_hat"], among["y_hat"], rtol=1e-5)
        assert alone["ds"].equals(among["ds"])


def test_a_short_series_is_masked_or_refused(path: Path) -> None:
    ahead, frame = predictor(module(path)), panel({"fresh": 1})
    assert ahead.predict(frame, short="mask").equals(ahead.predict(frame))
    with pytest.raises(DataError, match=r"'fresh' has 1 rows; expected at least 12.*or set short=mask"):
        ahead.predict(frame, short="error")
    nothing = pl.concat([panel(), frame.with_columns(y=pl.lit(None, pl.Float64))])
    with pytest.raises(DataError, match="series 'fresh' has no value in any of its 1 rows; expected at least one"):
        ahead.predict(nothing)
    plain = predictor(module(path, min_context=None))
    with pytest.raises(DataError, match="set short=mask"):
        plain.predict(frame)
    assert plain.predict(frame, short="mask").height == H
    blind = plain.recipe._replace(gaps="error")
    with pytest.raises(UsageError, match=r"trained with data\.gaps=error"):
        blind.future(blind.read(frame), (), "mask")


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(0, 99))
def test_each_series_is_drawn_equally_often(windows: list[int], seed: int) -> None:
    until = np.concatenate([[0], np.cumsum(windows)])
    picked = by_series(until, torch.Generator().manual_seed(seed))
    assert len(picked) == sum(windows)
    if not len(picked):
        return
    times = np.bincount(picked, minlength=sum(windows))
    own = [times[a:b] for a, b in zip(until, until[1:], strict=False) if b > a]
    totals = [part.sum() for part in own]
    assert max(totals) - min(totals) <= 1
    assert all(part.max() - part.min() <= 1 for part in own)
    again = by_series(until, torch.Generator().manual_seed(seed))
    np.testing.assert_array_equal(picked, again)


def test_drawing_by_series_goes_on_where_it_stopped(path: Path) -> None:
    data = module(path, sample="series")
    order = data.train_dataloader().order  # type: ignore[union-attr]
    assert isinstance(order, BatchOrder)
    order.set_epoch(2)
    whole = list(order)
    order.set_epoch(2, skip=3)
    assert [k.tolist() for k in order] == [k.tolist() for k in whole[3:]]
    _, number = data.windows("train").at(np.concatenate(whole))
    assert np.ptp(np.bincount(number, minlength=4)[:2]) <= 1
    plain = module(path).train_dataloader()
    assert len(plain) == len(order)


def test_weight_two_is_the_series_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    forecast, target = torch.randn(2, 3, H, 2, generator=generator)
    mask = torch.rand(3, H, 2, generator=generator) > 0.3
    weight, twice = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([0, 1, 1, 2])
    for loss in (Point("mse"), Point("mae"), Point("huber")):
        for seen in (None, mask):
            weighed = loss.loss(forecast, target, seen, weight)
            torch.testing.assert_close(
                weighed, loss.loss(forecast[twice], target[twice], None if seen is None else seen[twice])
            )
            torch.testing.assert_close(loss.loss(forecast, target, seen, 7 * torch.ones(3)),
                                       loss.loss(forecast, target, seen))  # fmt: skip


def test_weights_of_series_reach_the_batches(path: Path) -> None:
    data = module(path, target=None, weight="volume")
    assert data.spec.channels == ("y",)  # a column of weights is no channel
    want = np.array([4.0, 3.0, 4.0, 3.0]) / 3.5
    np.testing.assert_allclose(data.weight, want)  # type: ignore[arg-type]
    batch = next(iter(data.train_dataloader()))
    np.testing.assert_allclose(batch.weight, want[batch.series], rtol=1e-6)
    large = module(path, weight="scale")
    np.testing.assert_allclose(large.weight, (large.scaler.std / large.scaler.std.mean())[:, 0])  # type: ignore[arg-type]
    assert next(iter(module(path).train_dataloader())).weight is None


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (lambda name: -1.0, "has the weight -1; expected one number for all rows"),
        (lambda name: 0.0, "has the weight 0; "),
        (lambda name: None if name == "mid" else 1.0, "series 'mid' has the weight nothing"),
    ],
)
def test_weights_that_are_none(cell: Any, message: str, tmp_path: Path) -> None:
    panel(w=cell).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(DataError, match=message):
        module(tmp_path / "p.parquet", weight="w")


def test_a_series_of_few_values_borrows_its_scale() -> None:
    series = toy((40, 40, 3, 5))  # levels 0, 3, 6, 9
    train = np.stack([series.start[:-1], series.start[:-1] + np.array([40, 40, 0, 5])], axis=1)
    for kind in ("standard", "mean"):
        scaler = Scaler.fit(series, train, kind)
        alone = Scaler.fit(series, train, kind)._replace(ids=series.ids)
        assert (scaler.std > 0).all() and np.isfinite(scaler.mean).all()
        two = Scaler.fit(toy((40, 40)), train[:2], kind)
        np.testing.assert_array_equal(scaler.std[:2], two.std)  # those with enough are scaled by themselves alone
        np.testing.assert_array_equal(scaler.mean, alone.mean)
    np.testing.assert_allclose(Scaler.fit(series, train, "mean").std[0], np.abs(series.values[:40]).mean())
    assert 3 < FEW <= 40


def test_borders_that_differ_are_said(tmp_path: Path) -> None:
    panel({"a": 120, "b": 40}).write_parquet(tmp_path / "p.parquet")
    data = module(tmp_path / "p.parquet", splits=None)
    assert any("set data.splits={val: DATE, test: DATE} for one border in time" in line for line in data.findings)
