"""A stream of pushes is one scan from its first step on, however it is cut; nothing of one series reaches another."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch

from forecast.errors import ArtifactError, DataError, UsageError
from forecast.heads.stream import Stream
from forecast.inference.streamed import forecasts
from forecast.models import LSTM, InstanceNorm
from forecast.streaming.live import Live
from forecast.streaming.reading import read
from tests.streaming.made import HORIZON, START, made, of, parts, said, same, streamed, table


@pytest.mark.parametrize("gaps", ["error", "mask", "fill"])
@pytest.mark.parametrize("encoder", ["aaren", "lstm"])
def test_pushes_are_one_scan_from_the_first_step(tmp_path, gaps, encoder):
    data, predictor = made(tmp_path, gaps=gaps, encoder=LSTM(d_model=8) if encoder == "lstm" else None)
    live, frame = streamed(predictor), table(gaps=gaps != "error")
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
            expected = stream.forecast(state, torch.zeros(1, HORIZON, 4))
            y = data.scaler.undo(expected.numpy(), np.array([s]), 1)[0, :, 0]
            np.testing.assert_allclose(of(last, name), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("cuts", [[1, 2, 3, 50, 51], [100], list(range(7, 120, 7))])
def test_any_split_gives_the_same_forecasts_and_states(tmp_path, cuts, correct):
    predictor = made(tmp_path, gaps="mask")[1]
    whole, split, frame = (*(streamed(predictor, correct=correct) for _ in range(2)), table(gaps=True))
    hours = (pl.col("ds") - pl.col("ds").min()).dt.total_hours()
    last = whole.push_many(frame)
    for a, b in pairwise([0, *cuts, 1000]):
        again = split.push_many(frame.filter(hours.is_between(a, b, closed="left")))
    for name in again.ids:
        np.testing.assert_allclose(of(again, name), of(last, name), rtol=1e-4, atol=1e-5)
    for one, other in zip(whole.states.rows, split.states.rows, strict=True):
        np.testing.assert_allclose(one[:3], other[:3], rtol=1e-4, atol=1e-5)


def test_a_series_does_not_depend_on_those_beside_it(tmp_path):
    predictor = made(tmp_path)[1]
    alone, together = streamed(predictor), streamed(predictor)
    only = alone.push_many(table().filter(pl.col("unique_id") == "b"))
    np.testing.assert_allclose(of(together.push_many(table()), "b"), of(only, "b"), rtol=1e-5)


def test_onnx_and_torch_take_the_same_steps(tmp_path, monkeypatch):
    monkeypatch.setenv("FORECAST_CACHE", str(tmp_path / "cache"))
    predictor = made(tmp_path, gaps="mask")[1]
    by, frame = Live(predictor, "w", engine="onnx"), table(gaps=True)
    expected = streamed(predictor).push_many(frame)
    np.testing.assert_allclose(by.push_many(frame).y_hat, expected.y_hat, rtol=1e-4, atol=1e-5)
    (kept,) = (tmp_path / "cache").glob("*.onnx")
    before = kept.stat().st_mtime_ns
    again = Live(predictor, "w", engine="onnx")  # from the cache
    assert kept.stat().st_mtime_ns == before
    np.testing.assert_allclose(again.push_many(frame).y_hat, expected.y_hat, rtol=1e-4, atol=1e-5)


def test_a_row_left_out_is_a_gap_and_a_late_one_changes_nothing(tmp_path):
    predictor = made(tmp_path, gaps="mask")[1]
    whole, holed = streamed(predictor), streamed(predictor)
    one = table().filter(pl.col("unique_id") == "a")
    blank = one.with_columns(pl.when(pl.int_range(pl.len()).is_in([50, 51])).then(None).otherwise("y").alias("y"))
    last = whole.push_many(blank)
    np.testing.assert_allclose(of(holed.push_many(one.filter(~pl.int_range(pl.len()).is_in([50, 51]))), "a"),
                               of(last, "a"), rtol=1e-5)  # fmt: skip
    before = parts(holed)
    with pytest.raises(DataError, match="is late"):
        holed.push_many(one[50:52])
    again = one.tail(1)
    assert said(holed.take(*read(again, predictor.recipe))) == ["duplicate"]
    assert said(holed.take(*read(again.with_columns(pl.col("y") + 1), predictor.recipe))) == ["late"]
    assert same(before, parts(holed))
    late = holed.push_many(pl.concat([one[52:53], again.with_columns(pl.col("ds") + pl.duration(hours=1))]))
    assert late.cutoff[0] == np.datetime64("2024-01-06T00:00")


def test_one_push_is_a_row_and_an_interval(tmp_path):
    predictor = made(tmp_path)[1]
    live, other = streamed(predictor), streamed(predictor)
    frame = table().filter(pl.col("unique_id") == "a").head(20)
    for number, (time, y) in enumerate(frame.select("ds", "y").iter_rows()):
        time = (time, str(time), time.isoformat() + "Z", np.datetime64(time))[number % 4]
        last = live.push("a", time, {"y": y})
    np.testing.assert_allclose(of(other.push_many(frame), "a"), of(last, "a"), rtol=1e-4)
    np.testing.assert_allclose(of(live.latest(["a"]), "a"), of(last, "a"), rtol=1e-5)
    found = last.frame()
    assert found.columns == ["unique_id", "channel", "cutoff", "ds", "step", "y_hat", "q05", "q95"]
    assert found["step"].to_list() == [1, 2, 3, 4]
    assert (found["q05"] < found["q95"]).all()
    for id, time, values, message in [
        ("a", "soon", {"y": 1.0}, "is no stamp"), ("a", 7, {"y": 1.0}, "is no stamp"),
        ("a", "0001-01-01T00:00:00+01:00", {"y": 1.0}, "is no stamp"),
        ("a", "2030-01-01", {"y": "much"}, "expected numbers, or None"),
        ("a", "2030-01-01", {"z": 1.0}, "no channel 'z'"), ("a", frame["ds"][-1], {"y": 1.0}, "is late"),
    ]:  # fmt: skip
        with pytest.raises(DataError, match=message):
            live.push(id, time, values)
    with pytest.raises(KeyError):
        live.latest(["nobody"])


def test_what_is_no_reading_changes_no_state_and_is_told(tmp_path):
    predictor = made(tmp_path, gaps="mask")[1]
    live, hour = streamed(predictor, longest=48), 3_600_000_000
    one = table().filter(pl.col("unique_id") == "a")
    live.push_many(one)
    end = int(one["ds"].to_numpy()[-1].astype("datetime64[us]").astype(np.int64))
    for after, y, status in [
        (hour, np.inf, "implausible"), (hour, -1e300, "implausible"), (hour // 2, 1.0, "off the grid"),
        (-hour, 1.0, "late"),
    ]:  # fmt: skip
        before = parts(live)
        taken = live.take(["a"], np.array([end + after]), np.array([[y]]))
        assert said(taken) == [status] and not len(taken.at) and same(before, parts(live))
    taken = live.take(["a"], np.array([end + hour]), np.array([[np.nan]]))  # a step without a value
    assert said(taken) == ["ok"] and np.isfinite(taken.forecasts.y_hat).all()
    assert said(live.take(["a"], np.array([end + 51 * hour]), np.array([[1.0]]))) == ["restarted"]
    fresh = streamed(predictor)
    expected = fresh.take(["a"], np.array([end + 51 * hour]), np.array([[1.0]]))
    assert said(expected) == ["warming"] and same(parts(fresh), parts(live))


def test_gaps_are_an_error_or_filled_where_the_model_knows_none(tmp_path):
    predictor = made(tmp_path)[1]
    one = table().filter(pl.col("unique_id") == "a").head(40)
    holed = one.filter(~pl.int_range(pl.len()).is_in([30, 31]))
    with pytest.raises(DataError, match="leaves a gap"):
        streamed(predictor).push_many(holed)
    with pytest.raises(UsageError, match="gaps=mask"):
        streamed(predictor, gaps="mask")
    filled = one.with_columns(
        pl.when(pl.int_range(pl.len()).is_in([30, 31])).then(one["y"][29]).otherwise("y").alias("y")
    )
    found, expected = streamed(predictor, gaps="fill").push_many(holed), streamed(predictor).push_many(filled)
    np.testing.assert_allclose(found.y_hat, expected.y_hat, rtol=1e-6)


@pytest.mark.parametrize("correct", [False, True])
@pytest.mark.parametrize("gaps", ["mask", "fill"])
@pytest.mark.parametrize("wrong", [119, 112, 101])
def test_a_corrected_reading_is_as_if_it_had_come_in_time(tmp_path, gaps, wrong, correct):
    predictor = made(tmp_path, gaps=gaps)[1]
    right, live = (streamed(predictor, rewind=20, correct=correct) for _ in range(2))
    frame = table().with_columns(pl.int_range(pl.len()).over("unique_id").alias("i"))
    expected = right.push_many(frame)
    row, lost = (pl.col("unique_id") == "b") & (pl.col("i") == wrong), pl.col("i") == 118
    live.push_many(frame.filter(~lost).with_columns(pl.when(row).then(99.0).otherwise("y").alias("y")))
    taken = live.take(*read(frame.filter(lost | row), predictor.recipe))
    assert set(said(taken)) == {"revised"}
    np.testing.assert_allclose(of(taken.forecasts, "c"), of(expected, "c"), rtol=1e-5)
    np.testing.assert_allclose(live.latest(["b"]).y_hat[0, :, 0], of(expected, "b"), rtol=1e-4, atol=1e-5)
    for one, other in zip(right.states.rows, live.states.rows, strict=True):
        np.testing.assert_allclose(one[:3], other[:3], rtol=1e-4, atol=1e-5)
    assert said(live.take(*read(frame.filter(row), predictor.recipe))) == ["duplicate"]
    old = frame.filter(pl.col("i") == 40).with_columns(y=pl.lit(0.0))
    assert said(live.take(*read(old, predictor.recipe))) == ["late"] * 3


def test_a_stream_that_corrects_itself_takes_off_what_persists(tmp_path):
    predictor = made(tmp_path)[1]
    frozen, live, frame = streamed(predictor), streamed(predictor, correct=True), table(hours=600)
    names, time, values = read(frame.filter(pl.col("unique_id") == "a"), predictor.recipe)
    values[300:] += 3  # a new level, far above what the untrained chain forecasts
    taken, before = live.take(names, time, values), frozen.take(names, time, values)
    truth = np.lib.stride_tricks.sliding_window_view(values[:, 0], HORIZON)[1:]
    error, old = (
        np.square(each.forecasts.y_hat[: len(truth), :, 0] - truth).mean(1)[HORIZON:] for each in (taken, before)
    )
    assert error.mean() < 0.9 * old.mean()
    inside, was = (
        ((made.quantiles[: len(truth), :, 0, 0] <= truth) & (truth <= made.quantiles[: len(truth), :, 0, 1]))[HORIZON:]
        for made in (taken.forecasts, before.forecasts)
    )
    assert abs(inside.mean() - 0.9) < abs(was.mean() - 0.9) or abs(inside.mean() - 0.9) < 0.02
    assert np.isnan(taken.tail[0]).all() and (taken.tail[1:] <= 1).all() and (taken.tail[1:] >= 0).all()
    assert taken.alarm[300:306].any() and taken.alarm.mean() < 0.02
    assert not before.alarm.any() and np.isnan(before.tail).all()
    np.testing.assert_allclose(live.latest(["a"]).y_hat[0], taken.forecasts.y_hat[-1], rtol=1e-5)


def test_a_snapshot_goes_on_where_it_was_and_only_under_its_weights(tmp_path):
    predictor = made(tmp_path, gaps="mask")[1]
    live, frame = streamed(predictor, rewind=8), table(gaps=True)
    early = frame.filter(pl.col("ds") < START + np.timedelta64(60, "h"))
    late = frame.filter(pl.col("ds") >= START + np.timedelta64(60, "h"))
    live.push_many(early)
    live.snapshot(tmp_path / "state")
    expected = live.push_many(late)
    back = streamed(predictor, rewind=8)
    back.restore(tmp_path / "state")
    assert np.array_equal(back.push_many(late).y_hat, expected.y_hat) and same(parts(back), parts(live))
    for other in (Live(predictor, "other", engine="torch", rewind=8), streamed(predictor)):
        with pytest.raises(ArtifactError, match="under other weights or settings"):
            other.restore(tmp_path / "state")
    (tmp_path / "junk").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match="is no snapshot"):
        back.restore(tmp_path / "junk")


def test_a_series_that_was_reset_begins_anew(tmp_path):
    predictor = made(tmp_path)[1]
    live, fresh = streamed(predictor), streamed(predictor)
    live.push_many(table())
    live.reset("a")
    with pytest.raises(KeyError):
        live.latest(["a"])
    one = table().filter(pl.col("unique_id") == "a").head(30)
    np.testing.assert_allclose(of(live.push_many(one), "a"), of(fresh.push_many(one), "a"), rtol=1e-6)


def test_room_grows_and_states_keep_their_size(tmp_path):
    predictor = made(tmp_path)[1]
    live = streamed(predictor)
    one = table().filter(pl.col("unique_id") == "a").head(5)
    for number in range(3):
        names = [f"s{number}-{i}" for i in range(40)]
        live.push_many(pl.concat([one.with_columns(unique_id=pl.lit(name)) for name in names]))
    size = live.states.size()
    assert len(live.states) == 120
    live.push_many(table())
    assert live.states.size() == size
    first, *others = (part for name, part in parts(live).items() if name.startswith("s"))
    assert all(np.array_equal(first, other) for other in others)  # all went the same way


def test_those_not_used_for_longest_give_way_and_come_back(tmp_path):
    predictor = made(tmp_path)[1]
    kept: dict[str, bytes] = {}
    whole = streamed(predictor)
    few = streamed(predictor, most=2, fetch=lambda names: {name: kept[name] for name in names if name in kept})
    frame = table(names="abcde")
    for hour in range(20):
        for name in "abcde" if hour % 2 else "edcba":
            row = frame.filter(pl.col("unique_id") == name)[hour : hour + 1]
            expected, found = whole.push_many(row), few.push_many(row)
            assert np.array_equal(expected.y_hat, found.y_hat) and len(few.states) <= 2
            kept |= {name: record.tobytes() for name, record in parts(few).items()}
    assert set(kept) == set("abcde") and len(few.states.step) <= 16


@pytest.mark.parametrize(("change", "message"), [
    (lambda f: f.rename({"y": "z"}), "have no column 'y'"),
    (lambda f: f.head(0), "there are no rows"),
    (lambda f: f.with_columns(pl.col("ds") + pl.duration(minutes=pl.int_range(pl.len()))), "off the grid"),
    (lambda f: f.filter(pl.int_range(pl.len()) != 3), "leaves a gap"),
])  # fmt: skip
def test_bad_rows_are_told(tmp_path, change, message):
    live = streamed(made(tmp_path)[1])
    with pytest.raises(DataError, match=message):
        live.push_many(change(table().filter(pl.col("unique_id") == "a").head(20)))


def test_an_hour_that_a_clock_skipped_is_told(tmp_path):
    recipe = made(tmp_path)[1].recipe
    card = replace(recipe.card, time=replace(recipe.card.time, zone="Europe/Berlin"))
    row = pl.DataFrame({"unique_id": "a", "ds": ["2024-03-31 02:30"], "y": [1.0]})
    with pytest.raises(DataError, match="was never shown on a clock of Europe/Berlin"):
        read(row, recipe._replace(card=card))
    predictor = made(tmp_path)[1]
    predictor.recipe = recipe._replace(card=card)
    with pytest.raises(DataError, match="was never shown on a clock of Europe/Berlin"):
        streamed(predictor).push("a", "2024-03-31 02:30", {"y": 1.0})
    frame = table().filter(pl.col("unique_id") == "a")
    assert np.array_equal(read(frame, recipe)[2], read(frame.to_pandas(), recipe)[2])


@pytest.mark.parametrize("options", [{"rewind": -1}, {"longest": 0}, {"budget": 0}, {"budget": 2}])
def test_settings_out_of_range_are_refused(tmp_path, options):
    with pytest.raises(UsageError, match="rewind is|longest is|alarms is"):
        streamed(made(tmp_path)[1], **options)


def test_a_chain_that_cannot_stream_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot stream"):
        streamed(made(tmp_path, norm=InstanceNorm())[1])


def test_the_scored_stream_and_the_live_one_agree(tmp_path):
    data, predictor = made(tmp_path)
    stream = Stream(predictor.chain, 1).eval()
    windows = data.windows("test")
    with torch.inference_mode():
        scored = list(forecasts(stream, data.gather, torch.from_numpy(data.series.start[:-1]), windows))
    origin, series, y = (torch.cat(part) for part in zip(*scored, strict=True))
    pick = int(torch.argmax(origin * (series == 0)))
    row, live = int(origin[pick]), streamed(predictor)
    last = live.push_many(table().filter(pl.col("unique_id") == "a").head(row))
    expected = data.scaler.undo(y[pick][None].numpy(), np.array([0]), 1)[0, :, 0]
    np.testing.assert_allclose(of(last, "a"), expected, rtol=1e-4, atol=1e-5)
