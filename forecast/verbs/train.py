"""forecast train: data, model, trainer; the best weights by validation; the test windows once; a run folder."""

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast import build
from forecast.artifacts import CALIBRATION, LAST_CHECKPOINT, MANIFEST, Run, find, resumable, sweep
from forecast.errors import ForecastError, RunError, UsageError
from forecast.verbs import tables
from forecast.verbs.checks import named, something_to_learn, whole_counts
from forecast.verbs.provenance import environment, peak_memory
from forecast.verbs.sweep import TRIAL

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from pytorch_lightning import Trainer

    from forecast.data.module import SeriesModule
    from forecast.heads import Chain
    from forecast.tasks.forecast import ForecastTask
    from forecast.track import Tracker

log = logging.getLogger("forecast")
RESUMES = "resumes.json"  # in the run folder: each command that went on with it
FOLDER_OF_RANK_0 = "FORECAST_RUN_DIR"  # tells the other processes of a distributed run where to write
CHANGEABLE = (
    "trainer",
    "budget",
    "track",
    "quiet",
    "predictions",
    "baseline",
    "baseline_windows",
    "resume",
)  # on resume; the rest is the run's


def train(cfg: "DictConfig", overrides: list[str]) -> float:
    """Train as configured; returns the best validation MSE (scaled), what sweeps compare."""
    import torch

    from forecast import config as schema
    from forecast.data.recipe import Recipe
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
    named(config)
    data = build.data(config).remember(Recipe.from_state(run.read("data.json")).holidays if run else None).prepare()
    config["data"].update(
        card=data.name, path=data.path, holidays=data.holidays, covariates=data.covariates
    )  # absolute: the run is read from other directories too
    something_to_learn(data)
    torch.manual_seed(config["seed"])
    chain = build.chain(config, data.spec, masked=data.gaps != "error")
    first = os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"
    if chain.output.counts:
        whole_counts(data)
    task = _task(config, chain, data)
    run = run or _planned(config, first)
    quiet = config["quiet"] or not first
    trial = bool(os.environ.get(TRIAL))
    tracker = make_tracker(config["track"]) if first and not trial else Tracker()
    budget = config.get("budget")  # not in the record of an older run
    trainer = make_trainer(config["trainer"], run.path, sink=tracker.log, quiet=quiet, budget=budget)
    if first:  # from here on nothing is wrong with what was asked
        _claim(run, config)
    with _logged(run, quiet):
        if first:
            _open(run, config, overrides, data)
            log.info("%s", tables.opening(config, data, build.parameters(chain), run))
        tracker.start(run, config, data)
        return _fit_and_score(config, run, data, task, trainer, tracker, began)


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


def _task(config: Mapping[str, Any], chain: "Chain", data: "SeriesModule") -> "ForecastTask":
    from forecast.tasks.forecast import ForecastTask

    optim = config["optim"]
    if optim["schedule"] == "plateau" and optim["warmup"]:
        raise UsageError("optim.warmup with optim.schedule=plateau", "a plateau has no warmup", "set optim.warmup=0")
    optimiser = build.optimiser(config)
    optimiser(chain.parameters())  # a wrong key or value is said before anything is written
    return ForecastTask(
        chain, optimiser,
        schedule=optim["schedule"], warmup=optim["warmup"], seed=config["seed"], where=data.where,
    )  # fmt: skip


