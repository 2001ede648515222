"""The events of a whole window ahead, forecast at some moments of a part and scored, beside the floors.

Origins: one of each sequence, its first target after a moment that is drawn (seeded) from the time of its watch, if the
watch covers the whole window after it: nothing is asked of a time that nobody saw, and which event it is does not hang
on what comes later, as it would if one of all events were drawn. Now is that event. With `at` all sequences are asked
at one moment, and forecasts know how long nothing came. Two rows are the model's: by its paths, and by its likeliest
events one after the other (event_outlook.py).
"""

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.data.event_batch import EventGather, buckets
from forecast.data.event_split import Part
from forecast.heads.event_chain import EventChain
from forecast.inference.event_horizon_floors import Past, horizon_floors, rates
from forecast.inference.event_memory import begin
from forecast.inference.event_outlook import Ints, by_likeliest, by_paths
from forecast.inference.event_paths import MOST, Extra, Likeliest, Paths, likeliest, sample_paths
from forecast.metrics.event_horizon import DELETIONS, Marked, Outlook, outlook_scores
from forecast.types import EventBatch

TOLERANCES: Final = (0.05, 0.1, 0.2)  # of T-mAP, in windows
EVENTS: Final = 8  # mean gaps in a window, where none is given
BYTES: Final = 1 << 28  # of states at once
BATCH: Final = 64  # sequences at once


class Origins(NamedTuple):
    """B moments, one of a sequence each, after at least one event."""

    number: Ints  # (B,) of the sequence
    length: Ints  # (B,) events up to now
    now: NDArray[np.float64]  # (B,) on the clock of the events
    window: float


def choose_window(train: Part, part: Part) -> float:
    """EVENTS of train's mean gaps, or what half of the part's sequences are watched for after their first target, if
    that is less; ValueError where it is nothing."""
    gap = float(np.diff(train.events.time)[train.target[1:]].mean())
    there = part.targets > 0
    first = np.maximum.reduceat(np.where(part.target, -part.events.time, -np.inf), part.events.start[:-1])
    watched = float(np.median((part.end + first)[there]))
    if not (window := min(EVENTS * gap, watched)) > 0:
        raise ValueError("no sequence is watched after its first target; give a window")
    return window


def choose_origins(
    part: Part, window: float, *, most: int = 256, seed: int = 0, at: float | None = None
) -> Origins:  # fmt: skip
    """At most so many sequences, drawn, and one moment of each; `at` is one for all. None may be covered."""
    if most < 1 or not 0 < window < np.inf:
        raise ValueError(f"origins are {most}, the window {window}; expected 1 or more, and a time above 0")
    rng, events = np.random.default_rng(seed), part.events
    if at is not None:
        number = np.flatnonzero((events.time[events.start[:-1]] <= at) & (part.end >= at + window))
        number = np.sort(rng.permutation(number)[:most])
        inside = np.concatenate([[0], np.cumsum(events.time <= at)])
        length = (inside[events.start[1:]] - inside[events.start[:-1]])[number]
        return Origins(number, length, np.full(len(number), float(at)), window)
    low = np.maximum(events.time[events.start[:-1]], events.time[part.target].min())
    moment = low + rng.random(len(low)) * (part.end - window - low)  # before `low` where none is covered
    rows = np.flatnonzero(part.target & (events.time >= np.maximum(moment, low)[events.number]))
    number, first = np.unique(events.number[rows], return_index=True)
    row = rows[first]
    covered = events.time[row] + window <= part.end[number]
    number, row = number[covered], row[covered]
    some = np.sort(rng.permutation(len(number))[:most])
    return Origins(number[some], row[some] - events.start[number[some]] + 1, events.time[row[some]], window)


def horizon_scores(
    chain: EventChain, part: Part, *, train: Part, name: str = "model", window: float | None = None, paths: int = 32,
    origins: int = 256, seed: int = 0, at: float | None = None, most: int = MOST, extra: Extra | None = None,
    gather: EventGather | None = None,
) -> dict[str, Any] | None:  # fmt: skip
    """{window, unit, paths, origins, events, cut, tolerances, rows: [{name, kind, otd, …}]}, or None where no origin is
    covered.

    `train` gives what floors know and the scale of deletions; `cut` is the share of paths that `most` events cut off.
    `gather` makes batches, of whole sequences, where events have more than gaps and marks. The scores stand in
    metrics/event_horizon.py.
    """
    gather = EventGather(part, floor=chain.spec.floor) if gather is None else gather
    if len(gather.length) != len(part.events.ids) or chain.spec.labels != (gather.labels is not None):
        raise ValueError("batches are cut, or of other marks than the chain's; expected whole sequences with its marks")
    window = choose_window(train, part) if window is None else float(window)
    chosen = choose_origins(part, window, most=origins, seed=seed, at=at)
    count, marks = len(chosen.number), len(chain.spec.marks)
    if not count:
        return None
    known = rates(train, marks, None if gather.labels is None else gather.labels.numpy())
    came, total = truth(part, chosen, gather.labels)
    tolerances = window * torch.tensor(TOLERANCES, dtype=torch.float64)
    ahead, cut = outlooks(chain, part, chosen, gather, paths=paths, seed=seed, most=most, extra=extra,
                          cost=known.mean, near=float(tolerances.min()))  # fmt: skip
    rows = {name: ("model", ahead[0]), f"{name}, likeliest events": ("model", ahead[1])}
    rows |= {
        floor: ("floor", found)
        for floor, found in horizon_floors(known, past(part, chosen, gather.labels), window).items()
    }
    costs = known.mean * torch.tensor(DELETIONS, dtype=torch.float64)
    return {
        "window": window, "unit": part.events.unit, "paths": paths, "origins": count, "events": int(total.sum()),
        "cut": cut, "tolerances": tolerances.tolist(),
        "rows": [
            {"name": row, "kind": kind, **outlook_scores(found, came, costs=costs, tolerances=tolerances, events=total)}
            for row, (kind, found) in rows.items()
        ],
    }  # fmt: skip


