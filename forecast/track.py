"""Tracking as a training sees it: what the server should know is appended to the run's journal, and that is all.

A process of its own sends the journal on (forecast.verbs.follow), so a server that is dead, slow or silent costs the
training nothing; what was not sent stays in the run folder for `forecast sync`.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from forecast.artifacts import Run
from forecast.errors import UsageError
from forecast.spool import SQLITE, Journal, absolute, lines, shown, trouble
from forecast.told import final_metrics, inputs, part_of
from forecast.where import PACKAGE, RUNS

log = logging.getLogger(__name__)
PARAM_LENGTH = 500  # MLflow refuses longer values on some stores
SILENCE_S = 0.4  # of a store that is at work, before it is asked whether it lives, and how long it may take to answer
WAIT_AFTER_FAILURE_S = 5.0
SAMPLE_S = 10.0  # between two looks at the machine
History = list[tuple[int, int, str, float, float]]


class Tracker:
    """Tracks nothing: what `track=none` asks for, and what every rank but the first gets."""

    def start(self, run: Run, config: Mapping[str, Any], data: Any) -> None:
        """Begin with what is known before training."""

    def log(self, rows: History) -> None:
        """Rows of the training history."""

    def finish(self, run: Run, metrics: Mapping[str, Any]) -> None:
        """Scores, figures and files; register the model if asked; the end."""

    def fail(self, status: str = "FAILED") -> None:
        """The training failed or was killed."""


class MLflowTracker(Tracker):
    """`uri`, `experiment`, `register`, `alias`, `system`, `wait` as in conf/track/mlflow.yaml."""

    def __init__(
        self, *, uri: str, experiment: str | None = None, register: str | None = None, alias: str | None = None,
        system: bool = False, wait: float = 30.0,
    ) -> None:  # fmt: skip
        self.asked, self.uri = uri, absolute(uri)
        self.experiment, self.register, self.alias = experiment, register, alias
        self.system, self.wait = system, wait
        self.journal: Journal | None = None
        self.sampler: Sampler | None = None
        self.sender: Sender | None = None
        self.said = False

    def start(self, run: Run, config: Mapping[str, Any], data: Any) -> None:
        self.again = f"forecast sync run={run.id if run.path.parent == Path(RUNS, 'train').absolute() else run.path}"
        began = time.time()
        with self._kept():
            self.journal = Journal(run.path)
            first = next((line for _, line in lines(run.path) if line["do"] == "create"), None)
            if first is None:
                self.journal.append("create", **self._create(run, config, data.card.name))
                self.journal.append("data", **inputs(data))
            else:  # the directory may be another; the store is the same unless another is asked for
                began = first["at"] / 1000
                self.uri = first["uri"] if first["asked"] == self.asked else self.uri
                self.journal.append("resume", uri=self.uri)
            if self.system:
                self.sampler = Sampler(self._rows, began)
        try:
            self.sender = Sender(run.path, self.uri, self._failed)
        except OSError as error:
            self._failed(f"no process can be started to send to it ({error})")

    def _create(self, run: Run, config: Mapping[str, Any], dataset: str) -> dict[str, Any]:
        task, model = config["task"]["name"], config["model"]["_target_"].rpartition(".")[2].lower()
        environment = run.read("env.json")
        horizon, seed = config["task"].get("horizon"), str(config["seed"])
        ahead = {} if horizon is None else {"horizon": str(horizon)}  # events have none
        tags = {
            "task": task, "dataset": dataset, "model": model, **ahead, "seed": seed,
            "run_folder": str(run.path), "forecast.run": run.id,
            "mlflow.source.name": environment["command"], "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": environment["commit"] or "",
        }  # fmt: skip
        if sweep := str(environment.get("sweep", "")).partition("/")[0]:
            tags["forecast.sweep"] = sweep
        return {
            "uri": self.uri, "asked": self.asked, "experiment": self.experiment or f"{task}/{dataset}",
            "place": (run.path.parents[1] / "mlflow").as_uri() if self.uri.startswith(SQLITE) else None,
            "name": config["name"] or f"{model}{f'-h{horizon}' if ahead else ''}-s{seed}", "tags": tags,
            "params": {key: value[:PARAM_LENGTH] for key, value in flatten(config).items()},
        }  # fmt: skip

    def log(self, rows: History) -> None:
        self._rows([[name, value, step] for step, _, name, value, _ in rows if value == value])

    def _rows(self, rows: list[list[Any]]) -> None:
        if self.journal is not None and rows:
            with self._kept():
                self.journal.append("log", rows=rows)

    def finish(self, run: Run, metrics: Mapping[str, Any]) -> None:
        steps, part = metrics["rows"][0].get("horizon", {}), part_of(metrics)
        scores = [[name, value, 0] for name, value in final_metrics(metrics).items()]
        scores += [
            [f"{part}/{key}_by_step", value, i + 1]
            for key in ("mse", "mae") for i, value in enumerate(steps.get(key, [])) if value is not None
        ]  # fmt: skip
        with self._kept():
            if self.journal is not None:
                self.journal.append("scores", rows=scores)
                for path in sorted(run.path.iterdir()):
                    if path.is_file() and not path.name.startswith(("log.", "mlflow.", ".")):
                        self.journal.append("file", name=path.name)
                self.journal.append("figures")
        self._end("FINISHED", self.wait)

    def fail(self, status: str = "FAILED") -> None:
        self._end(status, min(self.wait, WAIT_AFTER_FAILURE_S))

    def _end(self, status: str, wait_s: float) -> None:
        """The last lines; then the sender is waited for as long as it gets on, at most `wait_s`."""
        if self.sampler is not None:
            self.sampler.stop()
        journal, self.journal = self.journal, None
        if journal is not None:
            with self._kept():
                journal.append("end", status=status)
                if status == "FINISHED" and self.register is not None:
                    journal.append("register", name=self.register, alias=self.alias)
                journal.close()
        sender, self.sender = self.sender, None
        if sender is not None and (why := sender.drain(wait_s)):
            self._failed(why)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """The run folder's disk may be full, which the training will notice by itself if it matters."""
        try:
            yield
        except OSError as error:
            if self.journal is not None:
                self.journal.close()
            self.journal = None
            self._say(f"MLflow: the journal cannot be written ({error}); this run is tracked no further")

    def _failed(self, why: str) -> None:
        kept = f"what it should hear is kept with the run; send it later: {self.again}"
        self._say(f"MLflow at {shown(self.uri)}: {why}; {kept}")

    def _say(self, line: str) -> None:
        if not self.said:
            self.said = True
            log.warning("%s", line)


