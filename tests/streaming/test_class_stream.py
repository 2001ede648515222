"""forecast stream for a run of classification as people run it: pipes, kills, replays, requests."""

import json
from pathlib import Path
from threading import Event

import numpy as np
import orjson
import polars as pl
import pytest

from forecast.errors import UsageError
from forecast.streaming.class_live import ClassLive
from forecast.streaming.feeds.replay import File
from forecast.streaming.live import Live
from forecast.streaming.store import Store
from forecast.streaming.streamer import Streamer
from forecast.verbs.tables import replayed
from tests.streaming.class_made import CLASSES, made, streamed, table
from tests.streaming.killed import killed
from tests.streaming.serving import serving_of
from tests.streaming.test_stream import piped
from tests.streaming.test_streamer import Kept, through
from tests.verbs.conftest import command

SMALL = [
    "experiment=smoke_classes", "data=labelled", "data.path=f.parquet", "data.test=test.parquet", "data.id=who",
    "data.time=when", "data.label=state", "data.channels=[flow,heat]", "data.missing=-99", "model.d_model=8",
    "model.heads=2", "model.d_ff=8", "model.layers=1", "quiet=true",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """The folder of a trained run."""
    folder = tmp_path_factory.mktemp("classes")
    table().write_parquet(folder / "f.parquet")
    table(names=[f"t{n}" for n in range(20)], seed=1).write_parquet(folder / "test.parquet")
    command("train", *SMALL, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return made(tmp_path_factory.mktemp("chain"))


def lines(series: int, count: int, *, seed: int = 0) -> list[bytes]:
    """Steps of series that end and begin anew, some of them late, twice, or no step at all."""
    draw, found = np.random.default_rng(seed), []
    clock = np.zeros(series)
    for _ in range(count):
        which, what = int(draw.integers(series)), draw.random()
        line = {"unique_id": f"s{which}"}
        clock[which] += draw.integers(1, 4)
        line["ds"] = float(clock[which] - (9 if what < 0.02 else 0))
        line |= {"flow": round(float(draw.normal(3, 2)), 3), "heat": None if what > 0.9 else float(draw.integers(9))}
        if 0.02 < what < 0.06:
            line["end"] = True
        if 0.06 < what < 0.09:
            line = {"unique_id": line["unique_id"], "end": True}
        text = orjson.dumps(line)
        if 0.09 < what < 0.1:
            text = draw.bytes(12).replace(b"\n", b" ")
        found += [text, text] if 0.1 < what < 0.14 else [text]
    return found


def near(one, other):
    """Equal lines, but for the last digits of probabilities."""
    assert len(one) == len(other)
    for a, b in zip(map(orjson.loads, one), map(orjson.loads, other), strict=True):
        for line in (a, b):
            line["classes"] = [line["classes"][name] for name in sorted(line["classes"])]
        assert a.keys() == b.keys()
        for key, value in a.items():
            if key != "label":
                assert value == (pytest.approx(b[key], abs=1e-5) if key in ("p", "classes") else b[key])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_any_cut_of_the_lines_gives_the_same_output(predictor, size):
    given, whole, parts = lines(5, 200), Kept(), Kept()
    one, other = Streamer(streamed(predictor), sink=whole), Streamer(streamed(predictor), sink=parts)
    through(one, given, 50)
    through(other, given, size)
    near(whole.lines, parts.lines)
    assert {**one.counts, "batches": 0} == {**other.counts, "batches": 0}
    assert {"ok", "first", "ended", "duplicate", "late", "unreadable"} <= one.counts.keys()
    assert one.counts["forecasts"] == sum(one.counts[word] for word in ("ok", "first", "ended"))


def test_a_line_says_the_class_and_how_likely_each_is(predictor):
    sink = Kept()
    Streamer(streamed(predictor), sink=sink).process([
        b'{"who": "x", "when": 1, "flow": 3.5, "heat": -99, "state": "odd", "id": 7}',
        b'{"unique_id": "x", "ds": 2.5, "heat": 1}',
        b'{"who": "x", "end": true}',
        b'{"who": "x", "when": 0, "flow": null}',
    ])  # fmt: skip
    first, second, last, anew = map(orjson.loads, sink.lines)
    assert list(first) == ["seq", "unique_id", "ds", "step", "status", "id", "label", "p", "classes"]
    assert (first["id"], first["status"], first["step"], first["ds"]) == (7, "first", 1, 1.0)
    assert set(first["classes"]) == set(CLASSES) and sum(first["classes"].values()) == pytest.approx(1, abs=1e-6)
    assert first["label"] == next(iter(first["classes"])) and first["p"] == max(first["classes"].values())
    assert (second["status"], second["step"], second["ds"]) == ("ok", 2, 2.5)
    assert (last["status"], last["step"]) == ("ended", 2) and last["classes"] == second["classes"]
    assert (anew["status"], anew["step"]) == ("first", 1)


@pytest.mark.parametrize(("line", "reason"), [
    (b'{"who": "x", "when": "soon", "flow": 1}', "'when' is 'soon'; expected a number"),
    (b'{"who": "x", "flow": 1}', "'when' is missing; expected a number"),
    (b'{"who": "x", "flow": 1, "end": true}', "'when' is missing; expected a number"),
    (b'{"when": 1, "flow": 1}', "'who' is missing; expected the name of a series"),
    (b'{"who": "x", "when": 1}', "there is no value; expected flow, heat"),
    (b'{"who": "x", "when": 1, "end": false}', "there is no value; expected flow, heat"),
    (b'{"who": "x", "when": 1, "end": 1}', "'end' is 1; expected true where a series ends"),
    (b'{"who": "x", "when": 1, "flaw": 3}', "'flaw' is no column"),
    (b'{"who": "x", "when": 1, "flow": "3"}', "'flow' is '3'; expected a number or null"),
    (b'{"who": "x", "when": 1, "flow": 1e30}', "the reading is implausible; expected values within a million"),
    (b'{"who": "x", "end": true}', "the reading ends a series that has not begun"),
    (b'["x"]', "no JSON object; expected one with who, when, flow, heat"),
])  # fmt: skip
def test_lines_that_are_no_steps(predictor, line, reason):
    (refused,) = Streamer(streamed(predictor)).process([line]).refused
    assert refused.reason.startswith(reason)


def test_without_times_each_line_is_the_next_step(tmp_path):
    sink = Kept()
    batch = Streamer(streamed(made(tmp_path, time=None)), sink=sink).process(
        [b'{"who": "x", "flow": 1}', b'{"who": "x", "flow": 1}', b'{"who": "x", "flow": 2, "end": true}', b"[]"]
    )
    found = list(map(orjson.loads, sink.lines))
    assert [(line["step"], line["status"]) for line in found] == [(1, "first"), (2, "ok"), (3, "ended")]
    assert "ds" not in found[0] and batch.refused[0].reason == "no JSON object; expected one with who, flow, heat"


def test_series_that_gave_way_come_back_and_those_that_ended_are_forgotten(predictor, tmp_path):
    given, whole, few = lines(9, 200), Kept(), Kept()
    one = Streamer(streamed(predictor), sink=whole)
    through(one, given, 3)
    live = streamed(predictor, most=4)
    store = Store(tmp_path / "s.db", live.stamp, sync="normal")
    live.states.fetch = store.fetch
    through(Streamer(live, store=store, sink=few), given, 3)
    assert whole.lines == few.lines and len(live.states) <= 4
    assert store.count() == len(one.live.states) < 9
    store.close()


def test_those_that_would_begin_anew_are_forgotten(tmp_path):
    live = streamed(made(tmp_path, time="stamps"), longest=30.0)
    store = Store(tmp_path / "s.db", live.stamp, sync="normal")
    streamer = Streamer(live, store=store)
    for name, second in (("x", 1), ("y", 2), ("z", 50), ("x", 52)):
        streamer.process([orjson.dumps({"who": name, "when": f"2025-01-01T00:00:{second:02}", "flow": 1})])
    assert streamer.counts["forgotten"] == 2 and store.count() == 2 and streamer.counts["restarted"] == 1
    store.close()


def test_a_killed_stream_leaves_what_one_does_that_was_not(home, tmp_path):
    assert killed(home, tmp_path, 3, settings=(), given=lines(70, 4000)) >= 2


def test_the_command_line_and_what_it_refuses(home, tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([*lines(4, 60), b""]))
    words = ["stream", "run=latest", f"runs={home}/runs"]
    done = command(*words, "feed=file", "feed.path=in.jsonl", "output=out.jsonl", "longest=1000", cwd=tmp_path)
    assert " ended" in done.stderr and "filled" not in done.stderr
    made = [orjson.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [line["seq"] for line in made] == list(range(1, len(made) + 1)) and made[0]["status"] == "first"
    refused = command(*words, "feed=file", "feed.path=in.jsonl", "gaps=fill", cwd=tmp_path, code=2)
    assert "gaps=fill with a run of classification" in refused.stderr and refused.stderr.count("\n") == 1
    live = Live.load("latest", runs=home / "runs")
    assert isinstance(live, ClassLive) and live.push("s0", {"flow": 1.0}, 1).ids == ["s0"]


def test_a_pipe_and_a_file_give_the_same(home, tmp_path):
    given = b"\n".join([*lines(3, 40), b""])
    (tmp_path / "in.jsonl").write_bytes(given)
    words = ["stream", "run=latest", f"runs={home}/runs", "feed=file", "feed.path=in.jsonl", "output=out.jsonl"]
    command(*words, "feed.batch=1", cwd=tmp_path)
    done = piped(["run=latest", f"runs={home}/runs", "feed.batch=1"], given, tmp_path)
    assert done.stdout == (tmp_path / "out.jsonl").read_bytes() and done.stdout.count(b"ended")


def test_a_replay_says_what_the_run_says_of_early_classes(home, tmp_path):
    words = ["stream", "run=latest", f"runs={home}/runs", "feed=replay", f"feed.path={home}/test.parquet"]
    done = command(*words, "output=out.jsonl", "feed.scores=scores.json", "feed.batch=13", cwd=tmp_path)
    found = orjson.loads((tmp_path / "scores.json").read_bytes())
    assert replayed(found) in done.stderr and "live − one pass over whole series: at most" in done.stderr
    assert found["live_minus_scan"] < 1e-5 and found["forecasts_compared"] == found["series"] == 20
    (run,) = (home / "runs" / "train").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    for own, kept in zip(found["early"], metrics["early"], strict=True):
        assert own["series"] == 20 and own["accuracy"] == kept["accuracy"] and own["fraction"] == kept["fraction"]
        assert own["log_loss"] == pytest.approx(kept["log_loss"], rel=1e-5)
    assert found["most_frequent"]["accuracy"] == metrics["rows"][-1]["accuracy"]
    last = [orjson.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    ended = {line["unique_id"]: line["label"] for line in last if line["status"] == "ended"}
    guesses = pl.read_parquet(run / "predictions.parquet")
    assert ended == dict(zip(guesses["unique_id"], guesses["guess"], strict=True))
    refused = command(*words, "feed.windowed=true", cwd=tmp_path, code=2)
    assert "feed.windowed=true with a run of classification" in refused.stderr


def test_a_replay_goes_on_where_it_was_left(predictor, tmp_path):
    table(names="xyz", seed=9).write_parquet(tmp_path / "r.parquet")
    whole, parts = Kept(), Kept()
    File(path=str(tmp_path / "r.parquet"), batch=10).run(Streamer(streamed(predictor), sink=whole), Event())
    streamer = Streamer(streamed(predictor), sink=parts)
    streamer.position = 0
    feed = File(path=str(tmp_path / "r.parquet"), batch=10)

    class Stop(Event):
        """Set after some batches."""

        def is_set(self):
            return streamer.position == 20 or super().is_set()

    feed.run(streamer, Stop())
    assert streamer.position == 20
    feed.run(streamer, Event())
    assert parts.lines == whole.lines and feed.found["forecasts_compared"] == 0
    with pytest.raises(UsageError, match="every=false with feed=replay"):
        feed.run(Streamer(streamed(predictor), every=False), Event())


def test_a_replay_without_labels_scores_nothing_and_refused_rows_are_told(predictor, tmp_path):
    frame = table(names="xyz", seed=9).drop("state").with_columns(
        heat=pl.when(pl.int_range(pl.len()) == 4).then(1e20).otherwise("heat")
    )  # fmt: skip
    frame.write_parquet(tmp_path / "r.parquet")
    rejects = Kept()
    feed = File(path=str(tmp_path / "r.parquet"), batch=10)
    feed.run(Streamer(streamed(predictor), rejects=rejects), Event())
    (line,) = map(orjson.loads, rejects.lines)
    assert feed.found == {} and "is implausible" in line["reason"] and orjson.loads(line["line"])["unique_id"] == "x"


def test_requests_are_answered_with_the_class_so_far(predictor, tmp_path):
    with serving_of(streamed(predictor), tmp_path / "s.db", max_series=2) as served:
        step, end = {"unique_id": "x", "ds": 1, "flow": 2.0}, {"unique_id": "x", "end": True}
        done = served.post([step, step, {**step, "ds": 0}, {**step, "ds": 2, "flow": "a"}]).json()
        assert [one["status"] for one in done["results"]] == ["first", "duplicate", "late", "unreadable"]
        told = done["results"][0]["forecast"]
        now = served.client.get("/v1/forecast/x").json()
        assert now == {key: value for key, value in told.items() if key != "seq"} and now["step"] == 1
        final = served.post([{**step, "ds": 3}, {**step, "ds": 3}, end]).json()
        assert [one["status"] for one in final["results"]] == ["ok", "duplicate", "ended"]
        assert final["results"][2]["forecast"]["step"] == 2 and "forecast" not in final["results"][1]
        assert served.client.get("/v1/forecast/x").status_code == 404
        assert served.client.get("/v1/state").json()["series"] == 0
        for name in "abcdef":  # each makes room for the next
            assert served.post([{**step, "unique_id": name}]).json()["taken"] == 1
            assert served.post([{**end, "unique_id": name}]).json()["results"][0]["status"] == "ended"
        words = [one["status"] for one in served.post([end, {**step, "unique_id": "g"}, {**step}]).json()["results"]]
        assert words == ["not begun", "first", "first"]
        assert served.client.get("/v1/state").json()["series"] == 2
        assert 'forecast_readings_total{status="ended"} 7.0' in served.client.get("/metrics").text
