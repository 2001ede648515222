"""forecast train task=classify: labelled series, the log loss of their class, an honest rival beside it."""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from forecast import build
from forecast.artifacts import Run
from forecast.errors import UsageError
from forecast.heads.label_chain import LabelChain
from forecast.metrics.classes import fit_temperature
from forecast.tasks.augment import Augment
from forecast.tasks.classify import ClassifyTask
from forecast.verbs.class_tables import class_closing, class_opening

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from forecast.data.label_module import LabelModule

log = logging.getLogger("forecast")
PARTS = ("train", "val", "test")
POWER = {"none": 0.0, "sqrt": 0.5, "inverse": 1.0}


def data(config: dict[str, Any], run: Run | None) -> "LabelModule":
    """Read, and checked; `config` names it absolutely from then on: the run is read from other directories too."""
    if config.get("baseline") is not None:
        raise UsageError("baseline= with task=classify", "its rival is always beside it", "leave baseline out")
    again = config["task"]["refit"]
    if again and config["optim"]["schedule"] == "plateau":
        raise UsageError(
            "task.refit with optim.schedule=plateau", "nothing is validated as it learns from all",
            "set task.refit=false, or another schedule",
        )  # fmt: skip
    if again and str(config["trainer"]["devices"]) != "1":
        raise UsageError(
            f"task.refit with trainer.devices={config['trainer']['devices']}", "one process learns again",
            "set task.refit=false, or one device",
        )  # fmt: skip
    made = build.label_data(config).prepare()
    config["data"].update(card=made.name, path=made.path)
    return made


def chain(config: Mapping[str, Any], made: "LabelModule") -> LabelChain:
    return build.label_chain(config, made.spec)


def task(
    model: LabelChain, optimiser: Any, made: "LabelModule", config: Mapping[str, Any], **words: Any
) -> ClassifyTask:
    asked = config["task"]
    try:
        augment = Augment(**asked["augment"])
    except ValueError as error:
        raise UsageError(f"task.augment: {error}") from error
    if not 0 <= asked["smoothing"] < 1:
        raise UsageError(f"task.smoothing is {asked['smoothing']}", "expected a share of at least 0, below 1")
    if asked["average"] is not None and not 0 < asked["average"] < 1:
        raise UsageError(f"task.average is {asked['average']}", "expected a share between 0 and 1, e.g. 0.98, or null")
    return ClassifyTask(
        model, optimiser, augment=augment, weights=balance(made, asked["balance"]), smoothing=asked["smoothing"],
        average=asked["average"], where=made.where, **words,
    )  # fmt: skip


def balance(made: "LabelModule", how: str) -> torch.Tensor | None:
    """Weights (K,) of the classes in the loss, 1 on average over the series of train."""
    if how == "none":
        return None
    counts = torch.from_numpy(made.counts("train")).double()
    weights = counts.clamp(min=1) ** -POWER[how]
    return (weights * counts.sum() / (weights * counts).sum()).float()


def warm(model: LabelChain, made: "LabelModule") -> None:
    """Nothing is fitted before the training."""


def settle(
    config: Mapping[str, Any], run: Run, made: "LabelModule", chosen: ClassifyTask, trainer: "Trainer"
) -> dict[str, Any]:
    """The temperature, from the validation; then the chosen chain learns again from all of TRAIN."""
    from forecast.inference.class_predictor import ClassPredictor
    from forecast.tasks.trainer import best_epoch, refit, spent

    predictor = ClassPredictor(chosen.chain, made.recipe, "")
    logits, label = predictor.logits(made.gather("val")), torch.from_numpy(made.part("val").label)
    temperature = fit_temperature(logits, label)
    run.write("temperature.json", {"temperature": temperature})
    again = bool(config["task"]["refit"])
    if again and spent(trainer):
        log.info("the budget is used up: what val taught is not learned (task.refit)")
        again = False
    if again:
        epochs = best_epoch(run.path)
        log.info("again from train and val together, %s epoch%s", f"{epochs:,}", "" if epochs == 1 else "s")
        torch.manual_seed(config["seed"])
        fresh = build.label_chain(config, made.spec)
        optim = config["optim"]
        words = {"schedule": optim["schedule"], "warmup": optim["warmup"], "seed": config["seed"]}
        second = task(fresh, build.optimiser(config), made, config, **words)
        with tempfile.TemporaryDirectory(dir=run.path, prefix=".refit") as place:
            refit(config["trainer"], second, made.refit(), Path(place), epochs=epochs)
        chosen.chain.load_state_dict(second.kept())
    return {"temperature": temperature, "refit": again}


def finish(config: dict[str, Any], run: Run, made: "LabelModule", fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Score the saved run, not the one in memory; write its predictions. Returns what metrics.json is to hold."""
    from forecast.inference.class_predictor import ClassPredictor
    from forecast.inference.class_record import write_records
    from forecast.inference.class_scoring import score

    predictor = ClassPredictor.load(run)
    found = score(made, predictor, rival=config["task"]["rival"])
    if config["predictions"]:
        write_records(made, predictor, run.path)
    spec = made.spec
    return {
        "task": "classify", "dataset": made.card.name, "model": predictor.name, "classes": list(spec.classes),
        "channels": len(spec.channels), "seed": config["seed"], "part": "test",
        "series": {part: len(made.part(part).ids) for part in PARTS},
        "counts": {part: made.counts(part).tolist() for part in PARTS},
        "steps": {"shortest": spec.shortest, "longest": spec.longest},
        "parameters": build.parameters(predictor.chain), **fitted, **found,
    }  # fmt: skip


def begin(run: Run, made: "LabelModule") -> None:
    """What is known of the data before the training."""
    run.write("data.json", {**made.state(), "findings": made.findings})


opening, closing = class_opening, class_closing
