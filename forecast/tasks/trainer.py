"""A Lightning Trainer from plain settings, with our checkpoints, our history and no side effects elsewhere."""

import logging
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

from forecast import ranks
from forecast.artifacts import BEST_CHECKPOINT, LAST_CHECKPOINT
from forecast.errors import UsageError, fits_in_memory
from forecast.tasks.base import Task
from forecast.tasks.callbacks import BestCheckpoint, Budget, History, Interrupt, LastCheckpoint, Lines, Sink
from forecast.tasks.checkpoint import AtomicCheckpoints
from forecast.tasks.forecast import ForecastTask

C = TypeVar("C", bound=pl.Callback)

for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)  # our own lines say what matters
NOISE = (
    # Lightning 2.6 under torch 2.13, and its advice on worker counts: batches here are one indexing call.
    r".*isinstance\(treespec, LeafSpec\).*",
    r"The '\w+_dataloader' does not have many workers.*",
    # Expected: a resumed run writes where it wrote before, its batches go on where they were (data/loader.py), and
    # `max_steps` may end before the first validation.
    r"You're resuming from a checkpoint that ended before the epoch.*",
    r"Checkpoint directory .* exists and is not empty.*",
    r"`ModelCheckpoint\(monitor=.*could not find the monitored key.*",
    r"The `srun` command is available on your system but is not used.*",  # a training on one machine needs none
)


def hush() -> None:
    """Keep Lightning's NOISE quiet, from now on; again where another library has put its own filters in front."""
    for message in NOISE:
        warnings.filterwarnings("ignore", message=message)


hush()


class Patience(EarlyStopping):
    """Early stopping whose patience is what was asked for, also when a checkpoint was written with another."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        asked = self.patience
        super().load_state_dict(state_dict)
        self.patience = asked


def _check(settings: Mapping[str, Any]) -> None:
    """Values that Lightning takes and that mean nothing."""
    for key in ("max_epochs", "accumulate", "patience", "save_every", "threads", "nodes"):
        if settings.get(key) is not None and settings[key] < 1:
            raise UsageError(f"trainer.{key} is {settings[key]}", "expected at least 1")
    _check_launched(settings["devices"], settings.get("nodes", 1))
    for key in ("clip", "limit_train_batches"):
        if settings[key] is not None and settings[key] <= 0:
            raise UsageError(f"trainer.{key} is {settings[key]}", "expected more than 0")
    if not 0 < settings["val_every"] <= 1:
        found = f"trainer.val_every is {settings['val_every']}"
        raise UsageError(found, "expected a share of an epoch, more than 0 and at most 1")


def _check_launched(devices: int | str, nodes: int) -> None:
    """As many processes as were started: too few would wait for the others in vain."""
    here = ranks.placed()
    if here is None and nodes > 1:
        raise UsageError(
            f"trainer.nodes is {nodes}, but this process was started alone",
            "expected torchrun or srun on each machine",
            "see docs/cluster.md",
        )
    if here is None:
        return
    if (str(devices).isdigit() and int(devices) * nodes != here.world) or here.machines not in (None, nodes):
        on = f" on {here.machines} machine{'' if here.machines == 1 else 's'}" if here.machines else ""
        raise UsageError(
            f"trainer.devices is {devices} and trainer.nodes {nodes}, but {here.launcher} started {here.world} "
            f"process{'' if here.world == 1 else 'es'}{on}",
            "expected one for each device of each machine",
            "set trainer.devices to the processes on one machine, trainer.nodes to the machines",
        )


def _cluster() -> list[SLURMEnvironment]:
    """SLURM without Lightning's requeueing, which would write its own checkpoint and look for one at each start."""
    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    try:
        return [SLURMEnvironment(auto_requeue=False)]
    except RuntimeError as error:
        raise UsageError(f"trainer: {' '.join(str(error).split())}") from error


