"""MLflow tracking: one MLflow run per training. The only file that imports mlflow, beside the served model.

Tracking never stops a training: what goes wrong here is said once, and the run folder has it all anyway.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from forecast.artifacts import Run
from forecast.where import PACKAGE

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

log = logging.getLogger(__name__)
RUN_ID = "mlflow.json"  # in the run folder: a resumed run goes on in the same MLflow run
PARAM_LENGTH = 500  # MLflow refuses longer values on some stores
History = list[tuple[int, int, str, float, float]]


class Tracker:
    """Tracks nothing: what `track=none` asks for, and what every rank but the first gets."""

    run_id = ""

    def start(self, run: Run, config: Mapping[str, Any], data: Any) -> None:
        """Open the run and log what is known before training."""

    def log(self, rows: History) -> None:
        """Log rows of the training history."""

    def finish(self, run: Run, metrics: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        """Log scores, figures and files, register the model if asked, and close the run."""

    def fail(self, status: str = "FAILED") -> None:
        """Close the run as failed or killed."""


class MLflowTracker(Tracker):
    """`uri`, `experiment`, `register`, `alias` as in conf/track/mlflow.yaml."""

    def __init__(self, *, uri: str, experiment: str | None, register: str | None, alias: str | None) -> None:
        import mlflow

        for name in ("mlflow", "alembic", "git"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.experiment, self.register, self.alias = experiment, register, alias
        self.mlflow, self.failed = mlflow, False
        self.uri = uri

    def start(self, run: Run, config: Mapping[str, Any], data: Any) -> None:
        self._safely(lambda: self._start(run, config, data))

    def _start(self, run: Run, config: Mapping[str, Any], data: Any) -> None:
        self.mlflow.set_tracking_uri(self.uri)
        self.client = self.mlflow.MlflowClient()  # makes the store; so not before there is something to track
        task, dataset = config["task"]["name"], data.card.name
        model = config["model"]["_target_"].rpartition(".")[2].lower()
        name = self.experiment or f"{task}/{dataset}"
        found = self.client.get_experiment_by_name(name)
        if found is None:
            place = (run.path.parents[1] / "mlflow").as_uri() if self.uri.startswith("sqlite:") else None
            experiment_id = self.client.create_experiment(name, artifact_location=place)
        else:
            experiment_id = found.experiment_id
        if config["resume"] is not None and (run.path / RUN_ID).is_file():
            self.run_id = run.read(RUN_ID)["run_id"]
            self.client.update_run(self.run_id, "RUNNING")
            return
        label = config["name"] or f"{model}-h{config['task']['horizon']}-s{config['seed']}"
        environment = run.read("env.json")
        tags = {
            "task": task,
            "dataset": dataset,
            "model": model,
            "horizon": str(config["task"]["horizon"]),
            "seed": str(config["seed"]),
            "run_folder": str(run.path),
            "mlflow.source.name": environment["command"],
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": environment["commit"] or "",
        }
        self.run_id = self.client.create_run(experiment_id, run_name=label, tags=tags).info.run_id
        run.write(RUN_ID, {"run_id": self.run_id, "experiment_id": experiment_id})
        entities = self.mlflow.entities
        params = [entities.Param(key, value[:PARAM_LENGTH]) for key, value in flatten(config).items()]
        for first in range(0, len(params), 100):
            self.client.log_batch(self.run_id, params=params[first : first + 100])
        self._log_data(data)

    def _log_data(self, data: Any) -> None:
        """One input per part, with MLflow's own digest of its rows."""
        import numpy as np
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.numpy_dataset import from_numpy
        from mlflow.entities import DatasetInput, InputTag

        files = [{"path": file.path, "sha256": file.sha256} for file in data.card.files]
        source = CodeDatasetSource(tags={"files": str(files), "card": data.card.name})
        inputs = []
        for part in ("train", "val", "test"):
            ranges = getattr(data.split, part)
            rows = np.concatenate([data.series.values[first:last] for first, last in ranges.tolist()])
            dataset = from_numpy(rows, source=source, name=f"{data.card.name}/{part}")
            inputs.append(
                DatasetInput(dataset=dataset._to_mlflow_entity(), tags=[InputTag("mlflow.data.context", part)])
            )
        self.client.log_inputs(self.run_id, inputs)

    def log(self, rows: History) -> None:
        if self.run_id:
            now = int(time.time() * 1000)
            metrics = [self.mlflow.entities.Metric(k, v, now, step) for step, _, k, v, _ in rows if v == v]
            self._safely(lambda: self.client.log_batch(self.run_id, metrics=metrics))

    def finish(self, run: Run, metrics: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        if self.run_id:
            self._safely(lambda: self._finish(run, metrics, figures))

    def _finish(self, run: Run, metrics: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
        entities, now = self.mlflow.entities, int(time.time() * 1000)
        values = [entities.Metric(k, v, now, 0) for k, v in final_metrics(metrics).items()]
        steps = metrics["rows"][0]["horizon"]
        values += [
            entities.Metric(f"test/{key}_by_step", v, now, i + 1)
            for key in ("mse", "mae") for i, v in enumerate(steps[key]) if v is not None
        ]  # fmt: skip
        for first in range(0, len(values), 1000):
            self.client.log_batch(self.run_id, metrics=values[first : first + 1000])
        for name, figure in figures.items():
            self.client.log_figure(self.run_id, figure, f"figures/{name}.png")
        for path in sorted(run.path.iterdir()):
            if path.is_file() and path.name != "log.txt":
                self.client.log_artifact(self.run_id, str(path), "run")
        if self.register is not None:
            self._register(run)
        self.client.set_terminated(self.run_id, "FINISHED")

    def _register(self, run: Run) -> None:
        """A pyfunc model from code plus this run's safetensors and JSON; no pickle in it."""
        code = PACKAGE / "interop" / "pyfunc.py"
        with self.mlflow.start_run(run_id=self.run_id):
            info = self.mlflow.pyfunc.log_model(
                name="model", python_model=str(code), artifacts={"run": str(run.path)},
                registered_model_name=self.register, pip_requirements=["longcast"],
            )  # fmt: skip
        if self.alias is not None and self.register is not None:
            self.client.set_registered_model_alias(self.register, self.alias, info.registered_model_version)

    def fail(self, status: str = "FAILED") -> None:
        if self.run_id:
            self._safely(lambda: self.client.set_terminated(self.run_id, status))

    def _safely(self, action: Callable[[], Any]) -> None:
        if self.failed:
            return
        try:
            action()
        except Exception as error:  # a dead server, a full disk, a refused value: training goes on
            self.failed = True
            first = str(error).splitlines()[0] if str(error) else ""
            log.warning(
                "MLflow: %s %s; this run is tracked no further, its folder has everything", type(error).__name__, first
            )


def make_tracker(settings: Mapping[str, Any]) -> Tracker:
    """The group `track` of the config."""
    if settings.get("uri") is None:
        return Tracker()
    return MLflowTracker(**settings)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested config -> {'model.d_model': '64'}."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        flat.update(flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: str(value)})
    return flat


def final_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Names that MLflow takes: test/mse_z in scaled units, test/mae in original ones, test_ridge/mse_z beside it."""
    flat: dict[str, float] = {}
    for row in metrics["rows"]:
        head = "test" if row["kind"] == "model" else f"test_{row['name'].replace(' ', '_')}"
        flat.update({f"{head}/{key}_z": value for key, value in row["scaled"].items() if value is not None})
        flat.update({f"{head}/{key}": value for key, value in row["original"].items() if value is not None})
    return flat


__all__ = ["MLflowTracker", "Tracker", "final_metrics", "flatten", "make_tracker"]
