"""A run that is streamed: one state of fixed size for each series, a forecast after each of its readings.

    live = Live.load("latest")
    live.push("meter 7", "2015-01-01 00:00", {"load": 1234.0})      -> Forecasts, for the next H steps
    live.push_many(frame)                                           -> one forecast for each series of the frame
    live.take(names, time, values)                                  -> what became of each reading, whatever it is

What a stream equals is one scan from its first step on: any split into pushes gives the same forecasts. Readings are
taken in rounds, the next one of every series at once, so that a round is a few calls whatever the number of series.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.artifacts import WEIGHTS, Run, find, sha256
from forecast.build import task_of
from forecast.data.freq import Ints
from forecast.data.table import stamp
from forecast.errors import DataError, UsageError
from forecast.heads.step import Step
from forecast.heads.stream import Stream
from forecast.inference.correct import Corrector
from forecast.inference.predictor import Predictor, column
from forecast.streaming.calendar import Calendar
from forecast.streaming.fold import ACCEPTED, LATE, OK, WARMING, Fold, Gaps
from forecast.streaming.holding import Holding
from forecast.streaming.lines import Reader, Writer
from forecast.streaming.outlook import Forecasts, Numbers, Outlook, Scaled
from forecast.streaming.reading import read
from forecast.streaming.rewind import Rewind
from forecast.streaming.rounds import last, rounds
from forecast.streaming.stamps import micros
from forecast.streaming.states import Blank, Fetch, States
from forecast.streaming.stepping import Engine, stepper
from forecast.streaming.taken import WHY, Taken
from forecast.where import RUNS

if TYPE_CHECKING:
    from forecast.streaming.class_live import ClassLive
    from forecast.streaming.event_live import EventLive

LONGEST: Final = 10_000  # steps in a gap: after a longer one a series begins anew


class Live(Holding):
    """States of any number of series under one trained chain. UsageError where the chain cannot stream."""

    fold: Fold
    why, of = WHY, "a run of series"

    def __init__(
        self, predictor: Predictor, weights: str, *, levels: Sequence[float] | None = None, gaps: Gaps | None = None,
        longest: float | None = None, rewind: int = 0, correct: bool = False, budget: float = 1e-3,
        most: int | None = None, fetch: Fetch | None = None, engine: Engine = "auto",
    ) -> None:  # fmt: skip
        """`weights` is the digest of the run's weights, which a snapshot must fit; `levels` as in `predict`.

        gaps: what is done about steps left out; None: as in training. longest: steps of a gap, None: LONGEST; after a
        longer one a series begins anew. rewind: steps back that a reading can be corrected. correct: learn from what
        comes (inference/correct.py); budget: the share of readings that may raise an alarm then. most: series held at
        once; those not used for longest begin anew, or come back by `fetch`.
        """
        self.predictor, self.weights, self.recipe = predictor, weights, predictor.recipe
        self.spec, self.card = self.recipe.spec, self.recipe.card
        self.levels = tuple(predictor.asked(None if levels is None else list(levels)))
        longest = LONGEST if longest is None else longest
        _whole("longest", longest, 1)
        _whole("rewind", rewind, 0)
        if not 0 < budget < 1:
            raise UsageError(f"alarms is {budget:g}", "expected a share of the readings, between 0 and 1")
        own = Step(Stream(predictor.chain, len(self.spec.channels)), self.spec).eval()
        back, corrector = Rewind(rewind) if rewind else None, None
        if correct:
            corrector = Corrector(self.spec.horizon, self.spec.targets, season=self.spec.season, budget=budget)
        self.step, self.calendar = own, Calendar(self.recipe)
        blank = Blank(
            tuple(row.numpy() for row in own.start()), np.full((1, len(self.spec.channels)), np.nan),
            np.zeros((1, 0), np.float32) if corrector is None else corrector.start(1),
        )  # fmt: skip
        if back is not None:
            blank = blank._replace(past=back.blank(States(blank).size(), len(self.spec.channels)))
        self.fold = Fold(
            States(blank, most, fetch), stepper(own, engine), self.calendar,
            Outlook(predictor, self.levels, interval=correct), self.recipe.scaler,
            gaps=_gaps(gaps, self.recipe.gaps), longest=int(longest), warm=self.spec.context,
            rewind=back, corrector=corrector,
        )  # fmt: skip
        self.ahead = np.arange(1 + self.spec.horizon)
        # what a state means beside the weights
        self.stamp = f"{weights} rewind={rewind} correct={correct}"

    @classmethod
    def load(
        cls, run: "str | Path | Run" = "latest", *, runs: str | Path = RUNS, **options: Any
    ) -> "Live | EventLive | ClassLive":
        """From a finished run: a path, an id, or `latest`; `options` as of Live. A run of events gives an EventLive,
        one of classification a ClassLive; they are used the same way."""
        from forecast.streaming.class_live import ClassLive
        from forecast.streaming.event_live import EventLive

        run = run if isinstance(run, Run) else find(str(run), runs)
        task = task_of(run.read("config.json"))
        if task == "event":
            return EventLive.load(run, **options)
        if task == "classify":
            return ClassLive.load(run, **options)
        return cls(Predictor.load(run), sha256(run.checked(WEIGHTS)), **options)

    # For a stream of lines (kind.py) -------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What the lines of a stream are about."""
        spec = self.spec
        return {
            "kind": "series", "channels": spec.channels[: spec.targets], "units": spec.units[: spec.targets],
            "freq": spec.freq, "horizon": spec.horizon, "columns": [column(level) for level in self.levels],
            "stamps": True,
        }  # fmt: skip

    def reader(self) -> Reader:
        return Reader(self.recipe)

    def writer(self) -> Writer:
        return Writer(self.recipe, self.levels, tails=self.fold.corrector is not None)

    def at(self, slots: Ints) -> Ints:
        """(N,) microseconds in UTC of the last steps of series."""
        return self.calendar.stamps(self.states.step[slots], self.states.rest[slots]).astype(np.int64)

    @property
    def span(self) -> int:
        """Microseconds after which a series begins anew."""
        ends = self.calendar.stamps(np.array([0, self.fold.longest]), np.zeros(2, np.int64))
        return int(np.diff(ends.astype(np.int64))[0])

    def now(self, names: Sequence[str]) -> Taken:
        """What `latest` gives, as what became of readings."""
        count, targets = len(names), self.spec.targets
        made = self.latest(names)
        warm = self.states.count[self.states.take(names)] >= self.fold.warm
        status = np.where(warm, OK, WARMING).astype(np.int8)
        tail, alarm = np.full((count, targets), np.nan, np.float32), np.zeros((count, targets), bool)
        return Taken(status, np.arange(count), made, tail, alarm)

    # From outside --------------------------------------------------------------------------------------------

    def push(self, id: str, time: Any, values: Mapping[str, float | None]) -> Forecasts:
        """One reading of one series; a channel that is left out was not observed. DataError for a reading that cannot
        be taken, and the states are as they were."""
        row = self.row(values, self.spec.channels, "channel")
        taken = self.take([id], self.micros(time), row)
        if taken.status[0] > ACCEPTED:
            raise self._refused([id], self.micros(time), taken.status)
        return taken.forecasts

    def push_many(self, frame: Any) -> Forecasts:
        """Rows of any series, a polars or pandas frame with the columns of the training data, in any order -> a
        forecast for each series that went on, after the last of its rows. Rows that are late or seen before are left
        out; DataError where nothing is left, or for a row that cannot be taken: then the rows of its series before it
        have been."""
        names, time, values = read(frame, self.recipe)
        taken = self.take(names, time, values, every=False)
        if (taken.status > LATE).any() or not len(taken.at):
            raise self._refused(names, time, taken.status)
        return taken.forecasts

    def latest(self, names: Sequence[str]) -> Forecasts:
        """The forecasts of series as they are now, without a new reading. KeyError for a series that has none."""
        slots = self.begun(names)
        with torch.inference_mode():
            rows = tuple(torch.from_numpy(part[slots]) for part in self.states.rows)
            made = self.step.stream.made(self.step.unpack(rows), torch.zeros(len(slots), 1, len(self.spec.clock)))
        scaled = self.fold.looked(self.states.learned[slots], self.states.step[slots], made.numpy())
        return self._forecasts(list(names), *self._units(slots, scaled))

    def micros(self, time: Any) -> Ints:
        """A stamp -> (1,) microseconds in UTC; see stamps.py."""
        return micros(time, self.card.time.zone)

    # Readings, in rounds -------------------------------------------------------------------------------------

    def take(self, names: Sequence[str], time: Ints, values: Numbers, *, every: bool = True) -> Taken:
        """Readings of series `names` (N) at times (N,), microseconds in UTC, with values (N, C), NaN where nothing was
        observed; those of one series are taken in their order. Nothing is raised for what a reading holds.

        every: a forecast after each reading that was taken, else only after the last one of each series.
        """
        slots = self.states.take(names)
        step, rest = self.calendar.steps(time.astype("datetime64[us]"))
        status = np.full(len(slots), OK, np.int8)
        if not len(slots):
            return self._nothing(status)
        found: list[tuple[Any, ...]] = []
        for which in rounds(slots):
            status[which], made = self.fold.round(slots[which], step[which], rest[which], values[which])
            if made is not None:
                taken = which[status[which] <= ACCEPTED]
                point, quantiles, now, rest_now = self._units(slots[taken], made.scaled)
                found.append((taken, point, quantiles, now, rest_now, made.tail, made.alarm))
        if not found:
            return self._nothing(status)
        at, *parts = found[0] if len(found) == 1 else (np.concatenate(part) for part in zip(*found, strict=True))
        if len(found) > 1:
            order = np.argsort(at, kind="stable") if every else np.sort(last(slots[at]))
            at, *parts = (part[order] for part in (at, *parts))
        forecasts = self._forecasts([names[i] for i in at.tolist()], *parts[:4])
        tail, alarm = parts[4:]
        return Taken(status, at, forecasts, tail, alarm, values[at, : self.spec.targets])

    def _units(self, slots: Ints, scaled: Scaled) -> tuple[Numbers, Numbers, Ints, Ints]:
        """Points and quantiles in original units, and the steps and rests that were reached."""
        states, fold = self.states, self.fold
        which = states.scale[slots]
        point, quantiles = fold.outlook.undone(scaled, fold.mean[which], fold.std[which])
        return point, quantiles, states.step[slots], states.rest[slots]

    def _forecasts(self, names: list[str], point: Numbers, quantiles: Numbers, step: Ints, rest: Ints) -> Forecasts:
        stamps = self.calendar.stamps(step[:, None] + self.ahead, rest[:, None])
        channels = self.spec.channels[: self.spec.targets]
        return Forecasts(names, stamps[:, 0], stamps[:, 1:], point, quantiles, self.levels, channels)

    def _nothing(self, status: NDArray[np.int8]) -> Taken:
        horizon, targets = self.spec.horizon, self.spec.targets
        none, step = np.empty((0, horizon, targets)), np.empty(0, np.int64)
        made = self._forecasts([], none, np.empty((*none.shape, len(self.levels))), step, step)
        return Taken(status, step, made, np.empty((0, targets), np.float32), np.empty((0, targets), bool))

    def _refused(self, names: Sequence[str], time: Ints, status: NDArray[np.int8]) -> DataError:
        when = time.astype("datetime64[us]")
        return self.refused(lambda at: f"the reading of series '{names[at]}' at {stamp(when[at])}", status)


def _gaps(asked: Gaps | None, trained: str) -> Gaps:
    """What is done about steps left out."""
    if asked == "mask" and trained == "error":
        raise UsageError(
            "gaps=mask with a run that was trained with data.gaps=error",
            "expected a model that is told what it did not see", "set gaps=fill, or train with data.gaps=mask",
        )  # fmt: skip
    return asked if asked is not None else trained  # type: ignore[return-value]


def _whole(key: str, value: float, least: int) -> None:
    if value < least or value % 1:
        raise UsageError(f"{key} is {value}", f"expected a number of steps, at least {least}")