def seconds(budget: str) -> int:
    """30s, 10m, 1h30m in seconds."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", budget)
    hours, minutes, rest = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + rest
    if total < 1:
        raise UsageError(f"budget is {budget!r}", "expected hours, minutes or seconds", "e.g. 30s, 10m or 1h30m")
    return total


def make_trainer(
    settings: Mapping[str, Any], folder: Path, *, sink: Sink | None = None, quiet: bool = False,
    budget: str | None = None, monitor: str = ForecastTask.SCORES[0], resumable: bool = True,
) -> pl.Trainer:  # fmt: skip
    """The group `trainer` of the config -> a Trainer that writes into `folder` only; `budget` as in the config,
    `monitor` the score of the task that is to become small. Unless `resumable`, no last checkpoint is kept."""
    _check(settings)
    history = History(folder / "history.csv", sink=sink)
    callbacks: list[pl.Callback] = [
        Interrupt(),
        Lines(monitor, quiet=quiet),
        BestCheckpoint(folder / BEST_CHECKPOINT, monitor),
        *([LastCheckpoint(folder / LAST_CHECKPOINT, every=settings["save_every"])] if resumable else []),
        history,
    ]
    if budget is not None:
        callbacks.append(Budget(seconds(budget), history))
    if settings["patience"] is not None:
        callbacks.append(Patience(monitor, patience=settings["patience"], mode="min", strict=False))
    return _trainer(settings, callbacks, folder)


def _trainer(settings: Mapping[str, Any], callbacks: list[pl.Callback], folder: Path, **more: Any) -> pl.Trainer:
    """UsageError where Lightning refuses a setting."""
    try:
        return pl.Trainer(
            accelerator=settings["accelerator"],
            devices=settings["devices"],
            num_nodes=settings.get("nodes", 1),  # not in the record of an older run
            strategy=settings["strategy"],
            precision=settings["precision"],
            max_epochs=settings["max_epochs"],
            max_steps=settings["max_steps"],
            max_time=settings["max_time"],
            accumulate_grad_batches=settings["accumulate"],
            gradient_clip_val=settings["clip"],
            val_check_interval=settings["val_every"],
            limit_train_batches=settings["limit_train_batches"],
            deterministic=settings["deterministic"],
            callbacks=callbacks,
            plugins=[AtomicCheckpoints(), *_cluster()],
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            **more,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UsageError(f"trainer: {' '.join(str(error).split())}") from error


def fit(trainer: pl.Trainer, task: Task, data: pl.LightningDataModule, *, resume: Path | None = None) -> float:
    """Train; returns the best validation score. Ctrl-C comes out as KeyboardInterrupt, the last checkpoint is kept."""
    _train(trainer, task, data, resume)
    callback = trainer.checkpoint_callback
    assert isinstance(callback, ModelCheckpoint)
    if callback.best_model_score is None:  # max_steps or max_time came before the first validation
        (scores,) = trainer.validate(task, datamodule=data, verbose=False)
        trainer.save_checkpoint(Path(callback.dirpath or ".") / BEST_CHECKPOINT.rpartition("/")[2])
        return float(scores[task.SCORES[0]])
    return float(callback.best_model_score)


def _train(trainer: pl.Trainer, task: Task, data: pl.LightningDataModule, resume: Path | None = None) -> None:
    start = None if resume is None else str(resume)
    size, accumulate = getattr(data, "batch_size", 1), 2 * trainer.accumulate_grad_batches
    try:
        with _one(trainer, Interrupt), fits_in_memory("data.batch_size", size, f" trainer.accumulate={accumulate}"):
            trainer.fit(task, datamodule=data, ckpt_path=start, weights_only=True)
    except MisconfigurationException as error:
        raise UsageError(f"trainer: {' '.join(str(error).split())}") from error
    except SystemExit as stop:  # Lightning turns Ctrl-C into exit(1)
        if trainer.interrupted:
            raise KeyboardInterrupt from stop
        raise


def seconds_of(trainer: pl.Trainer) -> float:
    """Seconds of training, those before a resume included."""
    return _one(trainer, History).seconds


def spent(trainer: pl.Trainer) -> bool:
    """Whether the training ended because its budget was used up."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return any(isinstance(callback, Budget) and callback.spent for callback in callbacks)


def _one(trainer: pl.Trainer, kind: type[C]) -> C:
    """The callback of that class."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next(callback for callback in callbacks if isinstance(callback, kind))


def best_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The chain's weights at the best validation; the averaged ones, where the task averages them."""
    state = AtomicCheckpoints().load_checkpoint(folder / BEST_CHECKPOINT)["state_dict"]
    kept = "averaged." if any(key.startswith("averaged.") for key in state) else "chain."
    return {key.removeprefix(kept): value for key, value in state.items() if key.startswith(kept)}


def best_epoch(folder: Path) -> int:
    """Epochs that the best weights were trained for, those not finished too."""
    return int(AtomicCheckpoints().load_checkpoint(folder / BEST_CHECKPOINT)["epoch"]) + 1


def refit(settings: Mapping[str, Any], task: Task, data: pl.LightningDataModule, folder: Path, *, epochs: int) -> None:
    """Train once more, for as many epochs as were found best, where the schedule of the learning rate ends; there is
    nothing to choose by. Nothing is left in `folder`."""
    _check(settings)
    settings = {**settings, "max_epochs": epochs}
    trainer = _trainer(settings, [Interrupt()], folder, limit_val_batches=0, enable_checkpointing=False)
    _train(trainer, task, data)
