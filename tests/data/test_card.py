"""Cards: round trips, and what a wrong one is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from forecast.data.card import Card, card_names, describe, load_card, read_card, save_card
from forecast.errors import DataError, UsageError
from forecast.where import DATASETS

PLAIN: dict[str, Any] = {
    "name": "toy",
    "kind": "series",
    "time": {"column": "ds", "freq": "H"},
    "channels": [{"name": "y", "role": "target"}],
}


@pytest.mark.parametrize("name", card_names())
def test_every_card_survives_json_and_yaml(name: str, tmp_path: Path) -> None:
    card = load_card(name)
    assert card.name == name and card.licence and card.source and card.files[0].rows
    assert len(card.files[0].sha256) == 64 and card.season >= 1
    assert Card.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    save_card(card, tmp_path / "new" / "card.yaml")
    assert read_card(tmp_path / "new" / "card.yaml") == card
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["card.yaml"]
    assert f"name: {name}" in describe(card)


def test_the_cards_of_the_first_slice_are_there() -> None:
    assert set(card_names()) >= {"electricity", "etth1", "ettm1", "exchange", "household", "weather"}
    assert (DATASETS / "README.md").is_file()


def test_a_short_card_gets_the_usual() -> None:
    card = Card.from_dict(PLAIN)
    assert card.time.freq == "h" and card.season == 24 and card.id is None
    assert card.splits == {"train": 0.7, "val": 0.1, "test": 0.2}


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no data set 'electrcity'; did you mean electricity\?"):
        load_card("electrcity")
    with pytest.raises(UsageError):
        load_card("../electricity")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chanels": []}, r"unknown key 'chanels'; did you mean channels\?"),
        ({"time": {"column": "ds", "frq": "h"}}, r"time has an unknown key 'frq'; did you mean freq\?"),
        ({"time": {"column": "ds"}}, "time has no 'freq'"),
        ({"time": "ds"}, "time is str"),
        ({"time": {"column": "ds", "freq": "hourly"}}, r"'hourly' is not a frequency.*set data\.freq=h"),
        ({"channels": [{"name": "y", "role": "known_future"}]}, "not supported yet"),
        ({"channels": [{"name": "y", "role": "static"}]}, "not supported yet"),
        ({"channels": [{"name": "y", "role": "traget"}]}, "role 'traget'.*did you mean target"),
        ({"channels": [{"name": "y", "role": "past_only"}]}, "no target channel"),
        ({"channels": [{"name": "y"}, {"name": "y"}]}, "'y' twice"),
        ({"kind": "sequel"}, "kind 'sequel'"),
        ({"season": -1}, "season -1"),
        ({"season": "day"}, "season is 'day'"),
        ({"missing": ["x"]}, "missing is 'x'"),
        ({"channels": None}, "no target channel"),
        ({"channels": "y"}, "channels is str"),
        ({"files": [{"path": "../../secret.csv"}]}, "below the data folder"),
        ({"files": [{"path": "/etc/passwd"}]}, "below the data folder"),
        ({"splits": 0.8}, "splits is 0.8; expected train, val and test"),
        ({"splits": {"trian": 0.7}}, r"unknown key 'trian'; did you mean train\?"),
    ],
)
def test_wrong_cards_are_told_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as fault:
        Card.from_dict({**PLAIN, **change})
    assert "\n" not in str(fault.value)


def test_dates_in_yaml_become_text(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(
        "{name: t, kind: series, time: {column: ds, freq: h}, channels: [{name: y}],"
        " splits: {val: 2013-10-01, test: 2014-03-01}}"
    )
    assert read_card(path).splits == {"val": "2013-10-01", "test": "2014-03-01"}


def test_a_file_that_is_no_card(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    for text in ("a: [", "- 1", "\x00"):
        path.write_text(text)
        with pytest.raises(DataError, match=r"card\.yaml"):
            read_card(path)


def test_a_card_of_ones_own_is_named_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_card(load_card("electricity"), tmp_path / "card.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("card.yaml", "./card.yaml", str(tmp_path / "card.yaml"), "~/card.yaml"):
        assert load_card(name) == load_card("electricity")
    with pytest.raises(UsageError, match=r"the card no\.yml does not exist.*save=card\.yaml"):
        load_card("no.yml")
