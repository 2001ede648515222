"""How the errors of a model are spread, learned from its validation windows: split conformal prediction (Vovk et al.
2005; Lei et al. 2018), for each step of the horizon and each target.

Scores (heads/output.py) of n validation windows, divided by the usual size of a score at that place of the season, are
sorted; the quantile at level p is the one at place (n + 1) p. As far as what comes is exchangeable with the validation
windows, a value is below it with probability p, whatever the model. What is not exchangeable, adaptive.py follows.

How the steps of a horizon belong together is learned as an empirical copula: the normal scores of past windows, whole
windows at a time. A path through the horizon takes its ranks from one such window (Schaake shuffle, Clark et al. 2004),
so sums, peaks and ramps of paths are spread as those of real windows are.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor

from forecast.errors import ArtifactError
from forecast.heads.output import between

LEVELS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5,
    0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99, 0.995,
)  # fmt: skip
POOL: Final = 1024  # windows in the copula at most,
POOL_NUMBERS: Final = 1 << 23  # and numbers in it
FEWEST: Final = 32  # windows in it, though they are large
SHRINK: Final = 10  # values that the size of all scores counts for beside those of a place
FARTHEST: Final = 4.0  # a normal score


class Calibration(NamedTuple):
    """P places of the season, K windows in the copula, G = len(LEVELS)."""

    table: Tensor  # (H, T, G) the score, of usual size 1, at each level
    scale: Tensor  # (P, T) the usual size of a score at each place of the season
    pool: Tensor  # (K, H, T) normal scores of past windows

    def size(self, place: Tensor) -> Tensor:
        """place (B, H) of the season -> the usual size (B, H, T) of a score there."""
        return self.scale[place]

    def scores(self, levels: Tensor, place: Tensor) -> Tensor:
        """The scores (B, H, T, N) of quantiles at levels (N,) for targets at places (B, H) of the season."""
        normal = torch.special.ndtri(levels.double()).float()
        return scores_at(self.table, normal) * self.size(place)[..., None]

    def tensors(self) -> dict[str, Tensor]:
        """What is kept with a run; the inverse of `of`."""
        return {**self._asdict(), "pool": self.pool.half()}

    @classmethod
    def of(cls, tensors: dict[str, Tensor], horizon: int, targets: int) -> "Calibration":
        """From what a run keeps; ArtifactError unless it fits."""
        try:
            made = cls(*(tensors[name].float() for name in cls._fields))
            sound = made.table.shape == (horizon, targets, len(LEVELS)) and made.pool.shape[1:] == (horizon, targets)
            sound = sound and made.scale.ndim == 2 and made.scale.shape[1] == targets and len(made.pool) > 0
        except (KeyError, IndexError) as error:
            raise ArtifactError("the run's calibration lacks a part", do="restore the run folder") from error
        if not sound or not all(part.isfinite().all() for part in made):
            raise ArtifactError("the run's calibration does not fit its configuration", do="restore the run folder")
        return made


def fit(scores: Tensor, place: Tensor, season: int) -> Calibration:
    """scores (N, H, T), NaN where nothing was observed, place (N, H) of the season -> a calibration."""
    scale = _scale(scores, place, season)
    scores = scores / scale[place]
    table = _quantiles(scores)
    return Calibration(table, scale, normal_scores(table, _chosen(scores)))


def _scale(scores: Tensor, place: Tensor, season: int) -> Tensor:
    """The mean size of a score at each place, drawn towards that of all places where it was seldom seen."""
    seen, targets = ~scores.isnan(), scores.shape[2]
    size = scores.abs().nan_to_num(0.0).double()
    total, count = torch.zeros(season, targets, dtype=torch.float64), torch.zeros(season, targets, dtype=torch.float64)
    total.index_add_(0, place.flatten(), size.flatten(0, 1))
    count.index_add_(0, place.flatten(), seen.flatten(0, 1).double())
    mean = total.sum(0) / count.sum(0).clamp(min=1)
    scale = (total + SHRINK * mean) / (count + SHRINK)
    return torch.where(scale > 0, scale, 1.0).float()


def _quantiles(scores: Tensor) -> Tensor:
    """(N, H, T) -> (H, T, G): the score at place (n + 1) p of each column's n, linear between two; NaN is left out."""
    ordered = scores.sort(0).values  # NaN comes last
    n = (~scores.isnan()).sum(0)[..., None]  # (H, T, 1)
    at = ((n + 1) * torch.tensor(LEVELS, dtype=torch.float64) - 1).clamp(min=0)
    at = torch.minimum(at, (n - 1).clamp(min=0).double())
    low = at.floor().long()
    high = torch.minimum(low + 1, (n - 1).clamp(min=0))
    ordered = ordered.permute(1, 2, 0)
    lower, upper = ordered.gather(-1, low), ordered.gather(-1, high)
    table = (lower + (at - low).to(scores.dtype) * (upper - lower)).nan_to_num(0.0)  # a target that was never observed
    return table.sort(-1).values


def _chosen(scores: Tensor) -> Tensor:
    """Windows for the copula, evenly out of those that were observed whole, or out of all where too few were."""
    whole = ~scores.isnan().flatten(1).any(1)
    if whole.sum() >= min(FEWEST, len(scores)):
        scores = scores[whole]
    most = min(POOL, max(FEWEST, POOL_NUMBERS // max(1, scores[0].numel())), len(scores))
    return scores[torch.linspace(0, len(scores) - 1, most).round().long()]


def normals() -> Tensor:
    """(G,) the normal scores of LEVELS."""
    return torch.special.ndtri(torch.tensor(LEVELS, dtype=torch.float64)).float()


def normal_scores(table: Tensor, scores: Tensor) -> Tensor:
    """Where scores (…, H, T) stand in a table (H, T, G) -> normal scores (…, H, T), 0 for what was not observed."""
    x = table.expand(*scores.shape, table.shape[-1])
    found = between(x, normals().expand_as(x), scores.nan_to_num(0.0)[..., None])[..., 0]
    return torch.where(scores.isnan(), 0.0, found.clamp(-FARTHEST, FARTHEST))


def scores_at(table: Tensor, normal: Tensor) -> Tensor:
    """The scores at normal scores (N,) or (…, N) in tables (…, G) -> (…, N), linear between two levels and beyond the
    last. Where the normal scores have fewer axes they are looked up once for all tables."""
    x = normals()
    right = torch.bucketize(normal.contiguous(), x).clamp(1, len(x) - 1)
    share = (normal - x[right - 1]) / (x[right] - x[right - 1])
    shape = torch.broadcast_shapes(table.shape[:-1], normal.shape[:-1])
    table, right = table.expand(*shape, -1), right.expand(*shape, -1)
    low = table.gather(-1, right - 1)
    return low + share * (table.gather(-1, right) - low)


def ranks(pool: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` windows drawn from the copula -> normal scores (H, T, N)."""
    n = len(pool)
    rounds = [torch.randperm(n, generator=generator) for _ in range(-(-count // n))]
    return pool[torch.cat(rounds)[:count]].permute(1, 2, 0)
