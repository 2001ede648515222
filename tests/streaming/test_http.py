"""The server of a stream: what is answered, and to whom."""

from threading import Event

import httpx
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from forecast.streaming.feeds.file import File
from forecast.streaming.live import Live
from forecast.streaming.sinks import FileSink
from forecast.streaming.store import Store
from forecast.streaming.streamer import Streamer
from tests.streaming.serving import reading, serving

TOKEN = "0123456789abcdef"
LINES = {"Content-Type": "application/x-ndjson"}


def lines(readings):
    return b"\n".join(map(orjson.dumps, readings))


# Readings -------------------------------------------------------------------------------------------------------------


def test_each_reading_is_answered_in_its_order(predictor):
    with serving(predictor) as served:
        first = served.post(reading("a", 0, 1.0, id=7))
        assert first.status_code == 200 and first.headers["content-type"] == "application/json"
        one = first.json()["results"][0]
        assert one["status"] == "warming" and one["forecast"]["seq"] == 1 and one["forecast"]["id"] == 7
        assert len(one["forecast"]["y_hat"]) == len(one["forecast"]["ds"]) == len(one["forecast"]["q05"]) == 4

        mixed = [
            reading("a", 1), reading("a", 1), {"unique_id": "a"}, reading("b", 1), reading("a", 0, 9.0), 5,
            reading("a", 3, 1e12), reading("a", 2),
        ]  # fmt: skip
        found = served.post(mixed).json()
        said = [each["status"] for each in found["results"]]
        assert said == [
            "warming", "duplicate", "unreadable", "warming", "late", "unreadable", "implausible", "warming"
        ]  # fmt: skip
        assert (found["taken"], found["duplicates"], found["refused"]) == (3, 1, 4)
        assert all(("reason" in each) == ("forecast" not in each) for each in found["results"])
        taken = [each["forecast"]["seq"] for each in found["results"] if each["status"] == "warming"]
        assert sorted(taken) == [2, 3, 4]
        again = found["results"][1]["forecast"]  # the latest of its series, after all of the request
        assert again["cutoff"] == "2024-02-01T02:00:00" and "seq" not in again
        assert again["y_hat"] == pytest.approx(found["results"][-1]["forecast"]["y_hat"], rel=1e-5)
        assert again == served.client.get("/v1/forecast/a").json()

        last = lines([reading("a", 3), reading("b", 2)]) + b"\n\n \n{\n"
        found = served.client.post("/v1/update", content=last, headers=LINES)
        assert [each["status"] for each in found.json()["results"]] == ["warming", "warming", "unreadable"]
        assert served.post([reading("a", 0, 5.0), {}]).status_code == 422


@pytest.mark.parametrize(
    "body, kind, code",
    [
        (b"", "", 400), (b"[]", "", 400), (b"{", "", 400), (b"3", "", 400), (b"\xff\xfe", "", 400),
        (b"\n \n", "application/x-ndjson", 400), (b"\xff", "application/x-ndjson; charset=utf-8", 422),
        (b"[" * 5000, "application/json", 400), (b'[{"unique_id":"\\ud800"}]', "application/json", 400),
        (b"[[]]", "application/json", 422),
    ],
)  # fmt: skip
def test_bodies_that_hold_no_reading(small, body, kind, code):
    found = small.client.post("/v1/update", content=body, headers={"Content-Type": kind})
    assert found.status_code == code
    assert code == 422 or set(found.json()) == {"error"}
    assert "Traceback" not in found.text and "\n" not in found.text


def test_whatever_a_reading_holds_the_stream_goes_on(predictor):
    odd = [
        None, [], {}, [[]], {"a": 1}, True, 0, -1, 1e308, 2**63, "", " ", "\0", "nan", "inf", "\u2028", "é" * 300, -0.0,
        "2024-13-01T00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "1678-01-01T00:00:00+14:00", 5e-324,
    ]  # fmt: skip
    every = [{**reading("a", 0), key: value} for key in ("unique_id", "ds", "y", "id", "z") for value in odd]
    with serving(predictor) as served:
        found = served.post(every)
        assert found.status_code == 200 and len(found.json()["results"]) == len(every)
        assert all(one["status"] for one in found.json()["results"])
        assert served.post(reading("b", 0)).json()["taken"] == 1


