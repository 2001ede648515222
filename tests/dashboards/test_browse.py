"""Windows found and read by the index are those of the file, in whatever order its rows stand."""

import threading
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from forecast.dashboards import load
from forecast.dashboards.app.indices import Indices
from forecast.dashboards.series import browse, index
from forecast.dashboards.series.bands import COLUMNS, bands, told
from forecast.errors import ArtifactError

HOUR = timedelta(hours=1)


def frame_of(path):
    return pl.read_parquet(path / "predictions.parquet")


def with_intervals(frame):
    ends = {name: (1 if name.startswith("hi") else -1) * float(name[2:] or 90) for name in COLUMNS if name != "median"}
    made = [(pl.col("y_hat") + off).cast(pl.Float32).alias(name) for name, off in ends.items()]
    return frame.with_columns(*made, pl.col("y_hat").alias("median"))


@pytest.fixture(params=["as written", "many groups", "in disorder", "with a zone"])
def seven(run_dir, request):
    """A run of 7 channels; its rows in several orders."""
    path = run_dir(7)
    frame = frame_of(path)
    if request.param == "many groups":
        frame.write_parquet(path / "predictions.parquet", row_group_size=500)
    elif request.param == "in disorder":
        frame.sample(fraction=1.0, shuffle=True, seed=0).write_parquet(path / "predictions.parquet", row_group_size=999)
    elif request.param == "with a zone":
        zoned = pl.col("cutoff", "ds").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
        frame.with_columns(zoned).write_parquet(path / "predictions.parquet")
    return path, frame


def test_the_index_has_every_window_and_its_error(seven):
    path, frame = seven
    run, heard = load.read(path), []
    made = index.build(run, heard.append)
    assert heard[-1] == 1.0 and heard == sorted(heard)
    assert made.channels == run.targets and made.ids == ["load"]
    assert made.interval == HOUR and made.horizon == 48
    std = dict(zip(run.targets, run.data["scaler"]["std"][0], strict=True))
    error = (pl.col("y_hat") - pl.col("y")).cast(pl.Float64)
    for k, channel in enumerate(made.channels):
        own = frame.filter(pl.col("channel") == channel).group_by("cutoff")
        wanted = own.agg(error.pow(2).mean() / std[channel] ** 2, error.count().alias("scored")).sort("cutoff")
        found = made.of(0, k)
        assert found["cutoff"].to_list() == wanted["cutoff"].to_list()
        assert found["mse"].to_list() == pytest.approx(wanted["y_hat"].to_list())
        assert found["scored"].to_list() == wanted["scored"].to_list()
    assert made.errors["mse"].is_sorted() is False and made.errors.height == 7


def test_a_window_is_its_rows_and_the_actuals_before_it(seven):
    path, frame = seven
    run = load.read(path)
    made = index.build(run)
    truth = frame.filter(pl.col("channel") == "voltage").unique("ds").sort("ds")
    for place in (0, 1, 30, 59):
        found = browse.window(run, made, 0, 2, place)
        own = frame.filter(pl.col("channel") == "voltage", pl.col("cutoff") == found.cutoff).sort("step")
        assert found.future.select("ds", "y", "y_hat", "naive").equals(own.select("ds", "y", "y_hat", "naive"))
        assert found.future.columns[4:] == list(COLUMNS) and not found.future["lo95"].count()
        past = truth.filter(pl.col("ds") <= found.cutoff, pl.col("ds") > found.cutoff - 72 * HOUR).select("ds", "y")
        assert found.past.equals(past)  # the gap in the actuals is a null in both
        assert found.past.height == min(place, 72)


def test_a_strip_is_the_forecasts_of_one_step_beside_all_actuals(seven):
    path, frame = seven
    made = index.build(load.read(path))
    own = frame.filter(pl.col("channel") == "kitchen")
    truth = own.unique("ds").sort("ds")
    for ahead in (1, 7, 48):
        strip = browse.strip(made, 0, made.channels.index("kitchen"), ahead)
        wanted = own.filter(pl.col("step") == ahead).sort("ds")
        assert strip.forecast["ds"].equals(wanted["ds"]) and strip.forecast["y_hat"].equals(wanted["y_hat"])
        assert truth.select("ds", "y").join(strip.actual, on=["ds", "y"], how="semi", nulls_equal=True).height == (
            strip.actual.height
        )
        assert strip.actual.height == 60 + ahead - 1


def test_windows_that_are_far_apart_have_gaps_between(run_dir):
    path = run_dir(1)
    frame = frame_of(path)
    every = frame["cutoff"].unique().sort().gather_every(30)
    frame.filter(pl.col("cutoff").is_in(every.to_list())).write_parquet(path / "predictions.parquet")
    run = load.read(path)
    made = index.build(run)
    strip = browse.strip(made, 0, 0, 1)
    assert strip.actual["y"].null_count() == 9 == len(every) - 1  # 24 of 30 hours are known
    assert strip.forecast["y_hat"].null_count() == 0
    past = browse.window(run, made, 0, 0, 3).past
    assert past["y"].null_count() > 0 and past["ds"][-1] <= every[3]


