"""From what a chain of events remembers to what is said: when the next event is, which, and what the last was worth.

Shapes: B sequences, D memory, N levels of quantiles, M marks, K of them shown.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from forecast.data.events import Floats
from forecast.heads.next_event import LEVELS, Next, NextEvent
from forecast.inference.predictor import column
from forecast.streaming.event_quantiles import quantiles
from forecast.streaming.event_time import EventTime

SHOWN: Final = 20  # likeliest marks
AT_ONCE: Final = 4096  # forecasts
NUMBERS: Final = 1 << 22  # probabilities of marks at once


class EventForecasts(NamedTuple):
    """The next event of each of B sequences; gaps are in the run's unit."""

    ids: list[str]  # B
    ds: NDArray[Any]  # (B,) of the last event: datetime64[us] in UTC, or float64
    mean: Floats  # (B,) of the gap
    median: Floats  # (B,)
    quantiles: Floats  # (B, N)
    top: NDArray[np.int64]  # (B, K) codes of the likeliest marks, or labels, falling
    p: Floats  # (B, K) their probabilities
    guess: NDArray[Any]  # (B,) the likeliest mark; or (B, M) bool, the labels that are likelier than not
    levels: tuple[float, ...]  # N
    marks: tuple[str, ...]  # M
    unit: str

    def frame(self) -> pl.DataFrame:
        """unique_id, ds, mean, median, a column for each quantile, mark and p_mark: the likeliest one and its
        probability; of labels the likeliest one."""
        quantiles = {column(p): self.quantiles[:, n] for n, p in enumerate(self.levels)}
        return pl.DataFrame({
            "unique_id": pl.Series(self.ids, dtype=pl.String), "ds": self.ds, "mean": self.mean, "median": self.median,
            **quantiles, "mark": pl.Series([self.marks[code] for code in self.top[:, 0].tolist()], dtype=pl.String),
            "p_mark": self.p[:, 0],
        })  # fmt: skip


class Looked(NamedTuple):
    """Parts of EventForecasts."""

    mean: Floats
    median: Floats
    quantiles: Floats
    top: NDArray[np.int64]
    p: Floats
    guess: NDArray[Any]

    def at(self, rows: Any) -> "Looked":
        return Looked(*(part[rows] for part in self))


class EventOutlook:
    """How the forecasts of one run are read, at the `levels` that are asked for."""

    def __init__(self, head: NextEvent, levels: tuple[float, ...], time: EventTime, marks: tuple[str, ...]) -> None:
        self.head, self.levels, self.time, self.marks = head, levels, time, marks
        kind = head.projection.weight.dtype
        # where marks depend on the gap, their probabilities are means over quantiles of it
        self.waits = head.marks.given == "gap" and not head.marks.one
        spread = [(i + 0.5) / LEVELS for i in range(LEVELS)] if self.waits else []
        self.level = torch.tensor([0.5, *levels, *spread], dtype=kind)
        self.shown = min(SHOWN, len(marks))
        self.at_once = max(1, min(AT_ONCE, NUMBERS // len(marks)))

    @torch.inference_mode()
    def __call__(self, memory: NDArray[np.float32]) -> Looked:
        """(B, D)"""
        if len(memory) > self.at_once:
            cuts = range(0, len(memory), self.at_once)
            each = [self(memory[first : first + self.at_once]) for first in cuts]
            return Looked(*(np.concatenate(part) for part in zip(*each, strict=True)))
        made = self.head(torch.from_numpy(memory))
        gaps = quantiles(made.gaps, self.level)
        told = 1 + len(self.levels)
        likely, quantile = self._likely(made, gaps[told:]), gaps[:told].double().numpy()
        p, top = likely.topk(self.shown, dim=-1)
        guess = likely > 0.5 if made.marks.labels else top[:, 0]
        mean = made.gaps.mean().double().numpy()
        return Looked(mean, quantile[0], quantile[1:].T, top.numpy(), p.double().numpy(), guess.numpy())

    def _likely(self, made: Next, gaps: torch.Tensor) -> torch.Tensor:
        """(B, M) probabilities of marks, as Next.mark_probabilities gives them; gaps (LEVELS, B)."""
        if not self.waits:
            return made.mark_probabilities()
        each = made._replace(states=made.states.expand(len(gaps), *made.states.shape))
        return each.mark_probabilities(gaps).mean(0)

    @torch.inference_mode()
    def worth(self, memory: NDArray[np.float32], gap: NDArray[np.float32], mark: NDArray[Any]) -> tuple[Floats, Floats]:
        """memory (B, D) before events, their gaps (B,) and marks -> nats of their times and marks (B, 2), and how
        likely gaps longer than theirs were (B,)."""
        if len(memory) > self.at_once:
            cuts = [slice(first, first + self.at_once) for first in range(0, len(memory), self.at_once)]
            each = [self.worth(memory[cut], gap[cut], mark[cut]) for cut in cuts]
            return np.concatenate([nats for nats, _ in each]), np.concatenate([tail for _, tail in each])
        made, gaps = self.head(torch.from_numpy(memory)), torch.from_numpy(gap)
        parts = torch.stack(made.log_prob(gaps, torch.from_numpy(mark)), -1)
        return parts.double().numpy(), made.gaps.survival(gaps).double().numpy()

    def forecasts(self, ids: list[str], ticks: NDArray[np.int64], looked: Looked) -> EventForecasts:
        return EventForecasts(ids, self.time.shown(ticks), *looked, self.levels, self.marks, self.time.unit)
