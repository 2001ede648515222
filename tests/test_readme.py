"""Every command of the README is run, in small: what it promises exists and works as written."""

import re
import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from forecast.where import DATASETS
from tests.verbs.conftest import command

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.S)
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
VERBS = [line for line in LINES if re.match(r"(python -m )?forecast ", line)]
VERB = {line: re.match(r"(?:python -m )?forecast (\S+)", line)[1] for line in VERBS}
FIRST = {verb: line for line, verb in reversed(VERB.items())}  # in a Python of its own, as are sweeps
SHORT = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.threads=1"]
SMALL = [*SHORT, "track=none", "predictions=false", "data.splits={train: 0.9, val: 0.05, test: 0.05}"]
CLASSES = [*SHORT, "track=none", "predictions=false", "task.rival=false", "task.d_model=8"]
AGAIN = [
    "model.d_model=64",
    "train budget=10m",
    "task.output=quantiles",
    "model=linear data=household",
    "experiment=informer_etth1_24",
    "experiment=stream model=lstm",
]
TINY = ["model.d_model=8", "model.d_ff=8", "model.heads=2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A start directory with the user's files that the README speaks of, and one finished run on them."""
    place = tmp_path_factory.mktemp("readme")
    frame = pl.read_parquet(DATASETS / "electricity" / "electricity.parquet").tail(2000)
    frame.rename({"time": "timestamp"}).write_csv(place / "meters.csv")
    (line,) = [line for line in VERBS if "data.path=meters.csv" in line]
    command(*(word for word in small(line) if word != "track=none"), cwd=place)  # there is something to sync
    command("train", "experiment=stream", "model.d_model=8", *SMALL, "runs=streams", cwd=place)
    command("train", "task=event", "model.d_model=8", *SMALL, "task.window=0", "runs=events", cwd=place)
    command("train", "task=classify", *CLASSES, "data=gunpoint", "runs=classes", cwd=place)
    rows = [{"id": f"g{i}", "hand": float(i + t)} for i in range(3) for t in range(20)]
    pl.DataFrame(rows).write_csv(place / "gestures.csv")
    pl.read_parquet(DATASETS / "retail" / "retail.parquet").head(500).write_parquet(place / "invoices.parquet")
    (place / "readings.jsonl").write_text('{"ds": "2015-01-01T00:00:00", "load": 1500.0}\n')
    frame.write_csv(place / "readings.csv")
    (place / "history").mkdir()
    named = frame.rename({"time": "timestamp"}).with_columns(unique_id=pl.lit("north"))
    named.write_parquet(place / "history" / "part.parquet")
    return place


def small(line: str) -> list[str]:
    """The words of a command, with what makes a training short."""
    words = shlex.split(line.removeprefix("python -m "))[1:]
    if "resume=latest" in words:
        return [*words, "trainer.limit_train_batches=2", "track=none"]
    if words[0] == "stream":  # what is read and written by the shell is tests/streaming's to try
        return [*(words[: words.index("<")] if "<" in words else words), "runs=streams"]
    if "input=invoices.parquet" in words:
        return [*words, "runs=events"]
    if "input=gestures.csv" in words or "compare=classify/gunpoint" in words:
        return [*words, "runs=classes"]
    if words[0] != "train":
        return words
    if "task=classify" in words:
        return [*words, *CLASSES]
    words += SMALL
    if "task=event" in words:
        return [*words, "model.d_model=8", "task.window=0"]
    if "task.output=quantiles" in words:
        return [*words, *TINY]
    if "experiment=stream" in words:
        return [*words, "model.d_model=8"]
    if "-m" not in words and "model=linear" not in words:
        words += TINY
    if any(word.startswith("experiment=") for word in words):
        words += ["head.d_model=8", "head.d_ff=8", "head.heads=2"]
    return words


def test_the_readme_has_commands():
    assert len(VERBS) >= 8
    assert "make demo" in LINES
    assert "make test" in LINES


def case(line: str) -> Any:
    """A sweep, and one more training of a kind that another line has, are long."""
    again = " -m " in line.removeprefix("python -m ") or any(f" {word}" in line for word in AGAIN)
    return pytest.param(line, marks=[pytest.mark.long] if again else [])


@pytest.mark.parametrize("line", [case(line) for line in VERBS if VERB[line] not in ("ui", "serve")])
def test_a_command_of_the_readme_runs(home, line, bench_or_embedded):
    trains = " train " in line and "resume=" not in line
    runs = ["runs=other"] if trains else []  # `latest` stays the run on meters.csv
    fresh = FIRST[VERB[line]] == line or " -m " in line.removeprefix("python -m ")
    command(*small(line), *runs, cwd=home, timeout=400, fresh=fresh, **bench_or_embedded(line))


@pytest.fixture
def bench_or_embedded(request):
    """Commands about benchmark files need those files; without them they are skipped."""

    def env(line: str) -> dict[str, str]:
        if re.search(r"etth1|ettm1|weather|exchange", line):
            return {"FORECAST_DATA": str(request.getfixturevalue("bench_data"))}
        return {}

    return env


def test_pictures_and_links_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
