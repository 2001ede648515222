"""What a backtest equals: the scores of a part, the forecast of a table that ends at the cutoff, the stream; and that
nothing after a cutoff reaches a forecast."""

from threading import Event

import numpy as np
import orjson
import polars as pl
import pytest
import torch

from forecast.backtest.measure import Backtest, naive
from forecast.backtest.origins import Rolling, parse
from forecast.backtest.policies import Start, Window, streamed_too
from forecast.backtest.table import NAMES, of_file, of_run, parts
from forecast.backtest.writer import Writer
from forecast.data.module import SeriesModule
from forecast.inference.named import parse as named
from forecast.inference.scoring import score
from forecast.streaming.feeds.replay import File
from forecast.streaming.live import Live
from forecast.streaming.streamer import Streamer
from tests.streaming.made import CONTEXT, HORIZON, made, streamed, table
from tests.streaming.test_streamer import Kept

LEVELS = [0.05, 0.5, 0.95]
GAPS = ["error", "mask", "fill"]


def ran(folder, over, predictor, *, policies=("window",), horizon=HORIZON, levels=LEVELS, baseline=None, few=None):
    """What a backtest over a table finds, and the forecasts it wrote."""
    folder.mkdir(exist_ok=True)
    made_of = {}
    if "window" in policies:
        made_of["window"] = Window(predictor, over.data, levels)
    if "start" in policies:
        live = streamed(predictor, levels=levels)
        live.fold.gaps = "fill" if live.fold.gaps == "error" else live.fold.gaps
        made_of["start"] = Start(live, over)
        over, _ = streamed_too(over, made_of["start"])
    with Writer(folder / "f.parquet", over.data.series, over.data.spec.channels) as writer:
        writer.words = {"part": NAMES}
        found = Backtest(over, made_of, levels, horizon, writer).run(naive(over), named(baseline), few=few)
    return found, pl.read_parquet(folder / "f.parquet")


@pytest.mark.parametrize("gaps", GAPS)
def test_all_origins_of_the_test_part_have_the_scores_of_evaluate_to_the_last_bit(tmp_path, gaps):
    data, predictor = made(tmp_path, gaps=gaps)
    found, frame = ran(tmp_path / "o", of_run(data, Rolling()), predictor)
    assert found.rows == score(data, predictor.forecast, predictor.name)
    assert frame.height == len(data.windows("test")) * HORIZON
    assert frame.columns == ["unique_id", "channel", "cutoff", "ds", "step", "y", "y_hat", "q05", "q50", "q95",
                             "policy", "part"]  # fmt: skip
    assert set(frame["part"]) == {"test"}


