"""A thousand damaged run folders, each refused in one line with exit code 4; `make soak`."""

from pathlib import Path

import pytest

from tests.faults import conftest, corrupt
from tests.faults.make import csv

COUNT = 1000
BY_THE_PROGRAM = 20  # every n-th also through the verbs that read the file
run_program, finished, copied = conftest.run_program, conftest.finished, conftest.copied


def test_damaged_runs(run_program: conftest.Program, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copied.parent
    csv()(folder)
    monkeypatch.chdir(folder)
    wrong, lines = [], 0
    for seed in range(COUNT):
        done = corrupt.harm(copied, 10_000 + seed)
        line = corrupt.refusal(copied)
        if not line or "\n" in line:
            wrong.append((seed, *done[:2], line))
        for words in corrupt.commands(done) if seed % BY_THE_PROGRAM == 0 else ():
            said = run_program(words)
            lines += 1
            if (said.code, said.out, said.err.count("\n")) != (4, "", 1):
                wrong.append((seed, *done[:2], words, said.err))
        (copied / done.name).write_bytes(done.whole)
    assert not wrong
    assert lines > COUNT // BY_THE_PROGRAM
    assert corrupt.refusal(copied) == ""  # whole again
    print(f"{COUNT} damaged runs refused, {lines} times by the program too")
