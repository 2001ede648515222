"""A run of classification that is streamed: one state of fixed size for each series, its class told after each step.

    live = ClassLive.load("latest")
    live.push("pump 7", {"flow": 3.2, "heat": None})                -> ClassForecasts: its class, as far as is known
    live.push("pump 7", end=True)                                   -> the same for the last time: it is forgotten
    live.push_many(frame)                                           -> one answer for each series of the frame
    live.take(names, ticks, steps)                                  -> what became of each line, whatever it holds

What a stream tells after a step is what `forecast predict` tells of the series cut there: any split into pushes gives
the same. Steps are taken in rounds, the next one of every series at once.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecast.artifacts import WEIGHTS, Run, find, sha256
from forecast.data.freq import Ints
from forecast.errors import DataError, UsageError
from forecast.heads.label_step import LabelStep
from forecast.inference.class_predictor import ClassPredictor
from forecast.streaming.class_fold import ClassFold, Reached, joined
from forecast.streaming.class_lines import ClassReader, ClassWriter, Steps
from forecast.streaming.class_reading import read
from forecast.streaming.class_taken import RAW, WHY, ClassForecasts, ClassTaken, chances
from forecast.streaming.event_time import EventTime
from forecast.streaming.fold import ACCEPTED, ENDED, FIRST, LATE, OK
from forecast.streaming.holding import Holding
from forecast.streaming.rounds import last, rounds
from forecast.streaming.states import NEVER, Blank, Fetch, States
from forecast.streaming.stepping import Engine
from forecast.where import RUNS

log = logging.getLogger(__name__)

MEANINGLESS: Final[dict[str, tuple[Any, str]]] = {  # what classes are not asked: the value that says nothing
    "levels": (None, "a class has no quantiles"),
    "gaps": (None, "each line is the next step, and a value left out is missing"),
    "rewind": (0, "a step that comes late is refused"),
    "correct": (False, "a class is learned from labels, and a stream has none"),
    "budget": (1e-3, "each line says how likely its class is: `p`"),
}


class ClassLive(Holding):
    """States of any number of series under one trained chain. UsageError where the chain cannot stream."""

    fold: ClassFold
    of = "a run of classification"

    def __init__(
        self, predictor: ClassPredictor, weights: str, *, counts: Sequence[int] | None = None,
        longest: float | None = None, most: int | None = None, fetch: Fetch | None = None, engine: Engine = "auto",
        **meaningless: Any,
    ) -> None:  # fmt: skip
        """`weights` is the digest of the run's weights, which a snapshot must fit; counts: series of each class that
        the run learned from. longest: a gap in seconds, or in what the training's times count; after a longer one a
        series begins anew; None: never. most: series held at once; those not used for longest begin anew, or come back
        by `fetch`.

        Other options of Live are refused where they ask for something.
        """
        self.refuse(meaningless, MEANINGLESS)
        self.predictor, self.weights, self.recipe = predictor, weights, predictor.recipe
        self.spec, self.card, self.counts = self.recipe.spec, self.recipe.card, counts
        if longest is not None and self.card.time is None:
            raise UsageError(
                f"longest={longest:g} with series that have no times", do="leave it out, and end series by end=true"
            )
        stamps = self.recipe.stamps
        if longest is not None and not 0 < longest < np.inf:
            raise UsageError(
                f"longest is {longest:g}",
                f"expected a gap above 0, in {'seconds' if stamps else f'what {self.card.time} counts'}",
            )
        if engine == "onnx":
            raise UsageError(f"engine=onnx with {self.of}", "classes are streamed by torch", "leave it out")
        if engine == "auto":
            log.info("classes by torch")
        self.time = None
        if self.card.time is not None:
            self.time = EventTime("second" if stamps else "step", stamps=stamps)
        self.step = LabelStep(predictor.chain)
        blank = Blank(
            tuple(row.numpy() for row in self.step.start()), np.zeros((1, 0)), np.zeros((1, 0), np.float32)
        )  # fmt: skip
        self.fold = ClassFold(States(blank, most, fetch), self.step, self.recipe, self.time, longest=longest)
        self.why = RAW if self.fold.raw else WHY
        self.stamp = f"{weights} classes"  # what a state means

    @classmethod
    def load(cls, run: "str | Path | Run" = "latest", *, runs: str | Path = RUNS, **options: Any) -> "ClassLive":
        """From a finished run: a path, an id, or `latest`; `options` as of ClassLive."""
        run = run if isinstance(run, Run) else find(str(run), runs)
        counts = run.read("metrics.json").get("counts") or {}
        learned = [
            sum(each) for each in zip(*(counts[part] for part in ("train", "val") if part in counts), strict=True)
        ]
        weights = sha256(run.checked(WEIGHTS))
        return cls(ClassPredictor.load(run), weights, counts=learned or None, **options)

    # From outside --------------------------------------------------------------------------------------------

    def push(
        self, id: str, values: Mapping[str, float | None] | None = None, time: Any = None, *, end: bool = False
    ) -> ClassForecasts:
        """One step of one series; a channel that is left out was not observed. `time` where those of the training had
        one; `end`: the series has ended, with this step, or without values with the one before. DataError for a step
        that cannot be taken, and the states are as they were."""
        if values is None and not end:
            raise DataError(f"there are no values for series '{id}'", "expected some, or end=True")
        if time is not None and self.time is None:
            raise DataError(f"series '{id}' has the time {time!r}", "expected none, as in training")
        row = self.row(values or {}, self.spec.channels, "channel")
        ticks = np.zeros(1, np.int64) if self.time is None or values is None else self.time.one(time)
        taken = self.take([id], ticks, Steps.of(row, ends=end, bare=values is None))
        if taken.status[0] > ACCEPTED:
            raise self._refused([id], taken.status)
        return taken.forecasts

    def push_many(self, frame: Any) -> ClassForecasts:
        """Rows of any series, a polars or pandas frame with the columns of the training data, in any order where it has
        times -> an answer for each series that went on, after the last of its steps. Rows that are late or seen before
        are left out; DataError where nothing is left, or for a row that cannot be taken: then the others have been."""
        found = read(frame, self.recipe, self.time)
        taken = self.take(found.names, found.ticks, Steps.of(found.values), every=False)
        if (taken.status > LATE).any() or not len(taken.at):
            raise self._refused(found.names, taken.status)
        return taken.forecasts

    def latest(self, names: Sequence[str]) -> ClassForecasts:
        """What is known of series now, without a new step. KeyError for one that has none."""
        return self.now(names).forecasts

    # For a stream of lines (kind.py) -------------------------------------------------------------------------

    @property
    def span(self) -> int | None:
        return None if self.time is None or self.fold.longest == np.inf else self.time.span(self.fold.longest)

    def at(self, slots: Ints) -> Ints:
        """(N,) when the last steps of series were, see EventTime.at; how many there were where nothing says."""
        return self.states.step[slots] if self.time is None else self.time.at(self.states.step[slots])

    def facts(self) -> dict[str, Any]:
        """What the lines of a stream are about."""
        return {
            "kind": "classes", "classes": len(self.spec.classes), "columns": [],
            "stamps": self.time is not None and self.time.stamps,
        }  # fmt: skip

    def reader(self) -> ClassReader:
        return ClassReader(self.recipe, self.time)

    def writer(self) -> ClassWriter:
        return ClassWriter(self.recipe, self.time)

    def now(self, names: Sequence[str]) -> ClassTaken:
        """What `latest` gives, as what became of steps."""
        slots = self.begun(names)
        status = np.where(self.states.count[slots] == 1, FIRST, OK).astype(np.int8)
        return ClassTaken(status, np.arange(len(slots)), self._told(list(names), self.fold.reached(slots)))

    # Steps, in rounds ----------------------------------------------------------------------------------------

    def take(self, names: Sequence[str], time: Ints, values: Steps, *, every: bool = True) -> ClassTaken:
        """Steps and ends of series `names` (N) at ticks (N,), which are not looked at where the training had no times;
        those of one series are taken in their order. Nothing is raised for what a line holds.

        every: an answer after each line that was taken, else only when a series ends and after its last step.
        """
        slots = self.states.take(names)
        status = np.full(len(slots), OK, np.int8)
        found: list[tuple[Ints, Reached]] = []
        for which in rounds(slots) if len(slots) else ():
            status[which], reached = self.fold.round(slots[which], time[which], values[which])
            if reached is not None:
                found.append((which[status[which] <= ACCEPTED], reached))
        self.states.drop(dict.fromkeys(names[i] for i in np.flatnonzero(self.states.step[slots] == NEVER).tolist()))
        if not found:
            none = np.empty(0, np.int64)
            nothing = Reached(np.empty((0, len(self.spec.classes)), np.float32), none, none)
            return ClassTaken(status, none, self._told([], nothing))
        at = np.concatenate([which for which, _ in found])
        reached = joined([each for _, each in found])
        if len(found) > 1:
            order = np.argsort(at, kind="stable")
            if not every:
                wanted = status[at] == ENDED
                wanted[last(slots[at])] = True
                order = order[wanted[order]]
            at, reached = at[order], reached.at(order)
        return ClassTaken(status, at, self._told([names[i] for i in at.tolist()], reached))

    def _told(self, names: list[str], reached: Reached) -> ClassForecasts:
        chance = chances(reached.logits, self.predictor.temperature)
        return ClassForecasts(names, reached.step, reached.ticks, chance, self.spec.classes)

    def _refused(self, names: Sequence[str], status: NDArray[np.int8]) -> DataError:
        return self.refused(lambda at: f"the step of series '{names[at]}'", status)
