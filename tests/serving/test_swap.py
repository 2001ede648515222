"""Another model takes the place of the one that is served, while requests come; in one process, and for real: the
program, a registry, an alias that moves."""

import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import mlflow
import numpy as np
import polars as pl
import pytest
import torch

from forecast.artifacts import Run
from forecast.errors import ArtifactError, RunError
from forecast.inference.predictor import Predictor
from forecast.serving.model import Model
from forecast.verbs.serve import polled
from tests.faults.case import TRAIN
from tests.faults.make import csv
from tests.serving.served import Given, serving, until, wave
from tests.tracked import register
from tests.verbs.conftest import REPO, command

CLIENTS = 8


# In one process -------------------------------------------------------------------------------------------------------


def other(predictor: Predictor, version: str) -> Model:
    return Model(predictor, "forecast", f"run {version}", name="load", version=version)


def test_another_model_is_taken_up(predictor, masking):
    source = Given(other(predictor, "1"))
    with serving(None, source=source) as served:
        assert served.post(wave()).json()["version"] == "1"
        assert not served.server.watch.look() and source.loads == 1
        source.model = other(masking, "2")
        assert served.server.watch.look() and source.loads == 2
        found = served.post(wave()).json()
        assert (found["run"], found["name"], found["version"]) == ("run 2", "load", "2")
        text = served.client.get("/metrics").text
        assert 'forecast_model_info{name="load",run="run 2",task="forecast",version="2"} 1.0' in text
        assert 'version="1"' not in text and 'forecast_model_swaps_total{outcome="swapped"} 1.0' in text
        assert served.said[-1].startswith("serving load version 2, run run 2: x, task=forecast at /v1/forecast")


def test_a_request_is_answered_by_the_model_that_was_there_when_it_came(predictor, masking):
    source = Given(other(predictor, "1"))
    with serving(None, source=source) as served:
        found: list[str] = []
        ask = [threading.Thread(target=lambda: found.append(served.post(wave()).json()["version"])) for _ in range(6)]
        with served.held():
            for each in ask[:3]:
                each.start()
            until(lambda: served.server.desk.jobs.qsize() == 3)
            source.model = other(masking, "2")
            assert served.server.watch.look()
            for each in ask[3:]:
                each.start()
            until(lambda: served.server.desk.jobs.qsize() == 6)
        for each in ask:
            each.join(20)
        assert sorted(found) == ["1"] * 3 + ["2"] * 3


def test_a_model_of_another_task_answers_elsewhere(predictor, classes):
    source = Given(other(predictor, "1"))
    with serving(None, source=source) as served:
        document = served.client.get("/openapi.json").json()
        source.model = Model(classes, "classify", "run 2", name="load", version="2")
        assert served.server.watch.look()
        assert served.post(wave()).status_code == 404
        after = served.client.get("/openapi.json").json()
        assert "/v1/forecast" in document["paths"] and "/v1/classify" in after["paths"]


def test_a_model_that_is_bad_is_not_served(predictor):
    source = Given(other(predictor, "1"))
    with serving(None, source=source) as served:
        source.model, source.fault = other(predictor, "2"), ArtifactError("it is damaged", do="train again")
        assert not served.server.watch.look() and not served.server.watch.look()
        assert source.loads == 2  # it is tried once
        assert served.said[-1] == "version 2 is not served: it is damaged; train again; the one that is loaded stays"
        source.model, source.fault = other(predictor, "3"), KeyError("defect")
        assert not served.server.watch.look()
        assert served.said[-1] == "version 3 is not served: KeyError: 'defect'; the one that is loaded stays"
        assert served.post(wave()).json()["version"] == "1"
        assert 'outcome="refused"} 2.0' in served.client.get("/metrics").text
        source.model, source.fault = other(predictor, "4"), None
        assert served.server.watch.look() and served.post(wave()).json()["version"] == "4"


def test_a_store_that_is_away_is_told_once(predictor):
    source = Given(other(predictor, "1"))
    with serving(None, source=source) as served:
        own = source.version

        def away() -> str:
            raise RunError("nobody answers")

        source.version = away
        before = len(served.said)
        assert not served.server.watch.look() and not served.server.watch.look()
        (line,) = served.said[before:]
        assert line == "which model to serve cannot be looked up: nobody answers; the one that is loaded stays"
        source.version = own
        source.model = other(predictor, "2")
        assert served.server.watch.look()
        assert 'outcome="unreachable"} 2.0' in served.client.get("/metrics").text


def test_a_model_that_forecasts_no_numbers_is_refused(predictor):
    broken = copy.copy(predictor)
    broken.chain = copy.deepcopy(predictor.chain)
    with torch.no_grad():
        for weight in broken.chain.parameters():
            weight.fill_(np.nan)
    with pytest.raises(ArtifactError, match="run r forecasts what is no number"):
        Model(broken, "forecast", "r").tried()
    del broken.chain
    with pytest.raises(ArtifactError, match="run r cannot forecast: .*chain"):
        Model(broken, "forecast", "r").tried()


def test_when_to_look():
    assert [polled("models:/a@b", None), polled("models:/a@b", 0), polled("models:/a@b", 3)] == [10, 0, 3]
    assert [polled("latest", None), polled("latest", 5), polled("models:/a/3", None), polled("x", 0)] == [0, 5, 0, 0]


# The program ----------------------------------------------------------------------------------------------------------


