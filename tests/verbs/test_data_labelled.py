"""forecast data for labelled series: list, show, check, fetch."""

from pathlib import Path

import numpy as np
import pytest

from forecast.data.label_card import load_label_card, read_label_card
from forecast.data.label_module import LabelModule
from forecast.errors import DataError, UsageError
from forecast.verbs.data import main

ROWS = [f"{'abcdefghij'[i // 3]},{i % 3},{i / 7:.3f},{'uv'[i // 3 % 2]}" for i in range(30)]
TS = "@problemName toy\n@timeStamps false\n@univariate false\n@classLabel true u v\n@data\n"


@pytest.fixture
def csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("my.csv").write_text("\n".join(["take,step,x,sign", *ROWS]) + "\n")
    return "my.csv"


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, count in (("a.ts", 12), ("b.ts", 5)):
        rows = [f"{','.join(f'{v:.2f}' for v in rng.normal(size=4))}:0,1,?,{i}:{'uv'[i % 2]}" for i in range(count)]
        Path(name).write_text(TS + "\n".join(rows) + "\n")
    return "a.ts", "b.ts"


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_list_says_what_is_there_missing_and_described(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORECAST_DATA", raising=False)
    assert main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "9,961" in lines["japanese_vowels"] and lines["japanese_vowels"].endswith("datasets/data/JapaneseVowels")
    assert lines["uwave"].endswith("missing: set FORECAST_DATA to the folder of uea/UWaveGestureLibrary")
    assert lines["heartbeat"].endswith("described only: forecast data show heartbeat")


def test_show_tells_facts_classes_and_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "japanese_vowels"]) == 0
    out = said(capsys)
    assert "train test series 270 370 steps 4,274 5,687 steps of a series 7 to 26, median 15 7 to 29, median 15" in out
    assert "class train test 1 30 (11.1%) 31 (8.4%)" in out and "missing values none none" in out
    assert "1 1 1 1.86094 -0.207383" in out and "and 4 more channels, to lpc12" in out


def test_show_of_a_described_set_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "pems_sf"]) == 0
    out = said(capsys)
    assert "only describes its data set" in out and "Dataset=PEMS-SF" in out and "splits:" not in out
    for words in (["check", "pems_sf"], ["fetch", "pems_sf"]):
        with pytest.raises(DataError, match="only describes its data set"):
            main(words)
    assert main(["fetch", "gunpoint"]) == 0
    assert "gunpoint comes with the package sktime" in said(capsys)


def test_show_a_file_and_keep_its_card(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", csv, "kind=labelled", "id=take", "label=sign", "save=card.yaml"]) == 0
    out = said(capsys)
    assert "saved: card.yaml" in out and "note: inferred: id=take time=step label=sign channels=x" in out
    assert "series 10 steps 30 steps of a series 3" in out
    card = read_label_card(Path("card.yaml"))
    assert (card.id, card.time, card.label, card.channels) == ("take", "step", "sign", ("x",))
    assert main(["check", "card.yaml"]) == 0
    assert "train 0.8 6 series; classes: 2, of 3 series each ok val 20% of train 2 series" in said(capsys)
    data = LabelModule(card="card.yaml").prepare()
    assert [len(data.part(name)) for name in ("train", "val", "test")] == [6, 2, 2]


def test_a_file_ts_needs_no_kind_and_two_make_a_card(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", two[0], f"test={two[1]}", "save=c.yaml"]) == 0
    out = said(capsys)
    assert "train test series 12 5" in out and "missing values 12.50% 12.50%" in out
    card = read_label_card(Path("c.yaml"))
    assert card.splits == {"train": "a.ts", "test": "b.ts"} and [file.path for file in card.files] == ["a.ts", "b.ts"]
    data = LabelModule(card="c.yaml").prepare()
    assert [len(data.part(name)) for name in ("train", "val", "test")] == [10, 2, 5]
    for name in ("c.yaml", "a.ts"):
        assert main(["check", name, *([f"test={two[1]}"] if name == "a.ts" else [])]) == 0
        assert "10 series; classes: 2, of 5 series each ok" in said(capsys)


def test_check_finds_what_differs(two: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "gunpoint"]) == 0
    assert "differs" not in said(capsys)
    text = Path(two[1]).read_text()
    Path(two[1]).write_text(text.replace("true u v", "true u v w").replace(":v\n", ":w\n"))
    with pytest.raises(DataError, match="'a' differs from its card in splits"):
        main(["check", two[0], f"test={two[1]}"])
    assert "test: series '2' has the class 'w'" in said(capsys)
    Path(two[1]).write_text(text.replace(":v\n", ":?\n", 1))
    with pytest.raises(DataError, match="'a' differs from its card in classes"):
        main(["check", two[0], f"test={two[1]}"])
    assert "1 series without" in said(capsys)
    Path(two[1]).write_text(text.replace("1,?", "one,?"))
    with pytest.raises(DataError, match="b.ts cannot be read"):
        main(["check", two[0], f"test={two[1]}"])
    assert "readable yes no differs" in said(capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "gunpoint", "kind=series"], "'gunpoint' is a data set of labelled series; leave out kind=series"),
        (["show", "gunpoint", "label=x"], "'gunpoint' has a card, which takes no 'label'"),
        (["show", "gunpiont", "kind=labelled"], r"neither a data set nor a file; did you mean gunpoint\?"),
        (["show", "my.csv", "kind=labelled", "unit=day"], "'unit' is not an option .* for labelled series"),
        (["show", "my.csv", "kind=labelled", "missing=few"], "missing is .*few.*; expected a number"),
        (["show", "my.csv", "kind=lablled"], r"did you mean labelled\?; write kind=events or kind=labelled"),
        (["show", "my.csv", "channels=x"], "'channels' is an option of labelled series; write kind=labelled too"),
        (
            ["show", "my.csv", "test=x"],
            "'test' is an option of events and labelled series; write kind=events or kind=lab",
        ),
    ],
)
def test_what_means_nothing_is_refused(words: list[str], message: str, csv: str) -> None:
    with pytest.raises(UsageError, match=message):
        main(words)


def test_every_card_with_files_here_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("basic_motions", "italy_power_demand", "arrowhead"):
        assert load_label_card(name).files and main(["check", name]) == 0
