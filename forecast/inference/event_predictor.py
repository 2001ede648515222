"""A run folder of events that forecasts: the next event of each sequence of a table, or all of them in a window.

EventPredictor.load("latest").predict(frame_or_path) -> polars frame, one row for each sequence
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecast import build
from forecast.artifacts import Run, find
from forecast.data.event_batch import LEAST, EventGather, buckets, rungs
from forecast.data.event_recipe import EventRecipe
from forecast.data.event_split import Part
from forecast.data.events import Events, Floats, moment_of
from forecast.errors import ArtifactError, DataError, UsageError
from forecast.heads.elapsed import Remaining, after
from forecast.heads.event_chain import EventChain
from forecast.heads.next_event import LEVELS, Next
from forecast.inference.event_memory import ahead as following
from forecast.inference.event_memory import begin
from forecast.inference.event_paths import Paths, sample_paths
from forecast.inference.event_record import moments
from forecast.inference.predictor import column
from forecast.types import EventBatch
from forecast.where import RUNS

log = logging.getLogger(__name__)

BATCH: Final = 256  # sequences at once
PLACES: Final = 1 << 18  # events and padding at once
NAMED: Final = 100  # marks that have columns of their own
ORIGIN: Final = np.datetime64("2020-01-01", "us")  # of stamps, where no table may have one of its own
AT_ONCE: Final = 1 << 22  # events of sampled paths at once


class EventsAhead(NamedTuple):
    """A table, ready to be forecast: S sequences."""

    events: Events
    gather: EventGather
    cutoff: Floats  # (S,) now, on the clock of the events
    elapsed: Floats  # (S,) from the last event of each to now, in which nothing came


class EventPredictor:
    """A trained chain with the treatment of data it was trained under."""

    def __init__(self, chain: EventChain, recipe: EventRecipe, name: str) -> None:
        self.chain, self.recipe, self.name = chain.eval(), recipe, name

    @classmethod
    def load(cls, run: "str | Path | Run" = "latest", *, runs: str | Path = RUNS) -> "EventPredictor":
        """From a finished run: a path, an id, or `latest`. Reads safetensors and JSON, nothing else."""
        if not isinstance(run, Run):
            run = find(str(run), runs)
        config, state = run.read("config.json"), run.read("data.json")
        if build.task_of(config) != "event":
            raise UsageError(f"run {run.id} forecasts series, not events", do="name a run of task=event")
        recipe = EventRecipe.from_state(state)
        try:
            chain = build.event_chain(config, recipe.spec)
            name = str(config["name"] or config["model"]["_target_"].rpartition(".")[2].lower())
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{run.path / 'config.json'} is no configuration of a run: {error}") from error
        run.load_weights(chain)
        return cls(chain, recipe, name)

    def predict(
        self, table: Any, *, levels: Sequence[float] = (0.05, 0.95), now: Any = None, window: float | None = None,
        paths: int = 256, seed: int = 0, tell: Callable[[str], object] = log.info, apart: bool = False,
    ) -> pl.DataFrame:  # fmt: skip
        """The next event of each sequence, a row each: unique_id, last (its last event), cutoff (now), mean, median and
        a column for each quantile of the time from the cutoff to the next event, in the unit of the training; ds, when
        that is at the median; mark and p_mark, the likeliest, and p_NAME of each mark.

        `table` is a path or a frame with the columns of the training data. now: a stamp (a number where times are), or
        `latest`, the last time in the table: nothing came from the last event of a sequence until then; None: now is
        the last event of each. window: with columns of what comes in so long from now on: some (the chance of an event
        at all), count, count_q05, … and count_NAME, by `paths` sampled futures. apart: the last bits of what is told of
        a sequence, too, depend on it alone, but for what is sampled.
        """
        ready = self.ahead(table, now=now, tell=tell, origin=ORIGIN if apart else None)
        return self.frame(ready, list(levels), window=window, paths=paths, seed=seed, apart=apart)

    def ahead(
        self, table: Any, *, now: Any = None, tell: Callable[[str], object] = log.info,
        origin: np.datetime64 | None = None,
    ) -> EventsAhead:  # fmt: skip
        """The table made ready; `tell` is called with what a person should know. `origin`: time 0 of stamps."""
        notes: list[str] = []
        events = self.recipe.read(table, notes=notes, origin=origin)
        for note in notes:
            tell(note)
        last = events.time[events.start[1:] - 1]
        cutoff = last if now is None else np.full(len(last), _now(now, events))
        if (late := cutoff < last).any():
            one = int(late.argmax())
            raise DataError(
                f"'{events.ids[one]}' has an event at {moments(events, last)[one]}, after now={now}",
                "expected what came until now", "leave later events out, or give a later now", reason="after_now",
            )  # fmt: skip
        nothing = np.zeros(len(events.time), np.bool_)
        return EventsAhead(events, self.recipe.gather(Part(events, nothing, cutoff)), cutoff, cutoff - last)

    @torch.inference_mode()
    def frame(
        self, ready: EventsAhead, levels: list[float], *, window: float | None = None, paths: int = 256, seed: int = 0,
        apart: bool = False,
    ) -> pl.DataFrame:  # fmt: skip
        """What `predict` gives."""
        for level in levels:
            if not 0 < level < 1:
                raise UsageError(f"levels has {level:g}", "expected numbers between 0 and 1, e.g. [0.05,0.5,0.95]")
        count = len(ready.events.ids)
        found: dict[str, Any] = {}
        for numbers, whole, batch in self._batches(ready, apart):
            for key, values in self._next(batch, ready.elapsed[whole], levels).items():
                found.setdefault(key, np.empty(count, values.dtype))[numbers] = values[: len(numbers)]
        if window is not None:
            for numbers, made in self._sampled(ready, paths=paths, seed=seed, window=window):
                for key, values in self._counted(made, levels).items():
                    found.setdefault(key, np.empty(count, values.dtype))[numbers] = values
        return self._told(ready, found)

    def _batches(self, ready: EventsAhead, apart: bool = False) -> Iterator[tuple[Any, Any, EventBatch]]:
        """Numbers of sequences, those of all rows of a batch, of which the first are wanted, and the batch."""
        lengths = ready.gather.length.numpy()
        if apart:
            for some, whole, long in rungs(lengths, BATCH, places=PLACES, least=LEAST):
                yield some, whole, ready.gather(torch.from_numpy(whole), long)
            return
        for some in buckets(lengths, BATCH, places=PLACES):
            yield some, some, ready.gather(torch.from_numpy(some))

    def _next(self, batch: EventBatch, elapsed: Floats, levels: list[float]) -> dict[str, Any]:
        """The next event of B sequences, columns (B,)."""
        made = following(begin(self.chain, batch))
        left = after(made.gaps, torch.from_numpy(elapsed).float()[:, None])
        found = {"mean": left.mean(), "median": left.median(), **{column(p): left.quantile(p) for p in levels}}
        columns = {key: values[:, 0].double().numpy() for key, values in found.items()}
        p = marks_after(made, left)[:, 0]
        if self.recipe.spec.labels:
            return columns | {f"p_{name}": p[:, i].numpy() for i, name in enumerate(self.recipe.spec.marks)}
        columns |= {"mark": p.argmax(-1).numpy(), "p_mark": p.amax(-1).numpy()}
        if 1 < len(self.recipe.spec.marks) <= NAMED:
            columns |= {f"p_{name}": p[:, i].numpy() for i, name in enumerate(self.recipe.spec.marks)}
        return columns

    def _sampled(
        self, ready: EventsAhead, *, paths: int, seed: int, window: float | None = None, events: int | None = None
    ) -> Iterator[tuple[Any, Paths]]:
        """Futures of some sequences at a time."""
        spec, last = self.recipe.spec, ready.events.time[ready.events.start[1:] - 1]
        size = max(1, AT_ONCE // (paths * (events or 64)))
        for some in buckets(ready.gather.length.numpy(), min(BATCH, size), places=PLACES):
            yield some, sample_paths(
                self.chain, ready.gather(torch.from_numpy(some)), paths=paths, window=window, events=events, seed=seed,
                elapsed=torch.from_numpy(ready.elapsed[some]), time=torch.from_numpy(last[some]),
                extra=self.recipe.ahead(ready.events) if spec.extra else None,
            )  # fmt: skip

    def _counted(self, made: Paths, levels: list[float]) -> dict[str, Any]:
        """What comes in the window, columns (B,)."""
        spec = self.recipe.spec
        expected = made.expected(len(spec.marks)).numpy()
        found = {"some": made.some.double().numpy(), "count": made.totals.double().mean(1).numpy()}
        quantiles = made.count_quantiles(levels).numpy()
        found |= {f"count_{column(p)}": quantiles[:, i] for i, p in enumerate(levels)}
        if 1 < len(spec.marks) <= NAMED:
            found |= {f"count_{name}": expected[:, i] for i, name in enumerate(spec.marks)}
        return found

    def _told(self, ready: EventsAhead, found: dict[str, Any]) -> pl.DataFrame:
        events = ready.events
        last = events.time[events.start[1:] - 1]
        mark = {"mark": self.recipe.names(found.pop("mark"))} if "mark" in found else {}
        first = {key: found.pop(key) for key in [key for key in found if key in ("mean", "median") or key[:1] == "q"]}
        return pl.DataFrame({
            "unique_id": pl.Series(events.ids, dtype=pl.String), "last": moments(events, last),
            "cutoff": moments(events, ready.cutoff), **first,
            "ds": moments(events, ready.cutoff + first["median"]), **(mark if len(self.recipe.spec.marks) > 1 else {}),
            **{key: value for key, value in found.items() if key != "p_mark" or len(self.recipe.spec.marks) > 1},
        })  # fmt: skip

    @torch.inference_mode()
    def hazards(self, ready: EventsAhead, points: int) -> pl.DataFrame:
        """The hazard of the next event at `points` times from the cutoff to where it came with probability .99, a row
        each: unique_id, ds, after (time since the cutoff), hazard (events per unit of time, if none came until then)
        and survival (the chance of that)."""
        parts = []
        for numbers, _, batch in self._batches(ready):
            left = after(
                following(begin(self.chain, batch)).gaps, torch.from_numpy(ready.elapsed[numbers]).float()[:, None]
            )
            until = left.quantile(0.99)  # (B, 1)
            at = until * torch.linspace(0, 1, points + 1)[1:]
            wide = Remaining(*(_wide(part, points) for part in left[:1]), *(_wide(part, points) for part in left[1:]))
            hazard, survival = wide.hazard(at), wide.log_survival(at).exp()
            after_now = at.double().numpy()
            time = ready.cutoff[numbers][:, None] + after_now
            parts.append(pl.DataFrame({
                "number": np.repeat(numbers, points), "ds": moments(ready.events, time.reshape(-1)),
                "after": after_now.reshape(-1), "hazard": hazard.reshape(-1).double().numpy(),
                "survival": survival.reshape(-1).double().numpy(),
            }))  # fmt: skip
        made = pl.concat(parts).sort("number", maintain_order=True)
        ids = pl.Series("unique_id", ready.events.ids, dtype=pl.String).gather(made["number"])
        return made.drop("number").insert_column(0, ids)

    def futures(
        self, ready: EventsAhead, *, paths: int, events: int | None = None, window: float | None = None, seed: int = 0
    ) -> pl.DataFrame:
        """Sampled futures, a row for each event: unique_id, path, event (1, 2, …), ds, after (time since the cutoff),
        mark. A path without an event in the window has no row."""
        parts = []
        for numbers, made in self._sampled(ready, paths=paths, seed=seed, events=events, window=window):
            row, path, place = (x.numpy() for x in made.mask.nonzero(as_tuple=True))
            since = made.times[made.mask].numpy()
            marks = made.marks[made.mask]
            parts.append(pl.DataFrame({
                "number": numbers[row], "path": path + 1, "event": place + 1,
                "ds": moments(ready.events, ready.cutoff[numbers[row]] + since), "after": since,
                "mark": self._words(marks),
            }))  # fmt: skip
        made_of = pl.concat(parts).sort("number", "path", "event")
        ids = pl.Series("unique_id", ready.events.ids, dtype=pl.String).gather(made_of["number"])
        return made_of.drop("number").insert_column(0, ids)

    def _words(self, marks: Tensor) -> pl.Series:
        """Marks (N,), or labels (N, M), as the table has them."""
        if marks.ndim == 1:
            return self.recipe.names(marks.numpy())
        return self.recipe.joined(marks.numpy())


def marks_after(made: Next, left: Remaining) -> Tensor:
    """(B, 1, M) probabilities of the next mark, where the gap is longer than what is over of it."""
    if made.marks.given == "state" or made.marks.one:
        return made.mark_probabilities()
    gaps = [left.elapsed + left.quantile((i + 0.5) / LEVELS) for i in range(LEVELS)]
    return torch.stack([made.mark_probabilities(gap) for gap in gaps]).mean(0)


def _wide(part: Any, points: int) -> Any:
    """(B, 1, …) -> (B, points, …)"""
    if isinstance(part, Tensor):
        return part.expand(len(part), points, *part.shape[2:])
    return part._replace(**{key: _wide(getattr(part, key), points) for key in ("log_weight", "place", "log_scale")})


def _now(now: Any, events: Events) -> float:
    """A stamp or a number, or the last time in the table, on its clock."""
    return float(events.time.max()) if now == "latest" else moment_of(events, now, "now")