class Here(NamedTuple):
    folder: Path
    runs: list[Path]
    uri: str


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Here:
    """Two runs, both registered; a third version is damaged."""
    folder = tmp_path_factory.mktemp("registry")
    csv()(folder)
    found: list[Path] = []
    for seed in (1, 2):
        command(*TRAIN.split(), "model=linear", "quiet=true", f"seed={seed}", cwd=folder)
        found += [path for path in (folder / "runs" / "train").iterdir() if path not in found]
    for number, run in enumerate(found):
        register(run, folder / "mlflow.db", "load", alias=None if number else "champion")
    uri = f"sqlite:///{folder}/mlflow.db"
    damaged = folder / "damaged" / "run"
    shutil.copytree(found[0], damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    mlflow.MlflowClient(uri).create_model_version("load", damaged.parent.as_uri(), await_creation_for=0)
    return Here(folder, found, uri)


class Process:
    """`forecast serve` on a free port; `said` is what it wrote on stderr, as it comes."""

    def __init__(self, here: Here, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "forecast", "serve", "port=0", f"runs={here.folder}/runs", *words],
            cwd=here.folder, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": here.uri},
        )  # fmt: skip
        self.said: list[str] = []
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr))
        self.reader.start()
        until(lambda: self.process.poll() is not None or self.address, 120)
        assert self.address, self.said

    @property
    def address(self) -> str:
        return next((m[1] for line in self.said if (m := re.match(r"listening on (http://\S+)", line))), "")

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        self.process.stderr.close()

    def ended(self) -> int:
        code = self.process.wait(30)
        self.reader.join()
        return code


class Asking(threading.Thread):
    """A client that asks as fast as it can, and keeps what it is told until the server is gone."""

    def __init__(self, address: str, body: dict[str, Any], stop: threading.Event) -> None:
        super().__init__()
        self.address, self.body, self.stop = address, body, stop
        self.found: list[tuple[int, str, list[float]]] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.address, timeout=20) as client:
            while not self.stop.is_set():
                try:
                    reply = client.post("/v1/forecast", json=self.body)
                except httpx.HTTPError:  # it has ended
                    return
                told = reply.json() if reply.status_code == 200 else {"version": "", "forecasts": [{"y_hat": []}]}
                self.found.append((reply.status_code, told["version"], told["forecasts"][0]["y_hat"]))


def test_an_alias_moves_under_load_and_no_request_is_lost(here):
    frame = pl.read_csv(here.folder / "f.csv")
    body = {"series": [{"ds": frame["ds"].to_list(), "y": frame["y"].to_list()}]}
    wanted = {
        str(number): Predictor.load(Run(run)).predict(here.folder / "f.csv")["y_hat"].to_list()
        for number, run in enumerate(here.runs, 1)
    }
    assert wanted["1"] != wanted["2"]
    client, stop = mlflow.MlflowClient(here.uri), threading.Event()
    client.set_registered_model_alias("load", "champion", "1")
    with Process(here, "run=models:/load@champion", "poll_s=0.1") as served:
        clients = [Asking(served.address, body, stop) for _ in range(CLIENTS)]
        for each in clients:
            each.start()

        def seen(version: str) -> bool:
            return all(each.found and each.found[-1][1] == version for each in clients)

        for version in ("1", "2", "1", "2"):
            client.set_registered_model_alias("load", "champion", version)
            until(lambda version=version: seen(version), 60)
        client.set_registered_model_alias("load", "champion", "3")
        until(lambda: any("is not served" in line for line in served.said), 60)
        counts = [len(each.found) for each in clients]
        until(lambda: all(len(each.found) > count + 5 for each, count in zip(clients, counts, strict=True)), 60)
        assert seen("2")
        metrics = httpx.get(f"{served.address}/metrics").text
        served.process.send_signal(signal.SIGTERM)  # while they ask
        assert served.ended() == 0
        for each in clients:
            each.join(30)
    turns = set()
    for each in clients:
        codes = [code for code, *_ in each.found]
        assert set(codes) <= {200, 503} and codes == sorted(codes)  # refused at the very end only
        versions = [version for code, version, _ in each.found if code == 200]
        turns.add("".join(a for a, b in zip(versions, [*versions[1:], ""], strict=True) if a != b))
        for code, version, y_hat in each.found:
            if code == 200:
                assert y_hat == pytest.approx(wanted[version], rel=1e-6)
    assert turns == {"1212"}
    assert 'outcome="swapped"} 3.0' in metrics and 'outcome="refused"} 1.0' in metrics
    assert 'version="2"} 1.0' in metrics
    said = "".join(served.said)
    assert said.count("serving load version 2, run ") == 2 and "Traceback" not in said
    assert re.search(r"version 3 is not served: .*model.safetensors is not what the run wrote; .*the one that", said)


def test_newer_runs_take_over_and_ctrl_c_ends_it(here):
    with Process(here, "run=latest", "poll_s=0.1") as served, httpx.Client(base_url=served.address) as client:
        newest = max(here.runs, key=lambda run: run.name)
        assert client.get("/v1/model").json()["run"] == newest.name
        shutil.copytree(newest, newest.with_name("29990101T000000Z-00000000"))
        try:
            until(lambda: client.get("/v1/model").json()["run"].startswith("2999"))
        finally:
            shutil.rmtree(newest.with_name("29990101T000000Z-00000000"))
        time.sleep(0.3)
        served.process.send_signal(signal.SIGINT)
        assert served.ended() == 130
        assert served.said[-1] == "forecast: interrupted\n"


def test_a_run_that_is_not_there(here):
    done = command("serve", "run=nothing", "port=0", cwd=here.folder, code=4)
    assert done.stderr.count("\n") == 1 and "no run 'nothing'" in done.stderr
