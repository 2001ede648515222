"""What all tasks share: seeded steps, a loss that must be finite, one monitored score, optimiser and schedule."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from forecast.errors import RunError
from forecast.models.attention import set_step

Schedule = Literal["constant", "halve", "cosine", "plateau"]


class Task(pl.LightningModule):
    """Trains a chain. A task gives `loss`, `sums` of a validation batch, and the `scores` that are made of their total
    over all batches and ranks; the first of `SCORES` is monitored, and lower is better.

    `where` says in words what a batch holds, for the message about a loss that is not finite.
    """

    SCORES: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        chain: nn.Module,
        optimiser: Callable[[Any], Optimizer],
        *,
        schedule: Schedule = "cosine",
        warmup: int = 0,
        seed: int = 1,
        where: Callable[[Any], str],
    ) -> None:
        super().__init__()
        self.chain, self.optimiser = chain, optimiser
        self.schedule, self.warmup, self.seed = schedule, warmup, seed
        self.where = where
        self.plateau: ReduceLROnPlateau | None = None
        self.resumed: dict[str, Any] | None = None  # the plateau's state in the checkpoint of a resume
        self.total = torch.zeros(1, dtype=torch.float64)

    def loss(self, batch: Any) -> Tensor:
        """The loss of a batch, ()."""
        raise TypeError(f"{type(self).__name__} does not say what it learns by")

    def sums(self, batch: Any, exact: torch.dtype) -> Tensor:
        """Sums over a batch of validation (n,), the count of what they are over last."""
        raise TypeError(f"{type(self).__name__} does not say how it is validated")

    def scores(self, total: list[float]) -> tuple[float, ...]:
        """The scores, in the order of SCORES, of the sums of a whole validation."""
        raise TypeError(f"{type(self).__name__} does not say how it is scored")

    def training_step(self, batch: Any, number: int) -> Tensor:
        step = self.trainer.fit_loop.epoch_loop.total_batch_idx  # counts micro-batches, and survives a resume
        set_step(self.chain, step)
        torch.manual_seed((self.seed << 32) + step)  # dropout is a function of seed and step, not of history
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            raise RunError(
                f"the loss of batch {number} in epoch {self.current_epoch + 1} is {loss.item()}",
                f"its forecasts begin at {self.where(batch)}",
                "look at the values before that, or lower optim.lr; the last checkpoint was kept",
            )
        return loss

    def on_validation_epoch_start(self) -> None:
        self.total = torch.zeros(1, dtype=torch.float64)

    def validation_step(self, batch: Any, number: int) -> None:
        exact = torch.float32 if self.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        self.total = self.total + self.sums(batch, exact).cpu()

    def on_validation_epoch_end(self) -> None:
        several, total = self.trainer.world_size > 1, self.total
        if several:
            total = self.trainer.strategy.reduce(total.to(self.device), reduce_op="sum")
        scores = dict(zip(self.SCORES, self.scores(total.tolist()), strict=True))
        self.log_dict(scores, sync_dist=several)  # the ranks agree already; Lightning warns where it is not told so
        if self.plateau is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.plateau.step(scores[self.SCORES[0]])

    def groups(self) -> list[dict[str, Any]]:
        """What is learned: groups of parameters, `factor` being what the learning rate is multiplied with."""
        return [{"params": list(self.chain.parameters())}]

    def configure_optimizers(self) -> Any:
        optimiser = self.optimiser(self.groups())
        for group in optimiser.param_groups:
            group["lr"] *= group.pop("factor", 1.0)
        if self.schedule == "plateau":
            # Stepped above and kept below: Lightning steps it after the checkpoint of an epoch, so a resume would
            # lose that step.
            self.plateau = ReduceLROnPlateau(optimiser, factor=0.5, patience=0)
            if self.resumed is not None:
                self.plateau.load_state_dict(self.resumed)
            return optimiser
        rate = rates(self.schedule, warmup=self.warmup, length=cache(self._length))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": LambdaLR(optimiser, rate), "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Comes before `configure_optimizers`."""
        self.resumed = checkpoint.get("plateau")

    def _length(self) -> tuple[int, int]:
        """Steps of the training and of an epoch. Asked once training runs: before, Lightning would build the loaders
        for the answer, and on a resume they would begin at epoch 0."""
        an_epoch = -(-int(self.trainer.num_training_batches) // self.trainer.accumulate_grad_batches)
        return int(self.trainer.estimated_stepping_batches), an_epoch


def rates(schedule: Schedule, *, warmup: int, length: Callable[[], tuple[int, int]]) -> Callable[[int], float]:
    """Step -> factor of the learning rate; halve: ×0.5 after every epoch (the paper's code), cosine: 0 at the end.

    `length` gives the steps of the whole training and of an epoch; it is not asked at step 0.
    """

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if step == 0 or schedule == "constant":
            return 1.0
        total, epoch = length()
        if schedule == "halve":
            return 0.5 ** (step // epoch)
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        return 0.5 * (1 + math.cos(math.pi * done))

    return rate
