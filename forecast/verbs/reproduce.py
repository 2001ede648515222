"""forecast reproduce: train a run again from what it recorded, and compare the scores to the last bit.

What a run recorded is data: JSON of four known names, also when it comes from an MLflow server. Its config is fitted
into our own schema, and can build nothing that is not in the table of `build`.
"""

import json
import math
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from forecast import ranks
from forecast.artifacts import Run
from forecast.errors import ArtifactError, DataError, RunError, UsageError
from forecast.spool import absolute, trouble
from forecast.verbs import words
from forecast.verbs.checks import run_of
from forecast.verbs.tables import table
from forecast.where import RUNS

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP: Final = """\
forecast reproduce: train a run again from what it recorded, and compare the scores

Usage  forecast reproduce run=ID|PATH|latest [tolerance=0] [path=FILE] [runs=FOLDER]
       forecast reproduce mlflow=RUN_ID [uri=URI] [tolerance=0] [path=FILE] [runs=FOLDER]

Trains with the run's own config and seed into a new run folder, without tracking, and says for every score of the model
whether it is the same to the last bit, or how far off. Refuses when the data are not those of the run (sha256).

Examples
  forecast reproduce run=latest
  forecast reproduce run=20260101T120000Z-0a1b2c3d
  forecast reproduce run=latest tolerance=1e-6                   on another machine
  forecast reproduce mlflow=0aef75504ba14abbbbd74d558834edfd     from what MLflow has of it
  forecast reproduce run=~/from/another/machine/run path=~/data/my.csv

Keys
  run                            id, path or latest
  mlflow                         id of a run in MLflow
  uri        sqlite:///mlflow.db MLflow server or database, with mlflow=
  tolerance  0                   largest relative difference of a score that still counts as equal
  path                           the data file, where it has moved; left out: where the run found it
  runs       runs                folder of the run folders"""
KEYS: Final = {"run": "", "mlflow": "", "uri": "sqlite:///mlflow.db", "tolerance": "0", "path": "", "runs": RUNS}
UNITS = ("scaled", "original")  # of errors of series
NAMES: Final = ("config.json", "data.json", "env.json", "metrics.json")
LIMIT: Final = 64 << 20  # bytes of one of them
FACTS: Final = ("forecast", "python", "torch", "lightning", "platform", "cpus", "threads", "device", "commit", "dirty")


class Record(NamedTuple):
    """What a run recorded, and where."""

    origin: str
    config: dict[str, Any]
    data: dict[str, Any]
    env: dict[str, Any]
    metrics: dict[str, Any]


def main(argv: Sequence[str]) -> int:
    """Train again and compare; 0 when equal within the tolerance, RunError when not."""
    if {"-h", "--help", "help"} & set(argv):
        print(HELP)
        return 0
    asked = words.read("reproduce", argv, KEYS)
    tolerance = _tolerance(asked["tolerance"])
    if bool(asked["run"]) == bool(asked["mlflow"]):
        raise UsageError("neither run nor mlflow is set" if not asked["run"] else "run and mlflow are both set",
                         "expected one of them", "e.g. forecast reproduce run=latest")  # fmt: skip
    if asked["run"]:
        run = run_of(asked)
        record = _checked(run.id, *(run.read(name) for name in NAMES))
        resumed = (run.path / "resumes.json").is_file()
        sys.argv = [sys.argv[0], "reproduce", f"run={run.path}", *(w for w in argv if not w.startswith("run="))]
    else:
        record, resumed = _checked(asked["mlflow"], *_downloaded(asked["mlflow"], absolute(asked["uri"]))), False
    if asked["path"]:
        record.config["data"]["path"] = str(Path(asked["path"]).expanduser().absolute())
    again = _train(record, asked["runs"])
    if again is None:  # another rank of a distributed run: the first one speaks
        return 0
    return _compare(record, again, tolerance, resumed)


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UsageError(f"tolerance is {text!r}", "expected a number, 0 or more", "e.g. tolerance=1e-6")
    return value


