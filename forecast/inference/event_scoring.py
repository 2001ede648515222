"""Scores of the next event over a part, beside the floors and, where events are simulated, the truth.

The same function scores at the end of training and in `forecast evaluate`: same batches, same order, same numbers.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from forecast.data.event_batch import buckets
from forecast.data.event_module import EventModule
from forecast.data.event_split import Part
from forecast.data.hawkes import score as truth
from forecast.heads.event_chain import EventChain
from forecast.heads.next_event import Next
from forecast.inference.event_floors import Scores, Targets, floors, label_floors
from forecast.metrics.events import EventScores, MetaTpp, Told
from forecast.types import EventBatch

BATCH: Final = 64  # sequences; fixed, so that evaluation repeats training's own scores to the last bit
KEYS: Final = ("rmse", "mae", "accuracy", "macro_f1", "survival", "pit", "calibration", "ks")
LEVELS: Final = (0.05, 0.95)
Watch = Callable[[Tensor, Told, Next], None]  # the rows (B, L - 1) of the table that were forecast


@torch.inference_mode()
def score(
    data: EventModule, chain: EventChain, name: str, *, part: str = "test", watch: Watch | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """One row of scores for the model, the floors and the oracle; and those of protocol=metatpp, where every event but
    the first of a sequence is scored. `watch` sees every batch."""
    spec, of = data.spec, data.part(part)
    sums = EventScores(len(spec.marks), unit=spec.unit)
    line = MetaTpp() if (of.target == ~of.events.first).all() else None
    for rows, batch in passes(data, part):
        made = chain(batch)
        told = tell(made, batch)
        sums.update(told)
        if line is not None:
            line.update(told)
        if watch is not None:
            watch(rows[:, 1:], told, made)
    model = {"name": name, "kind": "model", **sums.result()}
    return [model, *_beside(data, of, model)], None if line is None else line.result()


def passes(data: EventModule, part: str) -> Iterator[tuple[Tensor, EventBatch]]:
    """Batches of a part, the longest sequences first, with the rows (B, L) of the table they are of."""
    gather = data.gather(part)
    used = gather.used(survival=True)
    for some in buckets(gather.length.numpy()[used], BATCH, places=data.places):
        numbers = torch.from_numpy(used[some])
        batch = gather(numbers)
        yield gather.rows(numbers, batch.mask.shape[1]), batch


def tell(made: Next, batch: EventBatch) -> Told:
    """What was forecast of the events 2 … L of a batch, and what came."""
    gap, mark = batch.gaps[:, 1:], batch.marks[:, 1:]
    before = Next(before_last(made), made.states[:, :-1], made.marks)
    time, marked = before.log_prob(gap, mark)
    rows, ends = torch.arange(len(gap)), batch.length - 1
    survival = None
    if bool((batch.last > 0).any()):
        survival = made.gaps.at((rows, ends)).log_survival(batch.last)
    return Told(
        batch.target[:, 1:], time, marked, gap, before.gaps.mean(), before.gaps.median(), before.gaps.pit(gap), mark,
        before.mark(), survival,
    )  # fmt: skip


def before_last(made: Next) -> Any:
    """The gaps after all events but the last place."""
    return made.gaps.at((slice(None), slice(None, -1)))


def targets(part: Part) -> Targets:
    """The scored events of a part, for the floors."""
    rows = np.flatnonzero(part.target)
    events = part.events
    return Targets(events.gaps(0.0)[rows], events.mark[rows], events.mark[rows - 1])


def _beside(data: EventModule, part: Part, model: dict[str, Any]) -> list[dict[str, Any]]:
    """The floors, and the oracle."""
    spec = data.spec
    train, test = targets(data.split.train), targets(part)
    marks = len(data.split.train.events.marks)
    found: Scores = floors(train, test, marks=marks, grid=spec.grid, least=spec.floor or None)
    first, second = (data.recipe.sets(each.events) for each in (data.split.train, part))
    if first is not None and second is not None:
        found = label_floors(found, (first.numpy(), second.numpy()), train, test)
    rows = [_row(name, "floor", each, model) for name, each in found.items()]
    if data.process is not None:
        best = truth(data.process, part)
        each = {"time": best.time, "mark": best.mark, "total": best.time + best.mark, "accuracy": best.accuracy}
        rows.append(_row("oracle", "oracle", each, model))
    return rows


def _row(name: str, kind: str, each: dict[str, float], model: dict[str, Any]) -> dict[str, Any]:
    """A row of the table with what is known."""

    def finite(key: str) -> float | None:
        value = each.get(key)
        return None if value is None or value != value else float(value)

    nats = {key: finite(key) for key in ("time", "mark", "total")}
    known = {key: model[key] for key in ("events", "sequences", "unit")}
    return {"name": name, "kind": kind, **known, "nats": nats, **{key: finite(key) for key in KEYS}}
