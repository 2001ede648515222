"""forecast stream feed=mqtt with real brokers: amqtt, and mosquitto where it is installed."""

import os
import signal
import sqlite3
import sys
import time
from contextlib import suppress
from functools import partial
from itertools import chain

import numpy as np
import orjson
import pytest

from forecast.errors import UsageError
from forecast.streaming.feeds import feed
from tests import forked
from tests.streaming.conftest import lines
from tests.streaming.mqtt import KINDS, Broker, end, free_port, gathered, listening, publish, reserve
from tests.verbs.conftest import REPO, command

ENV = {
    **os.environ,
    "PYTHONPATH": str(REPO),
    "FORECAST_TRACEBACK": "",
    "OMP_NUM_THREADS": "1",
    "BROKER_PASSWORD": "secret",
}


@pytest.fixture(scope="module", params=KINDS)
def broker(request, tmp_path_factory):
    made = Broker(request.param, tmp_path_factory.mktemp(request.param)).start()
    yield made
    made.stop()


@pytest.fixture
def spare(tmp_path):
    """A broker for one test."""
    made = []

    def start(kind):
        made.append(Broker(kind, tmp_path).start())
        return made[-1]

    yield start
    for each in made:
        each.stop()


def words(home, broker, name, *more):
    """A stream with a topic, a client and a state of its own."""
    reserve(broker.port, name, f"{name}/#")
    return (
        "stream", "run=latest", f"runs={home}/runs", "engine=torch", "feed=mqtt", *broker.words, f"feed.client={name}",
        f'feed.topic="{name}/#"', f"feed.publish={name}-out", "state.path=s.db", "state.sync=normal", *more,
    )  # fmt: skip


def streamed(words, place, during, *, code=0):
    """Run a stream, and `during(pid)` beside it; what it told."""
    faults = []

    def beside(pid):
        try:
            during(pid)
        except BaseException as fault:  # the stream must end first
            faults.append(fault)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    found, _, told = forked.forecast(words, place, ENV, 120, beside)
    if faults:
        raise AssertionError(told) from faults[0]
    assert found == code, told
    return told


def by_file(home, place, given, *more):
    """What a stream makes of the same lines in a file."""
    place.mkdir()
    (place / "in.jsonl").write_bytes(b"\n".join([*given, b""]))
    run = ["run=latest", f"runs={home}/runs", "engine=torch", "state.path=s.db", "state.sync=normal"]
    command("stream", *run, "feed=file", "feed.path=in.jsonl", "output=out.jsonl", "rejects=r.jsonl", *more, cwd=place)
    return (place / "out.jsonl").read_bytes().splitlines()


def alike(one, other):
    """Forecasts that differ by rounding: their batches were cut otherwise."""
    assert len(one) == len(other)
    for a, b in zip(map(orjson.loads, one), map(orjson.loads, other), strict=True):
        for key in ("y_hat", "q05", "q95"):
            np.testing.assert_allclose(a.pop(key), b.pop(key), rtol=1e-3, atol=1e-4)
        assert a == b


def states(place):
    with sqlite3.connect(place / "s.db") as db:
        found = db.execute("SELECT name, at, record FROM series ORDER BY name").fetchall()
    db.close()
    return found


def test_forecasts_are_those_of_a_file(home, tmp_path, broker):
    given = lines(3, 60)
    expected = by_file(home, tmp_path / "file", given)
    messages = [b"\n".join(given[at : at + 7]) for at in range(0, 70, 7)] + given[70:]

    def during(pid):
        publish(broker.port, "plain/a/b", messages)
        found.extend(gathered(came, len(expected)))
        end(pid)

    found = []
    with listening(broker.port, "plain-out") as came:
        told = streamed(words(home, broker, "plain", "rejects=r.jsonl", "feed.batch=5"), tmp_path, during)
    alike(found, expected)
    assert (tmp_path / "r.jsonl").read_bytes() == (tmp_path / "file" / "r.jsonl").read_bytes()
    assert f"{len(expected)} forecasts" in told and "refused: " in told


