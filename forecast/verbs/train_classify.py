"""forecast train task=classify: labelled series, the log loss of their class, an honest rival beside it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forecast import build
from forecast.artifacts import Run
from forecast.errors import DataError, UsageError
from forecast.heads.label_chain import LabelChain
from forecast.inference.class_training import again, chain, task, temperature
from forecast.verbs.class_tables import class_closing, class_opening

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from forecast.data.label_module import LabelModule
    from forecast.tasks.classify import ClassifyTask

PARTS = ("train", "val", "test")
_MORE = {
    "val": "set data.val=0.2, or give data.splits more of it",
    "test": "give data.test=FILE, data.splits={train: .8, test: .2}, or more series",
}


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
    if again and (str(config["trainer"]["devices"]) != "1" or config["trainer"].get("nodes", 1) != 1):
        raise UsageError(
            f"task.refit with trainer.devices={config['trainer']['devices']}", "one process learns again",
            "set task.refit=false, or one device",
        )  # fmt: skip
    made = build.label_data(config).prepare()
    for part, what in (("val", "chooses the epoch"), ("test", "is scored")):
        if not len(made.part(part)):
            raise DataError(f"{part} has no series", f"expected one at least: it {what}", _MORE[part])
    config["data"].update(card=made.name, path=made.path, test=made.test)
    return made


def warm(model: LabelChain, made: "LabelModule") -> None:
    """Nothing is fitted before the training."""


def settle(
    config: Mapping[str, Any], run: Run, made: "LabelModule", chosen: "ClassifyTask", trainer: "Trainer"
) -> dict[str, Any]:
    """The temperature, from the validation; then the chosen chain learns again from all of TRAIN."""
    found = temperature(config, made, chosen)
    run.write("temperature.json", {"temperature": found})
    return {"temperature": found, "refit": again(config, run.path, made, chosen, trainer)}


def finish(config: dict[str, Any], run: Run, made: "LabelModule", fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Score the saved run, not the one in memory; write its predictions. Returns what metrics.json is to hold."""
    from forecast.inference.class_predictor import ClassPredictor
    from forecast.inference.class_record import write_records
    from forecast.inference.class_scoring import score

    predictor = ClassPredictor.load(run)
    found = score(made, predictor, rival=config["task"]["rival"])
    if config["predictions"]:
        write_records(made, predictor, run.path)
    if config.get("insight"):
        from forecast.inference.insight.sequences import write_class_insight

        write_class_insight(run, made, predictor)
    spec = made.spec
    return {
        "task": "classify", "dataset": made.card.name, "model": predictor.name, "classes": list(spec.classes),
        "channels": len(spec.channels), "seed": config["seed"], "part": "test",
        "series": {part: len(made.part(part).ids) for part in PARTS},
        "counts": {part: made.counts(part).tolist() for part in PARTS},
        "lengths": {"shortest": spec.shortest, "longest": spec.longest},
        "parameters": build.parameters(predictor.chain), **fitted, **found,
    }  # fmt: skip


def begin(run: Run, made: "LabelModule") -> None:
    """What is known of the data before the training."""
    run.write("data.json", {**made.state(), "findings": made.findings})


opening, closing = class_opening, class_closing

__all__ = ["begin", "chain", "closing", "data", "finish", "opening", "settle", "task", "warm"]
