"""What a stream was like lately."""

import pytest

from forecast.streaming.serving.recent import RATE_S, REQUESTS, Recent
from tests.streaming.serving import reading, serving


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rates_are_means_of_whole_seconds_and_old_ones_are_forgotten():
    clock = Clock()
    recent = Recent(clock, lambda: 2.0)
    assert recent.facts() == {"readings_per_s": 0, "forecasts_per_s": 0, "requests": 0, "lag_s": None}
    for second in range(30):
        clock.now = 100.0 + second
        for _ in range(4):
            recent.batch(5, 3, second * 10_000)
            recent.request(0.001 * (second % 10))
            clock.now += 0.2
    found = recent.facts()
    assert (found["readings_per_s"], found["forecasts_per_s"]) == (20, 12)
    assert found["requests"] == 120 and found["p50_ms"] == pytest.approx(4.5) and found["p99_ms"] == 9
    assert found["lag_s"] == pytest.approx(2 - 0.29)
    clock.now += 2 * RATE_S
    assert recent.facts()["readings_per_s"] == 0
    clock.now += 100
    assert "p50_ms" not in recent.facts()
    for _ in range(2 * REQUESTS):
        recent.request(1.0)
    assert recent.facts()["requests"] == REQUESTS


def test_the_state_says_what_a_page_about_it_needs(predictor):
    with serving(predictor) as served:
        assert served.client.get("/v1/series").json() == {"series": []}
        served.post([reading("a", 0), reading("b", 0), reading("alpha", 0), {}])
        served.post([reading("b", 1), reading("b", 0, 9.0)])
        found = served.client.get("/v1/state").json()
        assert (found["kind"], found["channels"], found["horizon"], found["freq"]) == ("series", ["y"], 4, "h")
        assert found["columns"] == ["q05", "q95"] and found["counts"]["late"] == 1 and found["units"] == [""]
        assert found["requests"] == 2 and 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] < 20_000
        assert found["lag_s"] > 1e6  # its readings are of 2024
        assert found["state_bytes"] >= 3 * found["bytes_per_series"] and found["store_bytes"] is None
        assert (found["queue"], found["listeners"]) == (0, 0)
        metrics = served.client.get("/metrics").text
        assert "forecast_lag_seconds" in metrics and f"forecast_state_bytes {found['state_bytes']}" in metrics

        assert served.client.get("/v1/series").json()["series"][0] == "b"
        assert sorted(served.client.get("/v1/series").json()["series"]) == ["a", "alpha", "b"]
        assert served.client.get("/v1/series?find=A").json()["series"][-1] in ("a", "alpha")
        assert served.client.get("/v1/series?find=a&most=1").json() == {"series": ["a"]}
        assert served.client.get("/v1/series?most=0").status_code == 400
        served.client.post("/v1/reset/a")


def test_a_line_says_what_was_read(predictor):
    with serving(predictor, live={"rewind": 3}) as served:
        made = served.post([reading("a", 0, 1.25), {**reading("a", 1), "y": None}, reading("a", 0, 2.0)]).json()
        lines = [each.get("forecast") for each in made["results"]]
        assert lines[0]["y"] == 1.25 and lines[1]["y"] is None
        assert made["results"][2]["status"] == "revised" and "y" not in lines[2]  # its cutoff is another reading's
        assert "y" not in served.client.get("/v1/forecast/a").json()
