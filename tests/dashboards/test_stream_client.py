"""The listener to a stream: against a real one, which is stopped, begun again, and begun anew."""

import threading
import time

import pytest

from forecast.dashboards.app.stream import client as module
from forecast.dashboards.app.stream.client import Client
from forecast.dashboards.app.stream.link import where
from forecast.dashboards.app.stream.ring import ARRIVALS, FANS, SEEN, Ring
from forecast.dashboards.app.stream.sse import Parser
from forecast.errors import UsageError
from tests.streaming.made import made
from tests.streaming.serving import reading, serving, until

TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return made(tmp_path_factory.mktemp("chain"), gaps="mask")[1]


@pytest.fixture
def looked(monkeypatch):
    """Clients that are closed afterwards."""
    monkeypatch.setattr(module, "WAIT_S", (0.05, 0.2))
    held = []

    def look(url, **options):
        held.append(Client(url, **options))
        return held[-1]

    yield look
    for each in held:
        each.close()
        assert not each.running


def counted(client, *keys):
    return [kept.lines for kept in client.kept(keys)]


def test_events_come_whole_from_pieces_of_any_size():
    given = b"retry: 1000\n\nid: 7\ndata: {}\n\n: alive\nid: 9\n\nevent: gap\r\ndata: a\r\ndata: b\r\n\r\n"
    given += b"id: x\ndata: 1\n\n"
    for size in (1, 2, 3, 7, 1000):
        parser, found = Parser(3), []
        for at in range(0, len(given), size):
            found += parser.feed(given[at : at + size])
        assert [tuple(each) for each in found] == [("message", b"{}"), ("gap", b"a\nb"), ("message", b"1")]
        assert parser.last == 9


def test_a_line_that_does_not_end_is_refused(monkeypatch):
    monkeypatch.setattr("forecast.dashboards.app.stream.sse.LONGEST", 10)
    with pytest.raises(ValueError, match="more than 10 bytes"):
        Parser().feed(b"data: 0123456789")


def line(seq):
    return {
        "seq": seq,
        "cutoff": f"2024-01-01T00:{seq % 60:02}:00",
        "y": 1.0,
        "ds": [""] * 4,
        "y_hat": [0.0] * 4,
    }


def test_a_ring_holds_the_last_and_tells_its_rate():
    now = [0.0]
    ring = Ring("a", lambda: now[0])
    assert ring.kept().rate == 0 and ring.kept().latest is None
    for seq in range(5000):
        now[0] += 0.1
        assert ring.put(seq, line(seq))
        assert not ring.put(seq, line(seq))
    kept = ring.kept()
    assert (len(kept.seen), len(kept.earlier), kept.lines, kept.latest["seq"]) == (SEEN, FANS, 5000, 4999)
    assert kept.rate == pytest.approx(10, abs=0.3)
    now[0] += 60
    assert ring.kept().rate == 0
    for seq in range(5000, 5000 + 2 * ARRIVALS):
        now[0] += 0.001
        ring.put(seq, line(seq))
    assert ring.kept().rate == pytest.approx(1000, rel=0.01)
    revised = line(9999)
    del revised["y"]
    ring.put(9999, revised)
    assert ring.kept().latest is revised and len(ring.kept().seen) == SEEN


@pytest.mark.parametrize(
    "url", ["http://example.org:8000", "ftp://127.0.0.1", "127.0.0.1:8000", "http://a:b@localhost", "http://[::1", ""]
)
def test_other_addresses_are_refused(url):
    with pytest.raises(UsageError):
        where(url)


def test_addresses_that_are_taken():
    assert where("http://localhost:8000/").port == 8000
    assert tuple(where("https://example.org/below/")) == (True, "example.org", 443, "/below")
    assert where("http://[::1]:9").host == "::1"


