"""Predictors of small chains, not trained, of all three tasks; a server of the first that several tests ask."""

import pytest

from tests.serving.served import serving
from tests.streaming import class_made, event_made, made


@pytest.fixture(scope="session")
def predictor(tmp_path_factory):
    return made.made(tmp_path_factory.mktemp("chain"))[1]


@pytest.fixture(scope="session")
def masking(tmp_path_factory):
    """It is told what was not observed."""
    return made.made(tmp_path_factory.mktemp("masking"), gaps="mask")[1]


@pytest.fixture(scope="session")
def classes(tmp_path_factory):
    return class_made.made(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="session")
def events(tmp_path_factory):
    return event_made.made(tmp_path_factory.mktemp("events"))


@pytest.fixture(scope="module")
def small(predictor):
    """With narrow limits."""
    with serving(
        predictor, max_body=20_000, max_series=5, max_steps=200, queue=8, hosts="example.org", timeout_s=5
    ) as served:
        yield served
