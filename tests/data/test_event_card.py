"""Cards of events: what they say, what is refused, what is inferred from a table."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecast.data.card import card_kind, card_names, load_card, save_card
from forecast.data.event_card import (
    EventCard,
    describe_events,
    infer_event_card,
    load_event_card,
    read_event_card,
    read_event_frames,
)
from forecast.data.event_facts import event_facts
from forecast.data.events import read_events
from forecast.errors import DataError, UsageError
from forecast.where import DATASETS, data_root

PLAIN: dict[str, Any] = {"name": "toy", "kind": "events", "time": "when", "unit": "hour"}


@pytest.mark.parametrize("name", card_names("events"))
def test_every_card_survives_json_and_yaml(name: str, tmp_path: Path) -> None:
    card = load_event_card(name)
    assert card.name == name and card.licence and card.source and card.about
    assert EventCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    save_card(card, tmp_path / "card.yaml")
    assert read_event_card(tmp_path / "card.yaml") == card
    assert f"name: {name}" in describe_events(card)
    assert all(len(file.sha256) == 64 and file.rows and file.bytes for file in card.files)
    assert f"| {name} |" in (DATASETS / "README.md").read_text(encoding="utf-8")


def test_cards_of_both_kinds_are_listed_and_told_apart() -> None:
    assert {"retail", "taxi", "taobao", "earthquake", "stackoverflow", "mimic"} <= set(card_names("events"))
    assert set(card_names()) == {*card_names("series"), *card_names("events"), *card_names("labelled")}
    assert (card_kind("retail"), card_kind("electricity")) == ("events", "series")


def test_a_card_of_the_other_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="'retail' is a data set of events; expected series; set task=event"):
        load_card("retail")
    with pytest.raises(UsageError, match="'electricity' is a data set of series; expected events; set task=forecast"):
        load_event_card("electricity")
    with pytest.raises(UsageError, match=r"there is no data set 'retial'; did you mean retail\?"):
        load_event_card("retial")


def test_a_short_card_gets_the_usual() -> None:
    card = EventCard.from_dict(PLAIN)
    assert (card.id, card.mark, card.grid, card.floor, card.twice) == (None, None, None, None, "keep")
    assert card.splits == {"train": 0.7, "val": 0.1, "test": 0.2} and not card.by_files
    assert "one sequence" in describe_events(card) and "not told apart" in describe_events(card)


def test_ids_and_dates_of_splits_become_text() -> None:
    listed = EventCard.from_dict({**PLAIN, "splits": {"train": [1, 2], "val": [3], "test": ["x"]}})
    assert listed.splits == {"train": ["1", "2"], "val": ["3"], "test": ["x"]} and not listed.by_files
    dates = EventCard.from_dict({**PLAIN, "splits": {"val": datetime(2024, 1, 1), "test": "2024-02-01"}})
    assert dates.splits == {"val": "2024-01-01T00:00:00", "test": "2024-02-01"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "images"}, "has the kind 'images'; expected series, events or labelled"),
        ({"marc": "x"}, r"unknown key 'marc'; did you mean mark\?"),
        ({"time": None}, "time is empty"),
        ({"unit": " "}, "unit is empty"),
        ({"id": 3}, "id is '3'; expected text"),
        ({"grid": -1}, "grid is -1"),
        ({"grid": True}, "grid is True"),
        ({"floor": "nan"}, "floor is nan"),
        ({"floor": "small"}, "floor is 'small'; expected a number"),
        ({"covariates": "a"}, "covariates is 'a'; expected a list"),
        ({"covariates": ["when"]}, "names the column 'when' twice"),
        ({"periods": ["fortnight"]}, "the period 'fortnight' is unknown"),
        ({"periods": [float("inf")]}, "a period is inf"),
        ({"periods": ["day"], "unit": "tick"}, "cannot be counted in the unit 'tick'"),
        ({"twice": "once"}, "twice is 'once'"),
        ({"labels": ","}, "has labels; expected a column of marks"),
        ({"splits": {"train": "a", "val": "b", "test": "c"}}, "splits names the file 'a'"),
        ({"splits": {"trian": 1}}, r"unknown key 'trian'; did you mean train\?"),
        ({"files": [{"path": "../x"}]}, "names the file '../x'"),
    ],
)
def test_a_card_that_says_nonsense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        EventCard.from_dict({**PLAIN, **change})


def test_the_shop_is_read_as_it_is_described() -> None:
    card = load_event_card("retail")
    ((where, frame),), files = read_event_frames(card)
    assert where == "retail.parquet" and Path(files[0].path).is_absolute() and files[0].rows == 44_876
    events = read_events(frame, card.columns, where)
    assert (len(events.ids), events.grid, events.unit) == (5942, 0.0, "day")
    facts = event_facts(events, card)
    assert (facts.zero, facts.twice, facts.single) == (305, 73, 1461)
    assert facts.grid == (1 / 1440, 1.0)  # the stamps show the minute
    assert list(facts.marks) == ["medium", "large", "small", "cancel"]


def test_another_file_than_described_is_refused(tmp_path: Path) -> None:
    card = EventCard.from_dict({**PLAIN, "files": [{"path": "f.csv", "sha256": "a" * 64}]})
    (tmp_path / "f.csv").write_text("when\n1\n")
    with pytest.raises(DataError, match="the card expects aaaaaaaaaaaa.* data=events"):
        read_event_frames(card, folder=tmp_path)
    ((where, frame),), _ = read_event_frames(card, path=tmp_path / "f.csv")
    assert where == "f.csv" and frame.height == 1


def test_a_described_set_says_how_to_get_it() -> None:
    with pytest.raises(DataError, match=r"'mimic' only describes .*physionet.*forecast data convert FILE to=DIR"):
        read_event_frames(load_event_card("mimic"))


@pytest.mark.parametrize("name", [n for n in card_names("events") if n != "retail"])
def test_a_benchmark_file_is_what_its_card_says(name: str) -> None:
    card, root = load_event_card(name), data_root()
    if not card.files or root is None or not (root / card.files[0].path).is_file():
        pytest.skip("FORECAST_DATA does not hold it")
    frames, _ = read_event_frames(card)
    assert card.by_files and [path for path, _ in frames] == list(card.splits.values())
    for where, frame in frames:
        events = read_events(frame, card.columns, where)
        grid = event_facts(events, card).grid
        assert grid.step == pytest.approx(card.grid) and grid.share > 0.8


# A file without a card


def stamps(count: int, step: timedelta) -> list[datetime]:
    return [datetime(2024, 1, 1) + i * step for i in range(count)]


def test_usual_names_and_the_unit_are_inferred() -> None:
    table = pl.DataFrame(
        {"user_id": [1, 2] * 50, "time": stamps(100, timedelta(hours=3)), "what": ["a", "b", "c", "d"] * 25}
    )
    card = infer_event_card(table, "t.csv", name="t")
    assert (card.id, card.time, card.mark, card.unit) == ("user_id", "time", "what", "hour")
    assert card.splits == {"val": "2024-01-09T18:00:00", "test": "2024-01-11T00:00:00"}
    assert EventCard.from_dict(card.to_dict()) == card
    assert infer_event_card(table, "t.csv", name="t", unit="day", splits={"val": "2024-01-05", "test": "2024-01-06"})


def test_numbers_are_parted_by_sequence_where_there_are_many() -> None:
    many = pl.DataFrame({"id": [i // 5 for i in range(100)], "t": [float(i % 5) for i in range(100)]})
    card = infer_event_card(many, "t", name="t", time="t")
    assert (card.unit, card.mark, card.splits["train"]) == ("unit", None, 0.7)
    one = infer_event_card(pl.DataFrame({"t": [float(i) for i in range(100)]}), "t", name="t", time="t")
    assert one.id is None and one.splits == {"val": 70.0, "test": 80.0}


def test_what_may_be_read_in_two_ways_is_asked_for() -> None:
    when = stamps(3, timedelta(days=1))
    with pytest.raises(DataError, match="the columns begin, end all hold stamps; .*set time=COLUMN"):
        infer_event_card(pl.DataFrame({"begin": when, "end": when}), "t", name="t")
    with pytest.raises(DataError, match="the columns who, what hold text; .*set mark=COLUMN, and id=COLUMN"):
        infer_event_card(pl.DataFrame({"time": when, "who": list("abc"), "what": list("xyz")}), "t", name="t")
    with pytest.raises(UsageError, match=r"data.id names 'whom', which is no column of t; did you mean who\?"):
        infer_event_card(pl.DataFrame({"time": when, "who": list("abc")}), "t", name="t", id="whom")


def test_a_column_that_is_given_is_not_taken_for_another() -> None:
    table = pl.DataFrame({"time": stamps(3, timedelta(days=1)), "who": list("abc"), "what": list("xyz")})
    card = infer_event_card(table, "t", name="t", id="who")
    assert (card.id, card.mark) == ("who", "what")
