"""The wall clock across its two changes a year: what a model sees, what is forecast, what is written."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.errors import DataError, UsageError
from forecast.inference.baseline import naive_rows
from forecast.inference.predictor import long_frame

BERLIN = "Europe/Berlin"
WRITTEN = {"naive": "%Y-%m-%d %H:%M", "offset": "%Y-%m-%dT%H:%M:%S%:z", "UTC": "%Y-%m-%dT%H:%M:%SZ"}


def local(first: str, last: str, every: str, zone: str = BERLIN) -> pl.Series:
    """Every step between two local stamps."""
    ends = [pl.lit(stamp).str.to_datetime().dt.replace_time_zone(zone, ambiguous="earliest") for stamp in (first, last)]
    return pl.select(pl.datetime_range(*ends, every)).to_series()


def write(path: Path, stamps: pl.Series, kind: str = "naive") -> Path:
    text = (stamps.dt.convert_time_zone("UTC") if kind == "UTC" else stamps).dt.strftime(WRITTEN[kind])
    pl.DataFrame({"ds": text, "y": np.arange(len(stamps)) + 0.5}).write_csv(path)
    return path


def module(path: Path, **changes: Any) -> SeriesModule:
    given = {"context": 3, "horizon": 1, "zone": BERLIN, "splits": {"train": 6, "val": 2, "test": 2}, **changes}
    return SeriesModule(path=str(path), **given).prepare()


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("every", ["1h", "15m", "1d"])
@pytest.mark.parametrize("days", [("2024-03-25", "2024-04-06"), ("2024-10-22", "2024-11-03")])
def test_calendar_fields_are_those_of_the_wall(tmp_path: Path, days: tuple[str, str], every: str, kind: str) -> None:
    stamps = local(*days, every)
    data = module(write(tmp_path / "t.csv", stamps, kind), holidays="DE")
    seen = dict(zip(data.series.fields, data.series.clock.T, strict=True))
    assert len(data.series.time) == len(stamps) and not np.isnan(data.series.values).any()
    np.testing.assert_array_equal(seen["weekday"], stamps.dt.weekday() - 1)
    np.testing.assert_array_equal(seen["day"], stamps.dt.day() - 1)
    np.testing.assert_array_equal(seen["yearday"], stamps.dt.ordinal_day() - 1)
    off = ["2024-03-29", "2024-04-01", "2024-10-31"]  # Good Friday, Easter Monday; not yet Reformation Day in all of DE
    np.testing.assert_array_equal(seen["holiday"], stamps.dt.date().cast(pl.String).is_in(off[:2]))
    if every != "1d":
        np.testing.assert_array_equal(seen["hour"], stamps.dt.hour())


@pytest.mark.parametrize(
    ("last", "every", "want"),
    [
        ("2024-03-31T00:00", "1h", ["31T01:00:00+0100", "31T03:00:00+0200", "31T04:00:00+0200"]),
        ("2024-10-27T01:00", "1h", ["27T02:00:00+0200", "27T02:00:00+0100", "27T03:00:00+0100"]),
        ("2024-03-31T01:30", "15m", ["31T01:45:00+0100", "31T03:00:00+0200", "31T03:15:00+0200"]),
        ("2024-10-27T02:30", "15m", ["27T02:45:00+0200", "27T02:00:00+0100", "27T02:15:00+0100"]),
        ("2024-03-30", "1d", ["31T00:00:00+0100", "01T00:00:00+0200", "02T00:00:00+0200"]),
        ("2024-10-26", "1d", ["27T00:00:00+0200", "28T00:00:00+0100", "29T00:00:00+0100"]),
    ],
)
def test_forecasts_are_written_in_local_time_with_its_offset(
    tmp_path: Path, last: str, every: str, want: list[str]
) -> None:
    """The state of a run, another file, the change of the clock inside the horizon."""
    trained = module(write(tmp_path / "t.csv", local("2023-01-01", "2023-01-20", every)), horizon=3,
                     splits={"train": 9, "val": 3, "test": 3})  # fmt: skip
    recipe = Recipe.from_state(trained.state())
    stamps = local(last[:8] + "20", last, every)
    for kind in WRITTEN:
        ready = recipe.future(recipe.read(write(tmp_path / "n.csv", stamps, kind)))
        origin, number = ready.windows.at(np.arange(1))
        made = long_frame(ready.series, number, origin, {"y_hat": np.zeros((1, 3, 1))}, ("y",))
        made.write_csv(tmp_path / "out.csv")
        written = pl.read_csv(tmp_path / "out.csv")["ds"].str.replace(r"\.0+", "").str.slice(8)
        assert written.to_list() == want
        hours = dict(zip(ready.series.fields, ready.series.clock[-3:].T, strict=True))
        if every != "1d":
            assert hours["hour"].tolist() == [int(text[3:5]) for text in want]
        assert made["cutoff"][0] == stamps[-1]


def test_what_an_hour_shown_twice_does_without_a_zone(tmp_path: Path) -> None:
    for every in ("1h", "15m"):
        path = write(tmp_path / "t.csv", local("2024-10-26", "2024-10-28", every))
        with pytest.raises(DataError, match=r"if clocks went back there, set data\.zone"):
            module(path, zone=None)
    with pytest.raises(DataError, match="some 23 h.*set data.zone to the place of these days"):
        module(write(tmp_path / "d.csv", local("2024-03-20", "2024-04-10", "1d"), "offset"), zone=None)


def test_a_day_without_midnight_is_a_day(tmp_path: Path) -> None:
    """In Chile the clock goes from 24:00 to 01:00: the day begins an hour late, in a file and in a forecast."""
    days = pl.select(pl.date_range(pl.date(2024, 9, 1), pl.date(2024, 9, 20))).to_series()
    pl.DataFrame({"ds": days, "y": np.arange(20.0)}).write_csv(tmp_path / "t.csv")
    data = module(tmp_path / "t.csv", zone="America/Santiago")
    assert data.spec.freq == "D" and data.series.clock[:, data.series.fields.index("day")].tolist() == list(range(20))
    assert str(data.series.time[7]) == "2024-09-08T04:00:00.000000"
    recipe = Recipe.from_state(data.state())
    pl.DataFrame({"ds": days[:7], "y": np.arange(7.0)}).write_csv(tmp_path / "n.csv")
    ahead = recipe.future(recipe.read(tmp_path / "n.csv")).series
    assert ahead.time[-1] == data.series.time[7] and (ahead.clock[-1] == data.series.clock[7]).all()


def test_dates_of_splits_are_local_days(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", local("2024-03-20", "2024-04-10", "1d"))
    for val, test in (("2024-03-31", "2024-04-05"), ("2024-03-30T23:00Z", "2024-04-04T22:00:00Z")):
        split = module(path, splits={"val": val, "test": test}).split
        assert (split.val.tolist(), split.test.tolist()) == ([[11, 16]], [[16, 22]])
    utc = module(path, zone=None, splits={"val": "2024-03-31", "test": "2024-04-05"}).split
    assert utc.val.tolist() == [[11, 16]]


def test_the_seasonal_naive_looks_back_24_hours_and_not_to_the_same_hour_of_the_wall(tmp_path: Path) -> None:
    """For a day after a change it is an hour off on the wall; a season counts steps."""
    stamps = local("2024-03-25", "2024-04-06", "1h")
    data = module(write(tmp_path / "t.csv", stamps), context=48, horizon=24, splits=None, scale="none")
    origin = torch.tensor([int((stamps < pl.Series([stamps[0]]).dt.offset_by("6d")[0]).sum())])  # 31 March, 0:00
    row = naive_rows(data.spec, data.gather, torch.tensor([0]))["seasonal naive"]
    made = row(data.gather(origin, torch.tensor([0])))[0, :, 0].numpy()
    np.testing.assert_array_equal(made, data.series.values[origin[0] - 24 : origin[0], 0])
    ahead, behind = stamps.dt.hour()[int(origin[0]) :][:24], stamps.dt.hour()[int(origin[0]) - 24 :][:24]
    assert (ahead - behind).to_list() == [0, 0, *[1] * 21, -23]


def test_an_unknown_zone_is_said_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'Europe/Berln' is not a time zone.*Europe/Berlin"):
        SeriesModule(path=str(tmp_path / "none.csv"), context=3, horizon=1, zone="Europe/Berln")
