"""A run of events that is streamed: one state of fixed size for each sequence, the next event forecast after each.

    live = EventLive.load("latest")
    live.push("customer 7", "2015-01-01 09:30", "order")            -> EventForecasts: when is the next event, and which
    live.push_many(frame)                                           -> one forecast for each sequence of the frame
    live.take(names, ticks, held)                                   -> what became of each event, whatever it is

What a stream equals is one scan over the whole sequence: any split into pushes gives the same forecasts. Events are
taken in rounds, the next one of every sequence at once.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from forecast.artifacts import WEIGHTS, Run, find, sha256
from forecast.data.events import ONE_MARK
from forecast.data.freq import Ints
from forecast.errors import DataError, UsageError
from forecast.heads.event_step import EventStep
from forecast.inference.event_predictor import EventPredictor
from forecast.inference.predictor import column
from forecast.streaming.event_fold import EventFold, Moved, joined
from forecast.streaming.event_lines import EventReader, EventWriter, Held
from forecast.streaming.event_marks import EventMarks
from forecast.streaming.event_outlook import EventForecasts, EventOutlook
from forecast.streaming.event_reading import read
from forecast.streaming.event_taken import WHY, EventTaken
from forecast.streaming.event_time import EventTime
from forecast.streaming.fold import ACCEPTED, FIRST, LATE, OK
from forecast.streaming.holding import Holding
from forecast.streaming.rounds import last, rounds
from forecast.streaming.states import Blank, Fetch, States
from forecast.streaming.stepping import Engine
from forecast.where import RUNS

log = logging.getLogger(__name__)

LEVELS: Final = (0.05, 0.95)  # of quantiles, where none are asked for; the median is always told
MEANINGLESS: Final[dict[str, tuple[Any, str]]] = {  # what a run of events is not asked: the value that says nothing
    "gaps": (None, "events have no steps that could be left out"),
    "rewind": (0, "an event that comes late is refused"),
    "correct": (False, "nothing corrects a density of gaps yet"),
    "budget": (1e-3, "each line says how likely its gap was: `tail`"),
}


class EventLive(Holding):
    """States of any number of sequences under one trained chain. UsageError where the chain cannot stream."""

    fold: EventFold
    why, of = WHY, "a run of events"

    def __init__(
        self, predictor: EventPredictor, weights: str, *, levels: Sequence[float] | None = None,
        longest: float | None = None, most: int | None = None, fetch: Fetch | None = None, engine: Engine = "auto",
        **meaningless: Any,
    ) -> None:  # fmt: skip
        """`weights` is the digest of the run's weights, which a snapshot must fit; `levels` of quantiles of the gap,
        None: the 90 % interval. longest: a gap in the run's unit, after a longer one a sequence begins anew; None:
        never. most: sequences held at once; those not used for longest begin anew, or come back by `fetch`.

        Other options of Live are refused where they ask for something.
        """
        self.refuse(meaningless, MEANINGLESS)
        if longest is not None and not 0 < longest < np.inf:
            raise UsageError(f"longest is {longest:g}", f"expected a gap above 0, in {predictor.recipe.spec.unit}s")
        if engine == "onnx":
            raise UsageError("engine=onnx with a run of events", "events are streamed by torch", "leave it out")
        if engine == "auto":
            log.info("events by torch")
        self.predictor, self.weights, self.recipe = predictor, weights, predictor.recipe
        self.spec, self.card = self.recipe.spec, self.recipe.card
        self.levels = LEVELS if levels is None else _checked(levels)
        self.step, self.time = EventStep(predictor.chain), EventTime(self.spec.unit, stamps=self.recipe.stamps)
        self.marks = EventMarks(self.recipe)
        rows = tuple(row.numpy() for row in self.step.start())
        blank = Blank(rows, np.zeros((1, 0)), np.zeros((1, 0), np.float32))
        self.fold = EventFold(States(blank, most, fetch), self.step, self.recipe, self.time, longest=longest)
        self.outlook = EventOutlook(predictor.chain.head, self.levels, self.time, self.spec.marks)
        self.stamp = f"{weights} events"  # what a state means

    @classmethod
    def load(cls, run: "str | Path | Run" = "latest", *, runs: str | Path = RUNS, **options: Any) -> "EventLive":
        """From a finished run: a path, an id, or `latest`; `options` as of EventLive."""
        run = run if isinstance(run, Run) else find(str(run), runs)
        return cls(EventPredictor.load(run), sha256(run.checked(WEIGHTS)), **options)

    # From outside --------------------------------------------------------------------------------------------

    def push(
        self, id: str, time: Any, mark: str | int = ONE_MARK, beside: Mapping[str, float | None] | None = None
    ) -> EventForecasts:
        """One event of one sequence; `time` is a stamp, or a number where those of the training were; `beside` what
        else is known of it, by column. DataError for an event that cannot be taken, and the states are as they were."""
        row = self.row(beside or {}, self.extra, "column")
        if not isinstance(mark, str | int) or isinstance(mark, bool):
            raise DataError(f"the mark is {mark!r}", "expected the name of one")
        ticks = self.time.one(time)
        taken = self.take([id], ticks, Held([str(mark)], row))
        if taken.status[0] > ACCEPTED:
            raise self._refused([id], ticks, taken.status)
        return taken.forecasts

    def push_many(self, frame: Any) -> EventForecasts:
        """Rows of any sequences, a polars or pandas frame with the columns of the training data, in any order -> a
        forecast for each sequence that went on, after the last of its events. Rows that are late or seen before are
        left out; DataError where nothing is left, or for a row that cannot be taken: then the others have been."""
        names, ticks, held = read(frame, self.recipe, self.time)
        taken = self.take(names, ticks, held, every=False)
        if (taken.status > LATE).any() or not len(taken.at):
            raise self._refused(names, ticks, taken.status)
        return taken.forecasts

    def latest(self, names: Sequence[str]) -> EventForecasts:
        """The forecasts of sequences as they are now, without a new event. KeyError for one that has none."""
        return self.now(names).forecasts

    # For a stream of lines (kind.py) -------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What the lines of a stream are about."""
        return {
            "kind": "events", "unit": self.spec.unit, "marks": len(self.spec.marks),
            "columns": [column(level) for level in self.levels], "stamps": self.time.stamps,
        }  # fmt: skip

    @property
    def extra(self) -> tuple[str, ...]:
        """Columns of numbers beside a mark."""
        return self.recipe.extra.columns

    @property
    def span(self) -> int | None:
        return None if self.fold.longest == np.inf else self.time.span(self.fold.longest)

    def at(self, slots: Ints) -> Ints:
        """(N,) when the last events of sequences were; see EventTime.at."""
        return self.time.at(self.states.step[slots])

    def reader(self) -> EventReader:
        return EventReader(self.recipe, self.time)

    def writer(self) -> EventWriter:
        return EventWriter(self.recipe, self.time, self.levels)

    def now(self, names: Sequence[str]) -> EventTaken:
        """What `latest` gives, as what became of events."""
        slots = self.begun(names)
        made = self.outlook.forecasts(list(names), self.states.step[slots], self.outlook(self.fold.memory(slots)))
        status = np.where(self.states.count[slots] == 1, FIRST, OK).astype(np.int8)
        none = np.full((len(slots), 2), np.nan)
        return EventTaken(status, np.arange(len(slots)), made, self.states.step[slots], none[:, 0], none, none[:, 1])

    # Events, in rounds ---------------------------------------------------------------------------------------

    def take(self, names: Sequence[str], time: Ints, values: Held, *, every: bool = True) -> EventTaken:
        """Events of sequences `names` (N) at ticks (N,); those of one sequence are taken in their order. Nothing is
        raised for what an event holds.

        every: a forecast after each event that was taken, else only after the last one of each sequence.
        """
        slots, coded = self.states.take(names), self.marks(values.marks)
        status = np.full(len(slots), OK, np.int8)
        found: list[tuple[Ints, Moved]] = []
        for which in rounds(slots) if len(slots) else ():
            status[which], moved = self.fold.round(slots[which], time[which], coded.at(which), values.beside[which])
            if moved is not None:
                found.append((which[status[which] <= ACCEPTED], moved))
        if not found:
            return self._told(names, status, np.empty(0, np.int64), self._nobody(), coded.mark[:0])
        at = np.concatenate([which for which, _ in found])
        moved = joined([each for _, each in found])
        if len(found) > 1:
            order = np.argsort(at, kind="stable") if every else np.sort(last(slots[at]))
            at, moved = at[order], moved.at(order)
        return self._told(names, status, at, moved, coded.mark[at])

    def _told(
        self, names: Sequence[str], status: NDArray[np.int8], at: Ints, moved: Moved, mark: NDArray[Any]
    ) -> EventTaken:
        """What is forecast after events, and what they were worth."""
        made = self.outlook.forecasts([names[i] for i in at.tolist()], moved.ticks, self.outlook(moved.after))
        nats, tail = np.full((len(at), 2), np.nan), np.full(len(at), np.nan)
        if (some := moved.scored).any():
            nats[some], tail[some] = self.outlook.worth(moved.before[some], moved.gap[some], mark[some])
        gap = np.where(some, moved.gap, np.nan).astype(np.float64)
        return EventTaken(status, at, made, moved.ticks, gap, nats, tail)

    def _nobody(self) -> Moved:
        none, rows = np.empty(0, np.float32), np.empty((0, self.step.width), np.float32)
        return Moved(rows, rows, none, np.empty(0, bool), np.empty(0, np.int64))

    def _refused(self, names: Sequence[str], ticks: Ints, status: NDArray[np.int8]) -> DataError:
        written = self.time.written
        return self.refused(lambda at: f"the event of '{names[at]}' at {written(int(ticks[at]))}", status)


def _checked(levels: Sequence[float]) -> tuple[float, ...]:
    for level in levels:
        if not 0 < level < 1:
            raise UsageError(f"levels has {level:g}", "expected numbers between 0 and 1, e.g. [0.05,0.5,0.95]")
    return tuple(levels)
