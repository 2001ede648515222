"""forecast data for events: list, show, check, fetch, convert."""

import json
import pickle
from pathlib import Path

import pytest

from forecast.data.event_card import read_event_card
from forecast.errors import DataError, UsageError
from forecast.verbs.data import main
from forecast.where import DATASETS

ROWS = [f"{'ab'[i % 2]},2024-01-{1 + i // 2:02d} 0{i % 2}:00,{'xyz'[i % 3]}" for i in range(40)]


@pytest.fixture
def csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("my.csv").write_text("\n".join(["who,time,what", *ROWS]) + "\n")
    return "my.csv"


def lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The first word of each line → the line."""
    return {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}


def test_list_says_what_is_there_missing_and_described(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORECAST_DATA", raising=False)
    assert main(["list"]) == 0
    said = lines(capsys)
    assert "44,876" in said["retail"] and "retail.parquet" in said["retail"]
    assert said["taxi"].endswith("missing: set FORECAST_DATA to the folder of events/taxi")
    assert said["mimic"].endswith("described only: forecast data show mimic")


def test_show_tells_facts_and_shares(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "retail"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "sequences 5,942" in out and "sequences of one event 1,461" in out and "gaps of 0 305 (0.78%)" in out
    assert "medium 12,719 (28.3%)" in out and "note: retail.parquet: 73 event(s) written twice" in out
    assert "12346 2009-12-14 11:00 0.101389 small" in out


def test_show_of_a_described_set_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "mooc"]) == 0
    assert "only describes its data set" in capsys.readouterr().out
    for words in (["check", "mooc"], ["fetch", "mooc"]):
        with pytest.raises(DataError, match="forecast data convert FILE to=DIR"):
            main(words)


def test_show_a_file_and_keep_its_card(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["kind=events", "id=who", "val=2024-01-10", "test=2024-01-15", "floor=0.001", "unit=day"]
    assert main(["show", csv, *words, "save=card.yaml"]) == 0
    assert "saved: card.yaml" in capsys.readouterr().out
    card = read_event_card(Path("card.yaml"))
    assert (card.id, card.mark, card.floor, card.unit) == ("who", "what", 0.001, "day")
    assert main(["show", "card.yaml"]) == 0 and main(["check", "card.yaml"]) == 0
    said = lines(capsys)
    assert said["val"].split()[:5] == ["val", "2024-01-10", "10", "scored", "events"]


def test_show_hints_at_what_was_not_told(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(["t,what,size", *(f"{i // 2 * 0.5},{'ab'[i % 2]},7" for i in range(40))])
    Path("n.csv").write_text(text)
    assert main(["show", "n.csv", "kind=events", "time=t"]) == 0
    out = capsys.readouterr().out
    assert "note: all rows are taken as one sequence; set id=COLUMN if one tells sequences apart (size)" in out
    assert "note: the times lie on a grid of 0.5; set grid=0.5" in out
    assert "note: 20 gaps of 0 have no log" in out
    assert main(["show", "n.csv", "kind=events", "time=t", "grid=0.5", "id=size"]) == 0
    assert "note: the times" not in capsys.readouterr().out


def test_jsonl_is_read_as_csv_is(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ("who", "time", "what")
    rows = [json.dumps(dict(zip(keys, row.split(","), strict=True))) for row in ROWS]
    Path("my.jsonl").write_text("\n".join(rows) + "\n")
    assert main(["show", csv, "kind=events", "id=who"]) == 0
    first = capsys.readouterr().out
    assert main(["show", "my.jsonl", "kind=events", "id=who"]) == 0
    assert capsys.readouterr().out.split() == first.replace("my.csv", "my.jsonl").split()


def test_check_holds_claims_against_the_file(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["kind=events", "id=who", "unit=hour", "val=2024-01-10", "test=2024-01-15"]
    with pytest.raises(DataError, match="'my' differs from its card in grid"):
        main(["check", csv, *words, "grid=7"])
    capsys.readouterr()
    assert main(["check", csv, *words, "grid=24"]) == 0
    assert lines(capsys)["grid"].split()[-1] == "ok"
    with pytest.raises(DataError, match="differs from its card in splits"):
        main(["check", csv, *words[:3], "val=2030-01-01", "test=2031-01-01"])
    with pytest.raises(DataError, match="column 'what': 'x' is not a number"):
        main(["check", csv, "kind=events", "id=who", "covariates=what"])


def test_check_tells_covariates(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(DATASETS / "retail" / "retail.parquet"), "kind=events", "covariates=value,lines"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "covariate lines numbers 1 to " in said and said.count("covariate") == 2
    Path("my.csv").write_text(
        "\n".join(["who,time,what,size", *(f"{row},{'' if i else 3}" for i, row in enumerate(ROWS))])
    )
    assert main(["check", csv, "kind=events", "id=who", "covariates=size"]) == 0
    assert "3 to 3, 39 of 40 empty" in capsys.readouterr().out


def test_check_tells_marks_that_training_lacks(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.csv").write_text("\n".join(["who,time,what", *ROWS, "a,2024-01-25 00:00,new"]) + "\n")
    assert main(["check", csv, "kind=events", "id=who", "val=2024-01-10", "test=2024-01-15"]) == 0
    assert "1 scored events have a mark that training lacks" in capsys.readouterr().out


def test_labels_are_counted_one_by_one(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("my.csv").write_text("who,time,what\na,2024-01-01,x|y\na,2024-01-02,y\nb,2024-01-01,x|z\n")
    assert main(["show", csv, "kind=events", "id=who", "labels=|"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "several parted by '|'" in out and "x 2 (66.7%)" in out and "z 1 (33.3%)" in out


def test_a_part_can_be_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = [[{"time_since_start": float(i), "type_event": i % 2} for i in range(4)]] * 12
    (tmp_path / "all.pkl").write_bytes(pickle.dumps({"dim_process": 2, "train": part, "dev": part, "test": part}))
    assert main(["convert", str(tmp_path / "all.pkl"), f"to={tmp_path / 'out'}", "unit=hour"]) == 0
    assert "saved: " in capsys.readouterr().out
    assert main(["check", str(tmp_path / "out" / "card.yaml")]) == 0
    assert main(["show", str(tmp_path / "out" / "card.yaml")]) == 0
    out = capsys.readouterr().out
    assert "train" in out and "val" in out and "time, in hours" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "my.csv", "unit=day"], "'unit' is an option of events; write kind=events too"),
        (["show", "my.csv", "kind=event"], r"kind is 'event'; did you mean events\?"),
        (["show", "retail", "kind=series"], "'retail' is a data set of events; leave out kind=series"),
        (["show", "my.csv", "kind=events", "freq=D"], "'freq' is not an option of `forecast data` for events"),
        (["show", "my.csv", "kind=events", "test=2024-01-01"], "test is set alone; expected val and test"),
        (["convert", "my.csv"], "there is no folder to write to"),
    ],
)
def test_typos_are_told(csv: str, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        main(words)
