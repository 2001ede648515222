"""Every page over runs in any state, without a browser: a sentence or a picture, never a fault."""

import json
import shutil
from pathlib import Path

import pytest

from forecast.dashboards.app import sources as module
from forecast.dashboards.app.app import PAGES, drawn, read_query
from forecast.dashboards.app.page import Page, View
from forecast.dashboards.app.sources import Sources
from tests.browser.runs import IDS, one_of_each

OF_RUNS = [page for page in PAGES if page.path not in ("/live", "/jobs")]
ODD = ["run=nothing", "run=..", "run=%00", "run=a&run=b&run=c", "sort=-nothing&page=-1", "page=99999999999999999999",
       "cutoff=never&series=nobody&horizon=x", "run=" + "x" * 3000, "=&&&=", "kind=<script>&search=[(*"]  # fmt: skip


def text(page: Page, sources: Sources, search: str = "") -> str:
    """What the page shows, as JSON; a fault of its own code fails the test."""
    shown = drawn(page, View(sources, read_query(search), "light"))
    words = json.dumps(shown, default=lambda part: part.to_plotly_json(), ensure_ascii=False)
    assert "could not be drawn" not in words, (page.path, search, words[:300])
    return words


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return one_of_each(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of runs/ with one run of each kind."""
    monkeypatch.setattr(module, "FRESH_S", -1.0)
    return Path(shutil.copytree(made, tmp_path / "runs"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_an_odd_address_is_answered(page: Page, made: Path) -> None:
    sources = Sources(made, below=made)
    for search in ODD:
        text(page, sources, search)
        for id in IDS.values():
            text(page, sources, f"run={id}&{search}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_without_runs_it_says_what_to_run(page: Page, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        assert "forecast " in text(page, Sources(folder, below=tmp_path))


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", pytest.param("other", marks=pytest.mark.long)])
def test_a_file_that_is_damaged(home: Path, kind: str, damage: str) -> None:
    run = home / "train" / IDS[kind]
    for path in sorted(run.iterdir()):
        kept = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes({"cut": kept[: len(kept) // 2], "empty": b"", "other": b"[1, null]"}[damage])
        sources = Sources(home, below=home)
        for page in OF_RUNS:
            text(page, sources, f"run={run.name}")
        path.write_bytes(kept)


@pytest.mark.parametrize("kind", IDS)
def test_facts_that_are_missing_or_of_another_type(home: Path, kind: str) -> None:
    path = home / "train" / IDS[kind] / "metrics.json"
    facts = json.loads(path.read_text())
    for key in facts:
        for other in (None, [], {}, "word", -1):
            path.write_text(json.dumps({**facts, key: other}))
            sources = Sources(home, below=home)
            for page in OF_RUNS[:2]:
                text(page, sources, f"run={IDS[kind]}")
