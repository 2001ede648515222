"""Runs, one of each task, made once for all tests of jobs."""

from pathlib import Path

import pytest

from tests.jobs import made


@pytest.fixture(scope="session")
def series(tmp_path_factory) -> Path:
    return made.series_run(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="session")
def events(tmp_path_factory) -> Path:
    return made.event_run(tmp_path_factory.mktemp("events"))


@pytest.fixture(scope="session")
def classes(tmp_path_factory) -> Path:
    return made.class_run(tmp_path_factory.mktemp("classes"))
