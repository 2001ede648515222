"""Tables of labelled series: what is read, what is told, what is refused."""

import numpy as np
import polars as pl
import pytest

from forecast.data.labelled import LabelColumns, Labelled, joined, read_labelled, recoded
from forecast.errors import DataError

COLUMNS = LabelColumns(id="who", time="t", label="kind", channels=("x", "y"))


def table(**changes) -> pl.DataFrame:
    """Three series of 2, 3 and 1 steps, rows of the first two mixed."""
    return pl.DataFrame({
        "who": ["a", "b", "a", "b", "b", "c"],
        "t": [0, 0, 1, 1, 2, 0],
        "kind": ["up", "down", "up", "down", "down", "up"],
        "x": [1.0, 2.0, 3.0, None, 5.0, 6.0],
        "y": ["1", "2", "", "4", "?", "6"],
        **changes,
    })  # fmt: skip


def read(frame: pl.DataFrame | None = None, columns: LabelColumns = COLUMNS, **words) -> Labelled:
    return read_labelled(table() if frame is None else frame, columns, "f.csv", **words)


def test_series_are_put_together_and_coded() -> None:
    found = read()
    assert found.ids == ("a", "b", "c") and len(found) == 3
    assert found.offsets.tolist() == [0, 2, 5, 6]
    assert found.classes == ("down", "up") and found.label.tolist() == [1, 0, 1]
    assert found.counts.tolist() == [1, 2] and found.lengths.tolist() == [2, 3, 1]
    np.testing.assert_array_equal(found.values[:, 0], [1, 3, 2, np.nan, 5, 6])
    np.testing.assert_array_equal(found.values[:, 1], [1, np.nan, 2, 4, np.nan, 6])


def test_rows_are_ordered_by_time_and_that_is_told() -> None:
    notes: list[str] = []
    found = read(table(t=[1, 0, 0, 1, 2, 0]), notes=notes)
    assert found.values[:2, 0].tolist() == [3, 1]
    assert notes == ["f.csv: 1 row(s) were not in order of time and were sorted (first: row 3)"]
    stamps = pl.Series(["2024-01-02", "2024-01-01", "2024-01-01", "2024-01-02", "2024-01-03", "2024-01-01"])
    np.testing.assert_array_equal(read(table(t=stamps)).values, found.values)
    assert read(columns=LabelColumns(id="who", label="kind", channels=("x",))).values[:2, 0].tolist() == [1, 3]


def test_classes_have_the_order_of_numbers() -> None:
    assert read(table(kind=[10.0, 9.0, 10.0, 9.0, 9.0, 10.0])).classes == ("9", "10")
    assert read(table(kind=["10.5", "9", "10.5", "9", "9", "10.5"])).classes == ("9", "10.5")
    assert read(table(kind=[True, False, True, False, False, True])).classes == ("false", "true")
    assert read(table(kind=[2, 1, 2, 1, 1, 2])).classes == ("1", "2")


def test_labels_may_be_absent_or_empty_where_that_may_be() -> None:
    frame = table(kind=["up", None, "up", None, None, "NaN"])
    assert read(frame).label.tolist() == [0, -1, -1]
    bare = read(frame.drop("kind"), bare=True, classes=("down", "up"))
    assert bare.label.tolist() == [-1, -1, -1] and bare.classes == ("down", "up")
    with pytest.raises(DataError, match="f.csv has no column of labels 'kind'; found who, t, x, y"):
        read(frame.drop("kind"))
    with pytest.raises(DataError, match="the label of series 'b' changes from nothing to down"):
        read(table(kind=["up", None, "up", "down", "down", "up"]))


def test_a_class_that_training_did_not_have() -> None:
    notes: list[str] = []
    found = read(classes=("up", "left"), unknown="none", notes=notes)
    assert found.label.tolist() == [0, -1, 0] and found.classes == ("up", "left")
    assert notes == ["f.csv: 1 series of a class that training did not have ('down')"]
    with pytest.raises(DataError, match="series 'b' has the class 'down', which no series of the training has"):
        read(classes=("up", "left"))
    with pytest.raises(DataError, match=r"unknown is 'nnoe'; expected error or none; did you mean none\?"):
        read(unknown="nnoe")
    assert recoded(found, ("left", "up"), "x").label.tolist() == [1, -1, 1]


def test_numbers_that_mean_nothing_are_missing_and_empty_series_are_told() -> None:
    notes: list[str] = []
    columns = LabelColumns(id="who", label="kind", channels=("x",), missing=(6.0,))
    assert np.isnan(read(columns=columns, notes=notes).values[-1, 0])
    assert notes == ["f.csv: 1 series without a single value"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": ["up", "down", "down", "down", "down", "up"]}, "label of series 'a' changes from up to down"),
        ({"x": ["1", "2", "red", "4", "5", "6"]}, "row 3, column 'x': 'red' is not a number"),
        ({"x": [[1.0]] * 6}, r"column 'x' holds list\(float64\) values; expected the numbers of a channel"),
        ({"x": [1.0, float("inf"), 3, 4, 5, 6]}, "row 2, column 'x': the value is infinite"),
        ({"t": [0, 0, 0, 1, 2, 0]}, "rows 1 and 3 of series 'a' have the same time; expected one row for each step"),
        ({"t": [0, 0, None, 1, 2, 0]}, "row 3, column 't' is empty; expected a time"),
        ({"who": ["a", "b", "a", None, "b", "c"]}, "row 4, column 'who' is empty"),
        ({"kind": [["up"]] * 6}, r"column 'kind' holds list\(string\) values, not labels; .* data.label"),
    ],
)
def test_bad_tables_are_told(changes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(table(**changes))


def test_missing_columns_and_rows_are_told() -> None:
    with pytest.raises(DataError, match="f.csv has no rows"):
        read(table().head(0))
    with pytest.raises(DataError, match=r"f.csv has no column 'x'; found who, t, kind, y"):
        read(table().drop("x"))


def test_series_are_taken_and_joined() -> None:
    found = read()
    back = joined(found.take(np.array([2, 0])), found.take(np.array([1])))
    assert back.ids == ("c", "a", "b") and back.label.tolist() == [1, 1, 0]
    np.testing.assert_array_equal(back.take(np.array([1, 2, 0])).values, found.values)
    empty = found.take(np.zeros(0, np.int64))
    assert len(empty) == 0 and empty.values.shape == (0, 2) and empty.counts.tolist() == [0, 0]
    np.testing.assert_array_equal(joined(empty, found).values, found.values)
    with pytest.raises(ValueError, match="other classes"):
        joined(found, found.coded(("up",)))
