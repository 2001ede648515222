"""The forecasting task: loss, validation scores and optimiser around a chain. It owns nothing else."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from forecast.errors import RunError
from forecast.heads import Chain
from forecast.models.attention import set_step
from forecast.types import SeriesBatch

Where = Callable[[SeriesBatch], str]
Schedule = Literal["constant", "halve", "cosine", "plateau"]
MONITOR = "val/mse"


class ForecastTask(pl.LightningModule):
    """Trains a chain on SeriesBatch. Validation scores are ratios of sums over all windows and all ranks.

    `where` says in words which windows a batch holds, for the message about a loss that is not finite.
    """

    def __init__(
        self,
        chain: Chain,
        optimiser: Callable[[Any], Optimizer],
        *,
        schedule: Schedule = "cosine",
        warmup: int = 0,
        seed: int = 1,
        where: Where | None = None,
    ) -> None:
        super().__init__()
        self.chain, self.optimiser = chain, optimiser
        self.schedule, self.warmup, self.seed = schedule, warmup, seed
        self.where = where or (lambda batch: f"rows {', '.join(map(str, batch.origin[:3].tolist()))} …")
        self.plateau: ReduceLROnPlateau | None = None
        self.resumed: dict[str, Any] | None = None  # the plateau's state in the checkpoint of a resume
        self.sums = torch.zeros(3, dtype=torch.float64)

    def training_step(self, batch: SeriesBatch, number: int) -> Tensor:
        step = self.trainer.fit_loop.epoch_loop.total_batch_idx  # counts micro-batches, and survives a resume
        set_step(self.chain, step)
        torch.manual_seed((self.seed << 32) + step)  # dropout is a function of seed and step, not of history
        mask = batch.future_mask if self.chain.masked else None
        loss = self.chain.output.loss(self.chain(batch), batch.future, mask, batch.weight)
        if not torch.isfinite(loss):
            raise RunError(
                f"the loss of batch {number} in epoch {self.current_epoch + 1} is {loss.item()}",
                f"its forecasts begin at {self.where(batch)}",
                "look at the values before that, or lower optim.lr; the last checkpoint was kept",
            )
        return loss

    def on_validation_epoch_start(self) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64)

    def validation_step(self, batch: SeriesBatch, number: int) -> None:
        exact = torch.float32 if self.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        error = (self.chain.point(batch).to(exact) - batch.future) * batch.future_mask
        parts = torch.stack([error.square().sum(), error.abs().sum(), batch.future_mask.sum().to(exact)])
        self.sums += parts.cpu()

    def on_validation_epoch_end(self) -> None:
        several, total = self.trainer.world_size > 1, self.sums
        if several:
            total = self.trainer.strategy.reduce(self.sums.to(self.device), reduce_op="sum")
        squares, absolutes, count = total.tolist()
        scores = {MONITOR: squares / max(count, 1), "val/mae": absolutes / max(count, 1)}
        self.log_dict(scores, sync_dist=several)  # the ranks agree already; Lightning warns where it is not told so
        if self.plateau is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.plateau.step(scores[MONITOR])

    def configure_optimizers(self) -> Any:
        optimiser = self.optimiser(self.parameters())
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
