"""The program called in this process, each error noted with the place that made it; a tiny finished run."""

import logging
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from forecast import __main__ as program
from forecast.errors import ForecastError

from .case import TRAIN
from .make import csv
from .sites import Site, at


class Said(NamedTuple):
    """How a call ended; `sites` made the errors whose words were printed, `fault` is the last of these."""

    code: int
    out: str
    err: str
    sites: list[Site]
    fault: ForecastError | None


Program = Callable[[str], Said]


@pytest.fixture
def run_program(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Program]:
    """Call the program with a command line, in the current directory; what native code prints counts too."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # the program sets it; this puts it back
    for name in ("FORECAST_TRACEBACK", "FORECAST_DATA", "FORECAST_RUN_DIR", "LOCAL_RANK"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    made: list[tuple[ForecastError, Site | None]] = []
    start = ForecastError.__init__

    def noting(self: ForecastError, *args: str, **kwargs: str) -> None:
        start(self, *args, **kwargs)
        frame = sys._getframe(1)
        made.append((self, at(frame.f_code.co_filename, frame.f_lineno)))

    monkeypatch.setattr(ForecastError, "__init__", noting)

    def call(words: str) -> Said:
        made.clear()
        monkeypatch.setattr(sys, "argv", ["forecast", *shlex.split(words)])
        code = program.main()
        out, err = capfd.readouterr()
        printed = [(fault, site) for fault, site in made if " ".join(fault.found.split()) in err]
        fault = printed[-1][0] if printed else None
        return Said(code, out, err, [site for _, site in printed if site], fault)

    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield call
    root.level, root.handlers[:] = before


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny finished run; tests copy it."""
    return train_tiny(tmp_path_factory.mktemp("finished"))


def train_tiny(folder: Path) -> Path:
    """Train a small linear model on the plain csv in this process; returns the run folder."""
    csv()(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HYDRA_FULL_ERROR", "0")
        patch.setattr(sys, "argv", ["forecast", *shlex.split(f"{TRAIN} model=linear quiet=true")])
        assert program.main() == 0
        patch.delenv("FORECAST_RUN_DIR", raising=False)
    (run,) = (folder / "runs" / "train").iterdir()
    return run


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run as `run` in an otherwise empty folder."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
