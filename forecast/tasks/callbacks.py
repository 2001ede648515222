"""What happens beside training: history on disk, a progress bar, the last checkpoint."""

import csv
import logging
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint
from pytorch_lightning.trainer.states import TrainerFn
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from forecast.artifacts import atomic

log = logging.getLogger(__name__)
Row = tuple[int, int, str, float, float]  # step, epoch, name, value, seconds since the start
Sink = Callable[[list[Row]], None]
MANY = 30  # epochs: of more than that only the best ones have a line, and every so many
HEADER = ("step", "epoch", "name", "value", "seconds")


class Mean:
    """A running mean whose sums go into a checkpoint, so that a resumed run writes what an unbroken one would."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, value: float) -> None:
        self.total, self.count = self.total + value, self.count + 1

    @property
    def value(self) -> float:
        return self.total / max(1, self.count)


class History(pl.Callback):
    """history.csv: mean training loss and learning rate every few steps, validation scores after each validation.

    Losses are those of the first process. The same rows go to `sink` (the tracker), in batches. A resumed run first
    drops the rows that its checkpoint does not know.
    """

    def __init__(self, path: Path, *, every: int = 50, sink: Sink | None = None) -> None:
        self.path, self.every, self.sink = path, every, sink
        self.loss = Mean()  # since the last row
        self.began = time.monotonic()
        self.before = 0.0  # seconds of the runs this one resumes
        self.written = 0  # the last step with a row

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.loss.total, "count": self.loss.count, "written": self.written, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss.total, self.loss.count = state_dict["total"], state_dict["count"]
        self.written, self.before = state_dict["written"], state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Only now is a checkpoint's progress restored."""
        self.began = time.monotonic()
        if not trainer.is_global_zero:
            return
        kept: list[list[str]] = []
        if self.path.is_file() and trainer.global_step:
            with open(self.path, newline="", encoding="utf-8") as file:
                rows = [row for row in list(csv.reader(file))[1:] if len(row) == len(HEADER)]  # a kill tears a line
            kept = [row for row in rows if int(row[0]) <= trainer.global_step]
        with atomic(self.path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEADER, *kept])

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, number: int) -> None:
        self.loss.add(loss_of(outputs, trainer))
        step = trainer.global_step
        due = step % self.every == 0 and step != self.written
        if due or number + 1 == trainer.num_training_batches:
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self._write(trainer, {"train/loss": self.loss.value, "lr": rate})
            self.loss, self.written = Mean(), step

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


class Budget(pl.Callback):
    """Ends the training by the clock: after the batch that uses up `limit_s`, with a validation of what it learned.

    Time is that of `history`, so what was trained before a resume counts, and what a kill lost does not. Stands behind
    `history` among the callbacks.
    """

    def __init__(self, limit_s: float, history: History) -> None:
        self.limit_s, self.history = limit_s, history
        self.spent = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._look(trainer)  # a resume after the end trains no further

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._look(trainer)

    def _look(self, trainer: pl.Trainer) -> None:
        over = self.history.seconds >= self.limit_s
        if trainer.world_size > 1:  # the ranks stop together, by the first one's clock
            over = bool(trainer.strategy.broadcast(over))
        if over:
            self.spent = trainer.should_stop = True

    def on_save_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Lightning counts the epoch it was stopped in as done; a resume should go on within it."""
        loop = checkpoint["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"], loop["epoch_loop.batch_progress"]
        if self.spent and not batches["is_last_batch"] and epochs["current"]["processed"] == epochs["current"]["ready"]:
            epochs["current"]["processed"] -= 1
            epochs["total"]["processed"] -= 1


class Lines(pl.Callback):
    """A bar while an epoch runs (in a terminal), a line when it is over. In a pipe the lines alone; quiet: nothing."""

    def __init__(self, monitor: str, *, quiet: bool) -> None:
        self.monitor, self.quiet = monitor, quiet
        self.console = Console(stderr=True, highlight=False)
        self.bar: Progress | None = None
        self.began = 0.0
        self.loss = Mean()  # of the epoch
        self.recent: deque[float] = deque(maxlen=50)
        self.skipped = 0  # batches of the epoch that another process did, before a resume
        self.best = float("inf")

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.loss.total, "count": self.loss.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loss.total, self.loss.count = state_dict["total"], state_dict["count"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        best = getattr(trainer.checkpoint_callback, "best_model_score", None)  # of the run that this one resumes
        self.best = float("inf") if best is None else float(best)
        self._start(trainer)  # a resume within an epoch starts no epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.loss = Mean()
        self._start(trainer)

    def _start(self, trainer: pl.Trainer) -> None:
        self._stop()
        self.began, self.skipped = time.monotonic(), self.loss.count
        if self.quiet or not sys.stderr.isatty():
            return
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[speed]} steps/s  ETA"), TimeRemainingColumn(),
            console=self.console, transient=True,
        )  # fmt: skip
        epoch, total = f"{trainer.current_epoch + 1}/{trainer.max_epochs}", int(trainer.num_training_batches)
        self.bar.add_task("train", total=total, completed=self.skipped, epoch=epoch, loss="…", speed="…")
        self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, number: int) -> None:
        loss = loss_of(outputs, trainer)
        self.loss.add(loss)
        self.recent.append(loss)
        if self.bar is not None:
            mean = sum(self.recent) / len(self.recent)
            self.bar.update(self.bar.task_ids[0], advance=1, loss=f"{mean:.4f}", speed=f"{self._speed():.1f}")

    def _speed(self) -> float:
        """Batches a second of this process in this epoch."""
        return (self.loss.count - self.skipped) / max(1e-9, time.monotonic() - self.began)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._stop()
        if self.quiet or not trainer.is_global_zero:
            return
        seconds = time.monotonic() - self.began
        value = float(trainer.callback_metrics.get(self.monitor, float("nan")))
        mark = "  best so far" if value < self.best else ""
        self.best = min(self.best, value)
        done, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        if not mark and epochs > MANY and done % (epochs // MANY) and done < epochs and not trainer.should_stop:
            return  # a line for each of a hundred short epochs tells nobody anything
        self.console.print(
            f"epoch {done:>3}/{epochs}  train loss {self.loss.value:.4f}"
            f"  {self.monitor.replace('/', ' ')} {value:.4f}  {seconds:.0f} s  {self._speed():.1f} steps/s{mark}"
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
    """checkpoints/last.ckpt every few steps and after every epoch: where `resume=` goes on, to the bit.

    A Checkpoint, because Lightning calls those after all other callbacks: what they count is in it. It is written
    only where the optimiser has stepped (half an accumulated gradient is in no checkpoint) and where no validation
    follows (Lightning would skip that one on a resume).
    """

    def __init__(self, path: Path, *, every: int | None = None) -> None:
        self.path, self.every = path, every
        self.written = 0  # the last step that was kept

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.written = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, number: int) -> None:
        done = number + 1  # batches of this epoch
        stepped = done % trainer.accumulate_grad_batches == 0
        validates = done % (trainer.val_check_batch or 1) == 0 or done >= trainer.num_training_batches
        if self.every and trainer.global_step - self.written >= self.every and stepped and not validates:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.written = trainer.global_step


class BestCheckpoint(ModelCheckpoint):
    """checkpoints/best.ckpt: the weights of the best validation. Lightning forgets which score that was when the run
    folder has been moved; here the folder is where it is now."""

    def __init__(self, path: Path, monitor: str) -> None:
        super().__init__(path.parent, path.stem, monitor=monitor, save_top_k=1, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else ""

        moved = {key: here(state_dict[key]) for key in ("best_model_path", "kth_best_model_path", "last_model_path")}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})
