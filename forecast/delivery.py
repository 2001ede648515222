"""A run's journal on its way to a store: params, metrics, files, figures, the registered model.

Every line may be sent again after a kill and changes nothing then: the MLflow run is looked up by the tag
`forecast.run`, metrics have the time of their line, files replace themselves.
"""

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forecast.artifacts import MANIFEST, Run
from forecast.spool import SQLITE, Line, Sent, lines
from forecast.store import Store, Unsent, short

AT_ONCE = 1000  # metrics in a request; MLflow takes no more
FINAL = ("FINISHED", "FAILED", "KILLED")
FOR_GOOD = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")  # another try would end the same


class Delivery:
    """The journal of one run on its way to one store."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.client, self.folder = store, store.client, folder
        self.sent = Sent(folder, store.uri)
        self.refused: list[str] = []
        self.counts = {"metrics": 0, "files": 0}
        self.seen: set[tuple[Any, ...]] = set()  # metrics that were sent; a resumed run makes some of them again
        for end, line in lines(folder):
            if end > self.sent.offset:
                break
            self.seen.update(_names(line))
        if self.sent.run_id:
            try:
                stage = self.client.get_run(self.sent.run_id).info.lifecycle_stage
            except Exception as error:
                raise Unsent(short(error)) from error
            if stage != "active":
                raise Unsent(f"run {self.sent.run_id} was deleted there; restore it, or delete mlflow.json")

    def advance(self) -> Iterator[None]:
        """Send what the journal has by now; yields after each acknowledgement. Unsent when the store fails."""
        for group in _grouped(lines(self.folder, self.sent.offset)):
            end, line = group[-1]
            try:
                if line["do"] in ("log", "scores"):
                    self._metrics([each for _, each in group])
                else:
                    getattr(self, f"_{line['do']}", self._unknown)(line)
            except Exception as error:
                if not self._for_good(line, error):
                    raise Unsent(short(error)) from error
                self.refused.append(f"{line['do']}: {short(error)}")
            self.sent.offset = end
            self.sent.save()
            yield

    def killed(self) -> None:
        """The training ended without a word."""
        if self.sent.run_id and self.sent.status not in FINAL:
            self._end({"status": "KILLED", "at": None})
            self.sent.save()

    def _for_good(self, line: Line, error: Exception) -> bool:
        """Whether to go on without this line."""
        if line["do"] == "create":
            return False
        return isinstance(error, _Unsendable) or getattr(error, "error_code", "") in FOR_GOOD

    def _unknown(self, line: Line) -> None:
        raise _Unsendable(f"this version does not know {line['do']!r}")

    def _create(self, line: Line) -> None:
        experiment = self._experiment(line)
        own = str(line["tags"]["forecast.run"]).replace("'", "")
        found = self.client.search_runs([experiment], f"tags.`forecast.run` = '{own}'", max_results=1)
        if found:
            self.sent.run_id = found[0].info.run_id
        else:
            tags = {**line["tags"], **self._parent(experiment, line)}
            made = self.client.create_run(experiment, start_time=line["at"], run_name=line["name"], tags=tags)
            self.sent.run_id = made.info.run_id
        self.sent.status = "RUNNING"
        params = [self.store.mlflow.entities.Param(key, value) for key, value in line["params"].items()]
        for first in range(0, len(params), 100):
            self.client.log_batch(self.sent.run_id, params=params[first : first + 100])

    def _parent(self, experiment: str, line: Line) -> dict[str, str]:
        """The tag that puts a job of a sweep under the run that stands for the sweep, made for its first job."""
        sweep = str(line["tags"].get("forecast.sweep", "")).replace("'", "")
        if not sweep:
            return {}
        own = {"forecast.run": f"sweep/{sweep}"}
        found = self.client.search_runs([experiment], f"tags.`forecast.run` = 'sweep/{sweep}'", max_results=1)
        if found:
            return {"mlflow.parentRunId": found[0].info.run_id}
        made = self.client.create_run(experiment, start_time=line["at"], run_name=f"sweep {sweep}", tags=own)
        self.client.set_terminated(made.info.run_id, "FINISHED", end_time=line["at"])
        return {"mlflow.parentRunId": made.info.run_id}

    def _experiment(self, line: Line) -> str:
        name = line["experiment"]
        found = self.client.get_experiment_by_name(name)
        if found is None:
            place = None
            if self.store.uri == line["uri"]:
                place = line["place"]
            elif self.store.uri.startswith(SQLITE):
                place = (Path(self.store.uri.removeprefix(SQLITE)).parent / "mlartifacts").as_uri()
            try:
                return str(self.client.create_experiment(name, artifact_location=place))
            except Exception:  # another run was quicker
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def _resume(self, line: Line) -> None:
        self.client.update_run(self.sent.run_id, "RUNNING")
        self.sent.status = "RUNNING"

    def _data(self, line: Line) -> None:
        """One input per part of the data."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps(line["source"])
        inputs = []
        for part, facts in line["parts"].items():
            profile = json.dumps({"num_rows": facts["rows"], "channels": line["channels"]})
            data = Dataset(f"{line['name']}/{part}", facts["digest"], "local", source, profile=profile)
            inputs.append(DatasetInput(dataset=data, tags=[InputTag("mlflow.data.context", part)]))
        self.client.log_inputs(self.sent.run_id, inputs)

    def _metrics(self, group: list[Line]) -> None:
        """All new ones in as few requests as there can be."""
        kind, fresh = self.store.mlflow.entities.Metric, []
        for line in group:
            for (name, value, step), key in zip(line["rows"], _names(line), strict=True):
                if key not in self.seen:
                    self.seen.add(key)
                    fresh.append(kind(name, value, line["at"], step))
        for first in range(0, len(fresh), AT_ONCE):
            self.client.log_batch(self.sent.run_id, metrics=fresh[first : first + AT_ONCE])
        self.counts["metrics"] += len(fresh)

    def _file(self, line: Line) -> None:
        path = self.folder / line["name"]
        if not path.is_file():
            raise _Unsendable(f"{path} is missing")
        self.client.log_artifact(self.sent.run_id, str(path), "run")
        self.counts["files"] += 1

    def _figures(self, line: Line) -> None:
        """Drawn from the run folder, here and not in the training."""
        from forecast.dashboards.charts.style import png
        from forecast.dashboards.figures import figures

        with tempfile.TemporaryDirectory() as place:
            try:
                for name, figure in figures(self.folder).items():
                    (Path(place) / f"{name}.png").write_bytes(png(figure))
            except Exception as error:
                raise _Unsendable(f"{type(error).__name__}: {error}") from error
            for path in sorted(Path(place).iterdir()):
                self.client.log_artifact(self.sent.run_id, str(path), "figures")
                self.counts["files"] += 1

    def _register(self, line: Line) -> None:
        """A pyfunc model from code plus this run's safetensors and JSON; no pickle in it. Once for each training."""
        from forecast.interop.flavour import CODE, described, requirements  # torch

        name, mark = line["name"], str(line["at"])
        known = self.client.search_model_versions(f"run_id = '{self.sent.run_id}'")
        done = [each.version for each in known if each.name == name and each.tags.get("forecast.at") == mark]
        if not done:
            with (
                tempfile.TemporaryDirectory() as place, warnings.catch_warnings(),
                self.store.mlflow.start_run(run_id=self.sent.run_id),
            ):  # fmt: skip
                warnings.simplefilter("ignore")  # it warns of type hints of its own
                info = self.store.mlflow.pyfunc.log_model(
                    name="model", python_model=str(CODE),
                    artifacts={"run": str(_vouched(self.folder, Path(place)))},
                    registered_model_name=name, pip_requirements=requirements(), **described(Run(self.folder)),
                )  # fmt: skip
            done = [info.registered_model_version]
            self.client.set_model_version_tag(name, str(done[0]), "forecast.at", mark)
        if line["alias"] is not None:
            self.client.set_registered_model_alias(name, line["alias"], str(done[0]))

    def _end(self, line: Line) -> None:
        self.client.set_terminated(self.sent.run_id, line["status"], end_time=line["at"])
        self.sent.status = line["status"]


