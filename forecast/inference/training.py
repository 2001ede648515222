"""What a training of series is made of, for the command line and for the estimators of other libraries alike: the
chain, its task and optimiser, what is fitted beforehand, the best weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from forecast import build
from forecast.data.table import stamp
from forecast.errors import DataError, UsageError
from forecast.heads import Chain
from forecast.heads.base import Head
from forecast.inference.baseline import warm_start

if TYPE_CHECKING:  # Lightning
    from forecast.data.module import SeriesModule
    from forecast.tasks.base import Task
    from forecast.tasks.forecast import ForecastTask

T = TypeVar("T", bound="Task")


def chain(config: Mapping[str, Any], data: "SeriesModule") -> Chain:
    """The model, with weights from torch's generator."""
    return build.chain(config, data.spec, masked=data.gaps != "error")


def task(model: Chain, optimiser: Any, data: "SeriesModule", config: Mapping[str, Any], **words: Any) -> "ForecastTask":
    """The task around a model; `words` as of Task. UsageError or DataError where its output does not suit the data."""
    from forecast.tasks.forecast import ForecastTask

    if model.output.counts:
        whole_counts(data)
    return ForecastTask(model, optimiser, where=data.where, **words)


def warm(model: Chain, data: "SeriesModule") -> None:
    """What is fitted in closed form before the training."""
    if isinstance(model.head, Head):
        warm_start(model.head, data.gather, data.windows("train"))


def assemble(make: Callable[..., T], config: Mapping[str, Any], model: Any, data: Any) -> T:
    """The task that `make` makes, with the optimiser and schedule of the config; a wrong key or value of these is said
    before anything is written."""
    optim = config["optim"]
    if optim["schedule"] == "plateau" and optim["warmup"]:
        raise UsageError("optim.warmup with optim.schedule=plateau", "a plateau has no warmup", "set optim.warmup=0")
    optimiser = build.optimiser(config)
    optimiser(model.parameters())
    words = {"schedule": optim["schedule"], "warmup": optim["warmup"], "seed": config["seed"]}
    return make(model, optimiser, data, config, **words)


def learn(
    trainer: Any, task: "Task", data: Any, folder: Path, *, resume: Path | None = None, keep: bool = True
) -> float:
    """Train with Lightning's Trainer in `folder`; returns the best validation score. The chain then has the weights of
    that, in the first process and unless `keep` is off."""
    from forecast.tasks.trainer import best_weights, fit

    best = fit(trainer, task, data, resume=resume)
    if keep and trainer.is_global_zero:
        task.chain.load_state_dict(best_weights(folder))
    return best


def whole_counts(data: "SeriesModule") -> None:
    """Counts as a distribution of counts needs them: whole, not scaled, not too large."""
    from forecast.heads.counts import LARGEST

    if data.scaler.kind != "none":
        raise UsageError("this task.output is of counts, which must not be scaled", do="set data.scale=none")
    for start, series, _ in data.blocks("train"):
        values = series.values[:, : data.spec.targets]
        odd = np.argwhere((values < 0) | (values > LARGEST) | (values % 1 != 0) & ~np.isnan(values))
        if len(odd):
            row, channel = (int(i) for i in odd[0])
            raise DataError(
                f"series '{series.ids[int(series.number[row])]}' has {values[row, channel]:g} of "
                f"'{data.spec.channels[channel]}' at {stamp(data.series.time[start + row])}",
                f"expected counts from 0 to {LARGEST:,}",
                "set task.output=normal, student_t or quantiles, or correct it",
            )
