"""A labelled file replayed as if it came live: how often the class was right, by how much of each series was seen.

A tenth of a series is reached with the next whole step, as in the scores that a run keeps; what is told there counts.
Beside it stands the class that most series of the training had, which needs no step at all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.freq import Ints
from forecast.data.label_card import read_label_frames
from forecast.streaming.class_lines import Steps
from forecast.streaming.class_live import ClassLive
from forecast.streaming.class_reading import read
from forecast.streaming.class_taken import ClassTaken
from forecast.streaming.fold import ACCEPTED

TENTHS: Final = np.arange(1, 11)
PROVEN: Final = 256  # series that are compared with one pass over the whole of them


class Scored(NamedTuple):
    """What was told of n series at each tenth; NaN where nothing was."""

    right: NDArray[np.float64]  # (n, 10) 1 or 0
    nats: NDArray[np.float64]  # (n, 10) log-probabilities of their labels


class ClassReplay:
    """A file under a run: its steps in the order of time, and the scores of what was told after them."""

    def __init__(self, live: ClassLive, path: str | Path) -> None:
        self.live = live
        ((where, frame),), _ = read_label_frames(live.card, path=path)
        self.rows = rows = read(frame, live.recipe, live.time, where)
        self.names, self.ticks = rows.names, rows.ticks
        length = rows.of.lengths
        self.held = Steps(rows.values, rows.step == length[rows.number], np.zeros(len(rows.number), bool))
        self.marks = -(-length[:, None] * TENTHS // 10)  # (n, 10) the steps that are scored
        self.found = Scored(*(np.full(self.marks.shape, np.nan) for _ in Scored._fields))
        self.final = np.full((min(PROVEN, len(length)), len(live.spec.classes)), np.nan)
        self.broken = np.zeros(len(length), bool)  # series of which a step was not taken, or not now

    def batches(self, size: int, first: int = 0) -> Iterator[slice]:
        """Steps `size` at a time."""
        self.broken[self.rows.number[:first]] = True
        return (slice(at, min(at + size, len(self.names))) for at in range(first, len(self.names), size))

    def score(self, some: slice, taken: ClassTaken) -> None:
        """What was told after steps `some`."""
        number, step, chance = self.rows.number[some], self.rows.step[some], taken.forecasts.chance
        self.broken[number[taken.status > ACCEPTED]] = True
        number, step = number[taken.at], step[taken.at]
        row, tenth = np.nonzero(self.marks[number] == step[:, None])
        of, label = number[row], self.rows.of.label[number[row]]
        known = label >= 0
        row, tenth, of, label = row[known], tenth[known], of[known], label[known]
        self.found.right[of, tenth] = chance[row].argmax(1) == label
        with np.errstate(divide="ignore"):
            self.found.nats[of, tenth] = np.log(chance[row, label])
        ends = self.held.ends[some][taken.at] & (number < len(self.final))
        self.final[number[ends]] = chance[ends]

    def difference(self) -> tuple[float, int]:
        """The largest difference between the last answers and those of `forecast predict`, over how many series."""
        whole = np.flatnonzero(~self.broken[: len(self.final)] & ~np.isnan(self.final).any(axis=1))
        if not len(whole):
            return 0.0, 0
        predictor = self.live.predictor
        made = predictor.chances(self.live.recipe.gather(self.rows.of.take(whole)))
        return float(np.abs(made - self.final[whole]).max()), len(whole)

    def results(self) -> dict[str, Any] | None:
        """{kind, series, early: [{fraction, series, accuracy, log_loss}], most_frequent: {label, accuracy} | None,
        live_minus_scan, forecasts_compared}; None where no label is known of what was scored."""
        right, nats = self.found
        scored = ~np.isnan(right)
        if not scored.any():
            return None
        early = [
            {
                "fraction": int(tenths) / 10, "series": int(some.sum()), "accuracy": float(right[some, at].mean()),
                "log_loss": float(-nats[some, at].mean()),
            }
            for at, tenths in enumerate(TENTHS) if (some := scored[:, at]).any()
        ]  # fmt: skip
        difference, count = self.difference()
        of = np.flatnonzero(scored.any(axis=1))
        return {
            "kind": "classes", "series": len(of), "early": early, "most_frequent": self._floor(of),
            "live_minus_scan": difference, "forecasts_compared": count,
        }  # fmt: skip

    def _floor(self, some: Ints) -> dict[str, Any] | None:
        """The class that most series of the training had."""
        if self.live.counts is None:
            return None
        code = int(np.argmax(self.live.counts))
        labels = self.rows.of.label[some]
        return {"label": self.live.spec.classes[code], "accuracy": float((labels == code).mean())}