@pytest.mark.parametrize("gaps", GAPS)
def test_a_forecast_is_that_of_the_table_cut_at_its_cutoff(tmp_path, gaps):
    data, predictor = made(tmp_path, gaps=gaps)
    _, frame = ran(tmp_path / "o", of_run(data, Rolling(9)), predictor)
    whole = pl.read_parquet(tmp_path / "f.parquet")
    for (cutoff,), mine in frame.group_by("cutoff", maintain_order=True):
        ids = mine["unique_id"].unique()
        cut = whole.filter((pl.col("ds") <= cutoff) & pl.col("unique_id").is_in(ids.implode()))
        ends = cut.filter(pl.col("y").is_not_null()).group_by("unique_id").agg(pl.col("ds").max())
        ids = ends.filter(pl.col("ds") == cutoff)["unique_id"]  # a table that ends in a gap ends before it
        if not len(ids):
            continue
        alone = predictor.predict(cut.filter(pl.col("unique_id").is_in(ids.implode())), levels=LEVELS)
        mine = mine.filter(pl.col("unique_id").is_in(ids.implode()))
        assert alone.select("unique_id", "ds", "step").equals(mine.select("unique_id", "ds", "step"))
        for key in ("y_hat", "q05", "q50", "q95"):
            np.testing.assert_allclose(alone[key], mine[key], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gaps", GAPS)
def test_from_the_start_it_is_the_replay_to_the_last_bit(tmp_path, gaps):
    data, predictor = made(tmp_path, gaps=gaps)
    found, frame = ran(tmp_path / "o", of_run(data, Rolling()), predictor, policies=("window", "start"))
    start = frame.filter(pl.col("policy") == "start")
    live, sink = Live(predictor, "w", levels=LEVELS, engine="torch", gaps="fill" if gaps == "error" else None), Kept()
    taken = []
    take = live.take
    live.take = lambda *words, **options: taken.append(take(*words, **options)) or taken[-1]  # what the stream was told
    File(path=str(tmp_path / "f.parquet")).run(Streamer(live, sink=sink), Event())
    whole = pl.concat([each.forecasts.frame() for each in taken]).with_columns(pl.col("cutoff", "ds").cast(pl.Datetime))
    on = ["unique_id", "channel", "cutoff", "ds", "step"]
    both = start.join(whole, on=on, how="left", suffix="_stream", maintain_order="left")
    for key in ("y_hat", "q05", "q50", "q95"):
        assert both[key].equals(both[f"{key}_stream"], null_equal=False), key
    row = next(row for row in found.rows if row["kind"] == "streamed")
    assert row["name"] == "x, streamed" and row["values"] == start["y"].count()
    assert {row["values"] for row in found.rows} == {row["values"]}  # all on the same forecasts
    assert len(orjson.loads(sink.lines[0])["y_hat"]) == HORIZON


def scrambled(frame, cutoff):
    draw = np.random.default_rng(1)
    noise = pl.Series(1e3 * draw.standard_normal(frame.height))
    lost = pl.Series(draw.random(frame.height) < 0.2) & pl.lit(frame["y"].has_nulls())
    late = pl.col("ds") > cutoff
    return frame.with_columns(y=pl.when(late & ~lost).then(noise).when(late).then(None).otherwise(pl.col("y")))


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("input", [False, True], ids=["own", "file"])
def test_what_comes_after_a_cutoff_changes_no_forecast(tmp_path, gaps, input):
    """The leak canary, over a table with a series that the run does not know: forecasts from cutoffs up to one are
    bitwise equal whatever comes after it, and so are the naive rows. The last bit of a stream depends on which series
    take a step together, and that on their gaps."""
    data, predictor = made(tmp_path, gaps=gaps)
    rolling, cutoff = parse({"first": "2024-01-04", "last": "2024-01-05"}, 1), np.datetime64("2024-01-04T15:00", "us")
    early = []
    for name in ("plain", "scrambled"):
        (tmp_path / name).mkdir()
        path, frame = tmp_path / name / "g.parquet", table(gaps=gaps != "error", names="abz" if input else "abc")
        (scrambled(frame, cutoff) if name == "scrambled" else frame).write_parquet(path)
        if input:
            over = of_file(predictor.recipe, rolling, path, None, data)
        else:
            settings = {"context": CONTEXT, "horizon": HORIZON, "freq": "h", "gaps": gaps}
            fresh = SeriesModule(path=str(path), time="ds", id="unique_id", target="y", **settings).prepare()
            assert np.array_equal(fresh.scaler.mean, data.scaler.mean) or name == "scrambled"
            over = of_run(fresh, rolling)
            over.data.scaler = data.scaler
            over.data.gather = type(fresh.gather).of(
                fresh.series, data.scaler, context=CONTEXT, horizon=HORIZON, observed=fresh.observed
            )
        _, made_of = ran(tmp_path / name, over, predictor, policies=("window", "start"))
        early.append(made_of.filter(pl.col("cutoff") <= cutoff).drop("y"))
        others = naive(over)
        batch = over.data.gather(*map(torch.from_numpy, over.windows.at(np.arange(len(over.windows)))))
        seen = torch.from_numpy(over.data.series.time[batch.origin.numpy() - 1] <= cutoff)
        early.append({key: each(batch)[seen] for key, each in others.items()})
    one, rows, two, other = early
    one, two = (each.sort("policy", "unique_id", "cutoff", "step") for each in (one, two))
    assert one.height > 100 and one.filter(policy="window").equals(two.filter(policy="window"))
    for key in ("y_hat", "q05", "q50", "q95"):
        np.testing.assert_allclose(one[key], two[key], rtol=0, atol=0 if gaps == "error" else 1e-6)
    assert "ridge" in rows and all(torch.equal(rows[key], other[key]) for key in rows)


def test_the_tables_add_up_to_the_whole(tmp_path):
    data, predictor = made(tmp_path, gaps="mask")
    found, frame = ran(tmp_path / "o", of_run(data, Rolling(3)), predictor, baseline=["theta"])
    assert found.origins["cutoff"].n_unique() == frame["cutoff"].n_unique()
    for row in found.rows:
        for each in (found.series, found.origins):
            mine = each.filter(pl.col("name") == row["name"])
            total = mine["values"].sum()
            assert total == row["values"]
            wanted = {"mse": row["scaled"]["mse"], "mae": row["scaled"]["mae"], "mase": row["original"]["mase"]}
            wanted |= {f"{key}_original": row["original"][key] for key in ("mae", "bias")}
            for key, value in wanted.items():
                assert (mine[key] * mine["values"]).sum() / total == pytest.approx(value, rel=1e-9), (row["name"], key)
        steps = found.steps.filter(pl.col("name") == row["name"])
        assert steps["mse"].to_list() == row["horizon"]["mse"]
    inside = frame.filter(pl.col("y").is_not_null()).select(pl.col("y").is_between("q05", "q95").mean()).item()
    assert found.intervals["x"]["90"]["coverage"] == pytest.approx(inside)
    by_series = found.series.filter(pl.col("name") == "x")
    share = (by_series["coverage"] * by_series["values"]).sum() / by_series["values"].sum()
    assert share == pytest.approx(inside)
    assert {row["name"] for row in found.rows} == {"x", "seasonal naive", "last value", "ridge", "theta"}


def test_named_models_may_stand_beside_some_of_the_windows(tmp_path):
    data, predictor = made(tmp_path)
    found, _ = ran(tmp_path / "o", of_run(data, Rolling()), predictor, baseline=["theta"], few=5)
    (row,) = [row for row in found.rows if row["kind"] == "baseline"]
    assert row["windows"] == 5 and row["values"] == 5 * HORIZON and "5 of" in row["name"]
    assert found.series.filter(pl.col("name") == "theta")["values"].sum() == 5 * HORIZON
    assert found.series.filter(pl.col("name") == "x")["values"].sum() == len(data.windows("test")) * HORIZON


def test_a_shorter_horizon_scores_the_first_steps(tmp_path):
    data, predictor = made(tmp_path)
    whole, long = ran(tmp_path / "a", of_run(data, Rolling()), predictor)
    short, few = ran(tmp_path / "b", of_run(data, Rolling()), predictor, horizon=2)
    assert few.equals(long.filter(pl.col("step") <= 2))
    assert short.rows[0]["horizon"]["mse"] == whole.rows[0]["horizon"]["mse"][:2]
    assert short.rows[0]["values"] == whole.rows[0]["values"] // 2


def test_the_part_of_an_origin_is_that_of_its_first_step(tmp_path):
    data, predictor = made(tmp_path)
    own = of_run(data, parse({"first": "2024-01-02"}, 1))
    file = of_file(predictor.recipe, parse({"first": "2024-01-02"}, 1), tmp_path / "f.parquet", None, data)
    origin, number = own.windows.at(np.arange(len(own.windows)))
    code = parts(own, origin, number)
    wanted = [int(row >= data.split.val[s, 0]) + int(row >= data.split.test[s, 0]) for row, s in zip(origin, number)]  # noqa: B905
    assert code.tolist() == wanted and set(wanted) == {0, 1, 2}
    again, of = file.windows.at(np.arange(len(file.windows)))
    assert np.array_equal(origin, again) and np.array_equal(parts(file, again, of), code)
    unknown = of_file(predictor.recipe, Rolling(), tmp_path / "f.parquet", None, None)
    assert set(parts(unknown, again, of).tolist()) == {-1}
    strange = table(names="z")
    strange.write_parquet(tmp_path / "z.parquet")
    other = of_file(predictor.recipe, Rolling(), tmp_path / "z.parquet", None, data)
    assert set(parts(other, *other.windows.at(np.arange(len(other.windows)))).tolist()) == {2}  # nobody has seen it
