"""The task of events: the likelihood of the next event's time and mark, around a chain. It owns nothing else."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from forecast.heads.event_chain import EventChain
from forecast.tasks.base import Task
from forecast.types import EventBatch


class EventTask(Task):
    """Trains a chain on EventBatch. Validation scores are nats per event, with the sign turned for the one to become
    small; they are ratios of sums over all events and all ranks; of marks, over the events whose mark is known.

    A batch's loss is the sum over its targets divided by `targets`, those of a batch of training on average: batches
    are of like length and differ in size, and every event is to weigh the same. `survival`: that nothing came between
    the last event and the end of the watch is learned from too, and never scored with the events.
    """

    SCORES: ClassVar = ("val/nll", "val/time", "val/mark")
    chain: EventChain

    def __init__(
        self, chain: EventChain, optimiser: Any, *, targets: float, survival: bool = True, **words: Any
    ) -> None:
        super().__init__(chain, optimiser, **words)
        self.targets, self.survival = targets, survival

    def loss(self, batch: EventBatch) -> Tensor:
        nats = self.chain.nats(batch, survival=self.survival)
        return -sum(part.sum() for part in nats) / self.targets  # type: ignore[return-value]

    def sums(self, batch: EventBatch, exact: torch.dtype) -> Tensor:
        time, mark, _ = self.chain.nats(batch, survival=False)
        marks = batch.marks[:, 1:][batch.target[:, 1:]]
        known = len(marks) if marks.ndim == 2 else (marks < len(self.chain.spec.marks)).sum()
        counts = torch.tensor([len(time), int(known)], dtype=exact, device=time.device)
        return torch.cat([torch.stack([time.to(exact).sum(), mark.to(exact).sum()]), counts])

    def scores(self, total: list[float]) -> tuple[float, ...]:
        time, mark = total[0] / max(total[2], 1), total[1] / max(total[3], 1)
        return -(time + mark), time, mark
