"""The OpenAPI document is true: whatever fits it is answered, whatever does not is refused, every reply conforms."""

import logging

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.serving.served import serving, wave

SHORT, LONG = 25, 1000  # examples of each path


@pytest.fixture(scope="module")
def series(predictor):
    with serving(predictor, max_steps=100) as served:
        yield served


def fuzz(served, mode: str, examples: int) -> int:
    schema = schemathesis.openapi.from_url(f"{served.client.base_url}/openapi.json")
    checked = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode == "negative" and operation.method.upper() == "GET":  # nothing is asked that could be wrong
            continue

        @hypothesis.settings(
            max_examples=examples, deadline=None, derandomize=examples == SHORT, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate],
        )  # fmt: skip
        @hypothesis.given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
        def check(case):
            # with on_bad=error what a time or a value is decides, which no schema says
            data = isinstance(case.body, dict) and case.body.get("on_bad") == "error"
            skipped = [positive_data_acceptance] if data else []
            case.call_and_validate(base_url=str(served.client.base_url), excluded_checks=skipped)

        check()
        checked += 1
    return checked


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_series(series, mode, caplog):
    assert fuzz(series, mode, SHORT) == (5 if mode == "positive" else 1)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert series.post(wave()).status_code == 200


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_classes(classes, mode, caplog):
    with serving(classes, "classify", max_steps=100) as served:
        assert fuzz(served, mode, SHORT // 3) == (5 if mode == "positive" else 1)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_events(events, mode, caplog):
    with serving(events, "event", max_steps=100) as served:
        assert fuzz(served, mode, SHORT // 3) == (5 if mode == "positive" else 1)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.long
@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("task", ["forecast", "classify", "event"])
def test_long(predictor, classes, events, task, mode, caplog):
    asked = {"forecast": predictor, "classify": classes, "event": events}[task]
    with serving(asked, task, max_steps=100) as served:
        fuzz(served, mode, LONG)
        assert served.client.get("/readyz").status_code == 200
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
