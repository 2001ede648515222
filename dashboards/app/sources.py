"""Where pages read from: run folders, MLflow's server, outputs of jobs, a live stream."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

from forecast.dashboards import load
from forecast.dashboards.app.cards import Card, broken, card
from forecast.dashboards.app.tracked import Tracked, Tracker
from forecast.dashboards.series.summary import Summary, summarise
from forecast.errors import ArtifactError, nearest

__all__ = ["Card", "Found", "Sources", "Tracked"]
FRESH_S: Final = 1.0  # so long a list of runs is not looked at again
LOOKED_S: Final = 10.0  # so long a walk for outputs of jobs holds
DEPTH: Final = 4  # of folders below the working directory in which outputs are looked for
MOST: Final = 5_000  # folders that such a walk may open
KEPT: Final = 24  # runs, and their summaries, held in memory
READERS: Final = 8  # threads that read small files: most of their time is the disk's
JOB, BACKTEST = "_manifest.jsonl", "forecasts.parquet"
Stamp = tuple[int, ...]  # what changes when a file does
T = TypeVar("T")


class Found(NamedTuple):
    """Folders that a walk came across, the newest first."""

    outputs: tuple[Path, ...]
    backtests: tuple[Path, ...]


class Sources:
    """Everything a page may ask for. Safe for several threads; answers are kept until a file changes."""

    def __init__(
        self, runs: Path, mlflow: str | None = None, stream: str | None = None, jobs: tuple[Path, ...] = (),
        below: Path | None = None,
    ) -> None:  # fmt: skip
        """`below`: the folder under which outputs of jobs and backtests are looked for, the working directory."""
        self.folder = runs  # runs/, which holds train/, backtest/, compare/
        self.mlflow = mlflow  # http://127.0.0.1:5000
        self.stream = stream  # http://127.0.0.1:8000, of forecast stream feed=http
        self.jobs = jobs  # folders given on the command line, besides those found below the working directory
        self.below = below or Path.cwd()
        self._tracker = Tracker(mlflow) if mlflow else None
        self._lock = threading.Lock()
        self._cards: dict[str, tuple[Stamp, Card]] = {}
        self._listed: tuple[float, list[Card]] = (-FRESH_S, [])
        self._found: tuple[float, Found] = (-LOOKED_S, Found((), ()))
        self._runs = Kept[load.Run](KEPT)
        self._summaries = Kept[Summary | None](KEPT)

    @property
    def train(self) -> Path:
        """The folder whose folders are runs: runs/train, or the one given where it holds none."""
        inner = self.folder / "train"
        return inner if inner.is_dir() else self.folder

    def cards(self) -> list[Card]:
        """All runs, the newest first: those on disk, then those that only MLflow knows."""
        with self._lock:
            at, listed = self._listed
            if time.monotonic() - at > FRESH_S:
                listed = self._look()
                self._listed = (time.monotonic(), listed)
        known = {each.id for each in listed}
        return [*listed, *(each for each in self.tracked().runs if each.id not in known)]

    def card(self, id: str) -> Card | None:
        """The card of one run."""
        return next((each for each in self.cards() if each.id == id), None)

    def run(self, id: str) -> load.Run:
        """The run of this id; ArtifactError where there is none here, or it cannot be read."""
        listed = self.cards()
        found = next((each for each in listed if each.id == id), None)  # the names of folders, never a path
        if found is None:
            known, said = [each.id for each in listed], repr(id[:80])
            raise ArtifactError(f"no run {said} in {self.train}", "expected the id of a run", nearest(id[:80], known))
        if (path := found.path) is None:
            raise ArtifactError(
                f"run {id} is known to MLflow only", f"expected its folder in {self.train}", "copy it there"
            )
        return self._runs.get(str(path), _stamp(path), lambda: load.read(path))

    def summary(self, run: load.Run) -> Summary | None:
        """What figures need of the predictions of a run of series, computed once for each state of the folder; None
        without any, and of another kind."""
        if run.kind != "series":
            return None
        return self._summaries.get(str(run.path), _stamp(run.path), lambda: summarise(run))

    def outputs(self) -> list[Path]:
        """Folders of jobs (with _manifest.jsonl): those given and those below the working directory, newest first."""
        return list(self._walked().outputs)

    def backtests(self) -> list[Path]:
        """Folders that forecast backtest has finished, below the working directory, the newest first."""
        return list(self._walked().backtests)

    def tracked(self) -> Tracked:
        """What MLflow's server has; what it said last, while it is asked again beside."""
        return self._tracker.now() if self._tracker else Tracked("none", "MLflow is not part of this dashboard.", ())

    def _look(self) -> list[Card]:
        """The cards of the run folder; files are opened only where a run has changed."""
        try:
            names = [entry.name for entry in os.scandir(self.train) if not entry.name.startswith(".")]
        except OSError:
            names = []
        stamps = {name: stamp for name in names if (stamp := _stamp(self.train / name))}
        new = [name for name, stamp in stamps.items() if self._cards.get(name, ((),))[0] != stamp]
        if new:
            with ThreadPoolExecutor(READERS) as pool:
                for name, made in zip(new, pool.map(self._read, new), strict=True):
                    self._cards[name] = (stamps[name], made)
        for gone in self._cards.keys() - stamps.keys():
            del self._cards[gone]
        held = [each for _, each in self._cards.values()]
        return sorted(held, key=lambda each: (each.started, each.id), reverse=True)

    def _read(self, name: str) -> Card:
        try:
            return card(self.train / name)
        except OSError as fault:
            return broken(self.train / name, f"it cannot be read: {fault.strerror}")

    def _walked(self) -> Found:
        with self._lock:
            at, found = self._found
            if time.monotonic() - at > LOOKED_S:
                found = self._walk()
                self._found = (time.monotonic(), found)
        return found

    def _walk(self) -> Found:
        roots = [(self.below.resolve(), DEPTH), *((given.expanduser().resolve(), 2) for given in self.jobs)]
        jobs, backtests = {}, {}
        for root, depth in roots:
            for folder, names in _folders(root, depth, {self.train.resolve()}):
                if JOB in names:
                    jobs[folder] = _changed(folder / JOB)
                elif BACKTEST in names and "metrics.json" in names:
                    backtests[folder] = _changed(folder / "metrics.json")
        newest = [tuple(sorted(each, key=lambda p: (-each[p], p))) for each in (jobs, backtests)]
        return Found(newest[0], newest[1])


