"""Brokers of MQTT, and clients that publish to them and listen."""

import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path
from threading import Event

import orjson
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.verbs.conftest import REPO

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
KINDS = ["amqtt", *(["mosquitto"] if MOSQUITTO else [])]
CONF = """listener {port} 127.0.0.1
allow_anonymous true
user {user}
max_queued_messages 0
persistence true
persistence_location {folder}/
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Broker:
    """One on a free port of this machine; it can be stopped and started again."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.port, self.folder = kind, free_port(), folder
        self.words = [f"feed.port={self.port}", "feed.username=tests", "feed.password_env=BROKER_PASSWORD"]
        self.words += ["feed.version=3.1.1"] if kind == "amqtt" else []
        if kind == "mosquitto":
            text = CONF.format(port=self.port, folder=folder, user=getuser())
            (folder / "mosquitto.conf").write_text(text, encoding="utf-8")
            self.line = [MOSQUITTO, "-c", str(folder / "mosquitto.conf")]
        else:
            self.line = [sys.executable, "-m", "tests.streaming.amqtt_broker", str(self.port)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Broker":
        with open(self.folder / "broker.log", "ab") as log:
            self.process = subprocess.Popen(self.line, cwd=REPO, stdout=log, stderr=log)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self.process.poll() is None, (self.folder / "broker.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        raise TimeoutError(f"no {self.kind} on port {self.port}")

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


def client(name: str, *, keep: bool = False) -> Client:
    made = Client(CallbackAPIVersion.VERSION2, name, clean_session=not keep)
    made.username_pw_set("tests", "secret")
    made.max_queued_messages_set(0)
    made.reconnect_delay_set(1, 1)
    return made


@contextmanager
def connected(client: Client, port: int) -> Iterator[None]:
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


@contextmanager
def listening(port: int, topic: str) -> Iterator["queue.Queue[bytes]"]:
    """What is published to a topic."""
    came: queue.Queue[bytes] = queue.Queue()
    own = client(f"listener-{topic}", keep=True)

    def heard(client: Client, data: object, message: MQTTMessage) -> None:
        came.put(message.payload)

    own.on_message = heard
    own.on_connect = lambda client, *_: client.subscribe(topic, 1)
    with connected(own, port):
        yield came


def reserve(port: int, name: str, topic: str) -> None:
    """Have the broker keep what comes for a client that has not come yet."""
    done = Event()
    own = client(name, keep=True)
    own.on_connect = lambda client, *_: client.subscribe(topic, 1)
    own.on_subscribe = lambda *_: done.set()
    with connected(own, port):
        assert done.wait(30)


def publish(port: int, topic: str, messages: Sequence[bytes], qos: int = 1) -> None:
    """All of them, acknowledged by the broker."""
    own = client(f"publisher-{topic.partition('/')[0]}")
    with connected(own, port):
        for info in [own.publish(topic, message, qos) for message in messages]:
            info.wait_for_publish(30)


def gathered(came: "queue.Queue[bytes]", count: int, timeout_s: float = 15) -> list[bytes]:
    """Forecasts in the order of their numbers, once each; waits for `count` different ones."""
    found: dict[int, bytes] = {}
    until = time.monotonic() + timeout_s
    while len(found) < count:
        try:
            line = came.get(timeout=max(0.01, until - time.monotonic()))
        except queue.Empty:
            raise TimeoutError(f"{len(found)} of {count} forecasts came") from None
        seq = orjson.loads(line)["seq"]
        assert found.setdefault(seq, line) == line  # the same number, the same forecast
    return [found[seq] for seq in sorted(found)]


def end(pid: int) -> None:
    """SIGTERM, once the process has a handler for it: a broker may send again what an earlier process had published,
    and so look as if this one had begun."""
    status, until = Path(f"/proc/{pid}/status"), time.monotonic() + 60
    while status.exists() and time.monotonic() < until:
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            break
        time.sleep(0.05)
    os.kill(pid, signal.SIGTERM)
