"""Tables of events: what is read, sorted, counted and refused."""

import subprocess
import sys
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from forecast.data.events import EventColumns, Events, read_events, recode
from forecast.errors import DataError
from forecast.where import data_root

NUMBERS = EventColumns(unit="hour")


def read(columns: EventColumns = NUMBERS, notes: list[str] | None = None, **table: object) -> Events:
    """The events of a table of columns."""
    return read_events(pl.DataFrame(table, strict=False), columns, "toy", notes=notes)


def test_rows_out_of_order_are_sorted_stably_and_told() -> None:
    notes: list[str] = []
    events = read(notes=notes, id=["b", "a", "b", "a", "a"], time=[2.0, 5.0, 1.0, 5.0, 4.0], mark=list("xzyxy"))
    assert events.ids == ("b", "a")
    assert events.start.tolist() == [0, 2, 5]
    assert events.time.tolist() == [1, 2, 4, 5, 5]
    assert [events.marks[code] for code in events.mark] == ["y", "x", "y", "z", "x"]  # z before x, as in the file
    assert events.first.tolist() == [True, False, True, False, False]
    assert notes == ["toy: 2 row(s) were not in order of time and were sorted (first: row 3)"]


def test_gaps_are_floored_at_the_grid_and_first_ones_are_zero() -> None:
    events = read(EventColumns(unit="hour", grid=0.25), id=["a"] * 4 + ["b"], time=[7, 7, 7.5, 9, 3], mark=[1] * 5)
    assert events.gaps().tolist() == [0, 0.25, 0.5, 1.5, 0]
    assert events.gaps(1.0).tolist() == [0, 1, 1, 1.5, 0]
    assert events.gaps(0.0).tolist() == [0, 0, 0.5, 1.5, 0]


def test_rows_written_twice_are_counted_and_dropped_on_demand() -> None:
    table = {"id": ["a"] * 5, "time": [1.0, 1.0, 1.0, 1.0, 2.0], "mark": ["x", "y", "x", "y", "x"]}
    notes: list[str] = []
    assert len(read(notes=notes, **table).time) == 5
    assert notes.pop() == "toy: 2 event(s) written twice (same id, time and mark) are kept"
    events = read(EventColumns(unit="hour", twice="drop"), notes, **table)
    assert events.mark.tolist() == [0, 1, 0]
    assert events.time.tolist() == [1, 1, 2]
    assert notes == ["toy: 2 event(s) written twice (same id, time and mark) were dropped"]


def test_one_event_is_a_sequence_and_no_marks_are_one() -> None:
    events = read(EventColumns(unit="hour", mark=None), id=["a", "b", "a"], time=[1, 1, 2])
    assert events.marks == ("event",)
    assert events.mark.tolist() == [0, 0, 0]
    assert events.counts.tolist() == [2, 1]
    alone = read(EventColumns(id=None, unit="hour"), time=[3, 1], mark=["x", "y"])
    assert alone.ids == ("events",)
    assert alone.mark.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("marks", "names"),
    [([10, 9, 2], ("2", "9", "10")), ([10.0, 9.0, 2.0], ("2", "9", "10")), (["b", "10", "a"], ("10", "a", "b"))],
)
def test_marks_are_in_the_order_of_their_names(marks: list[object], names: tuple[str, ...]) -> None:
    events = read(id=["a"] * 3, time=[1, 2, 3], mark=marks)
    assert events.marks == names


def test_a_mark_that_training_did_not_have() -> None:
    events = read(id=["a"] * 4, time=[1, 2, 3, 4], mark=["x", "new", "y", "new"])
    with pytest.raises(DataError, match="toy: sequence 'a' has the mark 'new'; expected y, x; name it"):
        recode(events, ("y", "x"), "toy")
    notes: list[str] = []
    coded = recode(events, ("y", "x"), "toy", unknown="code", notes=notes)
    assert coded.mark.tolist() == [1, 2, 0, 2]
    assert coded.marks == ("y", "x")
    assert notes == ["toy: 2 event(s) have a mark that training did not have ('new')"]
    # What is unknown stays so, whatever the names.
    assert recode(coded, ("x", "y"), "toy", unknown="code").mark.tolist() == [0, 2, 1, 2]
    frame = pl.DataFrame({"id": ["a"], "time": [1.0], "mark": ["new"]})
    assert read_events(frame, NUMBERS, "toy", marks=("x",), unknown="code").mark.tolist() == [1]


@pytest.mark.parametrize("unit", ["microsecond", "second", "minute", "hour", "day"])
@pytest.mark.parametrize("text", [False, True])
def test_stamps_are_exact_to_the_microsecond(unit: str, text: bool) -> None:
    rng = np.random.default_rng(0)
    first = datetime(1900, 1, 1)
    stamps = [first + timedelta(microseconds=int(us)) for us in rng.integers(0, 80 * 365 * 86_400 * 10**6, 500)]
    column = [s.isoformat(timespec="microseconds") for s in stamps] if text else stamps
    events = read(EventColumns(unit=unit, mark=None), id=rng.integers(0, 9, 500), time=column)
    assert events.origin == np.datetime64(min(stamps))
    assert sorted(events.stamps.tolist()) == sorted(stamps)


