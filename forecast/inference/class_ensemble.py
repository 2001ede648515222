"""The plain mean of the probabilities of several runs: seeds of one model, or different models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from forecast import build
from forecast.artifacts import Run
from forecast.data.label_module import LabelModule
from forecast.errors import UsageError
from forecast.inference.class_predictor import ClassPredictor
from forecast.inference.class_scoring import row

MOST = 32  # runs


def ensemble(runs: Sequence[Run], part: str) -> list[dict[str, Any]]:
    """Rows of the mean, then of each run alone. UsageError where they do not tell classes of the same series."""
    if not 2 <= len(runs) <= MOST or len({run.path for run in runs}) < len(runs):
        found = len({run.path for run in runs})
        raise UsageError(f"ensemble= names {found} different runs", f"expected 2 … {MOST}", "e.g. ensemble=[RUN,RUN]")
    predictors = [ClassPredictor.load(run) for run in runs]
    modules = [build.label_data(run.read("config.json")).prepare() for run in runs]
    first = modules[0]
    for run, module in zip(runs[1:], modules[1:], strict=True):
        if differ := _differ(first, module, part):
            raise UsageError(f"runs {runs[0].id} and {run.id} differ in {differ}", do="leave one out")
    chances = [one.chances(module.gather(part)) for one, module in zip(predictors, modules, strict=True)]
    label = torch.from_numpy(first.part(part).label)
    made = [(f"{one.name} {run.id[-8:]}", "member") for one, run in zip(predictors, runs, strict=True)]
    named = [(f"ensemble of {len(runs)}", "ensemble"), *made]
    return [
        row(name, kind, torch.from_numpy(chance).log(), label)
        for (name, kind), chance in zip(named, [np.mean(chances, axis=0), *chances], strict=True)
    ]


def _differ(a: LabelModule, b: LabelModule, part: str) -> str:
    """What keeps two runs apart, or nothing."""
    if a.source["sha256"] != b.source["sha256"]:
        return "their data"
    if a.spec.classes != b.spec.classes:
        return "their classes"
    return "" if a.part(part).ids == b.part(part).ids else f"the series of {part}"
