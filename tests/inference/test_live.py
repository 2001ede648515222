"""A stream of pushes is one scan from its first step on, however it is cut; nothing of one series reaches another."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch

from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.errors import ArtifactError, DataError, UsageError
from forecast.heads import Chain, Direct
from forecast.heads.stream import Stream
from forecast.inference.calibration import fit
from forecast.inference.live import Live
from forecast.inference.predictor import Predictor
from forecast.inference.streamed import forecasts
from forecast.models import LSTM, Aaren, InstanceNorm, RollingNorm, ValueEmbedding

CONTEXT, HORIZON, HOURS = 12, 4, 120
START = np.datetime64("2024-01-01T00:00", "us")


def table(*, gaps=False, names="abc"):
    draw, frames = np.random.default_rng(0), []
    for number, name in enumerate(names):
        y = np.sin(np.arange(HOURS) / 4 + number) + 0.3 * draw.standard_normal(HOURS) + 5 * number
        if gaps:
            y[1:][draw.random(HOURS - 1) < 0.1] = np.nan
        time = START + (np.arange(HOURS) + 7 * number) * np.timedelta64(1, "h")
        frames.append(pl.DataFrame({"unique_id": name, "ds": time, "y": y}))
    return pl.concat(frames).with_columns(pl.col("y").fill_nan(None))


def made(tmp_path, *, gaps="error", encoder=None, norm=None):
    """Data of three series and a predictor of a small chain, calibrated, not trained."""
    table(gaps=gaps != "error").write_parquet(tmp_path / "f.parquet")
    data = SeriesModule(
        path=str(tmp_path / "f.parquet"), time="ds", id="unique_id", target="y", freq="h", gaps=gaps,
        context=CONTEXT, horizon=HORIZON,
    ).prepare()  # fmt: skip
    torch.manual_seed(0)
    embed = ValueEmbedding(spec=data.spec, d_model=8, causal=True, position=False)
    head = Direct(spec=data.spec, d_memory=8, length=CONTEXT, tokens=3)
    encoder = encoder or Aaren(d_model=8, heads=2, d_ff=8, layers=1)
    chain = Chain(norm=norm or RollingNorm(6.0), embed=embed, encoder=encoder, head=head, masked=gaps != "error")
    scores = torch.randn(200, HORIZON, 1)
    calibration = fit(scores, torch.zeros(200, HORIZON, dtype=torch.long) % 24, 24)
    return data, Predictor(chain, Recipe.from_state(data.state()), "x", calibration=calibration)


def of(made, name):
    """The forecast (H,) of one series."""
    return made.y_hat[made.ids.index(name), :, 0]


@pytest.mark.parametrize("gaps", ["error", "mask", "fill"])
@pytest.mark.parametrize("encoder", ["aaren", "lstm"])
def test_pushes_are_one_scan_from_the_first_step(tmp_path, gaps, encoder):
    data, predictor = made(tmp_path, gaps=gaps, encoder=LSTM(d_model=8) if encoder == "lstm" else None)
    live, frame = Live(predictor, "w"), table(gaps=gaps != "error")
    last = live.push_many(frame)
    stream = Stream(predictor.chain, 1).eval()
    start = torch.from_numpy(data.series.start[:-1])
    with torch.inference_mode():
        for s, name in enumerate(data.series.ids):
            rows = slice(int(start[s]), int(data.series.start[s + 1]))
            past = data.gather.values[rows][None]
            state = stream.scan(stream.start(1), past.nan_to_num(0.0), ~past.isnan() if gaps != "error" else None,
                                data.gather.clock[rows][None])  # fmt: skip
            ahead = last.ds[last.ids.index(name)]
            assert (np.diff(ahead) == np.timedelta64(1, "h")).all()
            expected = stream.forecast(state, live._clock(ahead[None]))
            y = data.scaler.undo(expected.numpy(), np.array([s]), 1)[0, :, 0]
            np.testing.assert_allclose(of(last, name), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cuts", [[1, 2, 3, 50, 51], [100], list(range(7, 120, 7))])
def test_any_split_gives_the_same_forecasts_and_states(tmp_path, cuts):
    predictor = made(tmp_path, gaps="mask")[1]
    whole, parts, frame = Live(predictor, "w"), Live(predictor, "w"), table(gaps=True)
    hours = (pl.col("ds") - pl.col("ds").min()).dt.total_hours()
    last = whole.push_many(frame)
    edges = [0, *cuts, 1000]
    for a, b in pairwise(edges):
        again = parts.push_many(frame.filter(hours.is_between(a, b, closed="left")))
    for name in again.ids:
        np.testing.assert_allclose(of(again, name), of(last, name), rtol=1e-4, atol=1e-5)
    for one, other in zip(whole.tensors, parts.tensors, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_series_does_not_depend_on_those_beside_it(tmp_path):
    predictor = made(tmp_path)[1]
    alone, together = Live(predictor, "w"), Live(predictor, "w")
    only = alone.push_many(table().filter(pl.col("unique_id") == "b"))
    np.testing.assert_allclose(of(together.push_many(table()), "b"), of(only, "b"), rtol=1e-5)


def test_a_row_left_out_is_a_gap_and_a_late_one_is_counted(tmp_path):
    predictor = made(tmp_path, gaps="mask")[1]
    whole, holed = Live(predictor, "w"), Live(predictor, "w")
    one = table().filter(pl.col("unique_id") == "a")
    blank = one.with_columns(pl.when(pl.int_range(pl.len()).is_in([50, 51])).then(None).otherwise("y").alias("y"))
    keep = ~pl.int_range(pl.len()).is_in([50, 51])
    last = whole.push_many(blank)
    np.testing.assert_allclose(of(holed.push_many(one.filter(keep)), "a"), of(last, "a"), rtol=1e-5)
    before = [tensor.clone() for tensor in holed.tensors]
    with pytest.raises(DataError, match="all 2 rows are late"):
        holed.push_many(one[50:52])
    late = holed.push_many(pl.concat([one[52:53], one.tail(1).with_columns(pl.col("ds") + pl.duration(hours=1))]))
    assert holed.late == 1
    assert str(late.cutoff[0]) == str(one["ds"][-1] + np.timedelta64(1, "h").item())[:10] + "T00:00:00.000000"
    assert any(not torch.equal(a, b) for a, b in zip(before, holed.tensors, strict=True))


def test_one_push_is_a_row_and_an_interval(tmp_path):
    predictor = made(tmp_path)[1]
    live, other = Live(predictor, "w"), Live(predictor, "w")
    frame = table().filter(pl.col("unique_id") == "a").head(20)
    for time, y in frame.select("ds", "y").iter_rows():
        last = live.push("a", time, {"y": y})
    np.testing.assert_allclose(of(other.push_many(frame), "a"), of(last, "a"), rtol=1e-4)
    found = last.frame()
    assert found.columns == ["unique_id", "channel", "cutoff", "ds", "step", "y_hat", "q05", "q95"]
    assert found["step"].to_list() == [1, 2, 3, 4]
    assert (found["q05"] < found["q95"]).all()


def test_a_snapshot_goes_on_where_it_was_and_only_under_its_weights(tmp_path):
    predictor = made(tmp_path, gaps="mask")[1]
    live, frame = Live(predictor, "w"), table(gaps=True)
    early = frame.filter(pl.col("ds") < START + np.timedelta64(60, "h"))
    late = frame.filter(pl.col("ds") >= START + np.timedelta64(60, "h"))
    live.push_many(early)
    live.snapshot(tmp_path / "state")
    expected = live.push_many(late)
    back = Live(predictor, "w")
    back.restore(tmp_path / "state")
    assert np.array_equal(back.push_many(late).y_hat, expected.y_hat)
    with pytest.raises(ArtifactError, match="under other weights"):
        Live(predictor, "other").restore(tmp_path / "state")
    (tmp_path / "junk").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="is no snapshot"):
        back.restore(tmp_path / "junk")


def test_a_series_that_was_reset_begins_anew(tmp_path):
    predictor = made(tmp_path)[1]
    live, fresh = Live(predictor, "w"), Live(predictor, "w")
    live.push_many(table())
    live.reset("a")
    one = table().filter(pl.col("unique_id") == "a").head(30)
    np.testing.assert_allclose(of(live.push_many(one), "a"), of(fresh.push_many(one), "a"), rtol=1e-6)


def test_room_grows_and_states_keep_their_size(tmp_path):
    predictor = made(tmp_path)[1]
    live = Live(predictor, "w")
    one = table().filter(pl.col("unique_id") == "a").head(5)
    for number in range(3):
        names = [f"s{number}-{i}" for i in range(40)]
        live.push_many(pl.concat([one.with_columns(unique_id=pl.lit(name)) for name in names]))
    assert len(live.names) == 120
    shapes = [tensor.shape[1:] for tensor in live.tensors]
    live.push_many(table())
    assert [tensor.shape[1:] for tensor in live.tensors] == shapes
    assert len({tuple(row.tolist()) for row in live.tensors[-3][:120].flatten(1)}) == 1  # all went the same way


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: f.rename({"y": "z"}), "have no column 'y'"),
    (lambda f: f.head(0), "there are no rows"),
    (lambda f: f.with_columns(pl.col("ds") + pl.duration(minutes=pl.int_range(pl.len()))), "expected a step of h"),
    (lambda f: f.filter(pl.int_range(pl.len()) != 3), "has a gap"),
    (lambda f: f.with_columns(pl.col("ds") + pl.duration(hours=100_000 * pl.int_range(pl.len()))), "jumps"),
])  # fmt: skip
def test_bad_rows_are_told_and_change_no_state(tmp_path, change, message):
    live = Live(made(tmp_path)[1], "w")
    one = table().filter(pl.col("unique_id") == "a").head(20)
    live.push_many(one.with_columns(unique_id=pl.lit("b")))
    before = [tensor.clone() for tensor in live.tensors]
    with pytest.raises(DataError, match=message):
        live.push_many(change(one))
    assert all(torch.equal(a, b) for a, b in zip(before, live.tensors, strict=True))


def test_a_chain_that_cannot_stream_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot stream"):
        Live(made(tmp_path, norm=InstanceNorm())[1], "w")


def test_the_scored_stream_and_the_live_one_agree(tmp_path):
    data, predictor = made(tmp_path)
    stream = Stream(predictor.chain, 1).eval()
    windows = data.windows("test")
    with torch.inference_mode():
        scored = list(forecasts(stream, data.gather, torch.from_numpy(data.series.start[:-1]), windows))
    origin, series, y = (torch.cat(part) for part in zip(*scored, strict=True))
    pick = int(torch.argmax(origin * (series == 0)))
    row, live = int(origin[pick]), Live(predictor, "w")
    last = live.push_many(table().filter(pl.col("unique_id") == "a").head(row))
    expected = data.scaler.undo(y[pick][None].numpy(), np.array([0]), 1)[0, :, 0]
    np.testing.assert_allclose(of(last, "a"), expected, rtol=1e-4, atol=1e-5)
