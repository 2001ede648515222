"""Intervals that follow what comes, for windows in the order of time."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from forecast.data.batch import Gather
from forecast.data.known import known_of
from forecast.data.panel import pad
from forecast.data.recipe import Recipe
from forecast.data.table import Series, apply_gaps, extend, tail
from forecast.data.window import windows
from forecast.heads import Chain
from forecast.inference.adaptive import Adaptive
from forecast.inference.calibration import LEVELS, Calibration
from forecast.inference.timed import Scores, Timed, in_time


class Follower:
    """Tables of quantile scores and usual sizes for batches in the order of time, each as it was when its forecasts
    were made."""

    def __init__(self, calibration: Calibration, series: int) -> None:
        self.adaptive = Adaptive(calibration, series)

    def __call__(self, timed: Timed, scores: Tensor) -> tuple[Tensor, Tensor]:
        """scores (B, H, T) -> tables (B, H, T, G), for scores of size 1, and sizes (B, H, T)."""
        tables, sizes = torch.empty(*scores.shape, len(LEVELS)), torch.empty_like(scores)
        starts = np.flatnonzero(np.diff(timed.time, prepend=timed.time[0] - 1))
        for a, b in zip(starts, [*starts[1:], len(timed.time)], strict=True):
            self.adaptive.advance(int(timed.time[a]))
            tables[a:b] = self.adaptive.table
            sizes[a:b] = self.adaptive.scale[timed.place[a:b]]
            self.adaptive.push(timed.batch.series[a:b], scores[a:b] / sizes[a:b])
        return tables, sizes


@torch.inference_mode()
def adapted(
    chain: Chain, recipe: Recipe, series: Series, calibration: Calibration, steps: int, tell: Callable[[str], object]
) -> Calibration:
    """The calibration after the values of the last `steps` steps of each series, each forecast as it would have been
    from what came before it."""
    context, horizon, season = recipe.spec.context, recipe.spec.horizon, recipe.spec.season
    scaler = recipe.scaler.for_ids(series)[0]
    if recipe.gaps == "fill":
        series, observed = apply_gaps(series, "fill")
        truth = series._replace(values=np.where(observed, series.values, np.nan))
    recent = apply_gaps(tail(series, context + steps), "mask" if recipe.gaps == "fill" else recipe.gaps)[0]
    before = np.maximum(context - recent.rows, 0)  # what a short series lacks is masked, or was refused before this
    ahead = extend(pad(recent, before)[0], context, horizon)
    seen = ~np.isnan(ahead.values)
    if recipe.gaps == "fill":
        seen = ~np.isnan(extend(pad(tail(truth, context + steps), before)[0], context, horizon).values)
    known = known_of(ahead, recipe.coding, context=context, horizon=horizon, gaps=recipe.gaps)
    gather = Gather.of(ahead, scaler, context=context, horizon=horizon, observed=seen, known=known)
    least = int((ahead.rows - context - horizon).min())
    if least < steps:
        tell(f"adapt={steps}: the shortest series has {least:,} steps after its first {context:,} to learn from")
    ends = ahead.start[1:]
    past = windows(ahead, np.stack([ahead.start[:-1] + context, ends], axis=1), context, horizon)
    follower, scorer = Follower(calibration, len(ahead.ids)), Scores(chain)
    for timed in in_time(chain, ahead, gather, past, season):
        follower(timed, scorer(timed))
    return follower.adaptive.learned()
