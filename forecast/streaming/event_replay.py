"""A file of events replayed as if it came live, and what its forecasts were worth: prequential scores (Dawid 1984).

Beside them stand floors that learn from the stream too, each from what came before an event in any sequence: a
log-normal gap and Markov marks (nats), the mean gap, and the mark of the event before.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.data.event_card import read_event_frames
from forecast.data.events import Floats
from forecast.data.freq import Ints
from forecast.streaming.event_live import EventLive
from forecast.streaming.event_reading import read
from forecast.streaming.event_taken import EventTaken
from forecast.streaming.fold import FIRST, RESTARTED
from forecast.types import EventBatch

PROVEN: Final = 2000  # events of the longest sequence that are compared with one scan
STREAMED: Final = "streamed"
LEARNED: Final = "log-normal gap and Markov marks so far"
MEAN: Final = "mean gap so far"
REPEATED: Final = "mark before"
WIDTH: Final = 1.0  # of the log gap, before any was seen


class Seen(NamedTuple):
    """K events that were taken, in the order of the stream."""

    number: Ints  # (K,) of their sequences
    row: Ints  # (K,) of the table
    gap: Floats  # (K,) NaN for a first event
    nats: Floats  # (K, 2)
    mean: Floats  # (K,) that of the gap after each
    median: Floats  # (K,)
    guess: NDArray[Any]  # (K,) or (K, M) the mark after each


class EventReplay:
    """A file under a run: its events in the order of time, and the scores of forecasts made after them."""

    def __init__(self, live: EventLive, path: str | Path) -> None:
        self.live = live
        ((where, frame),), _ = read_event_frames(live.card, path=path)
        self.names, self.ticks, self.held = read(frame, live.recipe, live.time, where)
        place = {name: number for number, name in enumerate(dict.fromkeys(self.names))}
        self.number = np.array([place[name] for name in self.names], np.int64)
        self.coded = live.marks(self.held.marks)
        self.parts: list[Seen] = []
        self.whole = True  # whether it is replayed from its first event on

    def batches(self, size: int, first: int = 0) -> Iterator[slice]:
        """Events `size` at a time."""
        self.whole = first == 0
        return (slice(at, min(at + size, len(self.names))) for at in range(first, len(self.names), size))

    def score(self, some: slice, taken: EventTaken) -> None:
        """What was made after events `some`."""
        made, row = taken.forecasts, np.arange(some.start, some.stop)[taken.at]
        kind = taken.status[taken.at]
        gap = np.where((kind == FIRST) | (kind == RESTARTED), np.nan, taken.gap)
        self.parts.append(Seen(self.number[row], row, gap, taken.nats, made.mean, made.median, made.guess))

    @torch.inference_mode()
    def difference(self, seen: Seen) -> tuple[float, int]:
        """The largest difference between the stream and one scan over the longest sequence, in nats and in the log of
        the median gap, and over how many forecasts. A sequence that began anew is compared until it did."""
        if not self.whole:
            return 0.0, 0
        mine = np.flatnonzero(seen.number == np.bincount(seen.number).argmax())[:PROVEN]
        anew = np.flatnonzero(np.isnan(seen.gap[mine]))
        mine = mine[: anew[1] if len(anew) > 1 else None]
        rows, chain = seen.row[mine], self.live.predictor.chain
        gaps = torch.from_numpy(np.nan_to_num(seen.gap[mine]).astype(np.float32))[None]
        marks = torch.from_numpy(self.coded.mark[rows])[None]
        extra, every = None, torch.ones(1, len(rows), dtype=torch.bool)
        if self.live.recipe.extra.names:
            times = self.live.time.absolute(self.ticks[rows])
            known = self.live.recipe.extra(times, self.held.beside[rows], None, self.live.time.unit)
            extra = torch.from_numpy(known)[None]
        length = torch.tensor([len(rows)])
        made = chain(EventBatch(gaps, marks, every, every, torch.zeros(1), length, torch.zeros(1).long(), extra))
        apart = np.abs(made.gaps.median()[0].double().log().numpy() - np.log(seen.median[mine]))
        nats = torch.stack(made.log_prob(gaps.roll(-1, 1), marks.roll(-1, 1)), -1)[0]
        worth = np.abs(nats[:-1].double().numpy() - seen.nats[mine][1:])
        return float(max(apart.max(initial=0), worth.max(initial=0))), len(rows)

    def results(self) -> dict[str, Any] | None:
        """{kind, unit, events, scores: {row: {time, mark, total, rmse, mae, accuracy}}, live_minus_scan,
        forecasts_compared}; None where no event was scored."""
        if not self.parts:
            return None
        columns: list[Any] = [np.concatenate(part) for part in zip(*self.parts, strict=True)]
        seen = Seen(*columns)
        before = _before(seen.number)
        scored = ~np.isnan(seen.gap) & (before >= 0)
        if not scored.any():
            return None
        difference, count = self.difference(seen)
        scores = {STREAMED: self._streamed(seen, before, scored), **self._floors(seen, before, scored)}
        return {
            "kind": "events", "unit": self.live.time.unit, "events": int(scored.sum()), "scores": scores,
            "live_minus_scan": difference, "forecasts_compared": count,
        }  # fmt: skip

    def _streamed(self, seen: Seen, before: Ints, scored: NDArray[np.bool_]) -> dict[str, float | None]:
        last, nats = before[scored], seen.nats[scored].mean(0)
        error, far = seen.mean[last] - seen.gap[scored], seen.median[last] - seen.gap[scored]
        right = self._right(seen.guess[last], self.coded.mark[seen.row[scored]])
        mark = float(nats[1]) if self.live.card.mark is not None else None
        return _row(time=float(nats[0]), mark=mark, rmse=_rms(error), mae=float(np.abs(far).mean()), accuracy=right)

    def _right(self, guess: NDArray[Any], came: NDArray[Any]) -> float | None:
        """The share of marks that were guessed; of labels, of whole sets of them."""
        if self.live.card.mark is None:
            return None
        same = guess == came
        return float((same.all(1) if same.ndim == 2 else same).mean())

    def _floors(self, seen: Seen, before: Ints, scored: NDArray[np.bool_]) -> dict[str, dict[str, float | None]]:
        """Rows of floors; each scores an event by those before it in the stream."""
        spec, gap = self.live.spec, seen.gap[scored]
        log = np.log(np.maximum(gap, max(spec.floor, spec.grid / 2, 1e-9)))
        n = np.arange(len(gap))
        place = np.where(n > 0, _sums(log) / np.maximum(n, 1), log)
        squares = np.maximum(_sums(log**2) - n * place**2, 0.0)
        spread = np.sqrt((squares + WIDTH**2) / (n + 1))  # as if one more had been WIDTH away
        time = -log - np.log(spread) - 0.5 * (((log - place) / spread) ** 2 + np.log(2 * np.pi))
        mean = np.where(n > 0, _sums(gap) / np.maximum(n, 1), gap)
        error = (mean - gap)[1:]
        rows = {MEAN: _row(rmse=_rms(error), mae=float(np.abs(error).mean()) if len(error) else None)}
        mark = None
        if self.live.card.mark is not None and not spec.labels:
            came, last = self.coded.mark[seen.row[scored]], self.coded.mark[seen.row[before[scored]]]
            known = came < len(spec.marks)
            share = (_times(last * (len(spec.marks) + 1) + came) + 1) / (_times(last) + len(spec.marks))
            mark = float(np.where(known, np.log(share), 0.0).mean())
            rows[REPEATED] = _row(accuracy=float((came == last).mean()))
        return {LEARNED: _row(time=float(time[1:].mean()) if len(time) > 1 else None, mark=mark), **rows}


def _row(
    *, time: float | None = None, mark: float | None = None, rmse: float | None = None, mae: float | None = None,
    accuracy: float | None = None,
) -> dict[str, float | None]:  # fmt: skip
    total = None if time is None else time + (mark or 0.0)
    return {"time": time, "mark": mark, "total": total, "rmse": rmse, "mae": mae, "accuracy": accuracy}


def _before(number: Ints) -> Ints:
    """(K,) the place of the event before in the same sequence, -1 where there is none."""
    order = np.argsort(number, kind="stable")
    found = np.full(len(number), -1)
    same = number[order][1:] == number[order][:-1]
    found[order[1:][same]] = order[:-1][same]
    return found


def _sums(values: Floats) -> Floats:
    """(K,) of those before each."""
    return np.cumsum(values) - values


def _times(values: Ints) -> Ints:
    """(K,) how often each value came before."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    first = np.concatenate([[True], ranked[1:] != ranked[:-1]])
    start = np.maximum.accumulate(np.where(first, np.arange(len(values)), 0))
    found = np.empty(len(values), np.int64)
    found[order] = np.arange(len(values)) - start
    return found


def _rms(error: Floats) -> float | None:
    return float(np.sqrt((error**2).mean())) if len(error) else None
