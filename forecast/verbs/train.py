"""forecast train: data, model, trainer; the best weights by validation; the test windows once; a run folder."""

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast import build, ranks
from forecast.artifacts import LAST_CHECKPOINT, MANIFEST, Run, find, resumable, sweep
from forecast.errors import ForecastError, RunError, UsageError
from forecast.verbs.provenance import environment, peak_memory
from forecast.verbs.sweep import TRIAL

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import Trainer

    from forecast.tasks.base import Task
    from forecast.track import Tracker

log = logging.getLogger("forecast")
TASKS = ("forecast", "event", "classify")  # what each does by itself stands in train_TASK.py
RESUMES = "resumes.json"  # in the run folder: each command that went on with it
FOLDER_OF_RANK_0 = "FORECAST_RUN_DIR"  # tells the other processes of a distributed run where to write
CHANGEABLE = (
    "trainer",
    "budget",
    "track",
    "quiet",
    "predictions",
    "insight",
    "baseline",
    "baseline_windows",
    "resume",
)  # on resume; the rest is the run's


def train(cfg: "DictConfig", overrides: list[str], *, before: Run | None = None) -> float:
    """Train as configured; returns the best validation score of the task, what sweeps compare. `before`: a run of the
    same model whose weights are begun with."""
    import torch

    from forecast import config as schema
    from forecast.inference.training import assemble
    from forecast.tasks.trainer import make_trainer
    from forecast.track import Tracker, make_tracker

    config: dict[str, Any] = schema.plain(cfg)
    run = None
    if config["resume"] is not None:
        run, config = _resumed(config, overrides)
    if config["trainer"]["threads"]:
        torch.set_num_threads(config["trainer"]["threads"])
    began = time.monotonic()
    if not 0 <= config["seed"] < 1 << 31:  # seeds of a step are made of the seed and the step's number
        raise UsageError(f"seed is {config['seed']}", "expected 0 … 2147483647")
    work = work_of(build.task_of(config))
    data = work.data(config, run)
    torch.manual_seed(config["seed"])
    chain = work.chain(config, data)
    first = ranks.first()
    if before is not None:
        before.load_weights(chain)
    task = assemble(work.task, config, chain, data)
    run = run or _planned(config, first)
    quiet = config["quiet"] or not first
    trial = bool(os.environ.get(TRIAL))
    tracker = make_tracker(config["track"]) if first and not trial else Tracker()
    budget = config.get("budget")  # not in the record of an older run
    told: dict[str, Any] = {"sink": tracker.log, "quiet": quiet, "budget": budget, "monitor": task.SCORES[0]}
    trainer = make_trainer(config["trainer"], run.path, **told)
    if first:  # from here on nothing is wrong with what was asked
        _claim(run, config)
    with _logged(run, quiet, first):
        if first:
            _open(work, run, config, overrides, data)
            log.info("%s", work.opening(config, data, build.parameters(chain), run))
        tracker.start(run, config, data)
        return _fit_and_score(work, config, run, data, task, trainer, tracker, began, warm=before is None)


def work_of(task: str) -> Any:
    """The module of what a task does by itself."""
    if task not in TASKS:
        raise UsageError(
            f"task.name is {task!r}", f"expected {', '.join(TASKS[:-1])} or {TASKS[-1]}", "choose with task="
        )
    return import_module(f"forecast.verbs.train_{task}")


def _claim(run: Run, config: Mapping[str, Any]) -> None:
    """Make the folder of a new run; open that of a resumed one again."""
    try:
        if config["resume"] is None:
            run.create()
        else:
            sweep(run.path)
            (run.path / MANIFEST).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{run.path} cannot be made: {error.strerror}", do="set runs= to a folder of yours") from error


def _fit_and_score(
    work: Any, config: dict[str, Any], run: Run, data: Any, task: "Task", trainer: "Trainer", tracker: "Tracker",
    began: float, *, warm: bool,
) -> float:  # fmt: skip
    from forecast.dashboards.report import write_report
    from forecast.inference.training import learn
    from forecast.tasks.trainer import seconds_of, spent

    chain = task.chain
    if config["trainer"]["compile"]:
        chain.compile()
    last = run.path / LAST_CHECKPOINT
    if config["resume"] is None and warm:
        work.warm(chain, data)
    with _told(tracker, run):
        trial = bool(os.environ.get(TRIAL))
        resume = last if config["resume"] is not None else None
        best = learn(trainer, task, data, run.path, resume=resume, keep=not trial)
        if not trainer.is_global_zero or trial:
            return best
        settled = work.settle(config, run, data, task, trainer)
        run.save_weights(chain)
        fitted = {"best": {task.SCORES[0]: best}, "epochs": trainer.current_epoch, "steps": trainer.global_step,
                  "seconds": {"fit": round(seconds_of(trainer), 1)},
                  "memory": peak_memory(trainer.strategy.root_device.type),  # the model is back on the CPU by now
                  **({"stopped": "budget"} if spent(trainer) else {}), **settled}  # fmt: skip
        if spent(trainer):
            log.info("the budget of %s is used up after %s steps", config["budget"], f"{trainer.global_step:,}")
        metrics = work.finish(config, run, data, fitted)
        metrics["seconds"]["total"] = round(time.monotonic() - began, 1)
        run.write_metrics(metrics)
        write_report(run.path)
        run.seal()
        tracker.finish(run, metrics)
    log.info("%s", work.closing(metrics, run, config))
    return best


