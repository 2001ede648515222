"""A weighted mean of runs: weights that are not negative and sum to 1, of the least squared error on the validation
windows.

With forecasts f and what came y, over all observed values of all windows of val:
    w = argmin ‖Σᵢ wᵢ fᵢ − y‖²,   w ≥ 0, Σ w = 1
A quadratic problem of as many unknowns as runs, solved exactly: one small linear system for each set of runs that may
have a weight.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast import build
from forecast.artifacts import Run
from forecast.data.batch import batches
from forecast.data.module import SeriesModule
from forecast.errors import UsageError
from forecast.inference.predictor import Predictor
from forecast.types import SeriesBatch

MOST = 8  # runs; 2⁸ small systems


@dataclass(frozen=True)
class Member:
    """A run with its own data: runs may differ in context, treatment of gaps and inputs."""

    run: str
    predictor: Predictor
    data: SeriesModule

    def __call__(self, batch: SeriesBatch) -> Tensor:
        """Forecasts (B, H, T) of the windows of a batch of any member, from this one's own inputs."""
        return self.predictor.forecast(self.data.gather(batch.origin, batch.series))

    @property
    def name(self) -> str:
        return f"{self.predictor.name} {self.run[-8:]}"  # of two runs of a model the end of the id tells which


class Ensemble:
    """Forecasts the weighted mean of its members."""

    def __init__(self, members: Sequence[Member], weights: Sequence[float]) -> None:
        self.members, self.weights = members, weights

    def __call__(self, batch: SeriesBatch) -> Tensor:
        made = [weight * member(batch) for weight, member in zip(self.weights, self.members, strict=True) if weight > 0]
        return torch.stack(made).sum(0)

    @property
    def name(self) -> str:
        parts = zip(self.weights, self.members, strict=True)
        return f"ensemble ({' + '.join(f'{weight:.2f} {member.name}' for weight, member in parts)})"


def members(runs: Sequence[Run]) -> list[Member]:
    """The runs with their data. UsageError where they do not forecast the same windows of the same values."""
    if not 2 <= len(runs) <= MOST or len({run.path for run in runs}) < len(runs):
        raise UsageError(
            f"ensemble= names {len({run.path for run in runs})} different runs",
            f"expected 2 … {MOST}",
            "e.g. ensemble=[RUN,RUN]",
        )
    found = []
    for run in runs:
        predictor = Predictor.load(run)
        data = build.data(run.read("config.json")).remember(predictor.recipe.holidays).prepare()
        found.append(Member(run.id, predictor, data))
    for each in found[1:]:
        if differ := _differ(found[0].data, each.data):
            raise UsageError(
                f"runs {found[0].run} and {each.run} differ in {differ}", "expected the same windows and values",
                "leave one out",
            )  # fmt: skip
    return found


def _differ(a: SeriesModule, b: SeriesModule) -> str:
    """What keeps two runs apart, or nothing."""
    if a.source["sha256"] != b.source["sha256"]:
        return "their data"
    if a.spec.channels[: a.spec.targets] != b.spec.channels[: b.spec.targets]:
        return "their targets"
    if a.spec.horizon != b.spec.horizon:
        return "task.horizon"
    t = a.spec.targets
    for mine, theirs in ((a.scaler.mean, b.scaler.mean), (a.scaler.std, b.scaler.std)):
        if mine[:, :t].shape != theirs[:, :t].shape or not np.allclose(mine[:, :t], theirs[:, :t], rtol=1e-6):
            return "data.splits or data.scale"
    for part in ("val", "test"):
        one, other = a.windows(part), b.windows(part)
        if not (np.array_equal(one.first, other.first) and np.array_equal(one.until, other.until)):
            return f"the windows of {part}"
    return ""


@torch.inference_mode()
def weigh(members: Sequence[Member], batch_size: int) -> Ensemble:
    """The ensemble with the weights of the least squared error on all windows of val."""
    n, first = len(members), members[0].data
    square, cross = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    for batch in batches(first.gather, first.windows("val"), batch_size):
        seen = batch.future_mask
        made = torch.stack([member(batch)[seen] for member in members]).double()
        square += made @ made.T
        cross += made @ batch.future[seen].double()
    return Ensemble(members, on_simplex(square.numpy(), cross.numpy()).tolist())


def on_simplex(square: NDArray[np.float64], cross: NDArray[np.float64]) -> NDArray[np.float64]:
    """argmin wᵀGw − 2bᵀw with w ≥ 0 and Σw = 1, G (M, M), b (M,): the best of the minima on the sets of runs."""
    n = len(cross)
    best, least = np.eye(n)[0], float("inf")
    for size in range(1, n + 1):
        for chosen in itertools.combinations(range(n), size):
            pick = list(chosen)
            system = np.ones((size + 1, size + 1))
            system[:size, :size], system[size, size] = square[np.ix_(pick, pick)], 0.0
            solved = np.linalg.lstsq(system, np.append(cross[pick], 1.0), rcond=None)[0][:size]
            if solved.min() < 0:
                continue
            weights = np.zeros(n)
            weights[pick] = solved / solved.sum()
            value = float(weights @ square @ weights - 2 * cross @ weights)
            if value < least - 1e-12 * abs(least if np.isfinite(least) else 0.0):
                best, least = weights, value
    return best
