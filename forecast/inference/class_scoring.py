"""Scores of the classes of a part, beside what any model should beat, and how early they are known.

The same functions score at the end of training and in `forecast evaluate`: same batches, same order, same numbers.
"""

from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from forecast.data.label_module import LabelModule
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.rocket import NAME, rocket
from forecast.metrics.classes import ClassScores, scores
from forecast.types import LabelBatch

TENTHS: Final = range(1, 11)
FLOOR: Final = "most frequent class"


def score(data: LabelModule, predictor: ClassPredictor, *, part: str = "test", rival: bool = True) -> dict[str, Any]:
    """What metrics.json holds of a part: rows, confusion, per_class, reliability, early."""
    of, fit = data.part(part), data.part("fit")
    logits = predictor.logits(data.gather(part))
    label = torch.from_numpy(of.label)
    own: ClassScores = scores(logits / predictor.temperature, label)
    rows = [row(predictor.name, "model", len(of.ids), own)]
    if rival and part == "test":
        rows.append(
            _guessed(NAME, "rival", torch.from_numpy(rocket(fit, of, seed=data.seed)), label, len(own.per_class))
        )
    counts = torch.from_numpy(data.counts("fit"))
    share = (counts.double() / counts.sum()).log().clamp(min=-50.0)
    rows.append(row(FLOOR, "floor", len(of.ids), scores(share.expand(len(label), -1), label)))
    return {
        "rows": rows, "confusion": own.confusion.tolist(), "per_class": named(own, data.spec.classes),
        "reliability": own.reliability, "early": early(data, predictor, part, label),
    }  # fmt: skip


def early(data: LabelModule, predictor: ClassPredictor, part: str, label: Tensor) -> list[dict[str, float]]:
    """Accuracy and log loss after each tenth of every series: what is told of it while it goes on."""
    found = []
    for tenths in TENTHS:
        logits = predictor.logits(data.gather(part), partial(first, tenths=tenths))
        made = scores(logits / predictor.temperature, label)
        found.append({"fraction": tenths / 10, "accuracy": made.accuracy, "log_loss": made.log_loss})
    return found


def first(batch: LabelBatch, tenths: int) -> LabelBatch:
    """The series of a batch, cut after some tenths of their steps, the next whole step."""
    length = -(-batch.length * tenths // 10)
    until = int(length.max())
    seen = torch.arange(until, device=length.device) < length[:, None]
    mask = batch.mask[:, :until] & seen[..., None]
    return batch._replace(values=batch.values[:, :until].masked_fill(~mask, 0.0), mask=mask, length=length)


def named(of: ClassScores, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Scores of each class with its name."""
    return [{"name": name, **row} for name, row in zip(classes, of.per_class, strict=True)]


def row(name: str, kind: str, series: int, of: ClassScores) -> dict[str, Any]:
    """A row of the table."""
    keys = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece")
    return {"name": name, "kind": kind, "series": series, **{key: getattr(of, key) for key in keys}}


def _guessed(name: str, kind: str, guess: Tensor, label: Tensor, classes: int) -> dict[str, Any]:
    """The row of what guesses and says not how sure it is."""
    sure = torch.nn.functional.one_hot(guess, classes).double() * 50.0
    return {**row(name, kind, len(label), scores(sure, label)), "log_loss": None, "ece": None}
