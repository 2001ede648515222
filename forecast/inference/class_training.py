"""What a training of labelled series is made of, for the command line and for the estimators of other libraries alike:
see training.py. The chosen chain may learn again from train and validation together."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from forecast import build
from forecast.errors import UsageError
from forecast.heads.label_chain import LabelChain
from forecast.inference.class_predictor import ClassPredictor
from forecast.metrics.classes import SPREAD, fit_temperature

if TYPE_CHECKING:  # Lightning
    from forecast.data.label_module import LabelModule
    from forecast.tasks.classify import ClassifyTask

log = logging.getLogger("forecast")
POWER = {"none": 0.0, "sqrt": 0.5, "inverse": 1.0}


def chain(config: Mapping[str, Any], made: "LabelModule") -> LabelChain:
    """The model, with weights from torch's generator."""
    return build.label_chain(config, made.spec)


def task(
    model: LabelChain, optimiser: Any, made: "LabelModule", config: Mapping[str, Any], **words: Any
) -> "ClassifyTask":
    """The task around a model; `words` as of Task. UsageError for what means nothing."""
    from forecast.tasks.augment import Augment
    from forecast.tasks.classify import ClassifyTask

    asked = config["task"]
    try:
        augment = Augment(**asked["augment"])
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not 0 <= asked["smoothing"] < 1:
        raise UsageError(f"task.smoothing is {asked['smoothing']}", "expected a share of at least 0, below 1")
    if asked["average"] is not None and not 0 < asked["average"] < 1:
        raise UsageError(f"task.average is {asked['average']}", "expected a share between 0 and 1, e.g. 0.98, or null")
    if not asked["encoder_lr"] > 0:
        raise UsageError(f"task.encoder_lr is {asked['encoder_lr']}", "expected a factor above 0, e.g. 0.25")
    return ClassifyTask(
        model, optimiser, augment=augment, weights=balance(made, asked["balance"]), smoothing=asked["smoothing"],
        average=asked["average"], encoder_lr=asked["encoder_lr"], where=made.where, **words,
    )  # fmt: skip


def balance(made: "LabelModule", how: str) -> torch.Tensor | None:
    """Weights (K,) of the classes in the loss, 1 on average over the series of train."""
    if how == "none":
        return None
    counts = torch.from_numpy(made.counts("train")).double()
    weights = counts.clamp(min=1) ** -POWER[how]
    return (weights * counts.sum() / (weights * counts).sum()).float()


def temperature(config: Mapping[str, Any], made: "LabelModule", chosen: "ClassifyTask") -> float:
    """What the logits of the chosen chain are divided by, from the validation."""
    predictor = ClassPredictor(chosen.chain, made.recipe, "")
    logits, label = predictor.logits(made.gather("val")), torch.from_numpy(made.part("val").label)
    return fit_temperature(logits, label, SPREAD)


def again(config: Mapping[str, Any], folder: Path, made: "LabelModule", chosen: "ClassifyTask", trainer: Any) -> bool:
    """The chosen chain learns again from all of TRAIN where that is asked for, for as many epochs as were best; whether
    it did. `folder` is that of the first training."""
    from forecast.tasks.trainer import best_epoch, refit, spent

    wanted = bool(config["task"]["refit"])
    if wanted and spent(trainer):
        log.info("the budget is used up: what val taught is not learned (task.refit)")
        return False
    if wanted:
        epochs = best_epoch(folder)
        log.info("again from train and val together, %s epoch%s", f"{epochs:,}", "" if epochs == 1 else "s")
        torch.manual_seed(config["seed"])
        fresh = build.label_chain(config, made.spec)
        optim = config["optim"]
        words = {"schedule": optim["schedule"], "warmup": optim["warmup"], "seed": config["seed"]}
        second = task(fresh, build.optimiser(config), made, config, **words)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".refit") as place:
            refit(config["trainer"], second, made.refit(), Path(place), epochs=epochs)
        chosen.chain.load_state_dict(second.kept())
    return wanted
