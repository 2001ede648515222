"""Every fault ends in its one line, its exit code and an untouched folder; every error of the source has a test."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import conftest
from .case import CHECK, TRAIN, Case
from .elsewhere import ELSEWHERE
from .sites import ROOT, resolve, sites
from .table import CASES, PAGE, render, slug

# Also through `forecast train`, whose line must be the same.
TRAINED = [
    "a-row-of-too-few-fields", "a-nul-byte", "an-excel-workbook-named-csv", "seconds-since-1970-in-a-csv",
    "offsets-in-some-rows-only", "a-stamp-twice", "decimal-commas", "an-infinite-value",
]  # fmt: skip
# Also in a process of their own.
ALONE = ["a-mistyped-key", "a-gzip-archive-named-csv", "a-changed-bit-in-the-manifest"]


def prepared(case: Case, folder: Path, finished: Path) -> dict[str, bytes]:
    """Make the fault; returns what is in the folder."""
    if case.run:
        shutil.copytree(finished, folder / "run")
    case.make(folder)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file and folder below; of a huge file its size."""
    return {
        str(path.relative_to(folder)): b"" if path.is_dir() else
        str(path.stat().st_size).encode() if path.stat().st_size > 1 << 24 else path.read_bytes()
        for path in folder.rglob("*")
    }  # fmt: skip


def named(names: list[str]) -> list[Case]:
    return [next(case for case in CASES if slug(case) == name) for name in names]


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_a_fault_is_one_line(
    case: Case, run_program: conftest.Program, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepared(case, tmp_path, finished)
    monkeypatch.chdir(tmp_path)
    said = run_program(case.words)
    assert case.pattern(tmp_path).fullmatch(said.err.removesuffix("\n")), (said.err, case.printed(tmp_path))
    assert said.err.endswith("\n")
    assert said.err.count("\n") == 1
    assert said.code == case.code
    assert said.fault is not None
    assert said.fault.do.split() == case.line.replace("{here}", str(tmp_path)).partition(" → ")[2].split()
    assert {resolve(name) for name in (case.site, *case.also)} <= set(said.sites)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("case", named(TRAINED), ids=slug)
def test_training_says_what_the_check_said(
    case: Case, run_program: conftest.Program, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert case.words == CHECK
    before = prepared(case, tmp_path, finished)
    monkeypatch.chdir(tmp_path)
    said = run_program(TRAIN)
    assert said.err.replace(f"{tmp_path}/", "") == case.printed("") + "\n"
    assert said.code == case.code
    assert contents(tmp_path) == before


@pytest.mark.parametrize("case", named(ALONE), ids=slug)
def test_a_process_of_its_own_says_the_same(case: Case, finished: Path, tmp_path: Path) -> None:
    before = prepared(case, tmp_path, finished)
    done = subprocess.run(
        [sys.executable, "-m", "forecast", *case.words.split()], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FORECAST_TRACEBACK": ""}, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (case.code, case.printed(tmp_path) + "\n")
    assert contents(tmp_path) == before


def test_every_case_has_a_name_of_its_own() -> None:
    names = [slug(case) for case in CASES]
    assert sorted(names) == sorted(set(names))


def test_every_error_of_the_source_has_its_test() -> None:
    """On failure: what to add, and where."""
    faults, covered = [], set()
    for name in [*(name for case in CASES for name in (case.site, *case.also)), *ELSEWHERE]:
        try:
            covered.add(resolve(name))
        except LookupError as fault:
            faults.append(str(fault))
    faults += [
        f"{site.path}:{site.first}: add a Case with site={site.module + ' ' + site.function!r} (and words of it) "
        f"to a list of tests/faults, or its test to tests/faults/elsewhere.py, for: {site.message}"
        for site in sites()
        if site not in covered
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", sorted(set(ELSEWHERE.values())))
def test_a_test_elsewhere_is_there(name: str) -> None:
    path, _, function = name.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, (
        f"{name} is named in tests/faults/elsewhere.py: correct it there"
    )


def test_the_page_of_messages_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python -m tests.faults.table"