class Sender:
    """The process that sends a journal; `failed` is called with the reason when the store fails."""

    def __init__(self, folder: Path, uri: str, failed: Callable[[str], None]) -> None:
        self.folder, self.uri, self.failed = folder, uri, failed
        self.state, self.since, self.asked = "starts", time.monotonic(), 0.0
        path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "forecast.verbs.follow", str(folder), uri], env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            stderr=None if os.environ.get("FORECAST_TRACEBACK") == "1" else subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for the training, which then tells this one; a session would void its niceness
        )  # fmt: skip
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            state, _, why = line.strip().partition(" ")
            self.state, self.since = state, time.monotonic()
            if state == "failed":
                self.failed(why)

    def ailing(self) -> str:
        """Why there is nothing to wait for: the store has failed, or is silent and does not answer when asked."""
        if self.state == "failed":
            return "it failed"
        if self.uri.startswith(SQLITE) and self.state in ("opens", "sends"):
            return ""  # it would be found locked, by our own writing; the sender asked before
        now = time.monotonic()
        if now - max(self.since, self.asked) < SILENCE_S:
            return ""
        self.asked = now
        return trouble(self.uri, SILENCE_S)

    def drain(self, wait_s: float) -> str:
        """Let it send the rest, and say why it did not; empty when it did. A store that failed is not waited for."""
        why, deadline = "", time.monotonic() + wait_s
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            with suppress(BrokenPipeError):
                self.process.stdin.close()
            while self.process.poll() is None and not why:
                time.sleep(0.02)
                why = self.ailing()
                if not why and time.monotonic() > deadline:
                    why = f"not all was sent in {wait_s:g} s"
        finally:  # Ctrl-C comes here too
            if self.process.poll() is None:
                self.process.kill()
            code = self.process.wait()
            self.listener.join()
            self.process.stdout.close()
            for left in self.folder.glob(f".*.{self.process.pid}.tmp"):
                left.unlink(missing_ok=True)
        return "" if code == 0 else why or f"the process that sends ended with code {code}"


class Sampler:
    """Every SAMPLE_S seconds what the machine is doing, under MLflow's own names; the step is seconds since `began`."""

    def __init__(self, sink: Callable[[list[list[Any]]], None], began: float) -> None:
        self.sink, self.began, self.over = sink, began, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        import psutil

        psutil.cpu_percent()  # the first call has nothing to compare with
        at_first = psutil.net_io_counters()
        while True:
            last = self.over.wait(SAMPLE_S)
            memory, disk, net = psutil.virtual_memory(), psutil.disk_usage(os.getcwd()), psutil.net_io_counters()
            values = {
                "cpu_utilization_percentage": psutil.cpu_percent(),
                "system_memory_usage_megabytes": memory.used / 1e6,
                "system_memory_usage_percentage": memory.percent,
                "disk_usage_percentage": disk.percent,
                "disk_available_megabytes": disk.free / 1e6,
                "network_receive_megabytes": (net.bytes_recv - at_first.bytes_recv) / 1e6,
                "network_transmit_megabytes": (net.bytes_sent - at_first.bytes_sent) / 1e6,
            }
            step = round(time.time() - self.began)
            self.sink([[f"system/{name}", round(value, 1), step] for name, value in values.items()])
            if last:
                return

    def stop(self) -> None:
        self.over.set()
        self.thread.join()


def make_tracker(settings: Mapping[str, Any]) -> Tracker:
    """The group `track` of the config; UsageError for a value that means nothing."""
    if settings.get("uri") is None:
        return Tracker()
    kinds: dict[str, tuple[Any, str]] = {
        "uri": (str, "an address, e.g. http://127.0.0.1:5000"), "experiment": (str | None, "a name or null"),
        "register": (str | None, "a name or null"), "alias": (str | None, "a name or null"),
        "system": (bool, "true or false"), "wait": (int | float, "seconds, 0 or more"),
    }  # fmt: skip
    for key, value in settings.items():
        kind, words = kinds[key]
        if not isinstance(value, kind) or (key == "wait" and (isinstance(value, bool) or not value >= 0)):
            raise UsageError(f"track.{key} is {value!r}", f"expected {words}")
    return MLflowTracker(**settings)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested config -> {'model.d_model': '64'}."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: str(value)})
    return flat


__all__ = ["MLflowTracker", "Tracker", "final_metrics", "flatten", "make_tracker"]
