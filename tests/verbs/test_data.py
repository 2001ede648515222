"""forecast data: list, show, check, fetch."""

import subprocess
import sys
from pathlib import Path

import pytest

from forecast.data.card import load_card, read_card
from forecast.errors import DataError, UsageError
from forecast.verbs.data import main

CSV = "unique_id,ds,y\n" + "".join(f"{s},2024-01-0{d},{d}\n" for s in ("A", "B") for d in (1, 2, 3, 5, 6))


@pytest.fixture
def csv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("my.csv").write_text(CSV)
    return "my.csv"


def test_help_is_fast_and_light() -> None:
    code = (
        "import sys; from forecast.verbs import data; data.main(['--help']);"
        "assert not {'torch', 'polars', 'pandas', 'hydra'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert "forecast data check NAME|FILE" in done.stdout


def test_list_says_what_is_there_and_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FORECAST_DATA", raising=False)
    assert main(["list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "26,304" in lines["electricity"] and "electricity.parquet" in lines["electricity"]
    assert "missing: set FORECAST_DATA, then forecast data fetch etth1" in lines["etth1"]
    monkeypatch.setenv("FORECAST_DATA", "/nowhere")
    assert main(["list"]) == 0
    assert "  yes    missing: forecast data fetch ecl\n" in capsys.readouterr().out


def test_show_a_known_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "household"]) == 0
    out = capsys.readouterr().out
    assert "licence: CC BY 4.0" in out and "gaps: 13 gaps, 1.25%" in out and "2006-12-16 17:00" in out


def test_show_a_file_and_keep_its_card(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", csv, "save=card.yaml", "freq=D", "season=2", "missing=-1,-2"]) == 0
    assert "id: unique_id" in capsys.readouterr().out
    card = read_card(Path("card.yaml"))
    assert card.season == 2 and card.missing == (-1.0, -2.0)
    assert main(["show", "card.yaml"]) == 0 and main(["check", "./card.yaml"]) == 0
    assert "name: my" in capsys.readouterr().out


def test_a_kept_card_trains(csv: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from forecast.data.module import SeriesModule

    Path("deep").mkdir()
    Path(csv).rename("deep/my.csv")
    for save in ("card.yaml", "deep/card.yaml"):
        assert main(["show", "deep/my.csv", f"save={save}", "freq=D"]) == 0
        splits = {"train": 3, "val": 1, "test": 1}
        data = SeriesModule(card=save, context=1, horizon=1, gaps="mask", splits=splits).prepare()
        assert data.path == str(Path("deep/my.csv").absolute()) and len(data.windows("train")) == 4


def test_check_lists_every_gap_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "g.csv"
    hours = [f"2024-01-{d:02d} {h:02d}:00,{h}\n" for d in (1, 2) for h in range(24) if h % 3]
    file.write_text("ds,y\n" + "".join(hours))
    assert main(["check", str(file), "freq=h"]) == 0
    out = capsys.readouterr().out
    assert "the longest 10 of 15 gaps; gaps=all lists every one" in out and out.count("  all  ") == 10
    assert main(["check", str(file), "freq=h", "gaps=all"]) == 0
    assert capsys.readouterr().out.count("  all  ") == 15


def test_notes_are_shown(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(csv).write_text(CSV + "B,2024-01-06,6\n")
    for word in ("show", "check"):
        assert main([word, csv]) == 0
        assert "note: my.csv: 1 row(s) written twice" in capsys.readouterr().out


def test_check_a_known_set_and_a_file(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "electricity"]) == 0
    out = capsys.readouterr().out
    lines = {line.split("  ")[0]: line for line in out.splitlines()}
    for fact in ("file", "bytes", "sha256", "rows", "columns", "step", "season", "train", "val", "test"):
        assert lines[fact].endswith(" ok"), fact
    for fact in ("first stamp", "last stamp", "gaps", "constant channels", "missing values"):
        assert lines[fact].endswith(" not claimed"), fact
    assert "strongest at 24 (0.99)" in lines["season"]
    assert "2,632 rows, 2014-02-06 04:00 to 2014-05-26 19:00, 2,609 windows of 168 → 24" in lines["val"]
    assert main(["check", csv]) == 0
    out = capsys.readouterr().out
    assert "2024-01-04 00:00" in out and "gaps" in out and "too short for windows" in out


CLAIMS = """
name: t
kind: series
files: [{path: t.csv, rows: 400, bytes: 9, sha256: %s}]
time: {column: ds, freq: h}
channels: [{name: y}, {name: flat}]
season: 12
missing: [-9]
splits: {train: 300, val: 40, test: 40}
"""


def test_check_holds_every_claim_against_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    days = [
        f"2024-01-{1 + h // 24:02d} {h % 24:02d}:00,{-9 if h == 50 else (h % 24) ** 2},1,0\n" for h in range(0, 700, 2)
    ]
    Path("t.csv").write_text("ds,y,flat,more\n" + "".join(days))
    Path("card.yaml").write_text(CLAIMS % ("f" * 64))
    with pytest.raises(DataError, match="'t' differs from its card in bytes, sha256, rows, step"):
        main(["check", "card.yaml"])
    facts = {line.split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert facts["columns"].split()[1:4] == ["3", "4,", "not"] and "not used: more" in facts["columns"]
    assert "2h" in facts["step"] and facts["step"].endswith("differs")
    assert "-9" in facts["missing values"] and "1 values" in facts["missing values"]
    assert "flat" in facts["constant channels"]
    assert facts["season"].endswith("look") and "strongest at 24" in facts["season"]
    assert "300 rows, 2024-01-01 00:00 to 2024-01-13 11:00" in facts["train"]


def test_check_says_what_usually_means_missing(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(csv).write_text(CSV.replace(",5\n", ",-999\n"))
    assert main(["check", csv]) == 0
    assert "-999 (2 times)" in capsys.readouterr().out


def test_check_names_splits_that_do_not_fit(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", csv, "save=card.yaml", "freq=D"]) == 0
    card = Path("card.yaml")
    card.write_text(card.read_text().replace("train: 0.7", "train: 7").replace("0.1", "1").replace("0.2", "2"))
    with pytest.raises(DataError, match="differs from its card in splits"):
        main(["check", "card.yaml"])
    assert "splits" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["etth1", "ettm1", "weather", "exchange"])
def test_a_benchmark_file_is_what_its_card_says(
    name: str, bench_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORECAST_DATA", str(bench_data))
    assert main(["check", name]) == 0
    out = capsys.readouterr().out
    assert "differs" not in out and "look" not in out


def test_a_card_may_leave_its_channels_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [*map(str, range(20)), "OT"]
    hours = [f"2024-01-01 {h:02d}:00" + f",{h}" * 21 + "\n" for h in range(24)]
    Path("wide.csv").write_text("ds," + ",".join(names) + "\n" + "".join(hours))
    Path("card.yaml").write_text(
        "{name: wide, kind: series, time: {column: ds, freq: h}, channels: all, files: [{path: wide.csv}]}"
    )
    assert main(["show", "card.yaml"]) == 0
    out = capsys.readouterr().out
    assert "targets: all other columns of the file" in out and "and 13 more channels, to OT" in out
    assert main(["check", "card.yaml"]) == 0
    assert "all" in capsys.readouterr().out


def test_fetch_says_what_it_cannot_get(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("FORECAST_DATA", raising=False)
    assert main(["fetch", "electricity"]) == 0
    out = capsys.readouterr().out
    assert "electricity comes with the program" in out and load_card("electricity").source in out
    with pytest.raises(UsageError, match=r"no folder.*expected to=DIR or FORECAST_DATA.*export FORECAST_DATA"):
        main(["fetch", "etth1"])


def test_fetch_of_a_card_without_an_address(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", csv, "save=card.yaml", "freq=D"]) == 0
    card = Path("card.yaml")
    card.write_text(card.read_text().replace("source: ''", "source: https://example.org/data"))
    with pytest.raises(DataError, match=r"no address of my\.csv; get it from https://example\.org/data"):
        main(["fetch", "card.yaml", "to=here"])
    assert not Path("here").exists()


def test_fetch_does_not_wait_for_torch() -> None:
    code = "import sys; from forecast.verbs import data; data.main(['fetch', 'electricity']);"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)


def test_check_finds_a_wrong_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ett").mkdir()
    (tmp_path / "ett" / "ETTh1.csv").write_text("date,OT\n2024-01-01 00:00,1\n")
    monkeypatch.setenv("FORECAST_DATA", str(tmp_path))
    with pytest.raises(DataError, match="has no column 'HUFL'"):
        main(["check", "etth1"])
    assert "differs" in capsys.readouterr().out


def test_check_names_the_fault_of_a_file(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(csv).write_text(CSV.replace(",5\n", ",five\n"))
    with pytest.raises(DataError, match=r"my\.csv: row 4, column 'y': 'five' is not a number"):
        main(["check", csv])
    assert "readable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shw", "x"], r"no `forecast data shw`; did you mean show\?"),
        (["show"], "has no name"),
        (["show", "a", "b"], "has 2 names"),
        (["show", "electrcity"], r"did you mean electricity\?"),
        (["show", "my.csv", "tme=x"], r"'tme' is not an option.*did you mean time\?"),
        (["show", "my.csv", "season=day"], "season is 'day'"),
        (["show", "my.csv", "time="], "time has no value"),
        (["show", "my.csv", "save=card"], "save is 'card'.*ending in .yaml"),
        (["show", "no.yaml"], "the card no.yaml does not exist"),
        (["check", "my.csv", "gaps=some"], "gaps is 'some'; expected all"),
        (["show", "my.csv", "gaps=all"], "use `forecast data check my.csv gaps=all`"),
        (["show", "electricity", "freq=h"], "has a card"),
        (["fetch"], "has no name"),
        (["fetch", "electrcity", "to=x"], r"did you mean electricity\?"),
        (["fetch", "etth1", "too=x"], r"'too' is not an option.*did you mean to\?"),
        (["fetch", "etth1", "to="], "to has no value"),
        (["list", "electricity"], "did you mean `forecast data show electricity`"),
    ],
)
def test_typos_are_told(csv: str, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        main(words)


def test_names_are_text_and_never_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.csv").write_text("ds,[red]y\n2024-01-01,1\n2024-01-02,2\n")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["show", "m.csv"]) == 0
    assert "[red]y" in capsys.readouterr().out
