"""What `--help` says. It reads conf/, so it cannot go stale, and imports neither torch nor Hydra."""

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import yaml

from forecast import __version__
from forecast.where import CONF

VERBS = {
    "train": "fit a model, score it on the test windows beside naive forecasts",
    "evaluate": "score a finished run again, or compare runs in a leaderboard",
    "predict": "forecast the steps after the end of a file, the next event of sequences, the class of series",
    "backtest": "forecasts from many origins in the past, beside naive ones, trained again on the way if you like",
    "stream": "a forecast or a class after each reading, event or step, from a pipe, a file or a server",
    "serve": "answer requests on HTTP with a model: forecasts, classes, next events",
    "export": "write a model as a graph that runs without this program: ONNX or torch",
    "tune": "seek settings by the validation score, with Optuna",
    "reproduce": "train a run again from what it recorded, and compare the scores",
    "data": "list, show, check, fetch and convert data sets",
    "ui": "look at runs, forecasts, jobs and streams in a browser, beside MLflow",
    "sync": "send MLflow what it has not heard yet",
    "completion": "print a script that lets the Tab key complete all this: bash, zsh, fish",
}
# The verbs that Hydra composes a config for.
CONFIGURED = ("train", "evaluate", "predict", "backtest", "stream", "serve", "export")


class Page(NamedTuple):
    """What is written by hand: examples with their meaning, and the keys worth naming with theirs."""

    examples: tuple[tuple[str, str], ...]
    keys: tuple[tuple[str, str], ...] = ()


