"""forecast stream as people run it: pipes, files, kills, signals."""

import os
import signal
import subprocess
import sys
import time

import orjson
import pytest

from tests.streaming.conftest import lines
from tests.streaming.killed import killed
from tests.verbs.conftest import REPO, command


def piped(words, given, cwd, **options):
    """`forecast stream` behind a pipe."""
    env = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "forecast", "stream", *words]
    return subprocess.run(line, input=given, cwd=cwd, env=env, capture_output=True, timeout=120, **options)


def test_a_pipe_and_a_file_give_the_same(home, tmp_path):
    given = b"\n".join(lines(3, 50))  # the last line has no end
    run = ["run=latest", f"runs={home}/runs"]
    done = piped(run, given, tmp_path)
    assert done.returncode == 0, done.stderr
    made = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert list(made[0]) == ["seq", "unique_id", "cutoff", "status", "y", "ds", "y_hat", "q05", "q95"]
    assert [line["seq"] for line in made] == list(range(1, len(made) + 1)) and len(made[0]["y_hat"]) == 6
    assert all(a < b for line in made for a, b in zip(line["q05"], line["q95"], strict=True))
    assert b"3 series; refused: " in done.stderr and b"unreadable" in done.stderr
    (tmp_path / "in.jsonl").write_bytes(given)
    words = ["feed=file", "feed.path=in.jsonl", "output=out.jsonl", "rejects=rejects.jsonl"]
    command("stream", *run, *words, cwd=tmp_path)
    assert (tmp_path / "out.jsonl").read_bytes() == done.stdout
    refused = [orjson.loads(line) for line in (tmp_path / "rejects.jsonl").read_bytes().splitlines()]
    assert all(each["reason"] and "line" in each for each in refused) and len(refused) >= 3
    again = command("stream", *run, *words, cwd=tmp_path, code=2)
    assert "out.jsonl exists" in again.stderr


@pytest.mark.parametrize("words", [[], ["correct=true", "engine=onnx"]])
def test_a_killed_stream_leaves_what_one_does_that_was_not(home, tmp_path, words):
    assert killed(home, tmp_path, 3, *words) >= 2


def test_what_cannot_be_written_ends_it_with_one_line(home, tmp_path):
    given = b"\n".join(lines(3, 400))
    run = ["run=latest", f"runs={home}/runs", "engine=torch"]
    done = piped([*run, "output=/dev/full"], given, tmp_path)
    assert done.returncode == 5 and b"No space left on device; make room" in done.stderr
    env = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    shell = f"{sys.executable} -m forecast stream {' '.join(run)} feed.batch=10 | head -1"
    done = subprocess.run(shell, shell=True, input=given, cwd=tmp_path, env=env, capture_output=True, timeout=120)
    assert done.stdout.count(b"\n") == 1
    assert b"the program that reads the forecasts has ended" in done.stderr and b"overrides" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_after_what_was_taken(home, tmp_path, number, code):
    words = ["run=latest", f"runs={home}/runs", "state.path=s.db", "output=out.jsonl", "engine=torch"]
    env = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "forecast", "stream", *words], cwd=tmp_path, env=env, stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    given = lines(3, 20)
    process.stdin.write(b"\n".join([*given, b'{"unique_id": "half']))
    process.stdin.flush()
    until = time.monotonic() + 60
    while not (tmp_path / "out.jsonl").exists() or not (tmp_path / "out.jsonl").stat().st_size:
        assert time.monotonic() < until and process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == code, told
    made = (tmp_path / "out.jsonl").read_bytes().splitlines()
    done = piped(words, b"\n".join(given), tmp_path)  # all was committed: nothing of it is new
    assert done.returncode == 0 and (tmp_path / "out.jsonl").read_bytes().splitlines() == made
    assert f"{len(made):,} forecasts".encode() in told


def test_a_file_that_grows_is_followed(home, tmp_path):
    given = lines(2, 20)
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([*given[:10], b""]) + given[10][:8])
    words = [f"runs={home}/runs", "feed=file", "feed.path=in.jsonl", "feed.follow=true", "output=out.jsonl"]
    env = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "forecast", "stream", "run=latest", *words], cwd=tmp_path, env=env,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    until, expected = time.monotonic() + 60, {}
    for rest in (b"", given[10][8:] + b"\n" + b"\n".join([*given[11:], b""])):
        with open(tmp_path / "in.jsonl", "ab") as file:
            file.write(rest)
        least = 5 if not rest else 25
        while not (tmp_path / "out.jsonl").exists() or (tmp_path / "out.jsonl").read_bytes().count(b"\n") < least:
            assert time.monotonic() < until and process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        expected[least] = (tmp_path / "out.jsonl").read_bytes().count(b"\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stderr.close()
    assert expected[5] <= 10 < expected[25]
