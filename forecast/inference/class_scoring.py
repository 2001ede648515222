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
from forecast.metrics.classes import confusion, per_class, reliability, scores
from forecast.types import LabelBatch

TENTHS: Final = range(1, 11)
FLOOR: Final = "most frequent class"


def score(data: LabelModule, predictor: ClassPredictor, *, part: str = "test", rival: bool = True) -> dict[str, Any]:
    """What metrics.json holds of a part: rows, confusion, per_class, reliability, early."""
    of, fit = data.part(part), data.part("fit")
    logits = predictor.logits(data.gather(part)) / predictor.temperature
    label = torch.from_numpy(of.label)
    rows = [row(predictor.name, "model", logits, label)]
    if rival and part == "test":
        guess = torch.from_numpy(rocket(fit, of, seed=data.seed))
        sure = torch.nn.functional.one_hot(guess, logits.shape[1]).double()
        rows.append({**row(NAME, "rival", sure, label), "log_loss": None, "ece": None})  # it says not how sure it is
    counts = torch.from_numpy(data.counts("fit")).double()
    share = (counts / counts.sum()).clamp(min=1e-12).log()
    rows.append(row(FLOOR, "floor", share.expand(len(label), -1), label))
    table = confusion(label, logits.argmax(-1), logits.shape[1])
    return {
        "rows": rows, "confusion": table.tolist(), "per_class": each_class(table, data.spec.classes),
        "reliability": bins(logits, label), "early": early(data, predictor, part, label),
    }  # fmt: skip


def row(name: str, kind: str, logits: Tensor, label: Tensor) -> dict[str, Any]:
    """A row of the table."""
    return {"name": name, "kind": kind, "series": len(label), **scores(logits, label)}


def each_class(table: Tensor, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """How each class fared, with its name."""
    found = per_class(table)
    columns = [getattr(found, key).tolist() for key in found._fields]
    return [
        {"name": name, **dict(zip(found._fields, values, strict=True))}
        for name, *values in zip(classes, *columns, strict=True)
    ]


def bins(logits: Tensor, label: Tensor) -> list[dict[str, float]]:
    """Accuracy by confidence."""
    found = reliability(logits, label)
    columns = [getattr(found, key).tolist() for key in found._fields]
    return [dict(zip(found._fields, values, strict=True)) for values in zip(*columns, strict=True)]


def early(data: LabelModule, predictor: ClassPredictor, part: str, label: Tensor) -> list[dict[str, Any]]:
    """Accuracy and log loss after each tenth of every series: what is told of it while it goes on."""
    found = []
    for tenths in TENTHS:
        logits = predictor.logits(data.gather(part), partial(first, tenths=tenths))
        made = scores(logits / predictor.temperature, label)
        found.append({"fraction": tenths / 10, "accuracy": made["accuracy"], "log_loss": made["log_loss"]})
    return found


def first(batch: LabelBatch, tenths: int) -> LabelBatch:
    """The series of a batch, cut after some tenths of their steps, the next whole step."""
    length = -(-batch.length * tenths // 10)
    until = int(length.max())
    seen = torch.arange(until, device=length.device) < length[:, None]
    mask = batch.mask[:, :until] & seen[..., None]
    return batch._replace(values=batch.values[:, :until].masked_fill(~mask, 0.0), mask=mask, length=length)