def outlooks(
    chain: EventChain, part: Part, chosen: Origins, gather: EventGather, *, paths: int, seed: int, most: int,
    extra: Extra | None, cost: float, near: float,
) -> tuple[tuple[Outlook, Outlook], float]:  # fmt: skip
    """What the model forecasts, by its paths and by its likeliest events, and the share of paths that were cut off."""
    device = next(chain.parameters()).device
    sampled: list[tuple[Ints, Paths]] = []
    best: list[tuple[Ints, Likeliest]] = []
    for piece in buckets(chosen.length, BATCH):
        batch, last = _history(gather, part, chosen, piece, device)
        size = max(1, BYTES // max(1, begin(chain, _first(batch)).size * paths))
        for some in np.array_split(np.arange(len(piece)), -(-len(piece) // size)):
            rows = torch.from_numpy(some).to(device)
            history = EventBatch._make(None if x is None else x[rows] for x in batch)
            time = torch.from_numpy(last[some]).to(device)
            words: dict[str, Any] = {
                "window": chosen.window, "most": most, "time": time, "extra": extra,
                "elapsed": torch.from_numpy(chosen.now[piece[some]]).to(device) - time,
            }  # fmt: skip
            sampled.append((piece[some], sample_paths(chain, history, paths=paths, seed=seed, **words)))
            best.append((piece[some], likeliest(chain, history, **words)))
    count, marks = len(chosen.number), len(chain.spec.marks)
    cut = float(np.mean([float(x) for _, made in sampled for x in made.cut.double().mean(1)]))
    return (
        by_paths(sampled, count, marks, cost=cost, near=near, window=chosen.window),
        by_likeliest(best, count, marks),
    ), cut


def truth(part: Part, chosen: Origins, labels: Tensor | None = None) -> tuple[Marked, Tensor]:
    """What came in the window after each origin, and how many events (B,)."""
    start = part.events.start[chosen.number] + chosen.length
    until = part.events.start[chosen.number + 1]
    rows, origin = _ranges(start, until)
    inside = part.events.time[rows] <= chosen.now[origin] + chosen.window
    rows, origin = rows[inside], origin[inside]
    total = torch.from_numpy(np.bincount(origin, minlength=len(start)))
    return _events(part, rows, origin, chosen, labels), total


def past(part: Part, chosen: Origins, labels: Tensor | None = None) -> Past:
    """What came up to each origin."""
    start = part.events.start[chosen.number]
    rows, origin = _ranges(start, start + chosen.length)
    last = start + chosen.length - 1
    time = part.events.time
    single = _events(part, rows, origin, chosen, None)
    return Past(
        _events(part, rows, origin, chosen, labels), single, torch.from_numpy(chosen.now - time[start]),
        torch.from_numpy(part.events.mark[last]), torch.from_numpy(chosen.now - time[last]),
    )  # fmt: skip


def _ranges(start: Ints, until: Ints) -> tuple[Ints, Ints]:
    """All rows of start … until - 1 of each, and of which one each is."""
    counts = until - start
    before = np.cumsum(counts) - counts
    return np.arange(counts.sum()) + np.repeat(start - before, counts), np.repeat(np.arange(len(start)), counts)


def _events(part: Part, rows: Ints, origin: Ints, chosen: Origins, labels: Tensor | None) -> Marked:
    """Rows of the table as events of the origins; with labels (K, M), one for each label."""
    time = torch.from_numpy(part.events.time[rows] - chosen.now[origin])
    mark, horizon = torch.from_numpy(part.events.mark[rows]), torch.from_numpy(origin)
    if labels is None:
        return Marked(horizon, mark, time)
    event, label = labels[mark].nonzero(as_tuple=True)
    return Marked(horizon[event], label, time[event])


def _history(
    gather: EventGather, part: Part, chosen: Origins, piece: Ints, device: torch.device
) -> tuple[EventBatch, NDArray[np.float64]]:
    """The events up to now of some origins, and when the last one of each was."""
    length = torch.from_numpy(chosen.length[piece])
    whole = gather(torch.from_numpy(chosen.number[piece]))
    wide = int(length.max())
    mask = torch.arange(wide) < length[:, None]
    marks = whole.marks[:, :wide]
    seen = whole._replace(
        gaps=whole.gaps[:, :wide] * mask, marks=marks * (mask if marks.ndim == 2 else mask[..., None]), mask=mask,
        target=whole.target[:, :wide] & mask, length=length,
        extra=None if whole.extra is None else whole.extra[:, :wide] * mask[..., None],
    )  # fmt: skip
    last = part.events.time[part.events.start[chosen.number[piece]] + chosen.length[piece] - 1]
    return EventBatch._make(None if x is None else x.to(device) for x in seen), last


def _first(batch: EventBatch) -> EventBatch:
    return EventBatch._make(None if x is None else x[:1] for x in batch)
