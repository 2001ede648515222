"""The server of a stream: what it holds at once, what listeners hear, how it ends."""

import asyncio
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import orjson
import pytest

from forecast.errors import RunError
from forecast.streaming.serving.hub import Hub, Line, Listener
from tests.streaming.serving import events, reading, serving, until

LINES = {"Content-Type": "application/x-ndjson"}


def hear(client, count, **options):
    """The first events of /v1/stream."""
    with client.stream("GET", "/v1/stream", **options) as reply:
        assert reply.status_code == 200, reply.read()
        return events(reply.iter_lines(), count)


# Limits ---------------------------------------------------------------------------------------------------------------


def test_large_bodies_are_refused_before_they_are_read(small):
    def pieces():
        for _ in range(40):
            yield b" " * 1000

    assert small.client.post("/v1/update", content=b" " * 20_001).status_code == 413
    found = small.client.post("/v1/update", content=pieces())  # in chunks, of a length that nobody told
    assert found.status_code == 413 and "20,000 bytes" in found.json()["error"]
    found = small.client.post("/v1/update", content=b"{}\n" * 201, headers=LINES)
    assert found.status_code == 413 and "at most 200 in a request" in found.json()["error"]
    assert small.client.post("/v1/update", content=b"x", headers={"Content-Encoding": "gzip"}).status_code == 415
    assert small.feed.desk.jobs.qsize() == 0 and small.feed.server is not None


