"""From labelled series in memory to a trained run in memory: the data module, chain, task, trainer and predictor of
`forecast train task=classify`, without its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from forecast import build
from forecast.artifacts import Run
from forecast.data.label_module import LabelModule
from forecast.data.labelled import Labelled
from forecast.errors import DataError, UsageError
from forecast.inference.class_predictor import TEMPERATURE, ClassPredictor
from forecast.inference.class_scoring import bins, each_class, row
from forecast.inference.class_training import again, chain, task, temperature
from forecast.inference.training import assemble
from forecast.interop.sktime_fit import apart, kind, learned
from forecast.interop.sktime_store import read_history, write_history
from forecast.metrics.classes import confusion
from forecast.tasks.callbacks import Row

PARTS: Final = ("train", "val", "test")
DATA: Final = ("val", "scale", "batch_size", "places", "seed")  # of the group `data`, what is not of a file


class TrainedClasses:
    """A trained chain with the treatment of its data, and how it came about."""

    def __init__(
        self, config: dict[str, Any], predictor: ClassPredictor, *, facts: Mapping[str, Any],
        history: Sequence[Row] = (), data: LabelModule | None = None,
    ) -> None:  # fmt: skip
        """`data` is what it was fitted on, known in the process that fitted it."""
        self.config, self.predictor = config, predictor
        self.facts, self.history, self.data = dict(facts), list(history), data

    def __getstate__(self) -> dict[str, Any]:
        """A pickle tells classes; it does not hold the data of the training."""
        return {**self.__dict__, "data": None}

    def write(self, run: Run) -> None:
        """A folder that `forecast predict run=…` reads. It is not sealed yet."""
        run.path.mkdir(parents=True, exist_ok=True)
        run.write("config.json", self.config)
        run.write("data.json", self.predictor.recipe.to_state())
        run.write(TEMPERATURE, {"temperature": self.predictor.temperature})
        run.save_weights(self.predictor.chain)
        write_history(self.history, run)

    def document(self, run: Run) -> dict[str, Any]:
        """Write the run with what its report needs; what metrics.json is to hold: the scores of the validation, before
        the model learned from that too. UsageError where the data are not at hand."""
        data, facts = self.data, self.facts
        if data is None:
            raise UsageError("the series of the training were not saved", "expected a fit in this process", "fit anew")
        self.write(run)
        run.write("data.json", {**data.state(), "findings": data.findings})
        seconds, spec = round(facts["seconds"], 1), data.spec
        return {
            "task": "classify", "dataset": data.card.name, "model": self.predictor.name, "classes": list(spec.classes),
            "channels": len(spec.channels), "seed": self.config["seed"], "part": "val",
            "series": {part: len(data.part(part).ids) for part in PARTS},
            "counts": {part: data.counts(part).tolist() for part in PARTS},
            "steps": {"shortest": spec.shortest, "longest": spec.longest}, "refit": facts["refit"],
            "parameters": build.parameters(self.predictor.chain), "best": {"val/nll": facts["best"]},
            "epochs": facts["epochs"], "steps_trained": facts["steps"], "temperature": self.predictor.temperature,
            "seconds": {"fit": seconds, "total": seconds}, **facts["scores"],
        }  # fmt: skip

    @classmethod
    def read(cls, run: Run, facts: Mapping[str, Any]) -> "TrainedClasses":
        """The inverse of `write`, of a sealed folder."""
        history = read_history(run)
        return cls(run.read("config.json"), ClassPredictor.load(run), facts=facts, history=history)


def train_classes(config: dict[str, Any], train: Labelled) -> TrainedClasses:
    """Train as `config` says; the share data.val of the series chooses the epoch and gives the temperature. Where there
    are too few for that the training series serve, and nothing is learned again."""
    words = {key: config["data"][key] for key in DATA}
    held_out = words["val"] > 0 and bool((train.counts > 1).any())
    if not held_out:
        config = {**config, "task": {**config["task"], "refit": False}}
    data = LabelModule.of({"train": train} if held_out else {"train": train, "val": train}, name="X", **words)
    with apart(config["seed"]), TemporaryDirectory(prefix="forecast-") as name:
        folder = Path(name)
        model = chain(config, data)
        made = assemble(task, config, model, data)
        facts, history, trainer = learned(config, made, data, folder)
        name_of = str(config["name"] or kind(config))
        predictor = ClassPredictor(model.cpu(), data.recipe, name_of, temperature=temperature(config, data, made))
        facts |= {"held_out": held_out, "scores": _scores(data, predictor)}
        facts["refit"] = again(config, folder, data, made, trainer)
        model.cpu().eval()
    return TrainedClasses(config, predictor, facts=facts, history=history, data=data)


def _scores(data: LabelModule, predictor: ClassPredictor) -> dict[str, Any]:
    """What metrics.json holds of the validation; said before the model learns from that too."""
    label = torch.from_numpy(data.part("val").label)
    logits = predictor.logits(data.gather("val")) / predictor.temperature
    table = confusion(label, logits.argmax(-1), logits.shape[1])
    return {
        "rows": [row(predictor.name, "model", logits, label)], "confusion": table.tolist(),
        "per_class": each_class(table, data.spec.classes), "reliability": bins(logits, label), "early": [],
    }  # fmt: skip


def labelled(
    X: "pd.DataFrame | np.ndarray[Any, Any]", classes: Sequence[str], label: "np.ndarray[Any, Any] | None" = None,
    channels: tuple[str, ...] | None = None,
) -> Labelled:  # fmt: skip
    """sktime's panels, (n, C, L) or a frame with a row for each step, with codes of labels (n,) -> our series.

    `channels` are those of the training; DataError for a panel of others.
    """
    if isinstance(X, pd.DataFrame):
        codes, names = pd.factorize(X.index.get_level_values(0))
        offsets = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]])
        ids, found = [str(name) for name in names], tuple(str(name) for name in X.columns)
        values = X.to_numpy(np.float64, na_value=np.nan)
    else:
        count, width, length = X.shape
        offsets, ids = np.arange(count + 1) * length, [str(i) for i in range(count)]
        found = channels if channels and len(channels) == width else tuple(f"channel_{i}" for i in range(width))
        values = np.ascontiguousarray(X.transpose(0, 2, 1), np.float64).reshape(-1, width)
    if channels is not None and len(found) != len(channels):
        raise DataError(f"X has {len(found)} channels", f"the classifier was fitted on {len(channels)}")
    known = np.full(len(ids), -1, np.int64) if label is None else np.asarray(label, np.int64)
    return Labelled(tuple(ids), offsets.astype(np.int64), values, known, tuple(classes), channels or found)
