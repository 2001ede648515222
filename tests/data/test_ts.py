"""Files .ts: the numbers that sktime reads, the names as they are written."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from forecast.data.label_card import FORMATS, load_label_card
from forecast.data.read import locate, read_file
from forecast.data.ts import read_ts
from forecast.errors import DataError
from forecast.where import data_root

HEAD = "#a comment\n@problemName toy\n@timeStamps false\n@univariate false\n@classLabel true a B\n@data\n"


@pytest.fixture
def ts(written):
    def read(body: str | bytes, head: str = HEAD, notes: list[str] | None = None) -> pl.DataFrame:
        content = head.encode() + (body.encode() if isinstance(body, str) else body)
        return read_file(written(content, "toy.ts"), notes, FORMATS)

    return read


def test_series_are_below_each_other_with_labels_as_written(ts) -> None:
    frame = ts("1,2,?:0.5,-0.6,7e2:a\n\n# in between\n3:4:B\r\n")
    assert frame.columns == ["id", "dim_0", "dim_1", "label"]
    assert frame["id"].to_list() == [1, 1, 1, 2]
    assert frame["label"].to_list() == ["a", "a", "a", "B"]
    np.testing.assert_array_equal(frame["dim_0"], [1, 2, np.nan, 3])
    np.testing.assert_array_equal(frame["dim_1"], [0.5, -0.6, 700, 4])


def test_a_label_may_be_unknown_or_absent(ts) -> None:
    assert ts("1:2:?\n1:2:a\n")["label"].to_list() == [None, "a"]
    assert ts("1:2\n1:2\n", HEAD.replace("true a B", "false")).columns == ["id", "dim_0", "dim_1"]
    notes: list[str] = []
    assert ts("1:2:a\n1:2:c\n", notes=notes)["label"].to_list() == ["a", "c"]
    assert notes == ["toy.ts: its header does not name the class c"]


def test_a_channel_that_is_empty_is_missing(ts) -> None:
    frame = ts("1,2::a\n:3:B\n")
    np.testing.assert_array_equal(frame["dim_0"], [1, 2, np.nan])
    np.testing.assert_array_equal(frame["dim_1"], [np.nan, np.nan, 3])


def test_comments_that_are_no_utf8_do_not_matter(ts, written) -> None:
    head = b"#pages 1\x9631, \xe9\n" + HEAD.encode()
    assert read_ts(written(head + b"1:2:a\n", "x.ts"), []).height == 1
    assert read_ts(written(b"\xef\xbb\xbf" + head[:9] + b"\n" + HEAD.encode() + b"1:2:a\n", "x.ts"), []).height == 1


def test_stamps_join_the_channels(ts) -> None:
    head = HEAD.replace("timeStamps false", "timeStamps true")
    frame = ts("(0,1),(2,3):(0,5),(1,6):a\n(0,9):(0,8):B\n", head)
    assert frame.columns == ["id", "dim_0", "dim_1", "label"]
    np.testing.assert_array_equal(frame["dim_0"], [1, np.nan, 3, 9])
    np.testing.assert_array_equal(frame["dim_1"], [5, 6, np.nan, 8])
    assert frame["id"].to_list() == [1, 1, 1, 2]
    with pytest.raises(DataError, match="the series in line 8 has two values of dim_0 at 0; expected one for each"):
        ts("(0,1):(0,2):a\n(0,1),(0,3):(0,5):a\n", head)


def test_a_file_of_many_pieces_is_read_as_a_whole(ts, monkeypatch) -> None:
    body = "".join(f"{i},{i + 1}:{-i},0:{'aB'[i % 2]}\n" for i in range(40))
    whole = ts(body)
    monkeypatch.setattr("forecast.data.ts.AT_ONCE", 50)
    assert ts(body).equals(whole)
    with pytest.raises(DataError, match="the channels of the series in line 47 have 1, 2 steps"):
        ts(body + "1:1,2:a\n")


@pytest.mark.parametrize(
    ("body", "head", "message"),
    [
        ("1:2:a\n", HEAD.replace("@data\n", ""), "has no line @data; expected a header"),
        ("", HEAD, "has no series after @data"),
        ("1:2:0.5\n", HEAD.replace("classLabel true a B", "targetLabel true"), "holds numbers to be told"),
        ("1,2:3:a\n", HEAD, "in line 7 have 1, 2 steps; expected as many in each"),
        (":: a\n", HEAD, "in line 7 have 0 steps"),
        ("1,x:3,4:a\n", HEAD, "cannot be read: could not convert string to float: 'x'"),
        ("1:2:a\n1:a\n", HEAD, "the series in line 8 has 1 channel; expected 2, as in the first one"),
        (
            "(0,1):(0,2):a\n(0,1):a\n",
            HEAD.replace("timeStamps false", "timeStamps true"),
            "cannot be read: line 8 does",
        ),
        ("1:2:a\n", HEAD.replace("@timeStamps false\n", ""), "cannot be read: a full set of metadata"),
    ],
)
def test_what_is_no_such_file_is_refused(ts, body: str, head: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ts(body, head)


@pytest.mark.parametrize("name", ["japanese_vowels", "basic_motions", "plaid", "handwriting"])
def test_the_numbers_are_those_of_sktime(name: str) -> None:
    from sktime.datasets import load_from_tsfile_to_dataframe

    card = load_label_card(name)
    if not card.files[0].package and data_root() is None:
        pytest.skip("needs FORECAST_DATA")
    place: Path = locate(card, card.files[0])
    frame = read_ts(place, [])
    nested, labels = load_from_tsfile_to_dataframe(str(place), encoding="latin-1")
    for column in nested.columns:
        np.testing.assert_array_equal(frame[column], np.concatenate(list(nested[column])))
    ours = frame.group_by("id", maintain_order=True).first()["label"].str.to_lowercase()
    assert ours.to_list() == labels.tolist()