def _checked(origin: str, *parts: Any) -> Record:
    """The four files as a record; ArtifactError where one is not what a training writes."""
    for name, part in zip(NAMES, parts, strict=True):
        if not isinstance(part, dict):
            raise ArtifactError(f"{name} of {origin} is no JSON object", "expected what forecast train writes")
    config, data, env, metrics = parts
    try:
        rows = metrics["rows"][0]
        ok = "accuracy" in rows or all(isinstance(rows[key], dict) for key in (["nats"] if "nats" in rows else UNITS))
        ok = (
            ok
            and isinstance(data["source"]["sha256"], str)
            and all(isinstance(config[key], dict) for key in ("data", "trainer"))
        )
    except (KeyError, IndexError, TypeError):
        ok = False
    if not ok:
        raise ArtifactError(f"{origin} has no scores or no data record", "expected what forecast train writes")
    return Record(origin, config, data, env, metrics)


def _downloaded(run_id: str, uri: str) -> list[Any]:
    """The four files of a run in MLflow: fixed names, limited size, parsed as JSON and nothing else."""
    from forecast.store import Store, Unsent

    if why := trouble(uri, 5.0):
        raise RunError(f"{uri}: {why}", do="set uri=, or try again later")
    made = []
    with tempfile.TemporaryDirectory() as place:
        try:
            paths = Store(uri, 60).open().download(run_id, "run", NAMES, LIMIT, Path(place))
        except Unsent as error:
            raise RunError(f"run {run_id} cannot be read from {uri}: {error}", do="check mlflow= and uri=") from error
        for path in paths:
            try:
                made.append(json.loads(path.read_bytes()))
            except (ValueError, RecursionError) as error:
                raise ArtifactError(f"{path.name} of MLflow run {run_id} is not JSON: {error}") from error
    return made


def _train(record: Record, runs: str) -> Run | None:
    """The new run; None in the processes of a distributed run that only help."""
    from forecast.verbs.train import FOLDER_OF_RANK_0, train

    config = {**record.config, "runs": runs, "resume": None, "quiet": False, "track": {"uri": None}}
    _plain(record.origin, config)
    if config["trainer"].get("threads") is None:  # sums depend on it
        threads = record.env.get("threads")
        config["trainer"] = {**config["trainer"], "threads": threads if isinstance(threads, int) else None}
    cfg = fitted(record.origin, config)
    _same_data(record, config)
    train(cfg, _overrides(record.env))
    return Run(Path(os.environ[FOLDER_OF_RANK_0])) if ranks.first() else None


def fitted(origin: str, config: dict[str, Any]) -> "DictConfig":
    """A saved config in today's schema, which refuses other keys and kinds; keys that came later get their defaults."""
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from forecast import config as schema
    from forecast import schemas
    from forecast.build import task_of

    of_task = {task.__name__.lower(): (task, data) for task, (data, *_) in schema.FITTING.items()}
    task, data = of_task.get(task_of(config), (schemas.Forecast, schemas.Series))
    kinds: dict[str, type] = {"optim": schemas.Optim, "task": task, "data": data}
    try:
        typed: dict[str, Any] = {
            key: OmegaConf.merge(OmegaConf.structured(kind), config[key]) for key, kind in kinds.items()
        }
        whole: Any = {**config, **typed}
        made = OmegaConf.merge(OmegaConf.structured(schemas.Train), whole)
        schema.plain(cast(DictConfig, made))
    except (OmegaConfBaseException, KeyError, TypeError, ValueError) as error:
        said = str(error).split("\n")[0]
        raise ArtifactError(
            f"the config of {origin} cannot be used: {said}", do="train again with its command"
        ) from error
    return cast(DictConfig, made)


def _overrides(env: Mapping[str, Any]) -> list[str]:
    """What stood on the command line of the run; for the record of the new one."""
    try:
        return shlex.split(str(env.get("command", "")))[2:]
    except ValueError:
        return []