def test_the_best_the_typical_and_the_worst_of_whole_windows(run_dir):
    path = run_dir(7)
    made = index.build(load.read(path))
    windows = made.of(0, 0)
    whole = windows.filter(pl.col("scored") == windows["scored"].max())
    errors = {role: windows["mse"][browse.place_of(windows, role)] for role in browse.ROLES}
    assert errors["best"] == whole["mse"].min() and errors["worst"] == whole["mse"].max()
    assert errors["best"] <= errors["typical"] <= errors["worst"]
    assert index.nearest(windows, datetime(1900, 1, 1)) == 0
    assert index.nearest(windows, windows["cutoff"][7] + HOUR / 3) == 7


def test_without_a_scaler_errors_are_in_deviations_of_the_actuals(run_dir):
    path = run_dir(1)
    (path / "data.json").write_text("{}")
    frame = frame_of(path)
    made = index.build(load.read(path))
    assert made.std[0] == pytest.approx(frame["y"].cast(float).std(ddof=0), rel=1e-6)


def test_intervals_are_bands_and_an_old_run_has_one(run_dir):
    path = run_dir(1)
    frame = frame_of(path)
    assert bands(frame.with_columns(*(pl.lit(None).alias(name) for name in COLUMNS))) == [] and told(frame) == ""
    old = frame.with_columns(lo=pl.col("y_hat") - 1, hi=pl.col("y_hat") + 1)
    assert [band.name for band in bands(old)] == ["90 % interval"] and "90 %" in told(old)
    new = with_intervals(frame)
    assert [band.name for band in bands(new)] == ["95 % interval", "80 %", "50 %"]
    assert "50, 80 and 95 %" in told(new)
    new.write_parquet(path / "predictions.parquet")
    run = load.read(path)
    future = browse.window(run, index.build(run), 0, 0, 5).future
    assert (future["hi95"] - future["lo95"]).to_list() == pytest.approx([190.0] * 24, rel=1e-4)


def test_a_damaged_file_is_named(run_dir):
    path = run_dir(1)
    file = path / "predictions.parquet"
    frame = frame_of(path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-50])
    with pytest.raises(ArtifactError, match=r"^predictions\.parquet cannot be read"):
        index.build(load.read(path))
    with pytest.raises(ArtifactError, match=r"^predictions\.parquet cannot be read"):
        Indices().get(load.read(path), 20)
    file.write_bytes(whole[: len(whole) // 2] + bytes(200) + whole[len(whole) // 2 + 200 :])  # the footer is whole
    with pytest.raises(ArtifactError, match=r"^predictions\.parquet cannot be read"):
        index.build(load.read(path))
    frame.write_parquet(file)
    run = load.read(path)
    made = index.build(run)
    file.write_bytes(bytes(2000))  # it goes while someone looks
    with pytest.raises(ArtifactError, match=r"^predictions\.parquet cannot be read"):
        browse.window(run, made, 0, 0, 5)
    frame.drop("step").write_parquet(file)
    with pytest.raises(ArtifactError, match=r"^predictions\.parquet has no column step"):
        index.build(load.read(path))
    for empty in (pl.DataFrame(), frame.clear()):
        empty.write_parquet(file)
        assert index.build(load.read(path)) is None
    file.unlink()
    assert index.build(load.read(path)) is None and Indices().get(load.read(path)) is None


def test_an_index_is_made_once_for_all_who_ask_and_anew_for_another_file(run_dir, monkeypatch):
    path = run_dir(1)
    run, real, made, go = load.read(path), index.build, [], threading.Event()

    def slow(run, tell):
        tell(0.25)
        made.append(run)
        assert go.wait(20)
        return real(run, tell)

    monkeypatch.setattr(index, "build", slow)
    indices = Indices()
    assert indices.get(run, 0.5) == 0.25  # how far it is
    go.set()
    first = indices.get(run, 20)
    assert first is indices.get(run, 20) and len(made) == 1
    frame_of(path).head(24 * 10).write_parquet(path / "predictions.parquet")
    assert indices.get(load.read(path), 20).windows.height == 10 and len(made) == 2


def test_all_targets_missing_is_no_error(run_dir):
    path = run_dir(1)
    frame = frame_of(path).with_columns(pl.lit(None, pl.Float32).alias("y"))
    frame.write_parquet(path / "predictions.parquet")
    run = load.read(path)
    made = index.build(run)
    assert made.of(0, 0)["mse"].null_count() == 300
    assert np.isnan(browse.window(run, made, 0, 0, browse.place_of(made.of(0, 0), "worst")).mse)