def test_forecasts_are_those_of_a_file(predictor, tmp_path):
    readings = [reading(name, hour) for hour in range(40) for name in ("a", "bb", "ccc")]
    readings[10:10] = [reading("a", 1), {"unique_id": "a"}, reading("a", 2)]
    (tmp_path / "in.jsonl").write_bytes(lines(readings) + b"\n")
    out = FileSink(tmp_path / "out.jsonl", sync=False)
    streamed = Live(predictor, "w", engine="torch")
    File(path=str(tmp_path / "in.jsonl"), batch=25).run(Streamer(streamed, sink=out), Event())
    out.file.close()
    with serving(predictor, batch=10) as served:
        results = []
        for first, until in ((0, 1), (1, 8), (8, 70), (70, len(readings))):  # one is larger than a batch
            results += served.post(readings[first:until]).json()["results"]
    own = [each["forecast"] for each in results if each["status"] not in ("duplicate", "unreadable", "late")]
    assert len(results) == len(readings)
    theirs = list(map(orjson.loads, (tmp_path / "out.jsonl").read_bytes().splitlines()))
    key = lambda line: (line["unique_id"], line["cutoff"])  # noqa: E731
    assert sorted(line["seq"] for line in own) == [line["seq"] for line in theirs]
    for one, other in zip(sorted(own, key=key), sorted(theirs, key=key), strict=True):
        assert {**one, "seq": 0, "y_hat": 0, "q05": 0, "q95": 0} == {**other, "seq": 0, "y_hat": 0, "q05": 0, "q95": 0}
        assert one["y_hat"] == pytest.approx(other["y_hat"], rel=1e-5)
        assert one["q95"] == pytest.approx(other["q95"], rel=1e-5)


def test_a_stream_that_corrects_itself_and_goes_back(predictor):
    with serving(predictor, live={"correct": True, "rewind": 4}) as served:
        served.post([reading("a", hour) for hour in range(20)])
        again = [reading("a", 19), reading("a", 18, 1.5), reading("a", 2, 1.5)]
        said = served.post(again).json()["results"]
        assert [one["status"] for one in said] == ["duplicate", "revised", "late"]
        assert said[0]["forecast"]["p"] is None and said[1]["forecast"]["alarm"] is False
        assert said[0]["forecast"]["q95"] == pytest.approx(said[1]["forecast"]["q95"], rel=1e-3)


def test_a_series_is_found_in_memory_and_in_the_store(predictor, tmp_path):
    odd = ["a/b", "../../etc/passwd", "é ü", "%2e", "x?y=#", "/"]
    with serving(predictor, tmp_path / "s.db", live={"most": 3}, batch=3) as served:
        for name in odd:
            assert served.post(reading(name, 0, 1.0)).status_code == 200
        for name in odd:
            found = served.client.get(
                f"/v1/forecast/{httpx.QueryParams({'': name})}".replace("=", "", 1).replace("+", "%20")
            )
            assert found.status_code == 200 and found.json()["unique_id"] == name
        assert len(served.streamer.live.states) == 3
        unknown = served.client.get("/v1/forecast/nothing")
        assert unknown.status_code == 404 and unknown.json() == {"error": "there is no series 'nothing'"}
        served.post(reading("bad", 0, 1e15))  # it has a place in memory and no state
        assert served.client.get("/v1/forecast/bad").status_code == 404
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.db", "s.db.lock"]


def test_a_reset_series_begins_anew_and_stays_so(predictor, tmp_path):
    with serving(predictor, tmp_path / "s.db") as served:
        served.post([reading("a", hour) for hour in range(20)])
        assert served.client.get("/v1/forecast/a").json()["status"] == "ok"
        assert served.client.post("/v1/reset/a").status_code == 200
        assert served.client.get("/v1/forecast/a").status_code == 404
        assert served.client.post("/v1/reset/nothing").status_code == 404
        assert served.client.get("/v1/state").json()["series"] == 1  # its name is held
    with serving(predictor, tmp_path / "s.db") as served:
        assert served.client.get("/v1/forecast/a").status_code == 404
        assert served.post(reading("a", 5)).json()["results"][0]["status"] == "warming"