def test_an_offset_is_counted_and_the_grid_is_that_of_the_stamps() -> None:
    notes: list[str] = []
    times = ["2024-01-01T00:00:00+01:00", "2024-01-01T01:30:00+01:00", "2024-01-01T05:00:00+02:00"]
    events = read(EventColumns(unit="hour", mark=None), notes, id=[1, 1, 1], time=times)
    assert events.time.tolist() == [0, 1.5, 4]
    assert events.origin == np.datetime64("2023-12-31T23:00")
    assert events.grid == 0.5
    assert notes == ["toy: its gaps are on a grid of 0.5 hours"]
    assert read(EventColumns(grid=0.0, mark=None), id=[1, 1, 1], time=times).grid == 0
    apart = [*times, "2024-01-01T00:00:00.000007Z", "2024-01-01T01:00:00.000007Z"]  # from a moment of its own
    assert read(EventColumns(unit="hour", mark=None), id=[1, 1, 1, 2, 2], time=apart).grid == 0.5


def test_taking_sequences_keeps_their_events() -> None:
    events = read(id=list("aabccc"), time=[1, 2, 3, 4, 5, 6], mark=[0, 1, 2, 3, 4, 5])
    some = events.take(np.array([2, 0]))
    assert some.ids == ("c", "a")
    assert some.start.tolist() == [0, 3, 5]
    assert some.time.tolist() == [4, 5, 6, 1, 2]
    assert some.mark.tolist() == [3, 4, 5, 0, 1]
    with pytest.raises(ValueError, match="no stamps"):
        _ = some.stamps


GOOD = {"id": ["a", "a"], "time": [1.0, 2.0], "mark": ["x", "y"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": [1.0, float("nan")]}, "toy: row 2, column 'time': the time is NaN; expected a finite number"),
        ({"time": [float("inf"), 1.0]}, "toy: row 1, column 'time': the time is inf; expected a finite number"),
        ({"time": [1.0, None]}, "toy: row 2, column 'time': the time is empty; expected a finite number"),
        ({"time": ["1", "x"]}, "toy: row 2, column 'time': the time is x; expected a finite number"),
        ({"time": ["2024-01-01", "2024-01-32"]}, "toy: row 2, column 'time': '2024-01-32' is not a stamp"),
        ({"time": ["soon", "later"]}, "toy: row 1, column 'time': 'soon' is not a stamp"),
        ({"time": [True, False]}, "toy: column 'time' holds boolean values, not stamps"),
        ({"time": [1.7e9, 1.8e9]}, "toy: column 'time' holds numbers such as 1700000000, in hours; they look like"),
        ({"id": ["a", None]}, "toy: row 2, column 'id' is empty; expected a name in every row"),
        ({"id": [" ", "a"]}, "toy: row 1, column 'id' is empty"),
        ({"mark": ["x", ""]}, "toy: row 2, column 'mark' is empty"),
        ({"mark": [1.5, float("nan")]}, "toy: row 2, column 'mark' is empty"),
    ],
)
def test_bad_tables_are_told(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        read(**{**GOOD, **change})
    assert str(caught.value).startswith(message)


def test_missing_columns_and_rows_are_told() -> None:
    for column in GOOD:
        with pytest.raises(DataError, match=f"toy has no column '{column}'; found"):
            read(**{name: values for name, values in GOOD.items() if name != column})
    with pytest.raises(DataError, match="toy has no rows"):
        read(id=[], time=[], mark=[])


def test_settings_that_mean_nothing_are_told() -> None:
    with pytest.raises(DataError, match="twice is 'drp'.*did you mean drop"):
        EventColumns(twice="drp")
    with pytest.raises(DataError, match="grid is -1"):
        EventColumns(grid=-1.0)
    with pytest.raises(DataError, match="unit of time is 'days'.*did you mean day"):
        read(EventColumns(unit="days"), **{**GOOD, "time": ["2024-01-01", "2024-01-02"]})
    with pytest.raises(DataError, match="unknown is 'x'"):
        recode(read(**GOOD), ("x", "y"), "toy", unknown="x")


def test_stamps_that_float64_cannot_hold_are_refused() -> None:
    times = [datetime(1950, 1, 1), *(datetime(2200, 1, 1, 0, 0, 0, us) for us in range(1, 40))]
    table = {"id": ["a"] * 40, "time": times, "mark": ["x"] * 40}
    with pytest.raises(DataError, match="span 250 years, to the microsecond"):
        read(EventColumns(unit="day"), **table)
    assert read(EventColumns(unit="microsecond"), **table).stamps.tolist() == times
    # To the second they are told apart.
    times = [time.replace(second=time.microsecond, microsecond=0) for time in times]
    days = read(EventColumns(unit="day"), **{**table, "time": times})
    assert np.diff(days.time[1:]) == pytest.approx(1 / 86_400, rel=1e-5)


def test_tables_of_events_are_read_without_torch() -> None:
    parts = "forecast.data.events, forecast.data.event_split, forecast.data.hawkes"
    code = f"import sys, {parts}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.skipif(data_root() is None, reason="needs FORECAST_DATA")
def test_the_benchmarks_are_read_as_they_are() -> None:
    root = data_root()
    assert root is not None
    sizes = {"taxi": (400, 10), "taobao": (500, 17), "earthquake": (896, 7), "stackoverflow": (1326, 22)}
    for name, (sequences, marks) in sizes.items():
        file = root / "events" / name / "test.parquet"
        if not file.is_file():
            pytest.skip(f"{file} is not there")
        frame = pl.read_parquet(file)
        notes: list[str] = []
        events = read_events(frame, EventColumns(unit="hour"), name, notes=notes)
        assert (len(events.ids), len(events.marks)) == (sequences, marks)
        assert events.time.tolist() == frame["time"].to_list()
        assert not any("sorted" in note for note in notes)
