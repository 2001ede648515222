"""Files: formats, quirks, and faults that name file, row and column."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecast.data.card import Channel, TimeColumn, load_card
from forecast.data.read import locate, read_file, read_series
from forecast.data.stamps import parse_stamps
from forecast.errors import DataError
from forecast.where import DATASETS

from .conftest import card

Written = Callable[..., Path]
GOOD = "ds,y\n2024-01-01 00:00,1\n2024-01-01 01:00,2\n2024-01-01 02:00,3\n"


def test_a_plain_csv(written: Written) -> None:
    series = read_series(card(), path=written(GOOD))
    assert series.ids == ("toy",) and series.values[:, 0].tolist() == [1, 2, 3]
    assert series.time.dtype == np.dtype("datetime64[us]") and str(series.time[2]).startswith("2024-01-01T02:00")
    assert series.fields == ("yearday", "day", "weekday", "hour") and series.clock.shape == (3, 4)


@pytest.mark.parametrize(
    "content",
    [
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("ds,y", " ds , y "),
        GOOD.encode("utf-16"),
        GOOD.replace("ds,y", "ds,y,µ").encode("latin-1"),
        GOOD.replace(" 0", "T0"),
        GOOD.replace(":00,", ":00:00.000,"),
        GOOD.replace("2024-01-01 ", "1.1.2024 "),
        GOOD.replace("2024-01-01 0", "2024/1/1 "),
        GOOD.replace(":00,", ":00Z,"),
        GOOD.replace(":00,", ":00+00:00,"),
    ],
)
def test_quirks_of_csv_files(written: Written, content: str | bytes) -> None:
    if isinstance(content, bytes) and b"\xb5" in content:
        content = content.replace(b",1\n", b",1,0\n").replace(b",2\n", b",2,0\n").replace(b",3\n", b",3,0\n")
    series = read_series(card(), path=written(content))
    np.testing.assert_array_equal(series.values[:, 0], [1, 2, 3])
    assert str(series.time[1]) == "2024-01-01T01:00:00.000000"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.replace(",2", ",two"), r"row 2, column 'y': 'two' is not a number"),
        (
            GOOD.replace(",2", ',"2,5"'),
            r"row 2, column 'y': '2,5' is not a number; expected a number; write a decimal",
        ),
        (GOOD.replace(",2", ",inf"), r"row 2, column 'y': the value is infinite"),
        (GOOD.replace("01:00,2", "00:00,2"), r"rows 1 and 2, column 'ds': 2024-01-01 00:00 stands twice"),
        (
            GOOD.replace("02:00", "00:30"),
            r"row 3, column 'ds': 2024-01-01 00:30 comes after 2024-01-01 01:00",
        ),
        (
            GOOD.replace("02:00", "01:30"),
            r"row 3, column 'ds': 2024-01-01 01:30 is not a whole number of steps \(h\)",
        ),
        (GOOD.replace("ds,y", "ds,yy"), r"no column 'y'; found ds, yy; did you mean yy\?"),
        (
            GOOD.replace(",1\n", ",\n").replace(",2", ",NA").replace(",3", ",nan"),
            r"column 'y' has no value in any row",
        ),
        (GOOD.replace("2024-01-01 01:00", "soon"), r"row 2, column 'ds': 'soon' is not a stamp"),
        (GOOD.replace("2024-01-01 01:00", ""), r"row 2, column 'ds': the stamp is empty"),
        (
            GOOD.replace("2024-01-01 01:00", "2024-13-01 01:00"),
            r"row 2, column 'ds': '2024-13-01 01:00' is not a stamp",
        ),
        ("ds,y\n", "has no rows"),
        ("", "is empty"),
        ("ds,y\n1,2\n3,4\n", r"row 1, column 'ds': '1' is not a stamp"),
        ("ds,y\n1/2/2024,1\n2/2/2024,2\n", "may start with the day or month"),
        ("ds,y\n2024-01-01 00:00,1\n2064-01-01 00:00,1\n", "spans .* steps of h but has 2 rows"),
    ],
)
def test_faults_name_the_place_in_one_line(written: Written, content: str, message: str) -> None:
    path = written(content)
    with pytest.raises(DataError, match=message) as fault:
        read_series(card(), path=path)
    assert "my.csv" in str(fault.value) and "\n" not in str(fault.value)


def test_rows_of_a_long_table_keep_their_numbers(written: Written) -> None:
    text = "id,ds,y\nb,2024-01-01,1\na,2024-01-01,2\nb,2024-01-02,3\na,2024-01-02,x\n"
    with pytest.raises(DataError, match="row 4, column 'y': 'x'"):
        read_series(card("D", id="id"), path=written(text))
    series = read_series(card("D", id="id"), path=written(text.replace("x", "4")))
    assert series.ids == ("b", "a") and series.values[:, 0].tolist() == [1, 3, 2, 4]
    with pytest.raises(DataError, match="row 3, column 'ds': 2023-01-02 00:00 comes after .* series 'b'.*sort"):
        read_series(card("D", id="id"), path=written(text.replace("x", "4").replace("b,2024-01-02", "b,2023-01-02")))
    with pytest.raises(DataError, match="row 2, column 'id': the name of the series is empty"):
        read_series(card("D", id="id"), path=written(text.replace("\na,2024-01-01", "\n,2024-01-01")))


def test_a_row_written_twice_is_used_once_and_said(written: Written) -> None:
    notes: list[str] = []
    series = read_series(card(), path=written(GOOD + "2024-01-01 02:00,3\n"), notes=notes)
    assert len(series.time) == 3
    assert notes == ["my.csv: 1 row(s) written twice, value for value, are used once (first: row 4)"]


def test_another_encoding_is_said(written: Written) -> None:
    notes: list[str] = []
    path = written("ds,größe\n2024-01-01 00:00,1\n2024-01-01 01:00,2\n".encode("latin-1"))
    assert read_series(card(channels=("größe",)), path=path, notes=notes).channels == ("größe",)
    assert notes == ["my.csv is not UTF-8; read as Latin-1"]


def test_sentinels_and_words_mean_missing(written: Written) -> None:
    content = GOOD.replace(",1", ",-9999").replace(",2", ",NaN")
    series = read_series(card(missing=(-9999.0,)), path=written(content))
    np.testing.assert_array_equal(series.values[:, 0], [np.nan, np.nan, 3])


def test_a_zone_moves_naive_stamps_and_the_lost_hour_is_refused(written: Written) -> None:
    berlin = card(time=TimeColumn("ds", "h", "Europe/Berlin"))
    series = read_series(berlin, path=written(GOOD))
    assert str(series.time[0]).startswith("2023-12-31T23:00") and series.clock[0].tolist() == [0, 0, 0, 0]
    with pytest.raises(DataError, match="row 1, .* was never shown by a clock in Europe/Berlin"):
        read_series(berlin, path=written("ds,y\n2024-03-31 02:00,1\n2024-03-31 03:00,2\n"))


def test_offsets_are_moments_whatever_the_zone(written: Written) -> None:
    content = "ds,y\n2024-01-01T00:00:00+0100,1\n2024-01-01T01:00:00+0100,2\n"
    assert str(read_series(card(), path=written(content)).time[0]).startswith("2023-12-31T23:00")


@pytest.mark.parametrize("kind", [pl.Datetime("ns"), pl.Datetime("ms"), pl.Datetime("us", "UTC"), pl.Date])
def test_parquet_stamps_of_any_kind(tmp_path: Path, kind: pl.DataType) -> None:
    stamps = (
        pl.Series("ds", ["2024-01-01", "2024-01-02"])
        .str.to_datetime()
        .dt.replace_time_zone("UTC" if kind == pl.Datetime("us", "UTC") else None)
    )
    path = tmp_path / "t.parquet"
    pl.DataFrame({"ds": stamps.cast(kind), "y": [1, 2]}).write_parquet(path)
    assert str(read_series(card("D"), path=path).time[1]) == "2024-01-02T00:00:00.000000"


def test_years_and_months_are_stamps() -> None:
    for text, want in (("2024", "2024-01-01"), ("2024-03", "2024-03-01"), ("20240305", "2024-03-05")):
        assert str(parse_stamps(pl.Series("t", [text]), "f")[0][0])[:10] == want


def test_files_that_cannot_be_read(tmp_path: Path, written: Written) -> None:
    for path, message in [
        (tmp_path / "no.csv", "does not exist"),
        (tmp_path, "is a folder"),
        (written("x", "a.xlsx"), r"has the ending '\.xlsx'; expected \.csv, \.jsonl, \.ndjson, \.parquet, \.pq"),
        (written("not parquet", "a.parquet"), "is no parquet file by its first bytes"),
        (written("a,b\n1,2\n3,4,5,6\n", "ragged.csv"), "row 2 has 4 fields; the header has 2"),
    ]:
        with pytest.raises(DataError, match=message):
            read_file(path)


def test_missing_card_files_name_both_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    etth1 = load_card("etth1")
    monkeypatch.delenv("FORECAST_DATA", raising=False)
    with pytest.raises(DataError, match="set FORECAST_DATA to .* get it with `forecast data fetch etth1`"):
        locate(etth1, etth1.files[0])
    with pytest.raises(DataError, match=r"get it with `forecast data fetch CARD\.yaml`, or set data\.path=FILE"):
        locate(etth1, etth1.files[0], tmp_path)
    monkeypatch.setenv("FORECAST_DATA", str(tmp_path))
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "ett" / "ETTh1.csv"))):
        locate(etth1, etth1.files[0])
    (tmp_path / "ett").mkdir()
    (tmp_path / "ett" / "ETTh1.csv").write_text("other\n")
    with pytest.raises(DataError, match="has the sha256 .* the card expects f18de3ad269c"):
        read_series(etth1)


def test_targets_come_first_whatever_the_card_says(written: Written) -> None:
    mixed = card(channels=("a",))
    from dataclasses import replace

    both = replace(mixed, channels=(Channel("x", "past_only"), Channel("y", "target", "kW")))
    series = read_series(
        both, path=written("ds,x,y\n2024-01-01,1,2\n2024-01-01 01:00,3,4\n".replace("01,1", "01 00:00,1"))
    )
    assert series.channels == ("y", "x") and series.targets == 1 and series.units == ("kW", "")
    assert series.values.tolist() == [[2, 1], [4, 3]]


def test_embedded_sets_are_what_their_cards_say() -> None:
    for name, rows, missing in (("electricity", 26304, 0), ("household", 34589, 432 * 7)):
        series = read_series(load_card(name))
        assert series.values.shape[0] == rows and np.isnan(series.values).sum() == missing
        assert (DATASETS / name).is_dir()


@pytest.mark.parametrize("name", ["etth1", "ettm1", "exchange", "weather"])
def test_benchmark_sets_are_what_their_cards_say(name: str, bench_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORECAST_DATA", str(bench_data))
    described = load_card(name)
    series = read_series(described)
    rows = described.files[0].rows
    # One row of the weather file stands twice, and nine are absent.
    assert len(series.time) == (52_704 if name == "weather" else rows)
    assert len(series.channels) == len(described.channels)