def test_the_state_and_its_copy(predictor, tmp_path):
    with serving(predictor, tmp_path / "s.db") as served:
        served.post([reading("a", 0), reading("b", 0), {}])
        found = served.client.get("/v1/state").json()
        assert (found["run"], found["series"], found["seq"], found["kept"]) == ("r", 2, 2, True)
        assert found["counts"]["unreadable"] == 1 and found["bytes_per_series"] > 100 and found["uptime_s"] >= 0
        copied = served.client.post("/v1/snapshot")
        assert copied.status_code == 201
        (copy,) = tmp_path.glob("s-*.db")
        assert copied.json() == {"file": copy.name, "bytes": copy.stat().st_size, "seq": 2}
        served.post(reading("a", 1))
    store = Store(copy, served.streamer.live.stamp)
    assert store.count() == 2 and store.facts()["seq"] == 2
    store.close()
    with serving(predictor) as served:
        assert served.client.post("/v1/snapshot").json()["error"].startswith("the stream keeps nothing")


# Who is let in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host, code",
    [
        ("localhost", 200), ("127.0.0.1:99", 200), ("[::1]:8000", 200), ("LOCALHOST.", 200), ("example.org", 200),
        ("evil.example", 403), ("localhost.evil.example", 403), ("127.0.0.1@evil.example", 403), ("", 403),
        ("evil.example#@localhost", 403), ("evil.example@localhost", 403), ("[::1", 403), ("10.0.0.1", 403),
    ],
)  # fmt: skip
def test_only_known_hosts_are_served(small, host, code):
    for path in ("/healthz", "/v1/state"):
        found = small.client.get(path, headers={"Host": host})
        assert found.status_code == code, found.text
        assert (
            found.headers["x-content-type-options"] == "nosniff"
            and "default-src" in found.headers["content-security-policy"]
        )


def test_pages_of_other_hosts_are_refused(small):
    ask = small.client.post
    assert ask("/v1/reset/a", headers={"Origin": "https://evil.example"}).status_code == 403
    assert ask("/v1/reset/a", headers={"Origin": "null"}).status_code == 403
    assert ask("/v1/reset/a", headers={"Origin": small.feed.address}).status_code == 404


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/v1", "/v1/update/", "//etc/passwd"])
def test_nothing_else_is_served(small, path):
    found = small.client.get(path)
    assert found.status_code == 404 and found.json() == {"error": "Not Found"}


def test_a_token_is_asked_for(predictor):
    with serving(predictor, token=TOKEN) as served:
        assert served.client.get("/v1/state").status_code == 200
        bare = httpx.Client(base_url=served.feed.address)
        with bare:
            for given in (
                {},
                {"Authorization": TOKEN},
                {"Authorization": f"Bearer {TOKEN}x"},
                {"Authorization": "Bearer é"},
            ):
                encoded = {key: value.encode("latin-1") for key, value in given.items()}
                for path in ("/v1/state", "/metrics", "/v1/stream", "/nothing"):
                    found = bare.get(path, headers=encoded)
                    assert found.status_code == 401 and found.headers["www-authenticate"] == "Bearer"
            assert bare.get("/healthz").status_code == bare.get("/readyz").status_code == 200


# For those who watch --------------------------------------------------------------------------------------------------


def test_metrics_are_of_prometheus(predictor):
    with serving(predictor, max_series=2) as served:
        served.post([reading("a", 0), reading("a", 0), reading("b", 0), {}, reading("c", 0)])
        served.client.get("/nothing")
        text = served.client.get("/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
        found = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text.text) for sample in family.samples
        }  # fmt: skip
        assert found["forecast_readings_total", "warming"] == 2 and found["forecast_readings_total", "duplicate"] == 1
        assert found["forecast_readings_total", "unreadable"] == 2 == found["forecast_refused_total",]
        assert found["forecast_forecasts_total",] == 2 and found["forecast_alarms_total",] == 0
        assert found["forecast_series",] == 2 and found["forecast_queue_length",] == 0 == found["forecast_listeners",]
        assert found["forecast_process_rss_bytes",] > 1e7
        assert found["forecast_request_seconds_count", "200", "/v1/update"] == 1
        assert found["forecast_request_seconds_count", "404", "other"] == 1
        assert found["forecast_batch_seconds_count",] == 1 and found["forecast_batch_readings_sum",] == 3
