"""A stream in one process: however its lines are cut, whatever gives way to others, it gives the same."""

import orjson
import pytest

from forecast.errors import UsageError
from forecast.streaming.sinks import FileSink
from forecast.streaming.store import Store
from forecast.streaming.streamer import Streamer
from tests.streaming.conftest import lines
from tests.streaming.made import made, streamed


class Kept:
    """A sink that cannot be cut back."""

    exact = False

    def __init__(self):
        self.lines = []

    def write(self, lines):
        self.lines += lines

    def close(self):
        pass

    def length(self):
        return 0

    def cut(self, length):
        raise AssertionError


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return made(tmp_path_factory.mktemp("run"), gaps="mask")[1]


def through(streamer, given, size):
    for first in range(0, len(given), size):
        streamer.process(given[first : first + size], first + size)


def near(one, other):
    """Equal lines, but for the last digits of numbers: batches of another size are added up in another order."""
    assert len(one) == len(other)
    for a, b in zip(map(orjson.loads, one), map(orjson.loads, other), strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert value == (pytest.approx(b[key], rel=1e-4, abs=1e-4) if key in ("y_hat", "q05", "q95") else b[key])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_any_cut_of_the_lines_gives_the_same_output(predictor, size):
    given, whole, cut = lines(3, 60), Kept(), Kept()
    one, other = Streamer(streamed(predictor), sink=whole), Streamer(streamed(predictor), sink=cut)
    through(one, given, 50)
    through(other, given, size)
    near(whole.lines, cut.lines)
    ignored = {"batches"}
    assert {k: v for k, v in one.counts.items() if k not in ignored} == {
        k: v for k, v in other.counts.items() if k not in ignored
    }
    kinds = {"ok", "warming", "duplicate", "late", "unreadable"}
    assert kinds <= one.counts.keys() and one.counts["lines"] == len(given)
    assert one.counts["forecasts"] == one.counts["ok"] + one.counts["warming"]


def test_series_that_gave_way_come_back_as_they_were(predictor, tmp_path):
    given, whole, few = lines(9, 30), Kept(), Kept()
    through(Streamer(streamed(predictor), sink=whole), given, 3)
    live = streamed(predictor, most=4)
    store = Store(tmp_path / "s.db", live.stamp, sync="normal")
    live.states.fetch = store.fetch
    through(Streamer(live, store=store, sink=few), given, 3)
    assert whole.lines == few.lines and store.count() == 9 and len(live.states) <= 4
    store.close()


def test_it_goes_on_where_it_was_left(predictor, tmp_path):
    given, expected = lines(4, 40), tmp_path / "whole.jsonl"
    first = Streamer(streamed(predictor), sink=FileSink(expected, sync=False))
    through(first, given, 20)
    first.close()
    out, rejects = tmp_path / "out.jsonl", tmp_path / "rejects.jsonl"
    for first in range(0, len(given), 20):  # a new process for every batch, and what it wrote after its last commit
        live = streamed(predictor)
        store = Store(tmp_path / "s.db", live.stamp, sync="normal")
        live.states.fetch = store.fetch
        sinks = [FileSink(path, sync=False) for path in (out, rejects)]
        streamer = Streamer(live, store=store, sink=sinks[0], rejects=sinks[1])
        assert (streamer.position or 0) == first
        streamer.process(given[first : first + 20], first + 20)
        for sink in sinks:
            sink.write([b"not committed"])
        streamer.close()
    assert out.read_bytes() == expected.read_bytes() + b"not committed\n"
    reasons = [orjson.loads(line)["reason"] for line in rejects.read_bytes().splitlines()[:-1]]
    assert len(reasons) == streamer.counts["unreadable"] + streamer.counts["late"]
    out.write_bytes(b"")
    store, sink = Store(tmp_path / "s.db", live.stamp), FileSink(out, sync=False)
    with pytest.raises(UsageError, match="fewer than this stream has written"):
        Streamer(streamed(predictor), store=store, sink=sink)
    store.close()
    sink.close()


def test_a_kill_in_the_first_batch_is_cut_back_and_older_rejects_stay(predictor, tmp_path):
    out, rejects = tmp_path / "out.jsonl", tmp_path / "rejects.jsonl"
    rejects.write_bytes(b"older\n")
    for written in (b"not committed", None):
        live = streamed(predictor)
        store = Store(tmp_path / "s.db", live.stamp, sync="normal")
        streamer = Streamer(live, store=store, sink=FileSink(out, sync=False), rejects=FileSink(rejects, sync=False))
        assert out.read_bytes() == b"" and rejects.read_bytes() == b"older\n"
        if written:
            streamer.sink.write([written])
            streamer.rejects.write([written])
        streamer.close()


def test_lines_that_were_not_handed_over_are_handed_over_again(predictor, tmp_path):
    given, sink = lines(2, 10), Kept()
    live = streamed(predictor)
    store = Store(tmp_path / "s.db", live.stamp, sync="normal")
    streamer = Streamer(live, store=store, sink=sink)
    streamer.process(given[:10], 10)
    handed = len(sink.lines)

    def broken(lines):
        raise ConnectionError("gone")

    sink.write = broken
    with pytest.raises(ConnectionError):
        streamer.process(given[10:], 20)
    store.close()
    again = Kept()
    store = Store(tmp_path / "s.db", live.stamp)
    assert Streamer(streamed(predictor), store=store, sink=again).position == 20
    whole = Kept()
    through(Streamer(streamed(predictor), sink=whole), given, 10)
    near(again.lines, whole.lines[handed:])
    assert store.given(0) == []
    store.close()


def test_series_silent_for_too_long_are_forgotten_without_a_trace(predictor, tmp_path):
    early, later = lines(3, 10), [
        orjson.dumps({"unique_id": "other", "ds": f"2025-02-{day:02}T00:00:00", "y": 1.0}) for day in range(1, 20)
    ]  # fmt: skip
    back = [orjson.dumps({"unique_id": "s0", "ds": "2025-03-01T00:00:00", "y": 1.0})]
    found = {}
    for name, store in (("kept", None), ("purged", tmp_path / "s.db")):
        live, sink = streamed(predictor, longest=24), Kept()
        held = None if store is None else Store(store, live.stamp, sync="normal")
        streamer = Streamer(live, store=held, sink=sink)
        for some in (early, *([line] for line in later)):
            streamer.process(some)
        if held is not None:
            assert held.count() == 1 and streamer.counts["forgotten"] == 3
            live.states.forget(["s0"])
        streamer.process(back)
        found[name] = orjson.loads(sink.lines[-1])
    assert found["kept"].pop("status") == "restarted" and found["purged"].pop("status") == "warming"
    assert found["kept"] == found["purged"]
