"""What the next event is: its mark, one of M, or any number of M labels at once.

Logits of many marks are large: 64 sequences of 100 events and 10,000 marks are 256 MB, and as much again for their
gradient. So beyond AT_ONCE numbers they are made some rows at a time and once more for the gradient, and only the
log-probability of what happened is kept.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

MarkGiven = Literal["state", "gap"]
AT_ONCE = 1 << 22  # logits in memory at once


class Marks(nn.Module):
    """States (…, D), and the normalised log gap (…) with given="gap" -> probabilities of M marks.

    One mark needs no forecast: its log-probability is 0, as is that of an unknown mark, which is M. labels: each of M
    labels is there or not, independently given the state; a mark is then (…, M) bool instead of (…) int64.
    """

    def __init__(self, d_memory: int, marks: int, *, given: MarkGiven, labels: bool) -> None:
        super().__init__()
        self.count, self.given, self.labels = marks, given, labels
        self.one = marks == 1 and not labels
        if self.one:
            return
        self.logits = nn.Linear(d_memory, marks)
        if given == "gap":
            self.mix = nn.Sequential(nn.Linear(d_memory + 1, d_memory), nn.GELU(), nn.Linear(d_memory, d_memory))

    def log_prob(self, states: Tensor, mark: Tensor, gap: Tensor | None) -> Tensor:
        """Nats (…) of what happened; 0 where a mark is M, unknown."""
        if self.one:
            return states.new_zeros(states.shape[:-1])
        rows = self._given(states, gap)
        target = mark.reshape(-1, *mark.shape[states.ndim - 1 :])
        size = max(1, AT_ONCE // self.count)
        if len(rows) <= size:
            return self._score(rows, target).reshape(states.shape[:-1])
        parts = [self._again(*some) for some in zip(rows.split(size), target.split(size), strict=True)]
        return torch.cat(parts).reshape(states.shape[:-1])

    def probabilities(self, states: Tensor, gap: Tensor | None) -> Tensor:
        """(…, M): of each mark, which add up to 1, or of each label."""
        if self.one:
            return states.new_ones(*states.shape[:-1], 1)
        return self._made(self._given(states, gap)).reshape(*states.shape[:-1], self.count)

    def best(self, states: Tensor, gap: Tensor | None) -> Tensor:
        """The likeliest mark (…) int64, or the labels (…, M) bool that are likelier than not."""
        if self.one:
            return torch.zeros(states.shape[:-1], dtype=torch.int64, device=states.device)
        found = [p > 0.5 if self.labels else p.argmax(-1) for p in self._some(self._given(states, gap))]
        return torch.cat(found).reshape(*states.shape[:-1], *([self.count] if self.labels else []))

    def sample(self, states: Tensor, gap: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """One mark (…) int64, or one set of labels (…, M) bool, for each state."""
        if self.one:
            return torch.zeros(states.shape[:-1], dtype=torch.int64, device=states.device)
        found = [
            torch.bernoulli(p, generator=generator).bool()
            if self.labels
            else torch.multinomial(p, 1, generator=generator)[:, 0]
            for p in self._some(self._given(states, gap))
        ]
        return torch.cat(found).reshape(*states.shape[:-1], *([self.count] if self.labels else []))

    def _given(self, states: Tensor, gap: Tensor | None) -> Tensor:
        """Rows (N, D): states, moved by how long the gap was."""
        rows = states.reshape(-1, states.shape[-1])
        if self.given == "state":
            return rows
        assert gap is not None
        return rows + self.mix(torch.cat([rows, gap.reshape(-1, 1).to(rows.dtype)], -1))

    def _some(self, rows: Tensor) -> Iterator[Tensor]:
        """The probabilities, some rows at a time; one part at least."""
        return (self._made(part) for part in rows.split(max(1, AT_ONCE // self.count)))

    def _made(self, rows: Tensor) -> Tensor:
        logits = self._wide(rows)
        return logits.sigmoid() if self.labels else logits.softmax(-1)

    def _wide(self, rows: Tensor) -> Tensor:
        logits = self.logits(rows)
        return logits if logits.dtype == torch.float64 else logits.float()

    def _again(self, rows: Tensor, target: Tensor) -> Tensor:
        """_score, which keeps no logits for the gradient."""
        if not torch.is_grad_enabled():
            return self._score(rows, target)
        return checkpoint(self._score, rows, target, use_reentrant=False, preserve_rng_state=False)

    def _score(self, rows: Tensor, target: Tensor) -> Tensor:
        logits = self._wide(rows)
        if self.labels:
            return -F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none").sum(-1)
        return -F.cross_entropy(logits, target, reduction="none", ignore_index=self.count)
