"""The task of classification: the log loss of the class, around a chain, and what helps where series are few."""

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forecast.heads.label_chain import LabelChain
from forecast.metrics.classes import SPREAD, nll_at, temperatures
from forecast.tasks.augment import Augment
from forecast.tasks.base import Task
from forecast.types import LabelBatch


class ClassifyTask(Task):
    """Trains a chain on LabelBatch.

    Validation scores: the log loss at the likeliest of a grid of temperatures (a network that is sure of too much ranks
    the classes no worse, and its temperature is fitted afterwards anyway), and the accuracy. Both are ratios of sums
    over all series and all ranks. A temperature is likelier near 1: where a dozen series are all right, a low one would
    make the loss 0, and no later epoch could be better.

    weights (K,): of each class in the loss, 1 on average over train; None: 1 each. smoothing: the share of each label
    that is spread over all classes. average: with it the weights are averaged over the steps, w̄ ← a w̄ + (1 - a) w
    (of the first steps the average is shorter: a is at most (1 + n) / (10 + n) at step n), and the average is what is
    validated and kept. encoder_lr: what the learning rate is multiplied with for the encoder, which learns beside a
    stem of convolutions that take more.
    """

    SCORES: ClassVar = ("val/nll", "val/accuracy")
    chain: LabelChain
    weights: Tensor | None
    steps: Tensor  # () int64, of the optimiser

    def __init__(
        self, chain: LabelChain, optimiser: Any, *, augment: Augment, weights: Tensor | None = None,
        smoothing: float = 0.0, average: float | None = None, encoder_lr: float = 1.0, **words: Any,
    ) -> None:  # fmt: skip
        super().__init__(chain, optimiser, **words)
        self.augment, self.smoothing, self.average, self.encoder_lr = augment, smoothing, average, encoder_lr
        self.register_buffer("weights", weights, persistent=False)
        self.averaged: nn.Module | None = None
        if average is not None:
            self.averaged = copy.deepcopy(chain).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def groups(self) -> list[dict[str, Any]]:
        own = list(self.chain.encoder.parameters())
        of_encoder = {id(parameter) for parameter in own}
        rest = [parameter for parameter in self.chain.parameters() if id(parameter) not in of_encoder]
        return [{"params": rest}, *([{"params": own, "factor": self.encoder_lr}] if own else [])]

    def loss(self, batch: LabelBatch) -> Tensor:
        batch, wanted = self.augment(batch, len(self.chain.spec.classes))
        return F.cross_entropy(self.chain(batch), wanted, weight=self.weights, label_smoothing=self.smoothing)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The average goes on with the optimiser: what is saved after a step knows both."""
        super().optimizer_step(*args, **kwargs)
        if self.averaged is not None:
            self._averaged_on()

    @torch.no_grad()
    def _averaged_on(self) -> None:
        assert self.averaged is not None and self.average is not None
        self.steps += 1
        n = int(self.steps)
        share = 1.0 - min(self.average, (1 + n) / (10 + n))
        trained = {name for name, _ in self.chain.named_parameters()}
        now = self.chain.state_dict()
        for name, mean in self.averaged.state_dict().items():  # which hold the same memory as the modules
            mean.lerp_(now[name], share) if name in trained else mean.copy_(now[name])

    def kept(self) -> dict[str, Tensor]:
        """The weights to keep: the averaged ones, where they are averaged."""
        return (self.chain if self.averaged is None else self.averaged).state_dict()

    def sums(self, batch: LabelBatch, exact: torch.dtype) -> Tensor:
        model = self.chain if self.averaged is None else self.averaged
        logits = model(batch)
        right = (logits.argmax(-1) == batch.label).sum()
        counts = torch.stack([right, torch.tensor(len(batch.label), device=right.device)]).to(exact)
        return torch.cat([nll_at(logits.to(exact), batch.label, temperatures().to(exact)), counts])

    def scores(self, total: list[float]) -> tuple[float, ...]:
        *losses, right, count = total
        unlikely = (temperatures().log().square() / (2 * SPREAD**2)).tolist()
        best = min(loss + each for loss, each in zip(losses, unlikely, strict=True))
        return best / max(count, 1), right / max(count, 1)