def _resumed(asked: dict[str, Any], overrides: list[str]) -> tuple[Run, dict[str, Any]]:
    """The run to go on with, and its own config with what the command line changes."""
    from forecast.tasks.checkpoint import check

    run = find(asked["resume"], asked["runs"], to_resume=True)
    if not resumable(run):
        raise UsageError(f"{run.path} has no {LAST_CHECKPOINT}", "expected a run that finished an epoch", "train again")
    check(run.path / LAST_CHECKPOINT)
    config: dict[str, Any] = run.read("config.json")
    if (run.path / RESUMES).is_file():
        run.read(RESUMES)  # what is damaged is said while the manifest still vouches for the rest
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        group, _, rest = key.partition(".")
        if key == "runs":
            continue
        if group not in CHANGEABLE:
            raise UsageError(
                f"resume= with {key}=: that is settled by the run", f"expected one of {', '.join(CHANGEABLE)}",
                f"leave {key} out, or train anew without resume",
            )  # fmt: skip
        node, source = config, asked
        *path, leaf = key.split(".")
        for part in path:
            node, source = node[part], source[part]
        node[leaf] = source[leaf]
    config["resume"] = str(run.path)
    return run, config


def _planned(config: Mapping[str, Any], first: bool) -> Run:
    """The folder of a new run; other ranks join that of the first, or, on another machine, write nothing at all."""
    if not first and FOLDER_OF_RANK_0 not in os.environ and ranks.placed():
        return Run.plan(config["runs"], "train")  # never made: the first process tells where its checkpoints are
    if not first and FOLDER_OF_RANK_0 not in os.environ:
        raise UsageError(
            f"LOCAL_RANK is {os.environ.get('LOCAL_RANK', '0')}, but {FOLDER_OF_RANK_0} is not set",
            "every process of one run writes into one folder",
            f"set {FOLDER_OF_RANK_0} for all of them, or let trainer.devices start them",
        )
    if not first:
        return Run(Path(os.environ[FOLDER_OF_RANK_0]))
    run = Run.plan(config["runs"], "train")
    os.environ[FOLDER_OF_RANK_0] = str(run.path)
    return run


def _open(work: Any, run: Run, config: Mapping[str, Any], overrides: list[str], data: Any) -> None:
    run.write("config.json", config)
    if config["resume"] is not None:  # where the run comes from stays as it was; the resumes are listed beside it
        before = run.read(RESUMES) if (run.path / RESUMES).is_file() else []
        run.write(RESUMES, [*before, environment(overrides)])
        return
    run.write("overrides.json", overrides)
    work.begin(run, data)
    run.write("env.json", environment(overrides))


@contextmanager
def _logged(run: Run, quiet: bool, first: bool = True) -> Iterator[None]:
    """Log lines of the first process go to the run's log.txt, and to the terminal unless quiet."""
    handlers: list[logging.Handler] = []
    if first:
        handlers.append(logging.FileHandler(run.path / "log.txt", encoding="utf-8"))
        handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if not quiet:
        handlers.append(logging.StreamHandler(sys.stderr))
        handlers[-1].setFormatter(logging.Formatter("%(message)s"))
        handlers[-1].addFilter(lambda record: record.name != "forecast.ops.dispatch")  # for who looks for it
    log.setLevel(logging.INFO)
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()


@contextmanager
def _told(tracker: "Tracker", run: Run) -> Iterator[None]:
    """The tracker hears how the run ended; what failed inside training is a RunError."""
    try:
        yield
    except KeyboardInterrupt:
        tracker.fail("KILLED")
        kept = (run.path / LAST_CHECKPOINT).is_file()
        log.info(
            "interrupted; %s", f"go on with: forecast train resume={run.id}" if kept else "no checkpoint was written"
        )
        raise
    except ForecastError:
        tracker.fail()
        raise
    except (RuntimeError, OSError) as error:
        tracker.fail()
        raise RunError(f"training failed: {' '.join(str(error).split())}", do=f"see {run.path / 'log.txt'}") from error
