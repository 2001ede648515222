"""A job that is killed at any moment and run again leaves, byte for byte, what one leaves that was not."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from forecast.artifacts import Run
from forecast.errors import DataError, RunError
from forecast.jobs import local
from forecast.jobs.job import job_of
from forecast.jobs.local import Local
from forecast.jobs.types import Piece, Shard
from forecast.ledger import NAME, SUCCESS, lines
from tests import forked
from tests.jobs import dying
from tests.jobs.made import contents, names, started, table
from tests.jobs.test_job import ASKED, batch, run_job, scattered
from tests.verbs.conftest import REPO, command

SERIES, ROWS = 300, 20  # 30 shards and more


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Sorted files, and such whose series stand in two."""
    folder = tmp_path_factory.mktemp("source")
    table(names(SERIES), ROWS).write_parquet(folder / "all.parquet", row_group_size=500)
    scattered(table([f"x{name}" for name in names(40)], 60), folder)
    return folder


@pytest.fixture(scope="module")
def expected(series, source, tmp_path_factory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("expected") / "out"
    command(*words(series, source, output), cwd=source.parent)
    return contents(output)


def words(run: Path, source: Path, output: Path, processes: int = 0) -> list[str]:
    paths = [f"run={run}", f"input={source}", f"output={output}"]
    return ["predict", *paths, "shard_rows=200", f"engine.processes={processes}"]


def wait(output: Path, count: int, alive) -> bool:
    """Until so many parts are there; False where the process has ended before."""
    deadline = time.monotonic() + 120
    while len(list(output.glob("part-*.parquet"))) < count and time.monotonic() < deadline:
        if not alive():
            return False
        time.sleep(0.002)
    return True


def whole(output: Path, expected: dict[str, bytes]) -> None:
    assert contents(output) == expected
    assert (output / SUCCESS).is_file()
    assert not [path for path in output.rglob("*") if path.name.endswith(".tmp")]
    assert not (output / ".work").exists()


def test_three_kills(series, source, expected, tmp_path) -> None:
    """Of one process, which is forked: while files are read, while series are spread, and in the midst of shards."""
    output, draw, killed = tmp_path / "out", random.Random(0), 0
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    for turn in range(9):  # one that came too late on a busy machine comes again

        def kill(pid: int, turn: int = turn) -> None:
            if turn:
                before = len(list(output.glob("part-*.parquet")))
                wait(output, before + draw.randrange(1, 6), lambda: psutil.pid_exists(pid))
            while not turn and not (output / ".work").exists() and psutil.pid_exists(pid):
                time.sleep(0.001)
            time.sleep(draw.random() * 0.005)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

        code, _, err = forked.forecast(tuple(words(series, source, output)), tmp_path, env, 240, kill)
        assert code in (0, -signal.SIGKILL), err
        assert (output / SUCCESS).exists() == (code == 0)
        killed += code != 0
        if killed == 3:
            break
        for path in sorted(output.glob("part-*.parquet"))[::2] if code == 0 else ():
            path.unlink()
    assert killed >= 2
    command(*words(series, source, output), cwd=tmp_path)
    whole(output, expected)


def test_the_whole_tree_is_interrupted_then_killed(series, source, expected, tmp_path) -> None:
    output = tmp_path / "out"
    for sent, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        before = len(contents(output))
        process = started(*words(series, source, output, 1)[1:], cwd=tmp_path)
        assert wait(output, before + 2, lambda process=process: process.poll() is None), process.communicate()
        os.killpg(process.pid, sent)
        _, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        assert not (output / SUCCESS).exists()
        if sent == signal.SIGINT:
            assert err.splitlines()[-1] == "forecast: interrupted"
            assert not list(output.glob(".*.tmp"))
            assert lines(output / NAME)[-1]["words"] == "interrupted (Ctrl-C)"
    command(*words(series, source, output), cwd=tmp_path)
    whole(output, expected)


@pytest.mark.long
def test_twenty_kills_at_random(series, source, expected, tmp_path) -> None:
    output, draw, killed = tmp_path / "out", random.Random(1), 0
    for number in range(20):
        process = started(*words(series, source, output, 2)[1:], cwd=tmp_path)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.random() * 4 + 0.5 * (number % 3))
        killed += process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:  # begun anew
            whole(output, expected)
            for path in sorted(output.glob("part-*"))[: draw.randrange(1, 30)]:
                path.unlink()
    assert killed >= 10
    command(*words(series, source, output), cwd=tmp_path)
    whole(output, expected)


def test_a_worker_that_is_killed_is_replaced(series, source, expected, tmp_path) -> None:
    made = batch(series, source, tmp_path / "out", notes=[])
    try:
        work = made.begin()
        done = []
        for each in made.run(work, Local(1)):
            if not done:
                (worker,) = [
                    child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())
                ]
                worker.kill()
            done.append(each)
        made.finish(work, done)
    finally:
        made.close()
    assert {done.number for done in done} == {shard.number for shard in work.shards}


def pool_job(series, tmp_path):
    return job_of(Run(series), {**ASKED, "output": str(tmp_path)}, None)[0]


def test_a_shard_that_ends_its_process_three_times_ends_the_job(series, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(local, "worker", dying.worker)
    shard = Shard(7, "k" * 64, (Piece("in.parquet"),), 1, 1)
    line = r"^shard 7 ended its process 3 times \(SIGKILL\); .* try a smaller shard_rows= .* begins with in.parquet$"
    with pytest.raises(RunError, match=line):
        list(Local(2).run(pool_job(series, tmp_path), [shard]))


def test_what_a_worker_raises_is_raised_here(series, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(local, "worker", dying.refusing)
    with pytest.raises(DataError, match=r"^found; expected; do$"):
        list(Local(1).run(pool_job(series, tmp_path), [Shard(0, "k", (), 1, 1)]))
    monkeypatch.setattr(local, "worker", dying.defect)
    with pytest.raises(RuntimeError, match=r"^shard 0: ValueError: no$"):
        list(Local(1).run(pool_job(series, tmp_path), [Shard(0, "k", (), 1, 1)]))


def test_one_that_ended_well_is_left(series, source, expected, tmp_path) -> None:
    facts, done = run_job(series, source, tmp_path / "out")
    assert len(done) > 30
    assert facts["series"] == SERIES + 40
