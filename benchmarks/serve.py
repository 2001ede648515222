"""The server of a model under load: requests a second, milliseconds of a request, errors, memory over time.

    python -m benchmarks.serve [seconds=60] [clients=32] [home=DIR]

An Aaren of d_model 64 and two layers (168 hours in, 24 out, with its 90 % interval) is trained for a few steps, served
by `forecast serve` in a process of its own, and asked by another process: so many clients, each with a connection that
is kept, send a request of one series of 168 values, wait for the reply and send the next. Requests are made beforehand
and replies are counted by their length, so that the clients take little of the two cores that all share. home: where
the run is, or is trained.
"""

import math
import multiprocessing
import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil

from benchmarks.measure import Row, machine
from forecast.artifacts import write_json
from forecast.verbs.tables import table

RESULTS = Path(__file__).with_name("serve.json")
REPO = Path(__file__).parents[1]
CONTEXT, HORIZON, BODIES, WARM_S = 168, 24, 256, 3.0
TRAIN = [
    "experiment=smoke", "model=aaren", "model.d_model=64", "model.layers=2", f"task.context={CONTEXT}",
    f"task.horizon={HORIZON}", "predictions=false", "data.splits={train: 1500, val: 600, test: 400}",
    "trainer.limit_train_batches=20", "quiet=true",
]  # fmt: skip
OK = b"HTTP/1.1 200"


def forecast(*words: str, cwd: Path, **options: Any) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "forecast", *words]
    return subprocess.Popen(line, cwd=cwd, env={**os.environ, "PYTHONPATH": str(REPO)}, text=True, **options)


def requests(host: str) -> list[bytes]:
    """Requests of one series each, of different values."""
    draw, found = np.random.default_rng(0), []
    hours = np.datetime64("2024-01-01T00:00:00") + np.arange(CONTEXT) * np.timedelta64(1, "h")
    ds = np.datetime_as_string(hours).tolist()
    for _ in range(BODIES):
        y = (2000 + 500 * np.sin(np.arange(CONTEXT) / 24 * math.tau) + 50 * draw.standard_normal(CONTEXT)).round(2)
        body = orjson.dumps({"series": [{"unique_id": "electricity", "ds": ds, "y": y.tolist()}]})
        head = f"POST /v1/forecast HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
        found.append(f"{head}{len(body)}\r\n\r\n".encode() + body)
    return found


class Client:
    """A connection on which one request follows another."""

    def __init__(self, address: tuple[str, int], number: int) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number, self.got, self.need, self.began = number, bytearray(), 0, 0.0

    def send(self, request: bytes) -> None:
        self.got, self.need, self.began = bytearray(), 0, time.perf_counter()
        self.socket.sendall(request)

    def done(self) -> bool:
        """Whether all of the reply is there, after reading what has come."""
        piece = self.socket.recv(1 << 16)
        if not piece:
            raise ConnectionError("the server has closed the connection")
        self.got += piece
        if not self.need and (end := self.got.find(b"\r\n\r\n")) >= 0:
            found = re.search(rb"content-length: (\d+)", self.got[:end], re.IGNORECASE)
            assert found, self.got[:end]
            self.need = end + 4 + int(found[1])
        return 0 < self.need <= len(self.got)


def load(address: tuple[str, int], clients: int, seconds: float, told: Connection) -> None:
    """In a process of its own: each second (requests, errors, their milliseconds), and None at the end."""
    asked = requests(f"{address[0]}:{address[1]}")
    waiting = selectors.DefaultSelector()
    for number in range(clients):
        client = Client(address, number)
        waiting.register(client.socket, selectors.EVENT_READ, client)
        client.send(asked[number % BODIES])
    took: list[float] = []
    errors, at = 0, clients
    began = since = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds:
        for key, _ in waiting.select(1.0):
            client = key.data
            if client.done():
                took.append(1000 * (time.perf_counter() - client.began))
                errors += not (client.got.startswith(OK) and b'"status":"forecast"' in client.got)
                client.send(asked[at % BODIES])
                at += 1
        if now - since >= 1.0:
            told.send((now - since, errors, took))
            took, errors, since = [], 0, now
    told.send(None)


def measured(address: tuple[str, int], server: psutil.Process, clients: int, seconds: float) -> Row:
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=load, args=(address, clients, WARM_S + seconds, there), daemon=True
    )
    process.start()
    rates: list[float] = []
    took: list[float] = []
    memory: list[float] = []
    errors, count = 0, 0
    used = 0.0
    while (found := here.recv()) is not None:
        wide, wrong, some = found
        count += 1
        if count <= WARM_S:
            used = sum(server.cpu_times()[:2])
            continue
        rates.append(len(some) / wide)
        took += some
        errors += wrong
        memory.append(server.memory_info().rss / (1 << 20))
    process.join(20)
    used = sum(server.cpu_times()[:2]) - used
    took.sort()
    tenth = max(1, len(memory) // 10)
    return {
        "clients": clients, "seconds": len(rates), "requests": len(took), "requests/s": float(np.mean(rates)),
        "worst second": min(rates), "p50 ms": took[len(took) // 2], "p99 ms": took[int(0.99 * len(took))],
        "p99.9 ms": took[int(0.999 * len(took))], "most ms": took[-1], "errors": errors,
        "cores": used / len(rates), "MiB first": float(np.mean(memory[:tenth])),
        "MiB last": float(np.mean(memory[-tenth:])), "MiB most": max(memory),
    }  # fmt: skip


def served(home: Path, clients: int, seconds: float, words: list[str]) -> Row:
    if not (home / "runs").is_dir():
        assert forecast("train", *TRAIN, cwd=home).wait() == 0
    options = ["serve", "run=latest", "port=0", "rate=0", *words]
    process = forecast(*options, cwd=home, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        found = next(m for line in process.stderr if (m := re.match(r"listening on http://([\d.]+):(\d+)", line)))
        return measured((found[1], int(found[2])), psutil.Process(process.pid), clients, seconds)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def main(*words: str) -> None:
    given = dict(word.split("=", 1) for word in words)
    seconds, clients = float(given.pop("seconds", 60)), [int(n) for n in given.pop("clients", "1,8,32").split(",")]
    home, keep = given.pop("home", None), given.pop("keep", "true") == "true"
    options = [f"{key}={value}" for key, value in given.items()]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder if home is None else home)
        rows = [served(place, many, seconds, options) for many in clients]
    header = list(rows[0])
    cells = [[f"{row[key]:.4g}" if isinstance(row[key], float) else str(row[key]) for key in header] for row in rows]
    print(table(header, cells), flush=True)
    if keep:
        command = f"python -m benchmarks.serve {' '.join(words)}".strip()
        write_json(RESULTS, {"command": command, "machine": machine(), "rows": rows})


if __name__ == "__main__":
    main(*sys.argv[1:])