def test_it_hears_what_is_looked_at_and_what_was_before(predictor, looked):
    with serving(predictor) as served:
        served.post([reading(name, hour) for hour in range(30) for name in "abc"])
        client = looked(served.feed.address)
        client.watch(["a"])
        until(lambda: counted(client, "a") == [30])
        assert client.told().state == "live" and client.told().facts["kind"] == "series"
        client.watch(["a", "b"])  # another browser: one connection still
        until(lambda: counted(client, "a", "b") == [30, 30])
        assert counted(client, "c") == [0]
        for hour in range(30, 40):
            served.post([reading(name, hour) for name in "abc"])
        until(lambda: counted(client, "a", "b") == [40, 40])
        assert len(served.feed.hub.listeners) == 1
        kept = client.kept(["a"])[0]
        assert [each["at"] for each in kept.seen] == [reading("a", hour)["ds"] for hour in range(40)]
        assert [each["y"] for each in kept.seen] == [reading("a", hour)["y"] for hour in range(40)]
        assert kept.latest["seq"] > 90 and kept.rate > 0 and client.told().gone == 0
        assert client.names("B") == ["b"] and sorted(client.names()) == ["a", "b", "c"]


def test_a_stream_that_ends_and_comes_again(predictor, looked, tmp_path):
    with serving(predictor, tmp_path / "s.db") as served:
        port = served.feed.socket.getsockname()[1]
        client = looked(served.feed.address)
        client.watch(["a"])
        served.post([reading("a", hour) for hour in range(5)])
        until(lambda: counted(client, "a") == [5])
    until(lambda: client.told().state == "lost" and "nothing listens" in client.told().words)
    with serving(predictor, tmp_path / "s.db", at=port) as served:
        served.post([reading("a", hour) for hour in range(5, 9)])
        until(lambda: counted(client, "a") == [9])
        assert (client.told().state, client.told().restarts, client.told().gone) == ("live", 0, 0)
    until(lambda: client.told().state == "lost")
    with serving(predictor, at=port) as served:  # without its state: the numbers begin anew
        served.post([reading("a", hour) for hour in range(20, 22)])
        until(lambda: counted(client, "a") == [2])
        assert client.told().restarts == 1


def test_lines_that_are_lost_are_told(predictor, looked, tmp_path):
    with serving(predictor, tmp_path / "s.db", keep=3) as served:
        port = served.feed.socket.getsockname()[1]
        client = looked(served.feed.address)
        client.watch(["a"])
        served.post([reading("a", 0)])
        until(lambda: counted(client, "a") == [1])
    with serving(predictor, tmp_path / "s.db", keep=3) as served:
        served.post([reading("a", hour) for hour in range(1, 11)])
    with serving(predictor, tmp_path / "s.db", at=port, keep=3):
        until(lambda: counted(client, "a") == [4])
        assert client.told().gone == 7


def test_a_stream_that_wants_a_token(predictor, looked, monkeypatch):
    with serving(predictor, token=TOKEN) as served:
        client = looked(served.feed.address)
        client.watch(["a"])
        until(lambda: client.told().state == "refused")
        assert "FORECAST_TOKEN" in client.told().words and TOKEN not in repr(client.told())
        monkeypatch.setenv("FORECAST_TOKEN", TOKEN)
        served.post(reading("a", 0))
        known = looked(served.feed.address)
        known.watch(["a"])
        until(lambda: counted(known, "a") == [1])


def test_it_ends_when_nobody_looks_and_begins_again(predictor, looked):
    with serving(predictor) as served:
        client = looked(served.feed.address, idle_s=0.3)
        before = threading.active_count()
        for _ in range(2):
            client.watch(["a"])
            until(lambda: len(served.feed.hub.listeners) == 1)
            until(lambda: not client.running)
            until(lambda: not served.feed.hub.listeners)
            assert not client.rings and client.told().state == "idle"
        until(lambda: threading.active_count() <= before)


def test_many_who_look_at_other_series_hold_no_more(predictor, looked, monkeypatch):
    monkeypatch.setattr(module, "KEYS", 4)
    with serving(predictor) as served:
        client = looked(served.feed.address)
        for number in range(30):
            client.watch([f"s{number}"])
        assert len(client.rings) == len(client.wanted) <= 5
        served.post(reading("s29", 0))
        until(lambda: counted(client, "s29") == [1])
        time.sleep(0.05)
        assert len(served.feed.hub.listeners) == 1