def test_a_body_that_does_not_come_is_not_waited_for(small, monkeypatch):
    monkeypatch.setattr("forecast.streaming.serving.body.BODY_S", 0.1)
    address = small.client.base_url
    with socket.create_connection((address.host, address.port)) as slow:
        slow.sendall(b"POST /v1/update HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
    with socket.create_connection((address.host, address.port)) as gone:  # it leaves in the middle
        gone.sendall(b"POST /v1/update HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    until(lambda: small.feed.desk.jobs.empty())
    assert small.post(reading("a", 0)).status_code == 200


def test_series_beyond_the_most_are_refused(predictor, tmp_path):
    with serving(predictor, tmp_path / "s.db", max_series=3) as served:
        said = served.post([reading(name, 0) for name in "abacd"]).json()["results"]
        assert [one["status"] for one in said] == ["warming", "warming", "duplicate", "warming", "too many series"]
        assert (
            said[-1]["reason"] == "there are 3 series; expected at most 3" or "expected at most 3" in said[-1]["reason"]
        )
        assert served.post([reading("d", 0), reading("a", 1)]).json()["refused"] == 1
        assert served.post(reading("d", 1)).status_code == 422
        long = served.post(reading("x" * 300, 1)).json()["results"][0]
        assert "longer than 256" in long["reason"]
        assert served.client.get("/v1/state").json()["series"] == 3
    with serving(predictor, tmp_path / "s.db", max_series=4) as served:  # those of the store count
        assert [one["status"] for one in served.post([reading(n, 2) for n in "dea"]).json()["results"]] == [
            "warming", "too many series", "warming"
        ]  # fmt: skip
    with serving(predictor, max_series=1) as served:
        assert [one["status"] for one in served.post([reading(n, 2) for n in "ab"]).json()["results"]] == [
            "warming", "too many series"
        ]  # fmt: skip


def test_a_full_queue_is_told_at_once(predictor):
    with serving(predictor, queue=3) as served, ThreadPoolExecutor(8) as pool:
        with served.held():
            waiting = [pool.submit(served.post, reading(name, 0)) for name in "abc"]
            until(lambda: served.feed.desk.jobs.qsize() >= 3)
            full = served.post(reading("d", 0))
            assert full.status_code == 503 and full.headers["retry-after"] == "1"
            assert "3 requests are waiting" in full.json()["error"]
            assert served.client.get("/healthz").status_code == 200
        assert [each.result().status_code for each in waiting] == [200] * 3
        assert served.streamer.counts["batches"] == 1  # they waited together
        assert served.post(reading("d", 0)).status_code == 200


def test_bodies_that_are_held_are_bounded(predictor):
    with serving(predictor, max_body=1000, queue=100) as served, ThreadPoolExecutor(16) as pool:
        with served.held():
            body = b" " * 900 + orjson.dumps(reading("a", 0))
            codes = [pool.submit(served.client.post, "/v1/update", content=body) for _ in range(12)]
            until(lambda: sum(code.done() for code in codes) >= 4)
        assert sorted(code.result().status_code for code in codes) == [200] * 8 + [503] * 4
        assert served.feed.desk.phase == "ready" and served.post(reading("b", 0)).status_code == 200


def test_requests_are_not_split_over_batches(predictor):
    with serving(predictor, batch=10) as served, ThreadPoolExecutor(8) as pool:
        with served.held():
            sizes = []
            waiting = []
            for number, size in enumerate((4, 5, 3, 25, 2)):
                waiting.append(pool.submit(served.post, [reading(f"{number}", hour) for hour in range(size)]))
                sizes.append(size)
                until(lambda: served.feed.desk.jobs.qsize() > number)
        assert [each.result().json()["taken"] for each in waiting] == sizes
        assert served.streamer.counts["batches"] == 1 + 1 + 3 + 1  # 4+5, 3, 10+10+5, 2


# Listeners ------------------------------------------------------------------------------------------------------------


def test_listeners_hear_forecasts_as_they_come(predictor):
    with serving(predictor) as served, ThreadPoolExecutor(3) as pool:
        served.post(reading("a", 0))
        listening = [
            pool.submit(hear, served.client, 3),
            pool.submit(hear, served.client, 2, params={"id": ["b", "c"]}),
            pool.submit(hear, served.client, 4, params={"after": "0"}),
        ]
        until(lambda: len(served.feed.hub.listeners) >= 3)
        results = served.post([reading("a", 1), reading("b", 1), reading("c", 1)]).json()["results"]
        every, some, whole = (each.result() for each in listening)
        assert [each["data"] for each in every] == [each["forecast"] for each in results]
        assert [each["id"] for each in every] == [2, 3, 4] == [each["data"]["seq"] for each in every]
        assert [each["data"]["unique_id"] for each in some] == ["b", "c"]
        assert [each["id"] for each in whole] == [1, 2, 3, 4]
        until(lambda: not served.feed.hub.listeners)  # those that went are forgotten


def test_a_listener_comes_again(predictor, tmp_path):
    def last(number):
        return {"headers": {"Last-Event-ID": str(number)}}

    with serving(predictor, tmp_path / "s.db", keep=12) as served:
        served.post([reading("a", hour) for hour in range(20)])
        assert [each["id"] for each in hear(served.client, 5, **last(15))] == [16, 17, 18, 19, 20]
    with serving(predictor, tmp_path / "s.db", keep=12) as served:  # from the store: nothing was given yet
        assert [each["id"] for each in hear(served.client, 5, **last(15))] == [16, 17, 18, 19, 20]
        served.post([reading("a", hour) for hour in range(20, 22)])
        found = hear(served.client, 13, **last(2))
        assert found[0] == {"event": "gap", "data": {"from": 3, "to": 10}}  # of 22 lines the last 12 are kept
        assert [each["id"] for each in found[1:13]] == list(range(11, 23))
        found = hear(served.client, 1, **last(1000))
        assert found[0]["event"] == "restart"
        for odd in ("x", "-1", "1" * 30, "²"):
            assert served.client.get("/v1/stream", params={"after": odd}).status_code == 400
    with serving(predictor, keep=5, batch=2) as served:  # without a store: 8 lines
        served.post([reading("a", hour) for hour in range(20)])
        found = hear(served.client, 9, **last(2))
        assert found[0] == {"event": "gap", "data": {"from": 3, "to": 12}}
        assert [each["id"] for each in found[1:]] == list(range(13, 21))


def test_listeners_are_bounded(small):
    with small.client.stream("GET", "/v1/stream"), small.client.stream("GET", "/v1/stream"):
        until(lambda: len(small.feed.hub.listeners) >= 2)
        full = small.client.get("/v1/stream")
        assert full.status_code == 503 and "2 listeners" in full.json()["error"]


def test_a_slow_listener_is_dropped_and_told():
    async def slow():
        hub = Hub(4, 9)
        listener = Listener(hub, frozenset(), None, None)
        chunks = listener.chunks()
        await anext(chunks)
        for seq in range(1, 4):
            hub.put([Line(seq, "a", b"{}")])
        assert (await anext(chunks)).count(b"data") == 3
        for seq in range(4, 20):
            hub.put([Line(seq, "a", b"{}")])
        final = await anext(chunks)
        assert final.startswith(b"event: dropped\n") and b'"last":3' in final
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)
        assert len(hub.ring) == 4 and hub.size == 8

    asyncio.run(slow())


def test_a_silent_stream_is_alive(monkeypatch):
    monkeypatch.setattr("forecast.streaming.serving.hub.HEARTBEAT_S", 0.01)

    async def silent():
        hub = Hub(4, 9)
        hub.put([Line(1, "a", b"{}")])
        chunks = Listener(hub, frozenset("b"), 0, None).chunks()
        await anext(chunks)
        assert await anext(chunks) == b""  # what it did not ask for
        assert await anext(chunks) == b": alive\nid: 1\n\n"

    asyncio.run(silent())


def test_a_reader_that_takes_nothing_is_let_go(predictor, monkeypatch):
    monkeypatch.setattr("forecast.streaming.serving.events.STALLED_S", 0.2)
    with serving(predictor, keep=0, batch=50) as served, served.client.stream("GET", "/v1/stream"):
        for first in range(0, 100_000, 400):  # until the buffers of the system are full
            if first and not served.feed.hub.listeners:
                break
            served.post([reading(f"{number}", first // 400, id="x" * 2000) for number in range(400)])
        else:
            pytest.fail("the listener is still held")


# How it ends ----------------------------------------------------------------------------------------------------------


def test_what_waits_is_finished_and_listeners_are_told(predictor, tmp_path):
    with serving(predictor, tmp_path / "s.db") as served, ThreadPoolExecutor(8) as pool:
        listening = pool.submit(hear, served.client, 9)
        until(lambda: served.feed.hub.listeners)
        with served.held():
            waiting = [pool.submit(served.post, reading(name, 0)) for name in "abc"]
            until(lambda: served.feed.desk.jobs.qsize() >= 3)
            served.stop.set()
        assert [each.result().status_code for each in waiting] == [200] * 3
        heard = listening.result()
        assert [each["id"] for each in heard[:3]] == [1, 2, 3] and heard[3]["event"] == "end"
        served.thread.join(20)
        assert served.fault is None
        with pytest.raises(httpx.ConnectError):
            served.client.get("/readyz")
    with serving(predictor, tmp_path / "s.db") as served:
        assert served.post([reading(name, 0) for name in "abc"]).json()["duplicates"] == 3


def test_while_it_ends_nothing_is_taken(predictor):
    with serving(predictor) as served, ThreadPoolExecutor(2) as pool:
        with served.held():
            pending = pool.submit(served.post, reading("a", 0))
            until(lambda: served.feed.desk.jobs.qsize() >= 1)
            served.feed.desk.phase = "ending"
            for ask in (served.client.get("/readyz"), served.post(reading("b", 0)), served.client.get("/v1/stream")):
                assert ask.status_code == 503 and "ending" in ask.json()["error"]
            assert served.client.get("/healthz").status_code == 200
        assert pending.result().status_code == 200


def test_a_full_disk_ends_the_stream_and_half_of_nothing_is_kept(predictor, tmp_path):
    with serving(predictor, tmp_path / "s.db") as served, ThreadPoolExecutor(4) as pool:
        assert served.post([reading("a", 0), reading("b", 0)]).status_code == 200
        db = served.streamer.store.db
        with served.held():
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count={pages}")
            many = [reading(f"s{number}", 0) for number in range(500)]
            waiting = [pool.submit(served.post, many), pool.submit(served.post, many)]
            until(lambda: served.feed.desk.jobs.qsize() >= 2)
        for each in waiting:
            found = each.result()
            assert found.status_code == 500
            assert found.json() == {"error": "the stream has failed: database or disk is full"}
        served.thread.join(20)
        assert isinstance(served.fault, RunError) and "database or disk is full" in str(served.fault)
        assert served.fault.code == 5
    found = sqlite3.connect(tmp_path / "s.db")
    assert found.execute("SELECT count(*) FROM series").fetchone() == (2,)
    assert orjson.loads(found.execute("SELECT value FROM facts WHERE key='seq'").fetchone()[0]) == 2
    found.close()


def test_a_server_that_is_gone_ends_the_stream(predictor):
    with serving(predictor) as served:
        served.feed.server.should_exit = True
        served.thread.join(20)
        assert isinstance(served.fault, RunError) and "ended by itself" in str(served.fault)


def test_a_defect_is_one_line_to_the_client(predictor, caplog):
    with serving(predictor) as served:
        served.feed.desk.streamer.run = {1, 2}  # what JSON cannot say
        found = served.client.get("/v1/state")
        assert found.status_code == 500 and found.json() == {"error": "a defect of the server"}
        until = time.monotonic() + 20  # the server's thread tells it when it has answered
        while "a request failed: TypeError" not in caplog.text:
            assert time.monotonic() < until
            time.sleep(0.01)
