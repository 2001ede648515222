"""Cards of labelled series: those that are there, what they may say, what is inferred without one."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecast.data.address import CardFile
from forecast.data.card import card_kind, card_names, load_card, save_card
from forecast.data.event_card import load_event_card
from forecast.data.label_card import (
    LabelCard,
    describe_labelled,
    infer_label_card,
    load_label_card,
    read_label_card,
    read_label_frames,
)
from forecast.data.labelled import read_labelled
from forecast.data.read import locate
from forecast.errors import DataError, UsageError
from forecast.where import DATASETS, data_root

PLAIN = {"name": "mine", "kind": "labelled"}
EMBEDDED = (
    "japanese_vowels", "basic_motions", "italy_power_demand", "gunpoint", "arrowhead", "osuleaf", "acsf1", "plaid",
)  # fmt: skip
UEA = (
    "ethanol_concentration", "face_detection", "handwriting", "heartbeat", "japanese_vowels", "pems_sf",
    "self_regulation_scp1", "self_regulation_scp2", "spoken_arabic_digits", "uwave",
)  # fmt: skip


@pytest.mark.parametrize("name", card_names("labelled"))
def test_every_card_reads_and_comes_back(name: str, tmp_path: Path) -> None:
    card = load_label_card(name)
    assert card.name == name and card.licence and card.source and card.about
    assert LabelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card
    save_card(card, tmp_path / "card.yaml")
    assert read_label_card(tmp_path / "card.yaml") == card
    assert f"name: {name}" in describe_labelled(card)
    assert all(len(file.sha256) == 64 and file.rows and file.bytes for file in card.files)
    assert f"| {name} |" in (DATASETS / "README.md").read_text(encoding="utf-8")


def test_the_sets_are_there_and_of_their_kind() -> None:
    assert {*EMBEDDED, *UEA} == set(card_names("labelled"))
    assert card_kind("gunpoint") == "labelled"
    for load, wanted in ((load_card, "series"), (load_event_card, "events")):
        with pytest.raises(
            UsageError, match=f"'gunpoint' is a data set of labelled series; expected {wanted}; set task"
        ):
            load("gunpoint")
    with pytest.raises(UsageError, match="'retail' is a data set of events; expected labelled series; set task=event"):
        load_label_card("retail")
    with pytest.raises(UsageError, match=r"there is no data set 'gunpiont'; did you mean gunpoint\?"):
        load_label_card("gunpiont")


@pytest.mark.parametrize("name", [name for name in card_names("labelled") if load_label_card(name).files])
def test_the_files_are_what_the_cards_say(name: str) -> None:
    card = load_label_card(name)
    if name not in EMBEDDED and (data_root() is None or not (data_root() / card.files[0].path).is_file()):
        pytest.skip("FORECAST_DATA does not hold it")
    frames, read = read_label_frames(card)
    assert [(file.rows, Path(file.path).stat().st_size) for file in read] == [(f.rows, f.bytes) for f in card.files]
    for (where, frame), claimed in zip(frames, ("and", "series"), strict=True):
        labelled = read_labelled(frame, card.columns(frame.columns), where)
        low, high = labelled.lengths.min(), labelled.lengths.max()
        assert f"{len(labelled):,} {claimed}" in card.about
        if low == high:
            assert f"of {high:,} steps" in card.about
        assert f"{len(labelled.classes)} classes" in card.about and labelled.counts.min() > 0
        assert labelled.channels == card.channels and labelled.ids[:2] == ("1", "2")


def test_a_packages_file_is_found_without_the_package() -> None:
    words = (
        "import sys; from forecast.data.label_card import load_label_card; from forecast.data.read import locate; "
        "card = load_label_card('gunpoint'); print(locate(card, card.files[0])); "
        "assert not {'sktime', 'pandas', 'torch', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("sktime/datasets/data/GunPoint/GunPoint_TRAIN.ts")


def test_a_packages_file_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    card = load_label_card("gunpoint")
    with pytest.raises(DataError, match=r"the file x.ts does not come with the package sktime .* looked in .*sktime;"):
        locate(card, CardFile("x.ts", package="sktime"))
    monkeypatch.setattr("forecast.data.read.find_spec", lambda name: None)
    with pytest.raises(DataError, match="sktime is not installed; install the version of sktime"):
        locate(card, card.files[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "images"}, "has the kind 'images'; expected labelled"),
        ({"lable": "x"}, r"unknown key 'lable'; did you mean label\?"),
        ({"id": 3}, "id is '3'; expected text"),
        ({"channels": "a"}, "channels is 'a'; expected a list"),
        ({"channels": ["id"]}, "names the column 'id' twice"),
        ({"channels": ["a", "b"], "units": ["V"]}, "has 1 units for 2 channels; expected one for each"),
        ({"missing": ["many"]}, "missing is 'many'; expected a number"),
        ({"splits": {"train": 1.0}}, "splits has train; expected train and test"),
        ({"splits": {"train": "a", "test": "b"}}, "splits names the file 'a'"),
        ({"splits": {"train": "a", "test": "a"}, "files": [{"path": "a"}]}, "splits names a file twice"),
        ({"files": [{"path": "a"}, {"path": "b"}]}, "has 2 files, and splits that name none of them"),
        ({"files": [{"path": "a", "package": "os"}]}, "takes a from the package 'os'; expected no package but sktime"),
        ({"files": [{"path": "a", "package": 1}]}, "package is 1; expected text"),
        ({"files": [{"path": "../a", "package": "sktime"}]}, "names the file '../a'"),
        (
            {"files": [{"path": "a", "package": "sktime", "url": "https://x.org/a"}]},
            "from the package 'sktime' and from an address; expected",
        ),
    ],
)
def test_a_card_that_says_nonsense_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        LabelCard.from_dict({**PLAIN, **change})


def test_a_short_card_gets_the_usual() -> None:
    card = LabelCard.from_dict(PLAIN)
    assert (card.id, card.time, card.label, card.splits) == ("id", None, "label", {"train": 0.8, "test": 0.2})
    assert card.columns(["id", "label", "x", "y"]).channels == ("x", "y")
    with pytest.raises(DataError, match="the card 'mine' only describes its data set"):
        read_label_frames(card)


def table(**changes) -> pl.DataFrame:
    return pl.DataFrame({"case": ["a", "a", "b"], "step": [0, 1, 0], "x": [1.0, 2.0, 3.0], "kind": ["u", "u", "v"],
                         **changes})  # fmt: skip


def inferred(frame: pl.DataFrame, **words) -> tuple[LabelCard, list[str]]:
    notes: list[str] = []
    return infer_label_card(frame, "f.csv", name="f", notes=notes, **words), notes


def test_columns_are_inferred_and_told() -> None:
    card, notes = inferred(table())
    assert (card.id, card.time, card.label, card.channels) == ("case", "step", "kind", ("x",))
    assert notes == ["inferred: id=case time=step label=kind channels=x"]
    card, _ = inferred(table(**{"class": [1, 1, 2]}).drop("kind", "step"))
    assert (card.time, card.label) == (None, "class")
    card, _ = inferred(table(y=[1.0, 2.0, 3.0], z=[4.0, 5.0, 6.0]))  # y is a channel: it changes within a series
    assert (card.label, card.channels) == ("kind", ("x", "y", "z"))
    card, _ = inferred(table(label=["u", "v", "v"]).drop("kind"))  # a fault, which the reader tells
    assert card.label == "label"
    card, _ = inferred(table(kind=["u", "v", "v"], y=[1.0, 2.0, 3.0]))  # the same; y is measured
    assert (card.label, card.channels) == ("kind", ("x", "y"))
    card, _ = inferred(table(when=["2024-01-01", "2024-01-02", "2024-01-01"]), channels=["x"])
    assert card.time == "when"
    assert inferred(table(), id="kind", label="case", time="x", channels=["step"])[0].channels == ("step",)


@pytest.mark.parametrize(
    ("frame", "words", "message"),
    [
        (
            table().rename({"case": "of"}),
            {},
            "f.csv: no column seems to be the id; expected one that tells series apart",
        ),
        (table(series=[1, 1, 2]), {}, "the columns case, series may all be the id"),
        (table().drop("kind"), {}, "no column seems to be the label; expected one that is the class of a series"),
        (table(y=[1.0, 2.0, 3.0], z=[1, 1, 2]).drop("kind"), {}, "no column seems to be the label"),
        (table(y=[1, 1, 3], label=["a", "a", "b"]), {}, "the columns y, label may all be the label"),
        (
            table(note=["p", "q", "r"]),
            {"label": "kind"},
            "column 'note' holds no numbers; expected numbers in all columns",
        ),
        (table(x=[[1.0]] * 3), {}, "column 'x' holds no numbers"),
        (table().drop("x"), {}, "f.csv has no column of values"),
    ],
)
def test_what_cannot_be_inferred_is_asked_for(frame: pl.DataFrame, words: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        inferred(frame, **words)


def test_a_column_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match=r"data.label names 'kid', which is no column of f.csv; did you mean kind\?"):
        inferred(table(), label="kid")


def test_a_file_ts_takes_the_names_of_the_card(written) -> None:
    path = written("@problemName x\n@timeStamps false\n@univariate false\n@classLabel true a b\n@data\n1:2:a\n", "f.ts")
    card = LabelCard.from_dict({**PLAIN, "id": "take", "label": "sign", "channels": ["left", "right"]})
    ((_, frame),), (file,) = read_label_frames(card, path=path)
    assert frame.columns == ["take", "left", "right", "sign"] and file.rows == 1
    with pytest.raises(DataError, match="f.ts has 2 channels; expected 1: left"):
        read_label_frames(LabelCard.from_dict({**PLAIN, "channels": ["left"]}), path=path)


def test_a_file_of_another_digest_is_refused(written, tmp_path: Path) -> None:
    path = written("id,label,x\na,u,1\nb,v,2\n", "f.csv")
    plain = {**PLAIN, "files": [{"path": "f.csv", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}]}
    assert read_label_frames(LabelCard.from_dict(plain), folder=tmp_path)[1][0].rows == 2
    path.write_text("id,label,x\na,u,1\nb,v,3\n")
    with pytest.raises(DataError, match="the card expects .* data=labelled data.path="):
        read_label_frames(LabelCard.from_dict(plain), folder=tmp_path)
