"""forecast stream for a run of events as people run it: pipes, kills, replays, requests."""

from pathlib import Path
from threading import Event

import numpy as np
import orjson
import polars as pl
import pytest

from forecast.errors import UsageError
from forecast.streaming.event_live import EventLive
from forecast.streaming.feeds.replay import File
from forecast.streaming.live import Live
from forecast.streaming.parsing import LONGEST
from forecast.streaming.store import Store
from forecast.streaming.streamer import Streamer
from forecast.verbs.tables import replayed
from tests.streaming.event_made import MARKS, START, made, scanned, streamed, table
from tests.streaming.killed import killed
from tests.streaming.serving import serving_of
from tests.streaming.test_streamer import Kept, through
from tests.verbs.conftest import command

SMALL = [
    "task=event", "model=aaren", "trainer=smoke", "track=none", "data=events", "data.path=f.parquet", "data.id=who",
    "data.time=when", "data.mark=what", "data.unit=hour", "data.covariates=amount", "data.periods=day",
    "data.splits={train: 0.6, val: 0.2, test: 0.2}", "model.d_model=8", "model.heads=2", "model.d_ff=8",
    "model.layers=1", "predictions=false", "quiet=true",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """The folder of a trained run."""
    folder = tmp_path_factory.mktemp("events")
    table().write_parquet(folder / "f.parquet")
    command("train", *SMALL, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return made(tmp_path_factory.mktemp("chain"))


def lines(sequences: int, count: int, *, seed: int = 0) -> list[bytes]:
    """Events in the order of time, some of them late, twice, with an unknown mark, or no event at all."""
    draw, found, hours = np.random.default_rng(seed), [], 0.0
    for _ in range(count):
        hours += draw.exponential(1 / sequences)
        what = draw.random()
        time = START + np.timedelta64(round((hours - (50 if what < 0.01 else 0)) * 3.6e9), "us")
        mark = "strange" if 0.01 < what < 0.03 else str(draw.choice(MARKS))
        amount = None if what > 0.95 else round(float(draw.lognormal(2, 1)), 2)
        name = f"s{draw.integers(sequences)}"
        line = orjson.dumps({"unique_id": name, "ds": str(time), "mark": mark, "amount": amount})
        if 0.03 < what < 0.04:
            line = draw.bytes(12).replace(b"\n", b" ")
        found += [line, line] if 0.04 < what < 0.08 else [line]
    return found


def near(one, other):
    """Equal lines, but for the last digits of numbers."""
    assert len(one) == len(other)
    for a, b in zip(map(orjson.loads, one), map(orjson.loads, other), strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            if isinstance(value, float) or key == "p":
                assert value == pytest.approx(b[key], rel=1e-3, abs=1e-4)
            elif key not in ("mark", "next"):
                assert value == b[key]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_any_cut_of_the_lines_gives_the_same_output(predictor, size):
    given, whole, cut = lines(5, 200), Kept(), Kept()
    one, other = Streamer(streamed(predictor), sink=whole), Streamer(streamed(predictor), sink=cut)
    through(one, given, 50)
    through(other, given, size)
    near(whole.lines, cut.lines)
    assert {**one.counts, "batches": 0} == {**other.counts, "batches": 0}
    assert {"ok", "first", "duplicate", "late", "unreadable", "unknown mark"} <= one.counts.keys()
    assert one.counts["forecasts"] == sum(one.counts[word] for word in ("ok", "first", "unknown mark"))


def test_a_line_says_when_and_what_and_how_likely_the_last_was(predictor):
    sink = Kept()
    streamer = Streamer(streamed(predictor, levels=[0.25]), sink=sink)
    streamer.process([
        b'{"who": "x", "when": "2025-01-01T00:00:00Z", "what": "buy", "amount": 1, "id": 7}',
        b'{"unique_id": "x", "ds": "2025-01-01 02:00", "mark": "look"}',
    ])  # fmt: skip
    first, line = map(orjson.loads, sink.lines)
    assert list(first) == [
        "seq", "unique_id", "ds", "status", "id", "nats", "tail", "mean", "median", "q25", "unit", "next", "mark", "p"
    ]  # fmt: skip
    assert first["id"] == 7 and first["status"] == "first" and first["nats"] is first["tail"] is None
    assert line["ds"] == "2025-01-01T02:00:00" and line["unit"] == "hour" and line["q25"] < line["median"]
    assert line["nats"] < 0 < line["tail"] < 1 and set(line["p"]) == set(MARKS)
    ahead = (np.datetime64(line["next"], "us") - np.datetime64(line["ds"], "us")) / np.timedelta64(1, "h")
    assert ahead == pytest.approx(line["median"], rel=1e-5) and line["mark"] == max(line["p"], key=line["p"].get)


@pytest.mark.parametrize(("line", "reason"), [
    (b'{"who": "x", "when": "soon", "what": "buy"}', "'when' is 'soon'; expected a stamp"),
    (b'{"who": "x", "when": 3, "what": "buy"}', "'when' is 3; expected a stamp"),
    (b'{"who": "x", "when": "2025-01-01"}', "'what' is missing; expected the name of a mark"),
    (b'{"who": "x", "when": "2025-01-01", "what": ""}', "'what' is ''; expected the name of a mark"),
    (b'{"who": "x", "when": "2025-01-01", "what": true}', "'what' is True; expected the name of a mark"),
    (b'{"who": "x", "when": "2025-01-01", "what": "buy", "amont": 3}', "'amont' is no column"),
    (b'{"who": "x", "when": "2025-01-01", "what": "buy", "amount": "3"}', "'amount' is '3'; expected a number or null"),
    (b'{"who": "x", "when": "2025-01-01", "what": "buy", "amount": 1e400}', "no JSON"),
    (b'{"who": "x", "when": "2025-01-01", "what": "buy", "amount": 1e30}', "the reading is implausible; expected cov"),
    (b'["x"]', "no JSON object; expected one with who, when, what, amount"),
    (b" " * LONGEST + b"{}", "the line has"),
])  # fmt: skip
def test_lines_that_are_no_events(predictor, line, reason):
    batch = Streamer(streamed(predictor)).process([line])
    (refused,) = batch.refused
    assert refused.reason.startswith(reason)


def test_sequences_that_gave_way_come_back_as_they_were(predictor, tmp_path):
    given, whole, few = lines(9, 200), Kept(), Kept()
    through(Streamer(streamed(predictor), sink=whole), given, 3)
    live = streamed(predictor, most=4)
    store = Store(tmp_path / "s.db", live.stamp, sync="normal")
    live.states.fetch = store.fetch
    through(Streamer(live, store=store, sink=few), given, 3)
    assert whole.lines == few.lines and store.count() == 9 and len(live.states) <= 4
    store.close()


def test_those_that_would_begin_anew_are_forgotten(predictor, tmp_path):
    live = streamed(predictor, longest=30.0)
    store = Store(tmp_path / "s.db", live.stamp, sync="normal")
    streamer = Streamer(live, store=store)
    for name, day in (("x", 1), ("y", 2), ("z", 9)):
        streamer.process([orjson.dumps({"who": name, "when": f"2025-01-0{day}T00:00:00", "what": "buy"})])
    assert streamer.counts["forgotten"] == 2 and store.count() == 1
    store.close()


def test_a_killed_stream_leaves_what_one_does_that_was_not(home, tmp_path):
    assert killed(home, tmp_path, 3, settings=(), given=lines(70, 4000)) >= 2


def test_the_command_line_and_what_it_refuses(home, tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([*lines(4, 60), b""]))
    words = ["stream", "run=latest", f"runs={home}/runs", "feed=file", "feed.path=in.jsonl"]
    done = command(*words, "output=out.jsonl", "longest=1000", cwd=tmp_path)
    assert "4 series" in done.stderr and "filled" not in done.stderr
    made = [orjson.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [line["seq"] for line in made] == list(range(1, len(made) + 1)) and made[0]["status"] == "first"
    refused = command(*words, "gaps=fill", cwd=tmp_path, code=2)
    assert "gaps=fill with a run of events" in refused.stderr and refused.stderr.count("\n") == 1
    live = Live.load("latest", runs=home / "runs")
    assert isinstance(live, EventLive) and live.push("s0", "2024-01-01", "buy").ids == ["s0"]


def test_a_replay_says_what_forecasts_were_worth(home, tmp_path):
    words = ["stream", "run=latest", f"runs={home}/runs", "feed=replay", f"feed.path={home}/f.parquet"]
    done = command(*words, "output=out.jsonl", "feed.scores=scores.json", "feed.batch=13", cwd=tmp_path)
    found = orjson.loads((tmp_path / "scores.json").read_bytes())
    assert replayed(found) in done.stderr and "live − one scan: at most" in done.stderr
    assert found["live_minus_scan"] < 1e-4 and found["forecasts_compared"] == 40 and found["events"] == 6 * 39
    own = found["scores"]["streamed"]
    live = Live.load("latest", runs=home / "runs")
    nats = np.concatenate([each for _, each in scanned(live.predictor, pl.read_parquet(home / "f.parquet")).values()])
    assert [own["time"], own["mark"]] == pytest.approx(nats.mean(0).tolist(), rel=1e-3)
    assert own["rmse"] >= own["mae"] > 0 <= own["accuracy"] <= 1
    last, errors = {}, []
    for line in map(orjson.loads, (tmp_path / "out.jsonl").read_bytes().splitlines()):
        time = np.datetime64(line["ds"], "us")
        if (before := last.get(line["unique_id"])) is not None:
            errors.append(before[1] - (time - before[0]) / np.timedelta64(1, "h"))
        last[line["unique_id"]] = time, line["mean"]
    assert own["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-3)
    refused = command(*words, "feed.windowed=true", cwd=tmp_path, code=2)
    assert "feed.windowed=true with a run of events" in refused.stderr


def test_a_replay_goes_on_where_it_was_left(predictor, tmp_path):
    table(names="xyz", events=30).write_parquet(tmp_path / "r.parquet")
    whole, cut = Kept(), Kept()
    File(path=str(tmp_path / "r.parquet"), batch=10).run(Streamer(streamed(predictor), sink=whole), Event())
    live = streamed(predictor)
    streamer = Streamer(live, sink=cut)
    streamer.position = 0
    feed = File(path=str(tmp_path / "r.parquet"), batch=10)

    class Stop(Event):
        """Set after some batches."""

        def is_set(self):
            return streamer.position == 40 or super().is_set()

    feed.run(streamer, Stop())
    assert streamer.position == 40
    feed.run(streamer, Event())
    assert cut.lines == whole.lines and feed.found["forecasts_compared"] == 0
    with pytest.raises(UsageError, match="every=false with feed=replay"):
        feed.run(Streamer(streamed(predictor), every=False), Event())


def test_requests_are_answered_with_the_next_event(predictor):
    with serving_of(streamed(predictor)) as served:
        event = {"unique_id": "x", "ds": "2025-01-01T00:00:00", "mark": "buy"}
        done = served.post([event, event, {**event, "ds": "2024-01-01"}, {**event, "mark": None}])
        found = done.json()
        assert [one["status"] for one in found["results"]] == ["first", "duplicate", "late", "unreadable"]
        forecast = found["results"][0]["forecast"]
        assert found["taken"] == 1 and found["duplicates"] == 1 and forecast["next"] > forecast["ds"]
        now = served.client.get("/v1/forecast/x").json()
        assert now == {key: value for key, value in forecast.items() if key != "seq"}
        assert served.client.get("/v1/forecast/y").status_code == 404
        assert served.client.post("/v1/reset/x").json()["reset"]
        assert served.post([event]).json()["results"][0]["status"] == "first"
        assert 'forecast_readings_total{status="late"} 1.0' in served.client.get("/metrics").text