def _same_data(record: Record, config: Mapping[str, Any]) -> None:
    """Raise DataError where the file is missing or another than the run was trained on."""
    from forecast import build

    now = build.data_of(config).prepare().source
    if now["sha256"] != record.data["source"]["sha256"]:
        raise DataError(
            f"{now['path']} is not the file that {record.origin} was trained on (its sha256 differs)",
            do="restore the file, or say where it is with path=FILE",
        )


def _plain(origin: str, value: Any) -> None:
    """Refuse a config that refers to something: ours are saved resolved, a foreign one could ask for secrets."""
    if isinstance(value, str) and "${" in value:
        raise ArtifactError(f"the config of {origin} holds {value!r}", "expected plain values")
    for each in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _plain(origin, each)


def _compare(record: Record, again: Run, tolerance: float, resumed: bool) -> int:
    """Say what is equal and what is not, keep it with the new run; RunError above the tolerance."""
    before, after = dict(numbers(record.metrics["rows"])), dict(numbers(again.read("metrics.json")["rows"]))
    off = {key: distance(before.get(key), after.get(key)) for key in sorted({*before, *after})}
    worst = max(off, key=lambda key: off[key], default="")
    reasons = _reasons(record, again.read("env.json"), resumed)
    different = {key: {"saved": before.get(key), "again": after.get(key)} for key in off if off[key] > 0}
    again.add("reproduces.json", {"run": record.origin, "numbers": len(off), "different": different,
                                  "reasons": reasons})  # fmt: skip
    if not different:
        print(f"\n{record.origin} again: all {len(off):,} scores are equal, to the last bit")
        return 0
    shown = [key for key in different if key.split("/")[1] in (*UNITS, "nats", "accuracy", "log_loss")]
    rows = [[key.replace("/", " "), repr(before.get(key)), repr(after.get(key)), f"{off[key]:.1e}"] for key in shown]
    print(f"\n{record.origin} again: {len(different):,} of {len(off):,} scores are not equal to the last bit")
    print(table(("", "saved", "again", "difference"), rows) if rows else "those of all windows together are")
    why = f"what differs: {'; '.join(reasons)}" if reasons else "nothing that was recorded differs"
    if off[worst] <= tolerance:
        print(f"all within {tolerance:g}; {why}")
        return 0
    raise RunError(f"{worst.replace('/', ' ')} differs by {off[worst]:.1e} of itself",
                   f"expected at most tolerance={tolerance:g}", why)  # fmt: skip


def numbers(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float | None]]:
    """Every score of every row by its name: informer/scaled/mse, informer/horizon/mae/3, aaren/nats/total."""

    def walk(value: Any, name: str) -> Iterator[tuple[str, float | None]]:
        if isinstance(value, Mapping):
            for key, each in value.items():
                yield from walk(each, f"{name}/{key}")
        elif isinstance(value, list):
            for i, each in enumerate(value):
                yield from walk(each, f"{name}/{i + 1}")
        elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
            yield name, value

    for row in rows:
        yield from walk({key: row[key] for key in row if key not in ("name", "kind")}, str(row["name"]))


def distance(a: float | None, b: float | None) -> float:
    """Relative difference; infinite where only one is there."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    return abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0


def _reasons(record: Record, now: Mapping[str, Any], resumed: bool) -> list[str]:
    """What was recorded of then and of now and is not the same."""
    then = record.env
    found = [f"{key} {then.get(key)} → {now.get(key)}" for key in FACTS if then.get(key) != now.get(key)]
    if then.get("dirty") and now.get("dirty"):
        found.append("uncommitted changes, then and now")
    if resumed:
        found.append("the run was resumed, perhaps with other settings")
    if record.config["trainer"].get("max_time") is not None:
        found.append("trainer.max_time ends a run by the clock")
    if record.config.get("budget") is not None:
        found.append("budget ends a run by the clock")
    return found
