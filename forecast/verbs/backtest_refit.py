"""The run trained again, with its own config, on what was known at some of the origins of a backtest.

A refit is a run folder of its own below the output. Its training part ends so many steps before the origin as the run's
validation part is long, its test part holds the steps that it forecasts until the next refit: what came later is read
by nobody. A refit that was finished before a kill is not done again.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from forecast import build
from forecast.artifacts import Run, find
from forecast.backtest.origins import cutoffs
from forecast.backtest.policies import Block
from forecast.backtest.table import Table
from forecast.data.table import Series, stamp, steps_after
from forecast.errors import ArtifactError, DataError, UsageError
from forecast.inference.predictor import Predictor

REFITS: Final = "refits"


def every(text: str) -> int | None:
    """`refit=`: never, or the K of every:K."""
    if text == "never":
        return None
    word, _, count = text.partition(":")
    if word != "every" or not count.isdecimal() or int(count) < 1:
        raise UsageError(f"refit is {text!r}", "expected never or every:K, K origins", "e.g. refit=every:4")
    return int(count)


class Refits:
    """When to train again, and on what."""

    def __init__(self, output: Path, config: dict[str, Any], table: Table, every: int, warm: bool) -> None:
        """UsageError or DataError before anything is trained."""
        devices = config["trainer"].get("devices", 1)
        if str(devices) not in ("1", "auto"):
            raise UsageError(f"refit= of a run that was trained on {devices} devices", "expected one",
                             "train the run on one device, or leave refit= out")  # fmt: skip
        self.output, self.config, self.table, self.warm = output, config, table, warm
        self.times = cutoffs(table.data.series, table.windows)[0]
        self.at = self.times[::every]  # cutoffs at which the run is trained again
        self.until = self.times[np.minimum(np.arange(every - 1, len(self.times) + every - 1, every),
                                           len(self.times) - 1)][: len(self.at)]  # fmt: skip
        self.facts: list[dict[str, Any]] = []
        self.val = _validation(table.data.series, table)
        self._enough()

    def _enough(self) -> None:
        """Whether there is something to train on at the first of them."""
        data = self.table.data
        series, need = data.series, self.val + data.context + data.horizon
        known = (series.time <= self.at[:1].astype("datetime64[us]")).astype(np.int64)
        rows = np.add.reduceat(known, series.start[:-1])
        if rows.max() < need:
            raise DataError(
                f"before the first origin, {stamp(self.at[:1].astype('datetime64[us]')[0])}, the longest series has "
                f"{int(rows.max()):,} rows",
                f"a refit needs {need:,} (validation {self.val:,}, context {data.context:,}, horizon {data.horizon:,})",
                "choose later origins",
            )

    def config_of(self, k: int) -> dict[str, Any]:
        """The run's own config with the splits of one refit."""
        series, horizon = self.table.data.series, self.table.data.horizon
        at = self.at[k : k + 1].astype("datetime64[us]")
        val = _after(series, at, 1 - self.val)
        end = _after(series, self.until[k : k + 1].astype("datetime64[us]"), horizon)
        splits = {"val": _iso(val[0]), "test": _iso(at[0], 1), "end": _iso(end[0], 1)}
        data = {**self.config["data"], "splits": splits}
        return {
            **self.config, "data": data, "runs": str((self.output / REFITS).absolute()), "resume": None, "quiet": True,
            "track": {"uri": None}, "predictions": False, "insight": False, "baseline": None,
        }  # fmt: skip


def trained(refits: Refits) -> list[Block]:
    """A block for each refit, oldest first; a line for each on stderr."""
    blocks: list[Block] = []
    done = _finished(refits.output / REFITS / "train")
    before: Run | None = None
    for k in range(len(refits.at)):
        began, config = time.monotonic(), refits.config_of(k)
        run, how = _same(done, config), "was there"
        if run is None:
            run, how = _train(config, before if refits.warm else None), "trained"
        predictor = Predictor.load(run)
        data = build.data(run.read("config.json")).remember(predictor.recipe.holidays).in_memory()
        at = stamp(refits.at[k : k + 1].astype("datetime64[us]")[0])
        blocks.append(Block(int(refits.at[k]), data, predictor, run.id))
        seconds = time.monotonic() - began
        refits.facts.append({"run": run.id, "since": at, "best": run.read("metrics.json").get("best"),
                             "seconds": round(seconds, 1)})  # fmt: skip
        sys.stderr.write(f"refit {k + 1} of {len(refits.at)}, on what was known at {at}: {how}, {seconds:.1f} s\n")
        before = run
    return blocks


def _train(config: dict[str, Any], before: Run | None) -> Run:
    """By the same way as `forecast train`, into a folder of its own; `before`: the run whose weights it begins with."""
    from forecast.verbs.reproduce import fitted
    from forecast.verbs.train import FOLDER_OF_RANK_0, train

    held = os.environ.get(FOLDER_OF_RANK_0)
    try:
        train(fitted("the run", config), [], before=before)
        return find(os.environ[FOLDER_OF_RANK_0], config["runs"])
    finally:
        os.environ.pop(FOLDER_OF_RANK_0, None)
        if held is not None:
            os.environ[FOLDER_OF_RANK_0] = held


def _finished(folder: Path) -> list[Run]:
    """The refits of a backtest that was killed."""
    return [Run(path) for path in sorted(folder.iterdir()) if Run(path).sealed] if folder.is_dir() else []


def _same(done: list[Run], config: Mapping[str, Any]) -> Run | None:
    """One that was trained with this very config."""
    for run in done:
        try:
            held = run.read("config.json")
        except ArtifactError:
            continue
        if all(_plain(held.get(key)) == _plain(config[key]) for key in config if key not in ("runs", "resume")):
            return run
    return None


def _plain(value: Any) -> Any:
    """Without what is None: keys that were added by the schema."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _validation(series: Series, table: Table) -> int:
    """Steps of the run's validation part: the usual length over its series."""
    assert table.borders is not None
    return int(np.median(np.diff(table.borders, axis=1)))


def _after(series: Series, at: Any, steps: int) -> Any:
    """(1,) the stamp so many steps after a cutoff, by the grid of a series."""
    return steps_after(at, np.array([steps]), series.freq, series.zone)


def _iso(time: np.datetime64, more: int = 0) -> str:
    """A stamp of data.splits in UTC; `more` microseconds later, so that a row at it is before the border."""
    return f"{time.astype('datetime64[us]') + np.timedelta64(more, 'us')}Z"
