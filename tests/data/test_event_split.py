"""Which events train, validate and test."""

import numpy as np
import polars as pl
import pytest

from forecast.data.event_batch import EventGather
from forecast.data.event_split import Part, split_events, split_files, whole
from forecast.data.events import EventColumns, Events, read_events
from forecast.data.hawkes import THREE, simulate
from forecast.errors import DataError

TABLE = {
    "id": list("aaaabbcd"),
    "time": [f"2024-01-{day:02}" for day in (1, 5, 9, 13, 2, 12, 3, 10)],
    "mark": list("xyxzyxxx"),
}
DATES = {"val": "2024-01-05", "test": "2024-01-10"}


def read(**change: object) -> Events:
    return read_events(pl.DataFrame({**TABLE, **change}), EventColumns(), "toy")


def targets(part: Part) -> list[tuple[str, float]]:
    """Who is forecast and when."""
    events = part.events
    return [(events.ids[int(events.number[i])], events.time[i]) for i in np.flatnonzero(part.target)]


def test_a_date_cuts_every_sequence_and_leaves_its_past_as_context() -> None:
    notes: list[str] = []
    train, val, test = split_events(
        read(time=[*TABLE["time"][:1], "2024-01-04", *TABLE["time"][2:]]), DATES, notes=notes
    )
    assert targets(train) == [("a", 3)]
    assert targets(val) == [("a", 8)]
    assert targets(test) == [("a", 12), ("b", 11)]  # d has its first event there: no gap, no target
    assert train.events.ids == val.events.ids == ("a", "b", "c")
    assert test.events.ids == ("a", "b", "c", "d")
    assert train.events.time.tolist() == [0, 3, 1, 2]
    assert val.events.time.tolist() == [0, 3, 8, 1, 2]
    # Each part is watched until the next begins, the last one to the end of the table.
    assert train.end.tolist() == [4, 4, 4]
    assert val.last.tolist() == [1, 8, 7]
    assert test.end.tolist() == [12] * 4
    assert EventGather(train).used(survival=False).tolist() == [0]
    assert EventGather(train).used(survival=True).tolist() == [0, 1, 2]
    assert notes == ["test: 1 event(s) have a mark that training did not have ('z')"]
    assert test.events.mark.tolist() == [0, 1, 0, 2, 1, 0, 0, 0]
    assert test.events.marks == train.events.marks == ("x", "y")


def test_nothing_after_a_border_changes_what_is_before() -> None:
    later = ["2024-01-01", "2024-01-05", "2024-01-09", "2024-01-31", "2024-01-02", "2024-02-12", "2024-01-03"]
    before = split_events(read(), {"val": "2024-01-06", "test": "2024-01-10"})
    after = split_events(
        read(time=[*later, "2024-01-20"], mark=list("xyxyyyxx")), {"val": "2024-01-06", "test": "2024-01-10"}
    )
    for one, other in zip(before[:2], after[:2], strict=True):
        assert one.events.ids == other.events.ids
        for mine, its in zip(
            (one.events.time, one.events.mark, one.target, one.end),
            (other.events.time, other.events.mark, other.target, other.end),
            strict=True,
        ):
            assert mine.tolist() == its.tolist()


def test_every_event_but_the_first_is_a_target_once() -> None:
    sample = simulate(THREE, 200, 30.0, seed=0)
    parts = split_events(sample.events, {"val": 12, "test": 21})
    names = {name: number for number, name in enumerate(sample.events.ids)}
    seen = [(names[name], time) for part in parts for name, time in targets(part)]
    events = sample.events
    rows = np.flatnonzero(sample.target)
    assert sorted(seen) == list(zip(events.number[rows].tolist(), events.time[rows].tolist(), strict=True))


def test_a_moment_may_have_a_zone_and_numbers_are_cut_by_numbers() -> None:
    events = read()
    early = read(time=["2024-01-01", "2024-01-04", "2024-01-05", *TABLE["time"][3:]])
    dates = split_events(early, {"val": "2024-01-05T01:00+01:00", "test": "2024-01-10"})
    assert targets(dates.val) == [("a", 4)]  # 2024-01-05 00:00 UTC
    with pytest.raises(DataError, match="no event is a target of train"):
        split_events(events, DATES)
    numbers = read(time=[float(i) for i in range(8)])
    parts = split_events(numbers, {"val": 2, "test": 3})
    assert [targets(part) for part in parts] == [[("a", 1)], [("a", 2)], [("a", 3), ("b", 5)]]


def test_sequences_are_parted_by_their_ids_or_in_their_order() -> None:
    table = {"id": np.repeat(list("pqrstuvwxy"), 3), "time": np.tile([1.0, 2.0, 4.0], 10), "mark": ["m"] * 30}
    events = read_events(pl.DataFrame(table), EventColumns(unit="hour"), "toy")
    parts = split_events(events, {"train": 0.7, "val": 0.1, "test": 0.2})
    assert ["".join(part.events.ids) for part in parts] == ["pqrstuv", "w", "xy"]
    assert parts.train.targets.tolist() == [2] * 7
    assert not parts.train.last.any()
    parts = split_events(events, {"train": ["y", "p"], "val": ["q"], "test": ["s"]})
    assert ["".join(part.events.ids) for part in parts] == ["yp", "q", "s"]


def test_files_have_the_marks_of_the_training() -> None:
    train = read(mark=list("yyyyyyyx"))
    notes: list[str] = []
    parts = split_files(train, read(), read(), notes=notes)
    assert parts.test.events.marks == ("x", "y")
    assert parts.test.events.mark.tolist() == [0, 1, 0, 2, 1, 0, 0, 0]
    assert len(notes) == 2
    assert whole(train, 20.0).last.tolist() == [8, 9, 18, 11]


def test_taking_sequences_takes_their_targets_and_ends() -> None:
    part = split_events(read(), {"val": "2024-01-06", "test": "2024-01-10"}).test
    some = part.take(np.array([3, 0]))
    assert some.events.ids == ("d", "a")
    assert some.target.tolist() == [False, False, False, False, True]
    assert some.end.tolist() == [12, 12]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"val": "2024-01-10", "test": "2024-01-05"}, "val starts at 2024-01-10, after test"),
        ({"val": "soon", "test": "2024-01-05"}, "val is soon; expected a date"),
        ({"val": "2024-01-05", "test": "2025-01-05"}, "no event is a target of"),
        ({"train": 0.5}, "splits has train; expected train, val and test"),
        ({}, "splits has nothing"),
        ({"train": 0.9, "val": 0.1, "test": 0.2}, "expected fractions that sum to 1"),
        ({"train": 0.9, "val": "a", "test": "b"}, "expected numbers, or lists of ids"),
        ({"train": ["a"], "val": ["q"], "test": ["b"]}, "names the id 'q'; expected ids of the table"),
        ({"train": ["a"], "val": ["a"], "test": ["b"]}, "names the id 'a' twice"),
    ],
)
def test_splits_that_say_nothing_are_told(splits: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_events(read(), splits)


def test_a_date_is_no_border_of_numbers() -> None:
    with pytest.raises(DataError, match="val is 2024-01-05; expected a number"):
        split_events(read(time=[float(i) for i in range(8)]), DATES)
