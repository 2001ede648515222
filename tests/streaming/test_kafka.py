"""forecast stream feed=kafka with the broker that librdkafka brings along, in this process."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from types import SimpleNamespace

import confluent_kafka
import orjson
import pytest

from forecast.errors import RunError
from forecast.streaming.feeds import feed
from tests.streaming.conftest import lines
from tests.streaming.test_mqtt import alike, by_file, states, streamed
from tests.verbs.conftest import command

MOCK = {"bootstrap.servers": "", "test.mock.num.brokers": 1}
BROKER = """
import confluent_kafka, sys
made = confluent_kafka.Producer({"bootstrap.servers": "", "test.mock.num.brokers": 1})
(broker,) = made.list_topics(timeout=10).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""


class Topics:
    """Topics of a broker; without `servers` of one that lives as long as this."""

    def __init__(self, servers=None):
        own = MOCK if servers is None else {"bootstrap.servers": servers}
        self.producer = confluent_kafka.Producer({**own, "enable.idempotence": True, "log_level": 0})
        (broker,) = self.producer.list_topics(timeout=10).brokers.values()
        self.servers = f"{broker.host}:{broker.port}"

    def give(self, topic, messages, partition=0):
        """All into one partition, so that they stay in order."""
        for message in messages:
            self.producer.produce(topic, message, partition=partition)
        assert self.producer.flush(30) == 0

    def partitions(self, topic):
        found = self.producer.list_topics(topic, timeout=10).topics[topic].partitions
        return [confluent_kafka.TopicPartition(topic, each) for each in found]

    def consumer(self):
        return confluent_kafka.Consumer({
            "bootstrap.servers": self.servers, "group.id": "listener", "enable.auto.commit": False, "log_level": 0,
        })  # fmt: skip

    def all_of(self, topic, count, timeout_s=30):
        """`count` different forecasts by their numbers, and the partitions of each series."""
        consumer, found, places = self.consumer(), {}, {}
        consumer.assign([confluent_kafka.TopicPartition(topic, each.partition, 0) for each in self.partitions(topic)])
        try:
            for _ in range(int(timeout_s / 0.2)):
                for message in consumer.consume(1000, 0.2):
                    assert message.error() is None
                    line = orjson.loads(message.value())
                    assert found.setdefault(line["seq"], message.value()) == message.value()
                    assert message.key().decode() == line["unique_id"]
                    places.setdefault(line["unique_id"], set()).add(message.partition())
                if len(found) >= count:
                    break
        finally:
            consumer.close()
        assert len(found) == count
        return [found[seq] for seq in sorted(found)], places

    def committed(self, topic, group):
        consumer = confluent_kafka.Consumer({
            "bootstrap.servers": self.servers, "group.id": group, "log_level": 0,
        })  # fmt: skip
        found = {each.partition: each.offset for each in consumer.committed(self.partitions(topic), timeout=10)}
        consumer.close()
        return {partition: offset for partition, offset in found.items() if offset >= 0}


@pytest.fixture(scope="module")
def topics():
    made = Topics()
    yield made
    made.producer.flush(5)


def words(home, topics, name, *more):
    return (
        "stream", "run=latest", f"runs={home}/runs", "engine=torch", "feed=kafka", f"feed.servers={topics.servers}",
        f"feed.topic={name}", f"feed.group={name}", f"feed.publish={name}-out", "rejects=r.jsonl", *more,
    )  # fmt: skip


def position(place):
    with sqlite3.connect(place / "s.db") as db:
        (found,) = db.execute("SELECT value FROM facts WHERE key = 'position'").fetchone()
    db.close()
    return orjson.loads(found)


def test_forecasts_are_those_of_a_file_and_offsets_are_in_the_state(home, tmp_path, topics):
    given = lines(3, 60)
    expected = by_file(home, tmp_path / "file", given)
    topics.give("plain", [b"\n".join(given[at : at + 7]) for at in range(0, 70, 7)] + given[70:] + [b" "])
    count = 10 + len(given) - 70 + 1
    found = []

    def during(pid):
        found.extend(topics.all_of("plain-out", len(expected)))
        until(lambda: position(tmp_path)["next"] == {"0": count})
        os.kill(pid, signal.SIGTERM)

    told = streamed(words(home, topics, "plain", "feed.batch=5", "state.path=s.db"), tmp_path, during)
    alike(found[0], expected)
    assert all(len(places) == 1 for places in found[1].values())
    assert (tmp_path / "r.jsonl").read_bytes() == (tmp_path / "file" / "r.jsonl").read_bytes()
    assert f"{len(expected)} forecasts" in told
    assert topics.committed("plain", "plain") == {0: count}
    assert position(tmp_path) == {"topic": "plain", "next": {"0": count}, "part": {}}
    told = command(*words(home, topics, "other", "state.path=s.db"), cwd=tmp_path, code=3).stderr
    assert "the state was written by another feed" in told and "expected the topic other" in told


