"""What happens beside training: history on disk, a progress bar, the last checkpoint."""

import csv
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.trainer.states import TrainerFn
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from forecast.tasks.forecast import MONITOR

log = logging.getLogger(__name__)
Row = tuple[int, int, str, float, float]  # step, epoch, name, value, seconds since the start
Sink = Callable[[list[Row]], None]
HEADER = ("step", "epoch", "name", "value", "seconds")


class History(pl.Callback):
    """history.csv: mean training loss and learning rate every few steps, validation scores after each validation.

    Losses are those of the first process. The same rows go to `sink` (the tracker), in batches. A resumed run first
    drops the rows that its checkpoint does not know.
    """

    def __init__(self, path: Path, *, every: int = 50, sink: Sink | None = None) -> None:
        self.path, self.every, self.sink = path, every, sink
        self.losses: list[float] = []
        self.began = time.monotonic()
        self.before = 0.0  # seconds of the runs this one resumes
        self.written = 0  # the last step with a row

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Only now is a checkpoint's progress restored."""
        if not trainer.is_global_zero:
            return
        kept: list[list[str]] = []
        if self.path.is_file() and trainer.global_step:
            with open(self.path, newline="", encoding="utf-8") as file:
                kept = [row for row in list(csv.reader(file))[1:] if int(row[0]) <= trainer.global_step]
            self.before = float(kept[-1][4]) if kept else 0.0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEADER, *kept])

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, number: int) -> None:
        self.losses.append(loss_of(outputs, trainer))
        step = trainer.global_step
        due = step % self.every == 0 and step != self.written
        if due or number + 1 == trainer.num_training_batches:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self._write(trainer, {"train/loss": sum(self.losses) / len(self.losses), "lr": rate})
            self.losses, self.written = [], step

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:  # not a validation on its own
            scores = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
            self._write(trainer, scores)

    @property
    def seconds(self) -> float:
        """Seconds of training, those before a resume included."""
        return self.before + time.monotonic() - self.began

    def _write(self, trainer: pl.Trainer, values: dict[str, float]) -> None:
        if not trainer.is_global_zero:
            return
        seconds = self.seconds
        rows = [(trainer.global_step, trainer.current_epoch, k, v, seconds) for k, v in values.items()]
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows((s, e, k, repr(v), f"{t:.3f}") for s, e, k, v, t in rows)
        if self.sink is not None:
            self.sink(rows)


class Lines(pl.Callback):
    """A bar while an epoch runs (in a terminal), a line when it is over. In a pipe the lines alone; quiet: nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self.console = Console(stderr=True, highlight=False)
        self.bar: Progress | None = None
        self.began = 0.0
        self.losses: list[float] = []
        self.best = float("inf")

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        best = getattr(trainer.checkpoint_callback, "best_model_score", None)  # of the run that this one resumes
        self.best = float("inf") if best is None else float(best)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.began, self.losses = time.monotonic(), []
        if self.quiet or not sys.stderr.isatty():
            return
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[speed]} steps/s  ETA"), TimeRemainingColumn(),
            console=self.console, transient=True,
        )  # fmt: skip
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.bar.add_task("train", total=int(trainer.num_training_batches), epoch=epoch, loss="…", speed="…")
        self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, number: int) -> None:
        self.losses.append(loss_of(outputs, trainer))
        if self.bar is not None:
            recent = self.losses[-50:]
            speed = (number + 1) / (time.monotonic() - self.began)
            self.bar.update(
                self.bar.task_ids[0], advance=1, loss=f"{sum(recent) / len(recent):.4f}", speed=f"{speed:.1f}"
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._stop()
        if self.quiet or not trainer.is_global_zero:
            return
        seconds = time.monotonic() - self.began
        value = float(trainer.callback_metrics.get(MONITOR, float("nan")))
        mark = "  best so far" if value < self.best else ""
        self.best = min(self.best, value)
        mean = sum(self.losses) / max(1, len(self.losses))
        self.console.print(
            f"epoch {trainer.current_epoch + 1:>3}/{trainer.max_epochs}  train loss {mean:.4f}  val mse {value:.4f}"
            f"  {seconds:.0f} s  {len(self.losses) / seconds:.1f} steps/s{mark}"
        )

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


class Interrupt(pl.Callback):
    """Ctrl-C, heard for certain: Python drops a KeyboardInterrupt that is raised inside a finaliser, and the training
    would go on; so it is raised again at the end of the batch. A context: `with` it around the training."""

    def __init__(self) -> None:
        self.asked = False
        self.before: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self._hear)

    def __exit__(self, *_: object) -> None:
        if self.before is not None:  # Lightning leaves Ctrl-C ignored after one
            signal.signal(signal.SIGINT, self.before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        raise KeyboardInterrupt

    def on_train_batch_end(self, *_: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt

    def on_validation_batch_end(self, *_: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt


def loss_of(outputs: Any, trainer: pl.Trainer) -> float:
    """The loss of a batch as the task gave it: Lightning divides it by the batches that are accumulated."""
    return float(outputs["loss"]) * trainer.accumulate_grad_batches


class LastCheckpoint(Checkpoint):
    """checkpoints/last.ckpt after every epoch: where `resume=` goes on.

    A Checkpoint, because Lightning calls those after all other callbacks: what they count of the epoch is in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.path)
