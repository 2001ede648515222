"""Who may ask, how much at once, what is said of a request that is wrong, and how the server ends."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from forecast.errors import RunError, UsageError
from forecast.serving.model import Model
from forecast.serving.rate import CLIENTS, Rate
from forecast.serving.server import Server
from tests.serving.served import Given, serving, until, wave

TOKEN = "0123456789abcdef"


# Who may ask ----------------------------------------------------------------------------------------------------------


def test_other_hosts_and_their_pages_are_refused(small):
    for host in ("127.0.0.1", "localhost:80", "[::1]:8000", "example.org"):
        assert small.client.get("/v1/model", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example/@localhost", ""):
        found = small.client.get("/v1/model", headers={"Host": host})
        assert found.status_code == 403 and "one of hosts" in found.json()["error"]
    found = small.client.post(small.path, json={}, headers={"Origin": "http://evil.example"})
    assert found.status_code == 403 and "pages of other hosts" in found.json()["error"]
    assert small.client.post(small.path, json={}, headers={"Origin": "http://localhost:3000"}).status_code == 422
    assert small.client.get("/healthz").headers["x-content-type-options"] == "nosniff"


def test_a_token_is_asked_for_but_by_health(predictor):
    with serving(predictor, token=TOKEN) as served:
        assert served.post(wave()).status_code == 200
        with httpx.Client(base_url=served.client.base_url) as other:
            for path in ("/healthz", "/readyz"):
                assert other.get(path).status_code == 200
            for path in ("/v1/model", "/metrics", "/openapi.json"):
                found = other.get(path)
                assert found.status_code == 401 and found.headers["www-authenticate"] == "Bearer"
            assert other.post(served.path, json={}, headers={"Authorization": "Bearer x"}).status_code == 401
        document = served.client.get("/openapi.json").json()
        assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def test_options_that_are_wrong_are_refused():
    for options, words in (
        ({"max_batch": 0}, "max_batch is 0"), ({"rate": -1}, "rate is -1"), ({"timeout_s": 0}, "timeout_s is 0"),
        ({"queue": 10}, "at least max_series"), ({"host": "0.0.0.0"}, "token is not set"),
        ({"token": "short"}, "token has 5 signs"), ({"port": 70_000}, "port is 70000"),
        ({"hosts": ["a:1"]}, "hosts is"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            Server(**options)


# How much -------------------------------------------------------------------------------------------------------------


def test_what_is_too_much_is_refused(small):
    found = small.client.post(small.path, content=b" " * 20_001)
    assert found.status_code == 413 and "20,000 bytes" in found.json()["error"]
    found = small.post(*[wave(f"{n}") for n in range(6)])
    assert found.status_code == 422 and "6 series; expected at most 5" in found.json()["error"]
    rows = [{"unique_id": f"{n}", "ds": "2024-01-01", "y": 1.0} for n in range(6)]
    found = small.client.post(small.path, json={"rows": rows})
    assert found.status_code == 422 and "more than 5 series" in found.json()["error"]
    found = small.post(wave("a", 201))
    assert found.status_code == 422 and "expected a list of 1 to 200" in found.json()["error"]
    found = small.post(wave("a"), horizon=5)
    assert found.status_code == 422 and "expected 1 to 4" in found.json()["error"]
    found = small.client.post(small.path, content=b"{}", headers={"Content-Encoding": "gzip"})
    assert found.status_code == 415
    assert small.server.desk.waiting == 0 and small.server.bodies.room == 8 * 20_000


def test_a_client_that_asks_too_often_is_told_when_to_come_again(predictor):
    with serving(predictor, rate=5) as served:
        codes = [served.post(wave()).status_code for _ in range(8)]
        assert codes[:5] == [200] * 5 and 429 in codes
        served.server.rate.rate = 0.5
        found = served.post(wave())
        assert found.status_code == 429 and int(found.headers["retry-after"]) in (1, 2, 3)
        assert "expected at most 0.5 requests a second" in found.json()["error"]
        assert served.client.get("/v1/model").status_code == 200
        assert "forecast_limited_total" in served.client.get("/metrics").text


def test_a_bucket_fills_again_and_old_clients_are_forgotten(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    rate = Rate(2)
    assert [rate.wait("a") for _ in range(3)] == [0, 0, 0.5]
    assert rate.wait("b") == 0
    now[0] += 0.5
    assert [rate.wait("a"), rate.wait("a")] == [0, 0.5]
    now[0] += 100
    assert [rate.wait("a") for _ in range(3)] == [0, 0, 0.5]
    for number in range(CLIENTS):
        rate.wait(str(number))
    assert len(rate.clients) == CLIENTS and "a" not in rate.clients
    assert [Rate(0).wait("a") for _ in range(3)] == [0, 0, 0]


def test_a_full_queue_is_told_at_once(small):
    with ThreadPoolExecutor(8) as pool:
        with small.held():
            waiting = [pool.submit(small.post, *[wave(f"{n}") for n in range(3)]) for _ in range(2)]
            until(lambda: small.server.desk.waiting == 7)
            full = small.post(wave("a"), wave("b"))
            assert full.status_code == 503 and full.headers["retry-after"] == "1"
            assert full.json() == {"error": "7 series are waiting; expected at most 8"}
            assert "forecast_queue_series 7.0" in small.client.get("/metrics").text
        assert [each.result().status_code for each in waiting] == [200] * 2
    until(lambda: small.server.desk.waiting == 0)


def test_a_request_that_waits_too_long_is_told(predictor):
    with serving(predictor, timeout_s=0.2) as served:
        with served.held():
            found = served.post(wave())
            assert found.status_code == 504 and "no answer within 0.2 s" in found.json()["error"]
        until(lambda: served.server.desk.waiting == 0)
        assert served.post(wave()).status_code == 200
        assert "forecast_timeouts_total 2.0" in served.client.get("/metrics").text


def test_who_is_alone_does_not_wait(predictor):
    with serving(predictor, max_wait_ms=5000) as served:
        began = time.monotonic()
        for _ in range(3):
            assert served.post(wave()).status_code == 200
        assert time.monotonic() - began < 4


def test_a_batch_has_an_end(predictor):
    with serving(predictor, max_batch=4) as served, ThreadPoolExecutor(9) as pool:
        with served.held():
            waiting = [pool.submit(served.post, *[wave(f"{n}")] * size) for n, size in enumerate((3, 2, 9, 1))]
            until(lambda: served.server.desk.jobs.qsize() >= 4)
        assert [len(each.result().json()["forecasts"]) for each in waiting] == [3, 2, 9, 1]


# What is wrong --------------------------------------------------------------------------------------------------------

ODD = [
    (b"{", 400, "no JSON"), (b"[]", 422, "no object"), (b"{}", 422, "either series or rows"),
    (b'{"series": []}', 422, "holds something"), (b'{"series": [1]}', 422, "no object"),
    (b'{"series": [{}], "serious": 1}', 422, "did you mean series?"), (b'{"rows": [1]}', 422, "a row is no object"),
    (b'{"series": [{"unique_id": "a", "yy": 1}]}', 422, "has 'yy'"), (b'{"series": [{"y": [1]}]}', 422, "unique_id is"),
    (b'{"rows": [{"unique_id": 3}]}', 422, "unique_id is 3"), (b'{"rows": []}', 422, "rows is []"),
    (b'{"rows": [{"unique_id": "a", "z": 3}]}', 422, "'z' is no column"),
]  # fmt: skip
WRONG = [
    ({"y": ["1"]}, "no number"), ({"y": [True]}, "no number"), ({"y": 3}, "'y' of series 'a' is 3"),
    ({"y": []}, "1 to"),
    ({"values": {"y": [1]}}, "has y"), ({"ds": ["2024-01-01"]}, "expected ds, or start and freq"),
    ({"start": 3}, "start of series 'a' is 3"), ({"freq": 3}, "freq 3"), ({"unique_id": ""}, "unique_id is ''"),
    ({"unique_id": "a" * 257}, "at most 256"), ({"known": {"x": [1]}}, "'x' is not known"), ({"known": 1}, "known of"),
    ({"static": {"x": 1}}, "'x' is not static"), ({"static": []}, "static of"), ({"mark": ["a"]}, "has marks"),
]  # fmt: skip


@pytest.mark.parametrize("body, code, words", ODD)
def test_a_body_that_is_wrong(small, body, code, words):
    found = small.client.post(small.path, content=body)
    assert found.status_code == code and words in found.json()["error"] and "\n" not in found.json()["error"]


@pytest.mark.parametrize("change, words", WRONG)
def test_a_series_that_has_another_form(small, change, words):
    found = small.post(wave("a") | change)
    assert found.status_code == 422 and words in found.json()["error"]


@pytest.mark.parametrize(
    "asked", [{"levels": [1.0]}, {"levels": [0.5, 0.5]}, {"levels": 0.5}, {"levels": ["a"]}, {"horizon": 0},
              {"horizon": True}, {"on_bad": "ignore"}, {"now": 3}]
)  # fmt: skip
def test_what_cannot_be_asked(small, asked):
    (key,) = asked
    found = small.post(wave("a"), **asked)
    assert found.status_code == 422 and key in found.json()["error"]


def test_other_forms_of_series(small):
    one = wave("a")
    for change in ({"values": 3}, {"values": {}}, {"values": {"z": [1]}}, {"values": {"y": [1]}, "ds": [3]}):
        odd = {"unique_id": "a", "ds": ["2024-01-01"]} | change
        assert small.post(odd).status_code == 422
    assert small.post({key: one[key] for key in ("unique_id", "y")}).status_code == 422


def test_paths_and_methods_that_are_not_there(small):
    assert small.client.get("/v2").json() == {"error": "Not Found"}
    found = small.client.get(small.path)
    assert found.status_code == 405 and found.headers["allow"] == "POST"
    assert small.client.delete("/v1/model").status_code == 405


def test_a_defect_ends_one_request_and_says_nothing(predictor, monkeypatch, caplog):
    from forecast.serving import work as module

    with serving(predictor) as served, ThreadPoolExecutor(8) as pool:
        own = module.forecast_frame

        def broken(table, *rest):
            if "defect" in table["unique_id"].to_list():
                raise ZeroDivisionError("secret")
            return own(table, *rest)

        monkeypatch.setattr(module, "forecast_frame", broken)
        with served.held():
            odd = wave("a") | {"y": [None, *wave("a")["y"][1:]]}
            waiting = [pool.submit(served.post, odd | {"unique_id": name}) for name in ("b", "defect", "c")]
            until(lambda: served.server.desk.jobs.qsize() >= 3)
        codes = [each.result().status_code for each in waiting]
        assert codes == [200, 500, 200]
        assert waiting[1].result().json() == {"error": "a defect of the server"}
        assert "a batch failed: ZeroDivisionError: secret" in caplog.text
        assert served.post(wave()).status_code == 200


def test_a_client_that_leaves_harms_nobody(small):
    address = small.client.base_url
    for sent in (
        b"POST /v1/forecast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{",
        b"\x00\xff\r\n\r\n",
        b"GET",
    ):
        with socket.create_connection((address.host, address.port)) as gone:
            gone.sendall(sent)
    assert small.post(wave()).status_code == 200


# How it begins and ends -----------------------------------------------------------------------------------------------


def test_what_waits_is_answered_at_the_end(predictor):
    with serving(predictor) as served, ThreadPoolExecutor(8) as pool:
        with served.held():
            waiting = [pool.submit(served.post, wave(name)) for name in "abc"]
            until(lambda: served.server.desk.waiting == 4)
            served.stop.set()
        assert [each.result().status_code for each in waiting] == [200] * 3
        served.thread.join(20)
        assert served.fault is None
        with pytest.raises(httpx.ConnectError):
            served.client.get("/readyz")


def test_while_it_ends_nothing_is_taken(predictor):
    with serving(predictor) as served, served.held():
        served.server.desk.phase = "ending"
        for ask in (served.client.get("/readyz"), served.post(wave()), served.client.get("/v1/model")):
            assert ask.status_code == 503 and ask.json() == {"error": "the server is ending"}
            assert ask.headers["retry-after"] == "1"
        assert served.client.get("/healthz").status_code == 200


def test_a_server_that_is_gone_ends_the_program(predictor):
    with serving(predictor) as served:
        served.server.server.should_exit = True
        served.thread.join(20)
        assert isinstance(served.fault, RunError) and "ended by itself" in str(served.fault)


def test_a_model_that_cannot_be_loaded_ends_the_program(predictor):
    source = Given(Model(predictor, "forecast", "r"), fault=RunError("no such model"))
    server = Server(port=0)
    with pytest.raises(RunError, match="no such model"):
        server.run(source, threading.Event())
    assert server.thread is None and server.socket.fileno() == -1
