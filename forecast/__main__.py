"""python -m forecast VERB [GROUP=CHOICE …] [KEY=VALUE …]

The verb names the config, Hydra composes it, a function runs. Exit codes: 0 done, 2 usage or config,
3 bad data, 4 bad artefact, 5 the run failed, 130 interrupted. Whatever goes wrong is said in one line on
stderr; FORECAST_TRACEBACK=1 adds the traceback.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from forecast import __version__, cli, ranks
from forecast.errors import ForecastError
from forecast.verbs import help as pages
from forecast.where import CONF

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from forecast.verbs.sweep import Sweep

INTERRUPTED = 130
DEFECT = 5
# Verbs of plain words, which Hydra has no part in, and their modules in forecast/verbs.
PLAIN = {"data": "data", "ui": "ui", "sync": "sync", "reproduce": "reproduce", "tune": "tune", "completion": "complete"}


def main() -> int:
    """The console script; returns the exit code."""
    try:
        code = guarded(lambda: dispatch(sys.argv[1:]))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as fault:
        return interrupted(fault)
    except SystemExit as fault:
        if isinstance(fault.__context__, KeyboardInterrupt):  # Lightning turns Ctrl-C into exit(1)
            return interrupted(fault)
        raise
    except BrokenPipeError:  # `forecast train --help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED


def dispatch(words: Sequence[str]) -> int:
    """Run the verb that the first word names."""
    verb, *rest = words or ["--help"]
    if verb in ("--help", "-h"):
        print(pages.front())
        return 0
    if verb in ("--version", "-V"):
        print(f"forecast {__version__}")
        return 0
    if verb == "help":
        return dispatch([*rest[:1], "--help"])
    if verb in PLAIN:
        return int(import_module(f"forecast.verbs.{PLAIN[verb]}").main(rest))
    if verb not in pages.CONFIGURED:
        raise cli.no_verb(verb)
    if {"--help", "-h"} & set(rest):
        print(pages.page(verb))
        return 0
    if "--version" in rest:
        return dispatch(["--version"])
    return configured(verb, cli.read(verb, rest))


def configured(verb: str, words: cli.Words) -> int:
    """Let Hydra compose the config and run the verb with it, once or for every job of a sweep."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from forecast import config
    from forecast.verbs.sweep import Sweep

    if "--multirun" in words.flags:
        ranks.alone("-m")
    sweep = Sweep(verb, words.carried)
    codes: list[int] = []
    config.register(sweep.place)
    sys.argv = [sys.argv[0], *words.flags, *words.overrides]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing, so that we can translate
    try:
        start = hydra.main(version_base="1.3", config_path=str(CONF), config_name=verb)
        start(task(verb, words, sweep, codes))()
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as fault:
        sweep.discard()
        raise cli.translate(fault, verb, words.overrides) from fault
    if sweep.jobs:
        sweep.report()
    return next((code for code in codes if code), 0)


def task(verb: str, words: cli.Words, sweep: "Sweep", codes: list[int]) -> Callable[["DictConfig"], float | None]:
    """What Hydra calls with a composed config; its exit codes go to `codes`, for Hydra would add lines."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from forecast import config

    def run(cfg: "DictConfig", value: list[float]) -> int:
        config.check(cfg)
        settings = HydraConfig.get()
        # As they were written: read one by one, `seed=${x}` would be resolved.
        overrides = [str(word) for word in OmegaConf.to_container(settings.overrides.task) or ()]
        if settings.mode == RunMode.MULTIRUN:
            code, result = sweep.job(overrides)
            value += result
            return code
        # Under DDP Lightning starts the other ranks with this command line: it must hold the verb.
        sys.argv = [sys.argv[0], verb, *words.carried, *overrides]
        value += call(verb, cfg, overrides)
        return 0

    def once(cfg: "DictConfig") -> float | None:
        value: list[float] = []
        codes.append(guarded(lambda: run(cfg, value)))
        return value[0] if value else None

    return once


def call(verb: str, cfg: "DictConfig", overrides: list[str]) -> list[float]:
    """The verb's function; a list of the number it returns, empty where it returns none."""
    if verb == "train":
        from forecast.verbs.sweep import hand_over
        from forecast.verbs.train import train

        return hand_over(train(cfg, overrides))
    if verb == "evaluate" and cfg.compare is not None:
        from forecast.verbs.compare import compare

        compare(cfg, overrides)
    elif verb == "evaluate":
        from forecast.verbs.evaluate import evaluate

        evaluate(cfg, overrides)
    if verb == "predict":
        from forecast.verbs.predict import predict

        predict(cfg, overrides)
    if verb == "backtest":
        from forecast.verbs.backtest import backtest

        backtest(cfg, overrides)
    if verb == "stream":
        from forecast.verbs.stream import stream

        stream(cfg, overrides)
    if verb == "serve":
        from forecast.verbs.serve import serve

        serve(cfg, overrides)
    if verb == "export":
        from forecast.verbs.export import export

        export(cfg, overrides)
    return []


def guarded(run: Callable[[], int]) -> int:
    """Run; what is raised becomes one line and an exit code. Ctrl-C goes on, so that it ends a sweep."""
    try:
        return run()
    except ForecastError as fault:
        return say(str(fault), fault.code, fault)
    except BrokenPipeError:
        raise
    except BaseException as fault:
        # What polars raises where its Rust code panics is no Exception.
        if not isinstance(fault, Exception) and type(fault).__module__ != "pyo3_runtime":
            raise
        line = f"{type(fault).__name__}: {fault}; this is a defect of forecast"
        return say(f"{line}; set FORECAST_TRACEBACK=1 for the traceback", DEFECT, fault)


def interrupted(fault: BaseException) -> int:
    """Ctrl-C: one line, said by the process that runs the sweep if this is a job of one."""
    from forecast.verbs.sweep import RESULT

    return INTERRUPTED if RESULT in os.environ else say("interrupted", INTERRUPTED, fault)


def say(message: str, code: int, fault: BaseException) -> int:
    """One line on stderr, after the traceback where it is wanted."""
    sys.stdout.flush()
    if os.environ.get("FORECAST_TRACEBACK") == "1":
        traceback.print_exception(fault)
    print("forecast:", " ".join(message.split()), file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