def _fit_and_score(
    config: dict[str, Any], run: Run, data: "SeriesModule", task: "ForecastTask", trainer: "Trainer",
    tracker: "Tracker", began: float,
) -> float:  # fmt: skip
    from forecast.heads.base import Head
    from forecast.inference.baseline import warm_start
    from forecast.tasks.forecast import MONITOR
    from forecast.tasks.trainer import best_weights, fit, seconds_of, spent

    chain = task.chain
    if config["trainer"]["compile"]:
        chain.compile()
    last = run.path / LAST_CHECKPOINT
    if config["resume"] is None and isinstance(chain.head, Head):
        warm_start(chain.head, data.gather, data.windows("train"))
    with _told(tracker, run):
        best = fit(trainer, task, data, resume=last if config["resume"] is not None else None)
        if not trainer.is_global_zero or os.environ.get(TRIAL):
            return best
        chain.load_state_dict(best_weights(run.path))
        run.save_weights(chain)
        fitted = {"best": {MONITOR: best}, "epochs": trainer.current_epoch, "steps": trainer.global_step,
                  "seconds": {"fit": round(seconds_of(trainer), 1)},
                  "memory": peak_memory(trainer.strategy.root_device.type),  # the model is back on the CPU by now
                  **({"stopped": "budget"} if spent(trainer) else {})}  # fmt: skip
        if spent(trainer):
            log.info("the budget of %s is used up after %s steps", config["budget"], f"{trainer.global_step:,}")
        metrics = _finish(config, run, data, fitted, began)
        tracker.finish(run, metrics)
    log.info("%s", tables.closing(metrics, run, config))
    return best


def _finish(
    config: dict[str, Any], run: Run, data: "SeriesModule", fitted: Mapping[str, Any], began: float
) -> dict[str, Any]:
    """Score the saved run, not the one in memory; write scores, predictions, report; seal the folder."""
    from forecast.dashboards.report import write_report
    from forecast.inference.beside import beside
    from forecast.inference.intervals import score_intervals
    from forecast.inference.predictor import Predictor
    from forecast.inference.record import Recorder
    from forecast.inference.scoring import score
    from forecast.inference.streamed import score_stream

    predictor = Predictor.load(run)
    name = predictor.name
    if config["task"].get("calibrate", True):
        run.save_tensors(CALIBRATION, predictor.calibrate(data).tensors())
    if config["predictions"]:
        with Recorder(run.path / "predictions.parquet", data, predictor) as recorder:
            rows = score(data, predictor.forecast, name, watch=recorder.watch)
    else:
        rows = score(data, predictor.forecast, name)
    streamed, stream = score_stream(data, predictor.chain, name, rows[0])
    few, quiet = config.get("baseline_windows"), config["quiet"]
    others, records = beside(data, predictor.forecast, name, named(config), few=few, quiet=quiet)
    metrics = {
        "task": config["task"]["name"], "dataset": data.card.name, "model": name,
        "context": data.spec.context, "horizon": data.spec.horizon, "season": data.spec.season, "seed": config["seed"],
        "part": "test", "windows": {part: len(data.windows(part)) for part in ("train", "val", "test")},
        "parameters": build.parameters(predictor.chain), **fitted, "stream": stream,
        "rows": [*rows, *streamed, *others], **({"baselines": records} if records else {}),
    }  # fmt: skip
    if predictor.calibration is not None:
        metrics["intervals"] = score_intervals(data, predictor.chain, predictor.calibration, predictor.clip)
    metrics["seconds"]["total"] = round(time.monotonic() - began, 1)
    run.write("metrics.json", metrics)
    write_report(run.path)
    run.seal()
    return metrics


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
    """The folder of a new run; other ranks join that of the first."""
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


def _open(run: Run, config: Mapping[str, Any], overrides: list[str], data: "SeriesModule") -> None:
    run.write("config.json", config)
    if config["resume"] is not None:  # where the run comes from stays as it was; the resumes are listed beside it
        before = run.read(RESUMES) if (run.path / RESUMES).is_file() else []
        run.write(RESUMES, [*before, environment(overrides)])
        return
    run.write("overrides.json", overrides)
    run.write("data.json", {**data.state(), "findings": data.findings, "source": data.source})
    run.write("gaps.json", data.gap_list)
    run.write("env.json", environment(overrides))


@contextmanager
def _logged(run: Run, quiet: bool) -> Iterator[None]:
    """Log lines go to the run's log.txt, and to the terminal unless quiet."""
    handlers: list[logging.Handler] = [logging.FileHandler(run.path / "log.txt", encoding="utf-8")]
    handlers[0].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if not quiet:
        handlers.append(logging.StreamHandler(sys.stderr))
        handlers[1].setFormatter(logging.Formatter("%(message)s"))
        handlers[1].addFilter(lambda record: record.name != "forecast.ops.dispatch")  # for who looks for it
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
