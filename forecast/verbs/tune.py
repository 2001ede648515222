"""forecast tune: settings of a training sought by Optuna, by the validation score alone.

Each trial is a `forecast train` in a process of its own that ends before the test windows are scored. Its validation
scores are read from its history as they come; a trial worse than the median of those before it, at the same validation,
is ended (MedianPruner). The study is an SQLite file, runs/tune/<digest of the command>/study.db: the same command goes
on with it, also after a kill; a trial that was cut off is run again.
"""

import csv
import hashlib
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from forecast import ranks
from forecast.errors import RunError, UsageError
from forecast.verbs import words
from forecast.verbs.child import Child
from forecast.verbs.sweep import RESULT, TRIAL
from forecast.where import RUNS

if TYPE_CHECKING:
    from optuna import Study, Trial

HELP: Final = """\
forecast tune: seek settings by the validation score, with Optuna

Usage  forecast tune KEY=SPACE … [GROUP=CHOICE …] [KEY=VALUE …] [trials=20] [prune=true] [runs=FOLDER]

A SPACE is choice(A,B,…), uniform(LOW,HIGH), log(LOW,HIGH) or int(LOW,HIGH), in quotes for the shell. All other words
are those of forecast train. A trial trains without MLflow and ends before the test windows are scored: nothing is
chosen by them. The best settings are printed as a forecast train command, which scores them once. The same command
goes on with its study after Ctrl-C or a kill, and with a larger trials=. Trials run one after another.

Examples
  forecast tune 'model.d_model=choice(16,32,64)' 'optim.lr=log(1e-4,1e-2)' budget=2m
  forecast tune data=household 'model=choice(linear,informer)' 'embed.dropout=uniform(0,0.3)' trials=40
  forecast tune 'head.layers=int(1,3)' prune=false

Keys
  trials  20    trials in all, those of earlier commands and pruned ones included
  prune   true  end a trial that is worse than the median of those before it
  runs    runs  folder of the run folders; the study goes to runs/tune/"""
KEYS: Final = {"trials": "20", "prune": "true", "runs": RUNS}
SPACE: Final = re.compile(r"(choice|uniform|log|int)\((.*)\)")
POLL_S: Final = 0.2
FAILURES: Final = 3  # before any success, that end it


class Space(NamedTuple):
    """What a key may be: of `kind`, with the words between the parentheses."""

    key: str
    kind: str
    parts: tuple[str, ...]

    def ask(self, trial: "Trial") -> str:
        """A value for this trial, as it is written on a command line."""
        if self.kind == "choice":
            return str(trial.suggest_categorical(self.key, self.parts))
        low, high = (float(part) for part in self.parts)
        if self.kind == "int":
            return str(trial.suggest_int(self.key, int(low), int(high)))
        return f"{trial.suggest_float(self.key, low, high, log=self.kind == 'log'):.6g}"


def main(argv: Sequence[str]) -> int:
    """Run trials until there are as many as asked for; print the best."""
    if {"-h", "--help", "help"} & set(argv):
        print(HELP)
        return 0
    ranks.alone("forecast tune")
    own = [word for word in argv if word.partition("=")[0] in KEYS]
    asked = words.read("tune", own, KEYS)
    trials, prune = _count(asked["trials"]), _truth(asked["prune"])
    spaces, fixed = read([word for word in argv if word not in own])
    digest = hashlib.sha256(json.dumps([spaces, fixed]).encode()).hexdigest()[:8]
    folder = Path(asked["runs"]).expanduser().resolve() / "tune" / digest
    study = _study(folder, prune)
    while _done(study) < trials:
        _one(study, folder, spaces, fixed, prune)
        _give_up(study, FAILURES)
    _give_up(study, 1)
    best = study.best_trial
    print(f"\n{len(study.trials)} trials in {folder}; no test window was scored")
    print(f"best  trial {best.number}, validation score {best.value:.6g}\n")
    print(shlex.join(["forecast", "train", *fixed, *best.user_attrs["words"]]))
    return 0


def read(argv: Sequence[str]) -> tuple[list[Space], list[str]]:
    """The spaces, and the words of `forecast train`; UsageError for a space that means nothing."""
    spaces, fixed = [], []
    for word in argv:
        key, _, value = word.partition("=")
        found = SPACE.fullmatch(value)
        if found is None:
            fixed.append(word)
            continue
        space = Space(key, found[1], tuple(part.strip() for part in found[2].split(",")))
        _check(word, space)
        spaces.append(space)
    if not spaces:
        raise UsageError("nothing to tune", "expected a key with a space", "e.g. 'optim.lr=log(1e-4,1e-2)'")
    return spaces, fixed


