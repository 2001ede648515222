"""forecast sync: send to MLflow what it was not there to hear."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from forecast.artifacts import Run, find
from forecast.errors import ArtifactError, ForecastError, RunError
from forecast.spool import Sent, absolute, lines, sending, shown, tracked, trouble, writing
from forecast.verbs import words
from forecast.where import RUNS

HELP: Final = """\
forecast sync: send MLflow what it has not heard yet

Usage  forecast sync [run=ID|PATH|latest|all] [uri=URI] [runs=FOLDER]

A run keeps what MLflow should know in its folder until MLflow has it. Where the server was dead or slow, or the
training was killed, this sends the rest: each metric once, however often. A killed run is closed as KILLED.

Examples
  forecast sync                                    every run in runs/, each to the store it was tracked in
  forecast sync run=latest                         the newest one
  forecast sync run=20260101T120000Z-0a1b2c3d      this one
  forecast sync run=~/from/another/machine/run uri=sqlite:///mlflow.db
  forecast sync uri=http://127.0.0.1:5000          to another store, as new runs there

Keys
  run   all    id, path, latest, or all
  uri          MLflow server or database; left out: the run's own
  runs  runs   folder of the run folders"""
TIMEOUT_S = 30


def main(argv: Sequence[str]) -> int:
    """Send the runs named; a line for each. RunError when a store does not take one."""
    if {"-h", "--help", "help"} & set(argv):
        print(HELP)
        return 0
    asked = words.read("sync", argv, {"run": "all", "uri": "", "runs": RUNS})
    folders = _folders(asked["run"], asked["runs"])
    faults: dict[str, str] = {}  # a store that has failed is not asked again for every run
    missed = 0
    for folder in folders:
        uri = absolute(asked["uri"]) if asked["uri"] else _store_of(folder)
        if uri not in faults:
            try:
                print(f"{folder.name}  {_send(folder, uri)}", flush=True)
                continue
            except ForecastError:
                raise
            except Exception as error:  # Unsent, and whatever else MLflow may raise
                faults[uri] = str(error) or type(error).__name__
        missed += 1
    if missed:
        said = "; ".join(f"{shown(uri)}: {why}" for uri, why in faults.items())
        raise RunError(f"{missed} of {len(folders)} runs not sent: {said}", do="it is all kept; try again later")
    return 0


def _folders(wanted: str, runs: str) -> list[Path]:
    """The folders of tracked runs that are meant, oldest first."""
    place = Path(runs).expanduser() / "train"
    if wanted in ("all", "latest"):
        known = sorted(p.resolve() for p in place.iterdir() if tracked(p)) if place.is_dir() else []
        if not known:
            raise ArtifactError(f"no tracked run in {place}", do="name a run by its path, or set runs=FOLDER")
        return known if wanted == "all" else known[-1:]
    path = Path(wanted).expanduser()
    run = Run(path.resolve()) if tracked(path) else find(wanted, runs)
    if not tracked(run.path):
        raise ArtifactError(f"{run.path} has nothing for MLflow", "expected a run that was trained with track=mlflow")
    return [run.path]


def _store_of(folder: Path) -> str:
    """Where the run was tracked last."""
    known = [str(line["uri"]) for _, line in lines(folder) if line["do"] in ("create", "resume")]
    if not known:
        raise ArtifactError(f"{folder}: its journal does not begin", "the run was killed as it started", "delete it")
    return known[-1]


def _send(folder: Path, uri: str) -> str:
    """Send one run and say what was sent."""
    if writing(folder):
        return "is being trained; its training sends it"
    sent = Sent(folder, uri)
    ended = sent.status not in ("", "RUNNING")
    if ended and next(lines(folder, sent.offset), None) is None:
        return f"nothing to send; {shown(uri)} has it all"
    from forecast.delivery import Delivery
    from forecast.store import Store, Unsent

    if why := trouble(uri, TIMEOUT_S / 6):
        raise Unsent(why)
    with sending(folder) as mine:
        if not mine:
            return "is being sent by another process"
        delivery = Delivery(Store(uri, TIMEOUT_S).open(), folder)
        for _ in delivery.advance():
            pass
        delivery.killed()
    counts, refused = delivery.counts, delivery.refused
    what = f"{counts['metrics']:,} metrics and {counts['files']} files sent to {shown(uri)}; {delivery.sent.status}"
    return f"{what}; refused: {'; '.join(refused)}" if refused else what