FRONT = (
    ("forecast train", "Informer on the electricity data that comes along"),
    ("forecast train task=event", "events: when is the next one, and which"),
    ("forecast train task=classify", "classes: of which one is a series"),
    ("forecast predict run=latest input=new.csv output=next.csv", "forecast the future"),
    ("forecast data list", "what there is to learn from"),
)
PAGES = {
    "train": Page(
        (
            ("forecast train", "Informer on electricity, a day ahead"),
            ("forecast train data=series data.path=my.csv task.horizon=48", "your own file"),
            ("forecast train task=event data=events data.path=my.csv", "events of your own"),
            ("forecast train task=classify data=labelled data.path=my.csv", "labelled series of your own"),
            ("forecast train -m model=informer,linear seed=1,2,3", "six runs, one after another"),
        ),
        (
            ("task.context", "steps that the model sees"),
            ("task.horizon", "steps that it forecasts"),
            ("norm", "none, instance (each window by its own mean and deviation), or rolling (by all before)"),
            ("data.holidays", "DE, US-CA or a csv of days: which days off the model knows, ahead too"),
            ("data.path", "of data=series a file; of data=folder parquet files, more than memory holds if need be"),
            ("data.batch_size", "windows in a batch"),
            ("optim.lr", "learning rate"),
            ("trainer.max_epochs", "at most so many"),
            ("trainer.patience", "epochs without a better validation before it stops"),
            ("trainer.save_every", "steps from checkpoint to checkpoint: what a kill can cost"),
            ("budget", "time to train, e.g. 30s, 10m or 1h30m; resumes included"),
            ("seed", "equal seeds give equal numbers"),
            ("resume", "path of a run folder, or latest"),
            ("name", "of the run"),
            ("runs", "folder of the run folders"),
        ),
    ),
    "evaluate": Page(
        (
            ("forecast evaluate run=latest", "the newest run on its test windows"),
            ("forecast evaluate run=latest split=val", "on its validation windows"),
            ("forecast evaluate run=20260101T120000Z-0a1b2c3d save=true", "and keep the scores with the run"),
            ("forecast evaluate compare=latest", "a leaderboard of the newest sweep"),
            ("forecast evaluate compare=forecast/electricity output=board", "of all runs on electricity, into board/"),
        ),
        (
            ("run", "id, path or latest"),
            ("compare", "sweep (or latest), experiment of MLflow, name or id of runs, all; * stands for anything"),
            ("output", "folder of the leaderboard; null: runs/compare/NAME"),
            ("split", "train, val or test"),
            ("batch_size", "windows in a batch; null: 256"),
            ("save", "write the scores into the run folder"),
            ("runs", "folder of the run folders"),
        ),
    ),
    "predict": Page(
        (
            ("forecast predict run=latest input=new.csv output=next.csv", "with the newest run"),
            ("forecast predict run=latest input=new.parquet output=next.parquet", "parquet in, parquet out"),
            ("forecast predict run=latest input=DIR output=DIR engine=ray --dry-run", "the plan of a job on Ray"),
            ("forecast predict run=latest input=DIR output=DIR", "a job on a folder; run it again and it goes on"),
            (
                "forecast predict run=latest input=new.csv output=next.csv window=30",
                "events: the next, and counts",
            ),
        ),
        (
            ("run", "id, path or latest"),
            ("input", "csv or parquet, with the columns of the training data; a folder of them for a job"),
            ("output", "csv or parquet, a row for each series, channel and step; a name without an ending: a job"),
            ("batch_size", "series in a batch; null: as in training"),
            ("paths", "sampled futures, into OUTPUT.paths.csv or .parquet"),
            ("now", "of events: until when nothing came, a stamp or latest; null: each last event"),
            ("window", "of events: what comes within so long from now on, in the unit of the run"),
            ("hazard", "of events: times at which the rate of the next is written too"),
            ("on_bad", "of a job, a bad series: quarantine, fallback (seasonal naive, flagged) or error"),
            ("max_bad_fraction", "of a job: with a larger share of bad series it ends with the exit code 3"),
            ("rename", "of a job: {column in the input: column of the training}"),
            ("layout", "of a job: long, or wide with a column for each series"),
            ("columns", "of a job: forecast, or nixtla (unique_id, ds, MODEL, MODEL-lo-90, MODEL-hi-90)"),
            ("shard_rows", "of a job: rows that a process works on at once"),
            ("dry_run", "of a job: tell the plan only; or --dry-run"),
            ("engine.kind", "of a job: local or ray; engine=ray is the same"),
            ("engine.processes", "of local; null: as many as cores"),
            ("overwrite", "replace an output that is there"),
            ("runs", "folder of the run folders"),
        ),
    ),
    "backtest": Page(
        (
            ("forecast backtest run=latest output=back", "from every hour of the test part"),
            (
                "forecast backtest run=latest output=back origins=100 step=24 horizon=12",
                "100 days, the last ones",
            ),
            ("forecast backtest run=latest output=back input=new.csv", "over another file"),
            (
                "forecast backtest run=latest output=back origins=12 step=168 refit=every:4",
                "trained again monthly",
            ),
            ("forecast backtest run=latest output=back policy=both", "windows beside one stream"),
        ),
        (
            ("run", "id, path or latest"),
            ("output", "a folder: forecasts.parquet, tables by series, step and origin, metrics.json, backtest.png"),
            ("input", "csv or parquet, with the columns of the training data; null: the run's own data"),
            ("origins", "a count, or {first: STAMP, last: STAMP} of cutoffs; null: all of the test part"),
            ("step", "steps from origin to origin"),
            ("horizon", "steps that are scored; null: all that the run forecasts"),
            ("policy", "window, start (one stream from the first reading on), or both"),
            ("refit", "never, or every:K: train again at every K-th origin on what was known then"),
            ("levels", "of quantiles, e.g. [0.05,0.5,0.95]"),
            ("baseline", "models beside the run's, e.g. [theta, ets]"),
            ("overwrite", "replace an output that is there"),
            ("runs", "folder of the run folders"),
        ),
    ),
    "stream": Page(
        (
            ("forecast stream run=latest", "through a pipe: < in > out"),
            ("forecast stream run=latest feed=file feed.path=in.jsonl feed.follow=true", "as lines are added"),
            ("forecast stream run=latest output=out.jsonl state.path=state.db", "killed, it goes on where it was"),
            ("forecast stream run=latest feed=http feed.port=8000 state.path=state.db", "a server: POST /v1/update"),
            ("forecast stream run=latest correct=true rewind=48", "learn from what comes"),
        ),
        (
            ("run", "id, path or latest; a run that can be streamed: experiment=stream, task=event or task=classify"),
            ("output", "file of JSON lines; null: to stdout"),
            ("rejects", "file for lines that were refused, with the reason; null: they are counted"),
            ("levels", "of quantiles, e.g. [0.05,0.5,0.95]"),
            ("gaps", "steps left out: error, fill or mask; null: as in training"),
            ("rewind", "steps back that a reading may come late or be corrected"),
            ("correct", "learn from what comes: bias, width of intervals, anomalies"),
            ("state.path", "file that keeps states, position and counts"),
            ("state.sync", "full: a batch outlives a power cut; normal: a kill of the process"),
            ("state.most", "series in memory at once; others wait in the file"),
            ("runs", "folder of the run folders"),
        ),
    ),
    "serve": Page(
        (
            ("forecast serve run=latest", "the newest run, on http://127.0.0.1:8000"),
            ("forecast serve run=models:/load@champion", "of MLflow; where the alias goes, the server follows"),
            ("forecast serve run=20260101T120000Z-0a1b2c3d port=0", "this run, at a free port"),
            ("forecast serve run=latest poll_s=30", "newer runs take over as they are finished"),
            ("forecast serve run=latest rate=100 timeout_s=2", "narrower limits; docs/serving.md has a token"),
        ),
        (
            ("run", "id, path or latest; models:/NAME@ALIAS, models:/NAME/VERSION or runs:/ID/model of MLflow"),
            ("host", "address to listen at; another than loopback needs a token"),
            ("port", "0: a free one"),
            ("token", "that requests carry as Authorization: Bearer …"),
            ("hosts", "names by which it may be asked, beside those of loopback"),
            ("max_batch", "series that the model is given at once"),
            ("max_wait_ms", "for more requests, while several come at a time"),
            ("queue", "series that wait; more are told to come again"),
            ("max_series", "of a request; max_steps: of a series; max_body: bytes"),
            ("rate", "requests a second from one client; 0: any number"),
            ("timeout_s", "of a request"),
            ("poll_s", "seconds from look to look for another model; null: 10 of an alias"),
            ("threads", "of the model"),
            ("runs", "folder of the run folders"),
        ),
    ),
    "export": Page(
        (
            ("forecast export run=latest", "the newest run as RUN.onnx, for ONNX Runtime and its like"),
            ("forecast export run=latest output=model.pt2", "for torch.export.load, in a program without ours"),
            ("forecast export run=latest graph=window levels=[0.1,0.5,0.9]", "a context in, these quantiles out"),
            ("forecast export run=models:/load@champion format=torch", "what MLflow calls so"),
            ("forecast export run=latest output=model.onnx overwrite=true", "over an older file"),
        ),
        (
            ("run", "id, path or latest, or models:/NAME@ALIAS; of series or of classes"),
            ("output", "FILE.onnx or FILE.pt2; beside it FILE.onnx.json, which says how to run it; null: RUN.onnx"),
            ("format", "onnx or torch; null: by the name of the output"),
            ("graph", "step of a stream, or window: a whole context in; null: step where the model streams"),
            ("levels", "of the quantiles in a window, e.g. [0.05,0.5,0.95]; null: the 90 % interval"),
            ("overwrite", "replace an output that is there"),
            ("runs", "folder of the run folders"),
        ),
    ),
    "ui": Page(
        (
            ("forecast ui", "the runs in ./runs, and MLflow on ./mlflow.db"),
            ("forecast ui --stream http://127.0.0.1:8000", "and what a stream does now"),
            ("forecast ui --runs ~/work/runs --store ~/work/mlflow.db", "the runs of another directory"),
            ("forecast ui --host 0.0.0.0", "for other machines too, with a token; MLflow asks for none"),
            ("ssh -L 8050:127.0.0.1:8050 HOST forecast ui", "from a machine far away"),
        ),
    ),
}
FLAGS = (
    ("-h, --help", "this page"),
    ("-c, --cfg job", "print the config instead of running; --resolve fills in what refers to other keys"),
    ("-p, --package KEY", "with --cfg: print this part only, e.g. -p model"),
    ("--info defaults-tree", "print which file chose what"),
    ("-m, --multirun", "run every combination of the values that stand with commas"),
    ("--config-dir DIR", "look for choices in DIR too, e.g. DIR/experiment/mine.yaml"),
)
# The same for programs: spellings of those that take a value, what it may be, all of them.
VALUED = {
    "--cfg": "--cfg",
    "-c": "--cfg",
    "--package": "--package",
    "-p": "--package",
    "--info": "--info",
    "-i": "--info",
    "--config-dir": "--config-dir",
    "-cd": "--config-dir",
}
ALLOWED = {
    "--cfg": ("job", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
LONG = ("--help", "--version", "--cfg", "--resolve", "--package", "--info", "--multirun", "--config-dir")
UI_FLAGS = (
    ("--runs DIR", "folder of the run folders (runs)"),
    ("--port N", "where the dashboard listens (8050)"),
    ("--host NAME", "on which address (127.0.0.1: this machine only); others must bring a token"),
    ("--store FILE", "MLflow's database (mlflow.db; without one MLflow is left out)"),
    ("--mlflow-port N", "where MLflow listens (5000)"),
    ("--stream URL", "a running forecast stream feed=http; its token: FORECAST_TOKEN"),
    ("--jobs DIR", "outputs of batch jobs besides those below this directory; may be repeated"),
)


def front() -> str:
    """`forecast --help`."""
    return "\n".join(
        [
            f"{bold('forecast')} {__version__}: train, compare and serve forecasting models",
            "",
            f"{bold('Usage')}  forecast VERB [KEY=VALUE …]     forecast VERB --help     forecast --version",
            "",
            *section("Verbs", VERBS.items()),
            *section("Examples", FRONT),
            "A training goes to runs/train/<time>-<id>/ below the directory you start in.",
        ]
    )


def page(verb: str) -> str:
    """`forecast VERB --help` of a verb that takes KEY=VALUE."""
    body = PAGES[verb]
    groups = {group: choices(group) for group in defaults(verb)}
    usage = "forecast {} {}[KEY=VALUE …] [FLAG …]".format(verb, "[GROUP=CHOICE …] " if groups else "")
    parts = [f"{bold(f'forecast {verb}')}: {VERBS[verb]}", "", f"{bold('Usage')}  {usage}", ""]
    parts += section("Examples", body.examples)
    if groups:
        rows = [(group, " ".join(marked(names, defaults(verb)[group]))) for group, names in groups.items()]
        more = "; the model chooses head and embed" if "model" in groups else ""
        parts += section("Groups", rows, note=f"* is the default{more}")
    keys = [(key, shown(default(verb, key)), about) for key, about in body.keys]
    width = max(len(value) for _, value, _ in keys)
    rows = [(key, f"{value:<{width}}  {about}") for key, value, about in keys]
    parts += section("Keys", rows, note="with defaults; all of them: --cfg job")
    parts += section("Flags", FLAGS)
    return "\n".join(parts).rstrip()


def ui_help() -> str:
    """`forecast ui --help`."""
    parts = [f"{bold('forecast ui')}: {VERBS['ui']}", "", f"{bold('Usage')}  forecast ui [FLAG …]", ""]
    parts += section("Examples", PAGES["ui"].examples)
    parts += section("Flags", UI_FLAGS)
    return "\n".join(parts).rstrip()


def section(title: str, rows: Iterable[Sequence[str]], note: str = "") -> list[str]:
    """A heading and two columns; the second is folded under itself to the width of the terminal."""
    rows = [tuple(row) for row in rows]
    left = min(max(len(row[0]) for row in rows), 76)
    room = max(min(shutil.get_terminal_size((110, 24)).columns, 130) - left - 4, 30)
    lines = [bold(title) + (f"  ({note})" if note else "")]
    for name, text in rows:
        first, *rest = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        if len(name) > left:
            lines.append(f"  {name}")
            name = ""
        lines.append(f"  {name:<{left}}  {first}".rstrip())
        lines += [f"  {'':<{left}}  {line}" for line in rest]
    return [*lines, ""]


def choices(group: str) -> list[str]:
    """The choices of a group: the files of conf/GROUP, without those that others are built on."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml") if not hidden(file.stem))


def hidden(name: str) -> bool:
    """Whether a config is only there for others to build on."""
    return name == "base" or name.startswith("schema_")


def groups() -> list[str]:
    """The folders of conf/."""
    return sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())


def marked(names: list[str], chosen: str | None) -> list[str]:
    """Names with a star at the default; those that differ in a last number are drawn together: a_{24,48}."""
    together: dict[str, list[str]] = {}
    for name in names:
        stem, _, number = name.rpartition("_")
        together.setdefault(f"{stem}_" if stem and number.isdigit() else name, []).append(number)
    made = []
    for stem, ends in together.items():
        many = stem.endswith("_") and len(ends) > 1
        name = f"{stem}{{{','.join(sorted(ends, key=int))}}}" if many else stem
        made.append(f"{name}*" if name == chosen else name)
    return made


@cache
def read(path: str) -> dict[str, Any]:
    """A file of conf/ as plain data."""
    with (CONF / f"{path}.yaml").open(encoding="utf-8") as file:
        return dict(yaml.safe_load(file) or {})


ORDER = ("model", "data", "task", "head", "embed", "optim", "trainer", "track", "experiment")


def defaults(verb: str) -> dict[str, str | None]:
    """Group → default choice of a verb, with what the default model overrides."""
    found: dict[str, str | None] = {}
    for entry in read(verb)["defaults"]:
        if isinstance(entry, dict):
            ((group, choice),) = entry.items()
            if " " not in group:  # "override hydra/…" is none of ours
                found[group] = choice
    for entry in read(f"model/{found['model']}")["defaults"] if "model" in found else ():
        if isinstance(entry, dict):
            ((group, choice),) = entry.items()
            found[re.sub(r"^override /(\w+).*", r"\1", group)] = choice
    return {group: found[group] for group in sorted(found, key=(*ORDER, *sorted(found)).index)}


def default(verb: str, key: str) -> Any:
    """The default value of a key, looked up in the files that a verb chooses."""
    group, _, rest = key.partition(".")
    if not rest:
        return read(verb)[key]
    if isinstance(held := read(verb).get(group), dict):  # a part of the verb's own file
        return held[rest]
    path: str | None = f"{group}/{defaults(verb)[group]}"
    while path:
        content = read(path)
        if rest in content:
            return content[rest]
        bases = [entry for entry in content.get("defaults", ()) if isinstance(entry, str)]
        path = next((f"{group}/{entry}" for entry in bases if (CONF / group / f"{entry}.yaml").is_file()), None)
    raise KeyError(key)


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "needed" if value == "???" else str(value)


def bold(text: str) -> str:
    """Bold on a terminal that shows it, plain elsewhere."""
    fancy = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return f"\033[1m{text}\033[0m" if fancy else text