class _Unsendable(Exception):
    """A line that cannot be sent by this program, whatever the store says."""


def _vouched(folder: Path, place: Path) -> Path:
    """A copy of a finished run below `place`: what its manifest vouches for, no checkpoint and no journal."""
    run, copy = Run(folder), place / folder.name
    for name in (*run.manifest(), MANIFEST):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, copy / name)
    return copy


def _names(line: Line) -> list[tuple[Any, ...]]:
    """What a metric is known by: name and step; of scores the value too, for a resumed run has other ones."""
    if line["do"] == "log":
        return [(name, step) for name, _, step in line["rows"]]
    return [(name, step, value) for name, value, step in line["rows"]] if line["do"] == "scores" else []


def _grouped(found: Iterator[tuple[int, Line]]) -> Iterator[list[tuple[int, Line]]]:
    """Neighbouring lines of metrics together, up to a request full; every other line alone."""
    group: list[tuple[int, Line]] = []
    size = 0
    for end, line in found:
        rows = len(line["rows"]) if line["do"] in ("log", "scores") else 0
        if group and (not rows or size + rows > AT_ONCE):
            yield group
            group, size = [], 0
        group, size = [*group, (end, line)], size + rows
        if not rows:
            yield group
            group, size = [], 0
    if group:
        yield group
