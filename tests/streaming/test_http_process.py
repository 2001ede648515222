"""The server in a process of its own: killed at any time, ended while requests come, on a disk that is full."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from forecast.streaming.live import Live
from forecast.streaming.streamer import Streamer
from tests.streaming.serving import events, until
from tests.verbs.conftest import REPO, command

SERIES, HOURS = 5, 60
EVERY = [
    {"unique_id": f"s{n}", "ds": f"2024-01-{1 + hour // 24:02}T{hour % 24:02}:00", "y": hour % 24 / 10 + n}
    for hour in range(HOURS) for n in range(SERIES)
]  # fmt: skip


class Process:
    """`forecast stream feed=http` on a free port; `said` is what it wrote on stderr."""

    def __init__(self, home: Path, *words: str, before: Callable[[], Any] | None = None) -> None:
        line = [sys.executable, "-m", "forecast", "stream", "run=latest", "feed=http", "feed.port=0", "engine=torch"]
        self.process = subprocess.Popen(
            [*line, *words], cwd=home, stderr=subprocess.PIPE, text=True, preexec_fn=before,
            env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", "FORECAST_TRACEBACK": ""},
        )  # fmt: skip
        self.said: list[str] = []
        for line_of in self.process.stderr:
            self.said.append(line_of)
            if found := re.match(r"listening on (http://\S+)", line_of):
                break
        else:
            raise AssertionError(self.said)
        self.client = httpx.Client(base_url=found[1], timeout=20)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def ended(self) -> int:
        """Its exit code, when it has ended by itself."""
        self.said += self.process.communicate(timeout=30)[0:2][1].splitlines()
        return self.process.returncode

    def post(self, readings: Any) -> httpx.Response:
        return self.client.post("/v1/update", json=readings)


def listen(client: httpx.Client, after: int, heard: list[dict[str, Any]]) -> None:
    """Into `heard`, until the other end is gone."""
    try:
        with client.stream("GET", "/v1/stream", headers={"Last-Event-ID": str(after)}) as reply:
            lines = reply.iter_lines()
            while found := events(lines, 1):
                heard += found
    except httpx.HTTPError:
        pass


def test_a_listener_loses_nothing_by_a_kill(home, tmp_path):
    state = f"state.path={tmp_path / 's.db'}", "state.sync=normal"
    heard: list[dict[str, Any]] = []
    with Process(home, *state) as served, ThreadPoolExecutor(2) as pool:
        listening = pool.submit(listen, served.client, 0, heard)

        def send():
            with httpx.Client(base_url=served.client.base_url) as own:
                for first in range(0, len(EVERY), 3):
                    own.post("/v1/update", json=EVERY[first : first + 3])

        sending = pool.submit(send)
        until(lambda: len(heard) > 60)
        served.process.send_signal(signal.SIGKILL)
        listening.result()
        assert isinstance(sending.exception(), httpx.HTTPError)
    assert all("event" not in each for each in heard) and len(heard) < len(EVERY)
    last = heard[-1]["id"]
    with Process(home, *state) as served, ThreadPoolExecutor(2) as pool:
        kept = served.client.get("/v1/state").json()["seq"]
        assert kept >= last  # nobody heard of what was not committed
        listening = pool.submit(listen, served.client, last, heard)
        until(lambda: len(heard) >= kept)
        again = served.post(EVERY).json()
        assert again["taken"] == len(EVERY) - kept and again["duplicates"] <= SERIES
        until(lambda: len(heard) >= len(EVERY))
        served.process.send_signal(signal.SIGTERM)
        listening.result()
        assert served.ended() == 0
    assert heard.pop()["event"] == "end"
    assert [each["id"] for each in heard] == list(range(1, len(EVERY) + 1))  # none lost, none twice
    whole = Streamer(Live.load("latest", runs=home / "runs", engine="torch"))
    wanted = map(orjson.loads, whole.process(list(map(orjson.dumps, EVERY))).lines)
    found = {(each["data"]["unique_id"], each["data"]["cutoff"]): each["data"] for each in heard}
    for one in wanted:
        other = found.pop((one["unique_id"], one["cutoff"]))
        assert other["y_hat"] == pytest.approx(one["y_hat"], rel=1e-4) and other["status"] == one["status"]
    assert not found


def test_every_reading_that_was_answered_is_kept(home, tmp_path):
    state = f"state.path={tmp_path / 's.db'}", "state.sync=normal"
    answered: list[str] = []
    refused: list[int] = []
    stamp = {"ds": "2024-01-01T00:00", "y": 2.0}

    def send(which: int, address: httpx.URL) -> None:
        with httpx.Client(base_url=address) as own:
            for number in range(10_000):
                try:
                    reply = own.post("/v1/update", json={"unique_id": f"{which}/{number}", **stamp})
                except httpx.HTTPError:
                    return
                if reply.status_code != 200:
                    refused.append(reply.status_code)
                    return
                answered.append(f"{which}/{number}")

    with Process(home, *state) as served:
        senders = [threading.Thread(target=send, args=(which, served.client.base_url)) for which in range(4)]
        for each in senders:
            each.start()
        until(lambda: len(answered) > 100)
        served.process.send_signal(signal.SIGTERM)
        for each in senders:
            each.join(20)
        assert served.ended() == 0 and set(refused) <= {503}
        assert re.match(r"[\d,]+ lines; [\d,]+ forecasts; [\d,]+ series; .* s", served.said[-1])

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 20, 6 << 20))

    with Process(home, *state, before=no_room) as served:
        again = served.post([{"unique_id": name, **stamp} for name in answered]).json()
        assert (again["taken"], again["duplicates"], again["refused"]) == (0, len(answered), 0)
        codes, kept = [], served.client.get("/v1/state").json()["series"]
        while not codes or codes[-1] == 200:
            codes.append(served.post([{"unique_id": f"{len(codes)} {n}", **stamp} for n in range(200)]).status_code)
            assert len(codes) < 100
        assert codes[-1] == 500
        assert served.ended() == 5
        said = r"forecast: the stream cannot go on: .*(full|I/O).*; what was answered is kept.*"
        assert re.fullmatch(said, served.said[-1])
    with Process(home, *state) as served:
        assert served.client.get("/v1/state").json()["series"] == kept + 200 * (len(codes) - 1)


def test_a_port_that_is_taken_and_a_run_that_is_not_there(home):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = command("stream", "run=latest", "feed=http", f"feed.port={port}", cwd=home, code=2)
    assert re.fullmatch(rf"forecast: port {port} of 127.0.0.1 cannot be used \(.+\); .+\n", done.stderr)
    done = command("stream", "run=nothing", "feed=http", "feed.port=0", cwd=home, code=4)
    assert done.stderr.count("\n") == 1