def until(true, timeout_s=30):
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_stream_ends_where_one_does_that_was_not(home, tmp_path, topics):
    """Readings one by one, so that all is equal to the bit; messages hold several, so that it is killed within some."""
    given = lines(3, 50)
    expected = by_file(home, tmp_path / "file", given, "feed.batch=1")
    topics.give("killed", [b"\n".join(given[at : at + 9]) for at in range(0, len(given), 9)])
    run = words(home, topics, "killed", "feed.batch=1", "state.path=s.db", "state.sync=normal")

    found = []

    def kill(pid, count):
        until(lambda: forecasts(tmp_path) >= count)
        os.kill(pid, signal.SIGKILL)

    def last(pid):
        found.extend(topics.all_of("killed-out", len(expected))[0])
        os.kill(pid, signal.SIGTERM)

    for count in (12, 14, 16, 90):
        streamed(run, tmp_path, partial(kill, count=count), code=-signal.SIGKILL)
    streamed(run, tmp_path, last)
    assert found == expected
    assert states(tmp_path) == states(tmp_path / "file")
    assert (tmp_path / "r.jsonl").read_bytes() == (tmp_path / "file" / "r.jsonl").read_bytes()


def forecasts(place):
    if not (place / "s.db").exists():
        return 0
    with sqlite3.connect(place / "s.db") as db:
        try:
            found = db.execute("SELECT value FROM facts WHERE key = 'seq'").fetchone()
        except sqlite3.OperationalError:  # it is being made
            found = None
    db.close()
    return 0 if found is None else int(found[0])


def test_without_a_state_the_group_says_where_to_go_on(home, tmp_path, topics):
    given = lines(2, 20)
    run, seen = words(home, topics, "loose"), []
    for part, number in ((given[:20], 0), (given[20:], 1)):
        topics.give("loose", part, partition=number)

        def during(pid):
            until(lambda: sum(topics.committed("loose", "loose").values()) == len(seen))
            os.kill(pid, signal.SIGTERM)

        seen += part
        told = streamed(run, tmp_path, during)
        assert f"{len(part)} lines; " in told
    assert topics.committed("loose", "loose") == {0: 20, 1: len(given) - 20}


@pytest.mark.long
def test_an_offset_that_is_gone_is_told(home, tmp_path, topics):
    given = lines(1, 10)
    topics.give("old", given)
    run = words(home, topics, "old", "state.path=s.db")

    def during(pid):
        until(lambda: forecasts(tmp_path) and position(tmp_path)["next"] == {"0": len(given)})
        os.kill(pid, signal.SIGTERM)

    streamed(run, tmp_path, during)
    with sqlite3.connect(tmp_path / "s.db") as db:
        gone = orjson.dumps({"topic": "old", "next": {"0": 500}, "part": {}}).decode()
        db.execute("UPDATE facts SET value = ? WHERE key = 'position'", (gone,))
    db.close()
    told = command(*run, cwd=tmp_path, code=3).stderr
    assert "partition 0 of old no longer has the offset 500" in told and told.count("\n") == 1
    again = (*run, "feed.settings={auto.offset.reset: earliest}")
    assert f"{len(given)} lines; 0 forecasts" in streamed(again, tmp_path, during)


def test_a_broker_or_topic_that_is_not_there_is_told(home, tmp_path, topics):
    run = ["run=latest", f"runs={home}/runs", "engine=torch", "feed=kafka", "feed.topic=none"]
    told = command("stream", *run, f"feed.servers={topics.servers}", cwd=tmp_path, code=3).stderr
    assert "has no topic none; expected one; create it there" in told
    told = command("stream", *run, "feed.servers=127.0.0.1:1", "feed.timeout_s=0.5", cwd=tmp_path, code=5).stderr
    assert "the broker at 127.0.0.1:1 cannot be asked for the topic: " in told and "within 0.5 s" in told
    assert "Connection refused" in told and told.count("forecast: ") == 1


def test_forecasts_that_nobody_took_wait_in_the_state(home, tmp_path):
    broker = subprocess.Popen([sys.executable, "-c", BROKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    topics = Topics(broker.stdout.readline().strip())
    topics.give("kept", lines(2, 400))

    def during(pid):
        until(lambda: forecasts(tmp_path) >= 5)
        broker.kill()
        time.sleep(1)
        os.kill(pid, signal.SIGTERM)

    told = streamed(words(home, topics, "kept", "feed.batch=1", "state.path=s.db"), tmp_path, during, code=5)
    broker.communicate()
    assert (
        "is away; trying again" in told
        and "is away; 1 forecasts were not delivered; with state.path they are when" in told
    )
    with sqlite3.connect(tmp_path / "s.db") as db:
        assert db.execute("SELECT count(*) FROM given").fetchone() == (1,)
    db.close()


def test_what_kafka_refuses_is_told(topics):
    """Of errors of a broker: the one of the tests gives none."""
    made = feed("kafka", topic="t", publish="out", servers=topics.servers)
    refused = confluent_kafka.KafkaError(confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(RunError, match="does not give t: .*authorization"):
        made._good(SimpleNamespace(error=lambda: refused))
    assert not made._good(
        SimpleNamespace(error=lambda: confluent_kafka.KafkaError(confluent_kafka.KafkaError._TRANSPORT))
    )
    made.sink._delivered(refused, None)
    with pytest.raises(RunError, match="does not take forecasts into out: "):
        made.sink.write([b'{"unique_id": "a"}'])
    made.link._failed(confluent_kafka.KafkaError(confluent_kafka.KafkaError._AUTHENTICATION))
    with pytest.raises(RunError, match="refused: "):
        made.link.check()
    made.link.client.close()
