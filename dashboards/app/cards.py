"""What a list of runs shows of each of them, from its small JSON files alone."""

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from forecast.artifacts import refuse_newer
from forecast.dashboards import load
from forecast.dashboards.boards import classes as class_board
from forecast.dashboards.boards import events as event_board
from forecast.dashboards.boards import lines
from forecast.dashboards.boards import series as board
from forecast.dashboards.load import Facts, Row
from forecast.dashboards.shapes import odd
from forecast.errors import ArtifactError

MANIFEST: Final = "MANIFEST.json"  # the last file of a finished run
TASKS: Final = {"event": "events", "classify": "classes"}
SETTINGS: Final = {"series": board.setting, "events": event_board.setting, "classes": class_board.setting}


class Card(NamedTuple):
    """What is known of a run without opening more than its JSON files."""

    id: str
    path: Path | None  # None: known to MLflow only
    kind: str  # series, events, classes
    dataset: str
    model: str  # its name: the name= it was given, else the model's
    seed: int | None
    horizon: int | None
    context: int | None
    started: str  # UTC, ISO; "" where nothing tells
    finished: bool
    group: str  # runs of one line of the leaderboard have the same: the digest of setting, parts and all but the seed
    rows: tuple[Row, ...]  # of its score table: the model, naive rows, baselines; without horizon and channels.
    # Of events and classes, all scores stand in `original`: nats_total, nats_time, rmse, accuracy, log_loss, …
    parameters: int | None
    seconds: float | None  # to fit
    memory: float | None  # MiB, peak
    damage: str = ""  # why it cannot be read
    setting: str = ""  # runs of one table have the same: the digest of data, windows and scaling
    parts: tuple[str, str, str, str] = ("", "", "", "")  # model, embed, norm, head
    validation: float | None = None  # the score by which its weights were chosen, lower is better
    sweep: str = ""  # that started it
    dirty: bool = False  # trained from files that differ from the commit
    rest: Mapping[str, Any] = {}

    @property
    def scores(self) -> Mapping[str, float]:
        """Of the model on the test part: scaled ones of series, those in `original` of events and classes."""
        row = next((row for row in self.rows if row.kind == "model"), None)
        return {} if row is None else row.scaled if self.kind == "series" else row.original


def card(path: Path) -> Card:
    """The card of a run folder; a file that is no JSON object, or holds another type, is its damage."""
    parts: dict[str, Facts] = {}
    damage = ""
    for name in ("metrics", "config", "data", "env"):
        try:
            parts[name] = _read(path / f"{name}.json")
        except (OSError, ValueError) as fault:
            parts[name] = {}
            damage = damage or f"{name}.json cannot be read: {str(fault).splitlines()[0]}"
    damage = damage or _refused(path, parts["metrics"])
    if damage:
        parts["metrics"] = {}
    run = load.Run(path, parts["metrics"], parts["config"], [], parts["data"], parts["env"], None, None)
    finished = (path / MANIFEST).is_file()
    if finished and not run.metrics and not damage:
        damage = "metrics.json is missing or empty"
    try:
        return _card(run, finished, damage)
    except (TypeError, ValueError, AttributeError, KeyError) as fault:
        return broken(path, damage or f"its files hold what no run writes: {str(fault).splitlines()[0]}")


def broken(path: Path, damage: str) -> Card:
    """Of a folder that nothing can be said of."""
    return Card(
        path.name, path, "series", "", path.name, None, None, None, _named_time(path), False, path.name, (), None,
        None, None, damage,
    )  # fmt: skip


def _card(run: load.Run, finished: bool, damage: str) -> Card:
    task = lines.at(run.config, "task", "name")
    if "task" not in run.metrics and task:  # it has not written its scores yet
        run = run._replace(metrics={"task": task, **run.metrics})
    config, facts = run.config, run.metrics
    parts = lines.parts(run)
    setting = _digest([run.kind, SETTINGS[run.kind](run)]) if facts and run.data else ""
    started = run.started
    return Card(
        id=run.path.name,
        path=run.path,
        kind=run.kind,
        dataset=str(facts.get("dataset") or _planned_data(config) or run.dataset),
        model=str(facts.get("model") or config.get("name") or parts[0].replace("?", "") or run.path.name),
        seed=_whole(facts.get("seed", config.get("seed"))),
        horizon=_whole(facts.get("horizon", lines.at(config, "task", "horizon"))) if run.kind == "series" else None,
        context=_whole(facts.get("context", lines.at(config, "task", "context"))) if run.kind == "series" else None,
        started=started.astimezone(UTC).isoformat(timespec="seconds") if started else "",
        finished=finished and not damage,
        group=_digest([setting or run.dataset, parts, sorted((k, str(v)) for k, v in lines.rest(run).items())]),
        rows=tuple(_small(row, run) for row in run.rows),
        parameters=_whole(facts.get("parameters")),
        seconds=_real(run.part("seconds").get("fit")),
        memory=_real(run.part("memory").get("peak_mib")),
        damage=damage,
        setting=setting,
        parts=parts,
        validation=_real(run.part("best").get(run.monitor)),
        sweep=str(run.env.get("sweep") or "").partition("/")[0],
        dirty=bool(run.env.get("dirty")),
        rest=lines.rest(run),
    )


def _refused(path: Path, metrics: Facts) -> str:
    """Why these facts are none that can be shown; empty where they can."""
    try:
        refuse_newer(path, metrics)
    except ArtifactError as error:
        return str(error)
    wrong = odd(metrics)
    return f"metrics.json: {wrong}" if wrong else ""


def _small(row: Row, run: load.Run) -> Row:
    """Without what grows with the horizon or the channels; of events and classes with all their numbers."""
    own = row.original
    if run.kind != "series":
        raw: Facts = next((each for each in run.metrics["rows"] if str(each.get("name", "?")) == row.name), {})
        own = {f"nats_{key}": value for key, value in (raw.get("nats") or {}).items()}
        own |= {key: value for key, value in raw.items() if isinstance(value, int | float)}
        own = {key: float(value) for key, value in own.items() if isinstance(value, int | float)}
    return row._replace(original=own, horizon={}, channels={})


def _read(path: Path) -> Facts:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    value: Any = orjson.loads(raw)
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}, not an object")
    return value


def _planned_data(config: Facts) -> str:
    """The data of a run that has not written its facts."""
    data = config.get("data")
    if not isinstance(data, dict):
        return ""
    return str(data.get("card") or ("hawkes" if data.get("hawkes") else Path(str(data.get("path") or "")).stem))


def _named_time(path: Path) -> str:
    try:
        return datetime.strptime(path.name.split("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).isoformat()
    except ValueError:
        return ""


def _digest(value: object) -> str:
    return hashlib.sha256(orjson.dumps(value, default=str)).hexdigest()[:12]


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int) or (isinstance(value, float) and value.is_integer()) else None


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