def test_a_killed_stream_ends_where_one_does_that_was_not(home, tmp_path, broker):
    """What comes while it is away waits for it; readings one by one, so that all is equal to the bit.

    amqtt 0.12.1 does not send again what was not acknowledged, so there it is killed when it has done all."""
    given = lines(3, 50)
    marks = [orjson.dumps({"unique_id": "end", "ds": f"2025-01-01T0{hour}:00", "y": 1}) for hour in range(3)]
    parts = [[*given[:60], marks[0]], [*given[60:90], marks[1]], [*given[90:], marks[2]]]
    expected = by_file(home, tmp_path / "file", [*chain(*parts)], "feed.batch=1")
    name, found = f"killed-{broker.kind}", []

    def kill(pid, mark):
        """At the end of a part, or in its midst."""
        least, done = len(found) + 11, b'"end","cutoff":"%s' % mark
        while not (any(done in line for line in found) if broker.kind == "amqtt" else len(found) >= least):
            found.append(came.get(timeout=30))
        os.kill(pid, signal.SIGKILL)

    def last(pid):
        for line in found:
            came.put(line)
        found[:] = gathered(came, len(expected))
        end(pid)

    run = words(home, broker, name, "feed.batch=1")
    with listening(broker.port, f"{name}-out") as came:
        for part, mark in zip(parts, (b"2025-01-01T00", b"2025-01-01T01"), strict=False):
            time.sleep(1 if broker.kind == "amqtt" else 0)  # until it has seen that its client is gone
            publish(broker.port, f"{name}/x", part)  # nobody listens
            streamed(run, tmp_path, partial(kill, mark=mark), code=-signal.SIGKILL)
        publish(broker.port, f"{name}/x", parts[2])
        streamed(run, tmp_path, last)
    assert found == expected
    assert states(tmp_path) == states(tmp_path / "file")


def test_a_broker_that_goes_away_and_comes_back(home, tmp_path, spare, kind=KINDS[-1]):
    """mosquitto keeps sessions in a file and nothing is lost; amqtt forgets them, and the stream says so."""
    broker, given = spare(kind), lines(2, 40)
    expected = by_file(home, tmp_path / "file", given)

    def during(pid):
        publish(broker.port, "gone/x", given[:30])
        found = gathered(came, 20)
        pause = 4 if kind == "amqtt" else 0  # what is on its way then is lost, so nothing may be
        time.sleep(pause)
        broker.stop()
        broker.start()
        time.sleep(pause)
        publish(broker.port, "gone/x", given[30:])
        for line in found:
            came.put(line)
        alike(gathered(came, len(expected)), expected)
        end(pid)

    with listening(broker.port, "gone-out") as came:
        told = streamed(words(home, broker, "gone"), tmp_path, during)
    assert f"the broker at 127.0.0.1:{broker.port} is away" in told and "is back" in told
    assert ("has forgotten" in told) == (kind == "amqtt")


def test_forecasts_that_nobody_took_wait_in_the_state(home, tmp_path, spare):
    broker, given = spare(KINDS[-1]), lines(2, 100)
    found = []

    def during(pid):
        publish(broker.port, "kept/x", given)
        found.extend(came.get(timeout=30) for _ in range(5))
        broker.stop()
        time.sleep(0.5)
        end(pid)

    def after(pid):
        found.append(came.get(timeout=30))
        end(pid)

    run = words(home, broker, "kept", "feed.batch=1")
    with listening(broker.port, "kept-out") as came:
        told = streamed(run, tmp_path, during, code=5)
        assert "is away; 1 forecasts were not published; with state.path they are when" in told
        while not came.empty():  # what the first one had published since
            found.append(came.get())
        broker.start()
        streamed(run, tmp_path, after)
    numbers = [orjson.loads(line)["seq"] for line in found]
    assert set(range(1, 6)) < set(numbers)


def test_a_broker_that_is_not_there_is_told(home, tmp_path):
    run = ["run=latest", f"runs={home}/runs", "engine=torch", "feed=mqtt", f"feed.port={free_port()}"]
    told = command("stream", *run, "feed.timeout_s=0.5", cwd=tmp_path, code=5).stderr
    assert "cannot be reached: " in told and "expected it within 0.5 s" in told and told.count("\n") == 1


def test_a_stream_that_is_not_let_in_is_told(home, tmp_path, spare):
    broker = spare("amqtt")
    run = ["run=latest", f"runs={home}/runs", "engine=torch", "feed=mqtt", f"feed.port={broker.port}"]
    told = command("stream", *run, "feed.version=3.1.1", cwd=tmp_path, code=5).stderr
    assert "refused 'forecast': not authorized" in told and told.count("\n") == 1
    told = command("stream", *run, "feed.timeout_s=1", cwd=tmp_path, code=5).stderr
    assert "does not answer; expected MQTT 5 there; try feed.version=3.1.1" in told


def test_without_its_package_one_line_says_what_to_install(monkeypatch):
    for kind, module, package in (("mqtt", "paho", "paho-mqtt"), ("kafka", "confluent_kafka", "confluent-kafka")):
        for name in [name for name in sys.modules if name.startswith((module, f"forecast.streaming.feeds.{kind}"))]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UsageError, match=f"feed={kind} needs {package}: pip install 'longcast\\[{kind}\\]'"):
            feed(kind)
