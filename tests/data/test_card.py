"""Cards: round trips, and what a wrong one is told."""

import json
from dataclasses import replace
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


@pytest.mark.parametrize("name", card_names("series"))
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
    assert set(card_names()) >= {
        *(
            "ecl",
            "electricity",
            "etth1",
            "etth2",
            "ettm1",
            "ettm2",
            "exchange",
            "household",
            "ili",
            "shop",
            "traffic",
            "weather",
        )
    }


def test_the_readme_lists_every_card_as_it_is() -> None:
    """A line for each card: name, file, rows, channels, step, split, licence, whether it can be fetched."""
    found = {}
    for line in (DATASETS / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if len(cells) == 10 and cells[0] in card_names("series"):
            found[cells[0]] = cells
    for card in map(load_card, card_names("series")):
        (file,) = card.files
        split = " / ".join(
            f"{v:,}" if isinstance(v, int) else f"{v:.0%}" if isinstance(v, float) else v for v in card.splits.values()
        )
        facts = [file.path, f"{file.rows:,}", card.time.freq, str(card.season), split, card.licence]
        assert [found[card.name][i] for i in (2, 3, 5, 6, 7, 8)] == facts, card.name
        assert found[card.name][9] == ("yes" if file.url else "here"), card.name
        if card.channels:
            assert found[card.name][4] == str(len(card.channels))
        assert card.source in (DATASETS / "README.md").read_text(encoding="utf-8"), card.name


@pytest.mark.parametrize("name", card_names("series"))
def test_what_can_be_fetched_has_a_digest(name: str) -> None:
    for file in load_card(name).files:
        assert bool(file.url) != (DATASETS / name / file.path).is_file()
        assert not file.url or file.sha256


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
        ({"channels": [{"name": "y", "kind": "category"}]}, "expected none, or category for a covariate"),
        ({"channels": [{"name": "y", "role": "static"}]}, "no target channel"),
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
        ({"files": [{"path": "..\\x.csv", "url": "https://h/x.csv"}]}, "below the data folder"),
        ({"files": [{"path": "x.csv", "url": "http://example.org/x.csv"}]}, "names the address.*expected https://"),
        ({"files": [{"path": "x.csv", "url": "https://h/x.zip", "member": "../x"}]}, "names the file '../x'"),
        ({"files": [{"path": "x.csv", "url": "https://h/x.csv", "member": "x"}]}, "expected the url of an archive"),
        ({"files": [{"path": "x.csv", "sha256": "ABC"}]}, "sha256 'ABC'; expected 64"),
        ({"files": [{"path": "x.csv", "sha256": 0}]}, "sha256 is 0; expected text; write it in quotation marks"),
        ({"files": [{"path": 2024}]}, "path is 2024; expected text"),
        ({"files": [{"path": "x.csv", "bytes": "many"}]}, "bytes is 'many'"),
        ({"files": [{"path": "x.csv", "rows": -1}]}, "rows is '-1'"),
        ({"splits": 0.8}, "splits is 0.8; expected train, val and test"),
        ({"splits": {"trian": 0.7}}, r"unknown key 'trian'; did you mean train\?"),
    ],
)
def test_wrong_cards_are_told_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as fault:
        Card.from_dict({**PLAIN, **change})
    assert "\n" not in str(fault.value)


def test_all_channels_are_named_by_the_file(tmp_path: Path) -> None:
    card = Card.from_dict({**PLAIN, "channels": "all"})
    assert Card.from_dict(json.loads(json.dumps(card.to_dict()))) == card and card.to_dict()["channels"] == "all"
    named = card.named(["ds", "0", "1", "OT"])
    assert [(c.name, c.role) for c in named.channels] == [("0", "target"), ("1", "target"), ("OT", "target")]
    assert Card.from_dict(named.to_dict()) == named  # a run keeps the names
    assert named.named(["other"]) is named
    assert [c.name for c in replace(card, id="who").named(["who", "ds", "y"]).channels] == ["y"]


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