def _check(word: str, space: Space) -> None:
    if space.kind == "choice":
        if not all(space.parts) or len(set(space.parts)) != len(space.parts):
            raise UsageError(f"{word} is no space", "expected different values", "e.g. 'model.d_model=choice(16,32)'")
        return
    try:
        low, high = (int(part) if space.kind == "int" else float(part) for part in space.parts)
        good = low < high < float("inf") and (space.kind != "log" or low > 0)
    except ValueError:
        good = False
    if not good:
        kind = "whole numbers" if space.kind == "int" else "numbers above 0" if space.kind == "log" else "numbers"
        raise UsageError(f"{word} is no space", f"expected two {kind}, the smaller first", "see forecast tune --help")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"trials is {text}", "expected a whole number, at least 1", "e.g. trials=20")
    return int(text)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise UsageError(f"prune is {text}", "expected true or false")
    return text.lower() == "true"


def _study(folder: Path, prune: bool) -> "Study":
    """The study of this command, new or gone on with; what was cut off is put first in the queue."""
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}", do="set runs= to a folder of yours") from error
    pruner: Any = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", study_name=folder.name, load_if_exists=True,
        pruner=pruner if prune else optuna.pruners.NopPruner(),
    )  # fmt: skip
    # Another seed after a resume, or the first trials would come again.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials), n_startup_trials=8)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
    return study


def _done(study: "Study") -> int:
    """Trials that count: all but those waiting and those that a kill cut off, which are run again."""
    from optuna.trial import TrialState

    ended = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    again = {trial.user_attrs.get("again") for trial in study.trials}
    return sum(trial.state in ended and trial.number not in again for trial in study.trials)


def _one(study: "Study", folder: Path, spaces: Sequence[Space], fixed: Sequence[str], prune: bool) -> None:
    """A trial: ask, train, report every validation, tell."""
    from optuna.trial import TrialState

    trial = study.ask()
    own = [f"{space.key}={space.ask(trial)}" for space in spaces]
    trial.set_user_attr("words", own)
    place, result = folder / str(trial.number), folder / f"{trial.number}.json"
    silent = [] if any(word.startswith("quiet=") for word in fixed) else ["quiet=true"]
    command = [sys.executable, "-m", "forecast.__main__", "train", *fixed, *own, *silent, f"runs={place}"]
    reports, began = Reports(trial, place, prune), time.monotonic()
    with Child(command, env={**os.environ, RESULT: str(result), TRIAL: "1"}) as child:
        code = child.wait(reports.look, POLL_S)
    if child.told is not None:
        raise KeyboardInterrupt
    reports.look()
    value = json.loads(result.read_text(encoding="utf-8"))["value"] if code == 0 and result.is_file() else None
    if value is not None:
        study.tell(trial, value)
    else:
        study.tell(trial, state=TrialState.PRUNED if code is None else TrialState.FAIL)
    state = "done" if value is not None else "pruned" if code is None else f"failed ({code})"
    last = value if value is not None else reports.last
    shown = "" if last is None else f"{last:.6g}"
    print(
        f"{trial.number:>4}  {state:<11} {shown:>10}  {time.monotonic() - began:>7.1f} s  {' '.join(own)}", flush=True
    )


class Reports:
    """What a training says of itself while it runs, handed to its trial."""

    def __init__(self, trial: "Trial", place: Path, prune: bool) -> None:
        self.trial, self.place, self.prune = trial, place, prune
        self.seen = 0
        self.last: float | None = None

    def look(self) -> bool:
        """Report what is new; whether the trial is to be ended for it."""
        scores = validations(self.place)
        new, before = scores[self.seen :], self.seen
        for step, value in enumerate(new, before):
            self.trial.report(value, step)
            self.last = value
        self.seen = len(scores)
        return bool(new) and self.prune and self.trial.should_prune()


def validations(place: Path) -> list[float]:
    """Validation scores of the one run below `place`, so far; a torn last line is left out."""
    found: list[float] = []
    for path in place.glob("train/*/history.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.reader(line for line in file if line.endswith("\n")):
                if len(row) == 5 and row[2] in ("val/mse", "val/nll"):
                    found.append(float(row[3]))
    return found


def _give_up(study: "Study", least: int) -> None:
    """RunError where nothing but failures came, and at least so many; each has said why."""
    from optuna.trial import TrialState

    states: list[Any] = [trial.state for trial in study.trials]
    failed = states.count(TrialState.FAIL)
    if failed >= least and TrialState.COMPLETE not in states:
        raise RunError(
            f"{failed} trial{'s' * (failed != 1)} failed and none was done",
            do="see the lines above, and mend the words",
        )
