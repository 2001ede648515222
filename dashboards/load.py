"""A run folder as plain values; what is missing stays missing, what is damaged is named."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from forecast.artifacts import METRICS, refuse_newer
from forecast.dashboards.shapes import odd
from forecast.errors import ArtifactError

Facts = dict[str, Any]
HISTORY = {"step": pl.Int64, "epoch": pl.Int64, "name": pl.String, "value": pl.Float64}


class Row(NamedTuple):
    """One line of the score table: the model, the model as a stream, or a naive forecast beside it."""

    name: str
    kind: str
    scaled: dict[str, float]
    original: dict[str, float]
    horizon: dict[str, list[float]]
    channels: dict[str, dict[str, float]]  # scores of each channel, those in scaled units end _z
    windows: int | None = None  # on so few of the windows; None: on all


class Run(NamedTuple):
    """Everything small in a run folder; `predictions` is only a path, since it may hold millions of rows."""

    path: Path
    metrics: Facts
    config: Facts
    overrides: list[str]
    data: Facts
    env: Facts
    history: pl.DataFrame | None  # step, epoch, name, value, seconds
    predictions: Path | None

    @property
    def schema(self) -> int:
        """Of its folder: 1 where the run does not say, for it was not written then."""
        said = self.metrics.get("schema")
        return said if isinstance(said, int) else 1

    @property
    def rows(self) -> list[Row]:
        """The score table, the model first, then what it is worth as a stream, then the naive forecasts."""
        found = [_row(row) for row in self.metrics.get("rows") or [] if isinstance(row, dict)]
        return sorted(found, key=lambda row: {"model": 0, "streamed": 1, "baseline": 3}.get(row.kind, 2))

    def score(self, key: str) -> float:
        """A test score of the model: scaled, of series; nats (total, time, mark) or another, of events; accuracy, … of
        classes."""
        if self.kind == "series":
            return next((row.scaled.get(key, math.nan) for row in self.rows if row.kind == "model"), math.nan)
        given = (row for row in self.metrics.get("rows") or [] if isinstance(row, dict) and row.get("kind") == "model")
        row = next(given, {})
        return _float(_dict(row.get("nats")).get(key, row.get(key)))

    @property
    def naive_rows(self) -> list[Row]:
        """The simple forecasts that a model is measured against."""
        return [row for row in self.rows if row.kind not in ("model", "streamed", "baseline")]

    @property
    def baseline_rows(self) -> list[Row]:
        """The models named beside it: theta, ets, …"""
        return [row for row in self.rows if row.kind == "baseline"]

    @property
    def baseline_notes(self) -> list[str]:
        """When each of them was fitted, and why one has no row."""
        notes = []
        for name, facts in self.part("baselines").items():
            lost, reason = facts.get("failed") == facts.get("fits"), facts.get("reason")
            notes.append(
                f"{name}: " + (f"no row, every fit failed: {reason}" if lost else f"fitted {facts.get('fitted')}")
            )
        return notes

    @property
    def yardstick(self) -> Row | None:
        """What the model is measured against: the seasonal naive row, or the last value without a season."""
        naive = self.naive_rows
        named = [row for word in ("season", "last") for row in naive if word in row.name.lower()]
        return next(iter([*named, *naive]), None)

    @property
    def naive(self) -> str:
        """The name of the column `naive` of the predictions."""
        return self.yardstick.name if self.yardstick else "naive"

    @property
    def missing(self) -> tuple[int, int] | None:
        """Test targets that were never observed, and all test targets; None where the run does not say."""
        model = next((row for row in self.metrics.get("rows") or [] if isinstance(row, dict)), {})
        scored, windows, horizon = (
            model.get("values"),
            self.part("windows").get("test"),
            self.metrics.get("horizon"),
        )
        if not (isinstance(scored, int) and isinstance(windows, int) and isinstance(horizon, int)):
            return None
        total = windows * horizon * max(len(self.targets), 1)
        return total - scored, total

    @property
    def spec(self) -> Facts:
        return _dict(self.data.get("spec"))

    @property
    def card(self) -> Facts:
        return _dict(self.data.get("card"))

    @property
    def model(self) -> str:
        return str(self.metrics.get("model") or self.path.name)

    @property
    def dataset(self) -> str:
        return str(self.metrics.get("dataset") or self.card.get("name") or "unknown data")

    @property
    def freq(self) -> str:
        return str(self.spec.get("freq") or _dict(self.card.get("time")).get("freq") or "")

    @property
    def zone(self) -> str | None:
        zone = self.data.get("zone") or _dict(self.card.get("time")).get("zone")
        return str(zone) if zone else None

    @property
    def season(self) -> int:
        return int(self.spec.get("season") or self.card.get("season") or 1)

    @property
    def targets(self) -> list[str]:
        """The forecast channels, in the order of the data."""
        names = [str(name) for name in self.spec.get("channels") or []]
        return names[: int(self.spec.get("targets") or len(names))]

    @property
    def units(self) -> dict[str, str]:
        """Channel to unit; a channel without one is left out."""
        pairs = list(zip(self.spec.get("channels") or [], self.spec.get("units") or [], strict=False))
        pairs += [(c.get("name"), c.get("unit")) for c in self.card.get("channels") or [] if isinstance(c, dict)]
        units: dict[str, str] = {}
        for name, unit in pairs:
            if unit:
                units.setdefault(str(name), str(unit))
        return units

    @property
    def unit(self) -> str | None:
        """The one unit of all targets ("" where it is unknown); None where they differ."""
        units = {self.units.get(name, "") for name in self.targets}
        return None if len(units) > 1 else "".join(units)

    def part(self, name: str) -> Facts:
        """A group of facts in metrics.json, empty where it is missing."""
        return _dict(self.metrics.get(name))

    def curve(self, name: str) -> pl.DataFrame:
        """One logged value over time: step, epoch (from 0), name, value."""
        if self.history is None:
            return pl.DataFrame(schema=HISTORY)
        return self.history.filter(pl.col("name") == name).sort("step")

    @property
    def events(self) -> bool:
        """Whether it forecasts events, not series."""
        return self.metrics.get("task") == "event"

    @property
    def classes(self) -> bool:
        """Whether it tells series apart and forecasts nothing."""
        return self.metrics.get("task") == "classify"

    @property
    def kind(self) -> str:
        """What it is about: series, events or classes; only runs of one kind have scores in common."""
        return "events" if self.events else "classes" if self.classes else "series"

    @property
    def monitor(self) -> str:
        """The validation score by which weights were chosen, the lowest: val/mse, or val/nll of events and classes."""
        return next(iter(self.part("best")), "val/mse" if self.kind == "series" else "val/nll")

    @property
    def best_epoch(self) -> Facts | None:
        """The validation with the lowest score, whose weights are kept: step, epoch (from 0), value."""
        val = self.curve(self.monitor)
        return val.sort("value", "step").row(0, named=True) if val.height else None

    @property
    def started(self) -> datetime | None:
        """When the run began (UTC): as it says, else by its name, else the age of its scores."""
        said = self.env.get("started")
        if isinstance(said, str):
            try:
                return datetime.fromisoformat(said).astimezone(UTC)
            except ValueError:
                pass
        try:
            return datetime.strptime(self.path.name.split("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            scores = self.path / "metrics.json"
            return datetime.fromtimestamp(scores.stat().st_mtime, UTC) if scores.is_file() else None

    @property
    def commit(self) -> str:
        """The git commit, or "" where the run does not know it."""
        for key in ("commit", "git_commit", "git_sha", "git"):
            value = self.env.get(key)
            if isinstance(value, dict):
                value = value.get("commit") or value.get("sha")
            if value:
                dirty = self.env.get("dirty") or _dict(self.env.get("git")).get("dirty")
                return f"{str(value)[:10]}{' with local changes' if dirty else ''}"
        return ""


def read(run_dir: Path) -> Run:
    """The run in `run_dir`; ArtifactError where it is no folder, a file in it cannot be read or it is of a
    schema to come."""
    path = Path(run_dir).resolve()
    if not path.is_dir():
        raise ArtifactError(f"no run folder at {run_dir}", "a folder written by forecast train", "check the path")
    metrics = _json(path / METRICS, dict)
    refuse_newer(path, metrics)
    if wrong := odd(metrics):
        raise ArtifactError(f"{METRICS}: {wrong}", "a file as the run wrote it", "run it again")
    overrides = _json(path / "overrides.json", list)
    predictions = path / "predictions.parquet"
    return Run(
        path=path,
        metrics=metrics,
        config=_json(path / "config.json", dict),
        overrides=[str(word) for word in overrides],
        data=_json(path / "data.json", dict),
        env=_json(path / "env.json", dict),
        history=_history(path / "history.csv"),
        predictions=predictions if predictions.is_file() else None,
    )


def _json(path: Path, kind: type) -> Any:
    if not path.is_file():
        return kind()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise ArtifactError(
            f"{path.name} is not JSON ({fault})", "a file as the run wrote it", "run it again"
        ) from fault
    if not isinstance(value, kind):
        raise ArtifactError(f"{path.name} holds a {type(value).__name__}", f"a {kind.__name__}", "run it again")
    return value


def _history(path: Path) -> pl.DataFrame | None:
    """The logged values, one for each (name, step): a resumed run may have logged a step twice."""
    if not path.is_file() or path.stat().st_size == 0:
        return None
    try:
        frame = pl.read_csv(path, infer_schema=False).select(pl.col(name).cast(kind) for name, kind in HISTORY.items())
    except pl.exceptions.PolarsError as fault:
        reason = str(fault).splitlines()[0]
        raise ArtifactError(f"history.csv cannot be read ({reason})", "columns step,epoch,name,value", "") from fault
    frame = frame.filter(pl.col("value").is_finite()).unique(["name", "step"], keep="last", maintain_order=True)
    return frame.sort("name", "step") if frame.height else None


def _row(row: Facts) -> Row:
    horizon = {str(k): [_float(v) for v in values] for k, values in _dict(row.get("horizon")).items() if values}
    return Row(
        name=str(row.get("name", "?")),
        kind=str(row.get("kind", "")),
        scaled={str(k): _float(v) for k, v in _dict(row.get("scaled")).items()},
        original={str(k): _float(v) for k, v in _dict(row.get("original")).items()},
        horizon=horizon,
        channels={str(k): {n: _float(v) for n, v in _dict(s).items()} for k, s in _dict(row.get("channels")).items()},
        windows=row.get("windows") if isinstance(row.get("windows"), int) else None,
    )


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _dict(value: object) -> Facts:
    return value if isinstance(value, dict) else {}