class Kept(Generic[T]):
    """The last few values by key, each made once for a stamp, by whoever asks first; others wait for it."""

    def __init__(self, most: int) -> None:
        self.most, self._lock = most, threading.Lock()
        self._held: OrderedDict[str, tuple[Hashable, T]] = OrderedDict()
        self._made: dict[str, threading.Lock] = {}

    def get(self, key: str, stamp: Hashable, make: Callable[[], T]) -> T:
        """The value that is held for this stamp, else a new one."""
        with self._lock:
            own = self._made.setdefault(key, threading.Lock())
        with own:
            with self._lock:
                held = self._held.get(key)
                if held is not None and held[0] == stamp:
                    self._held.move_to_end(key)
                    return held[1]
            value = make()
            with self._lock:
                self._held[key] = (stamp, value)
                self._held.move_to_end(key)
                while len(self._held) > self.most:
                    self._held.popitem(last=False)
            return value


def _stamp(path: Path) -> Stamp:
    """Changes when a file of a run comes or goes (files are renamed into place) or its scores are written anew; empty
    where there is no run."""
    found = [_changed(path), *(_changed(path / name) for name in ("metrics.json", "config.json"))]
    return tuple(found) if any(found[1:]) else ()


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _folders(root: Path, depth: int, apart: set[Path]) -> Iterator[tuple[Path, set[str]]]:
    """Folders below `root` with the names of their files, in breadth, at most MOST; those in `apart`, hidden ones and
    Python environments are not entered, links are not followed."""
    level, opened = [root], 0
    for _ in range(depth + 1):
        below: list[Path] = []
        for folder in level:
            if folder in apart or opened >= MOST:
                continue
            opened += 1
            try:
                entries = list(os.scandir(folder))
            except OSError:
                continue
            names = {entry.name for entry in entries}
            yield folder, names
            if JOB not in names and "pyvenv.cfg" not in names:
                below += [Path(e.path) for e in entries if e.name[0] not in "._" and e.is_dir(follow_symlinks=False)]
        level = below
