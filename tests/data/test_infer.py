"""User files without a card: what is inferred, and where the user is asked."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecast.data.infer import infer_card
from forecast.data.read import read_series
from forecast.errors import DataError, UsageError

Written = Callable[..., Path]
LONG = "unique_id,ds,y\n" + "".join(f"{s},2024-01-0{d},{d}\n" for s in ("A", "B") for d in range(1, 8))
WIDE = "when,a,b\n" + "".join(f"2024-01-01 {h:02d}:00,{h},{h * 2}\n" for h in range(20))


def test_a_long_file(written: Written) -> None:
    card = infer_card(written(LONG))
    assert (card.id, card.time.column, card.time.freq, card.season) == ("unique_id", "ds", "D", 7)
    assert [c.name for c in card.channels] == ["y"] and card.name == "my"
    series = read_series(card, path=written(LONG))
    assert series.ids == ("A", "B") and series.rows.tolist() == [7, 7]


def test_a_long_file_in_order_of_time(written: Written) -> None:
    text = "ds,shop,sales\n" + "".join(f"2024-0{m}-01,{s},{m}\n" for m in range(1, 7) for s in "XY")
    card = infer_card(written(text))
    assert (card.id, card.time.freq, card.season) == ("shop", "MS", 12)


def test_a_wide_file(written: Written) -> None:
    card = infer_card(written(WIDE))
    assert card.id is None and [c.name for c in card.channels] == ["a", "b"] and card.time.freq == "h"
    one = infer_card(written(WIDE), target=["b"], past=["a"])
    assert [(c.name, c.role) for c in one.channels] == [("b", "target"), ("a", "past_only")]
    assert [c.name for c in infer_card(written(WIDE), past=["a"]).channels] == ["b", "a"]


def test_parquet_with_a_zone(tmp_path: Path) -> None:
    hours = pl.datetime_range(
        pl.datetime(2024, 3, 30), pl.datetime(2024, 4, 2), "1h", time_zone="Europe/Berlin", eager=True
    )
    path = tmp_path / "z.parquet"
    pl.DataFrame({"ts": hours, "y": np.arange(len(hours))}).write_parquet(path)
    card = infer_card(path)
    assert card.time.zone == "Europe/Berlin" and card.time.freq == "h"
    series = read_series(card, path=path)
    assert len(series.time) == len(hours) and not np.isnan(series.values).any()
    days = tmp_path / "d.parquet"
    pl.DataFrame({"ts": hours, "y": np.arange(len(hours))}).filter(pl.col("ts").dt.hour() == 0).write_parquet(days)
    assert infer_card(days).time.freq == "D"
    assert len(read_series(infer_card(days), path=days).time) == 4


def test_what_is_given_is_not_inferred(written: Written) -> None:
    path = written(WIDE)
    card = infer_card(path, freq="1H", season=7, missing=[0], zone="Asia/Tokyo", time="when")
    assert (card.time.freq, card.season, card.missing, card.time.zone) == ("h", 7, (0.0,), "Asia/Tokyo")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,4\n", r"no column of my\.csv holds stamps; found columns a, b; set data\.time=COLUMN"),
        ("t1,t2,y\n2024-01-01,2024-01-01,1\n2024-01-02,2024-01-02,2\n", "columns t1, t2 all hold stamps"),
        ("ds,y,note\n2024-01-01,1,x\n2024-01-02,2,y\n", r"column 'note' is neither numbers.*data\.id=note"),
        (
            "ds,a,b,y\n2024-01-01,p,q,1\n2024-01-01,r,s,2\n2024-01-02,p,q,1\n",
            r"columns a, b hold text.*data\.id",
        ),
        ("ds\n2024-01-01\n2024-01-02\n", "no numeric column"),
        ("ds,y,y\n2024-01-01,1,1\n2024-01-02,2,2\n", "my.csv has two columns 'y'"),
        ("ds,y\n2024-01-01,1\n", "the step between stamps cannot be seen"),
        (
            "ds,y\n2024-01-01,1\n2024-01-02,1\n2024-01-03,1\n2024-01-04 06:00,1\n".replace(",1", " 00:00,1", 3),
            "no regular step",
        ),
    ],
)
def test_where_two_readings_are_possible_the_user_is_asked(written: Written, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        infer_card(written(content))


def test_a_usual_name_decides_between_two_columns_of_stamps(written: Written) -> None:
    text = "ds,made,y\n2024-01-01,2024-02-01,1\n2024-01-02,2024-02-01,2\n"
    assert infer_card(written(text), target=["y"]).time.column == "ds"


def test_the_rest_is_every_other_column_of_numbers(written: Written) -> None:
    text = "ds,y,note,a,empty,b\n" + "".join(f"2024-01-0{d},{d},n{d},{d},,{d}\n" for d in range(1, 8))
    roles = [(c.name, c.role) for c in infer_card(written(text), target=["y"], past=["rest"]).channels]
    assert roles == [("y", "target"), ("a", "past_only"), ("b", "past_only")]
    named = infer_card(written(text.replace("note,a", "note,rest")), target=["y"], past=["rest"])
    assert [c.name for c in named.channels] == ["y", "rest"]


def test_mistyped_columns_get_the_nearest(written: Written) -> None:
    with pytest.raises(UsageError, match=r"data\.target names 'sals'.*no column"):
        infer_card(written(WIDE), target=["sals"])


def test_business_days_and_weeks(written: Written) -> None:
    import pandas as pd

    for freq in ("B", "W-FRI", "QE", "30min"):
        stamps = pd.date_range("2024-01-05", periods=20, freq=freq)
        text = "date,price\n" + "".join(f"{t:%Y-%m-%d %H:%M},{i}\n" for i, t in enumerate(stamps))
        card = infer_card(written(text))
        assert card.time.freq == freq
        assert len(read_series(card, path=written(text)).time) == 20


def test_the_index_of_pandas_is_no_channel(written: Written) -> None:
    text = ",ds,y\n0,2024-01-01,3\n1,2024-01-02,4\n2,2024-01-03,5\n"
    assert [c.name for c in infer_card(written(text)).channels] == ["y"]
    assert [c.name for c in infer_card(written(text.replace("\n2,", "\n7,"))).channels] == ["", "y"]
