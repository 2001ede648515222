"""Intervals of a trained chain: calibrated on its validation windows, scored on every window of a part.

Three ways of having them are scored in one pass, in the order of time: as the output itself says (where it says
anything), calibrated once, and adapting, which learns from each value once its step has come.
"""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from forecast.heads import Chain
from forecast.inference.bounds import Bounds
from forecast.inference.calibration import LEVELS, Calibration, fit, ranks, scores_at
from forecast.inference.follow import Follower
from forecast.inference.timed import Scores, Timed, in_time
from forecast.metrics import NOMINAL, Intervals, Joint

if TYPE_CHECKING:  # Lightning
    from forecast.data.module import SeriesModule

SCORES: Final = 1 << 25  # scores in a calibration at most
PATHS: Final = 200  # of a window,
PATH_NUMBERS: Final = 1 << 28  # numbers in all paths: beyond it every n-th window has paths
ENDS: Final = torch.tensor([[LEVELS.index(round((1 - c) / 2, 3)) for c in NOMINAL],
                            [LEVELS.index(round((1 + c) / 2, 3)) for c in NOMINAL]])  # fmt: skip


def calibrate(data: "SeriesModule", chain: Chain) -> Calibration:
    """From all validation windows, or from SCORES scores of them, drawn at random."""
    windows, spec = data.windows("val"), data.spec
    numbers = np.arange(len(windows), dtype=np.int64)
    most = max(1, SCORES // (spec.horizon * spec.targets))
    if len(numbers) > most:
        numbers = np.sort(np.random.default_rng(0).choice(numbers, most, replace=False))
    scorer, scores, place = Scores(chain), [], []
    for timed in in_time(chain, data.series, data.gather, windows, spec.season, numbers):
        scores.append(scorer(timed))
        place.append(timed.place)
    return fit(torch.cat(scores), torch.cat(place), spec.season)


class Measure:
    """What one way of having intervals is worth."""

    def __init__(self, data: "SeriesModule", clip: Bounds) -> None:
        spec, self.clip = data.spec, clip
        self.values = Intervals(spec.horizon, LEVELS, spec.units[: spec.targets])
        self.joint = Joint()
        parts = (data.scaler.mean, data.scaler.std)
        self.mean, self.std = (torch.from_numpy(part[:, None, : spec.targets]) for part in parts)

    def add(self, timed: Timed, quantiles: Tensor, paths: Tensor | None, some: slice) -> None:
        """quantiles (B, H, T, G), and paths of the windows `some` (b, H, T, N), in scaled units."""
        batch = timed.batch
        quantiles = self.clip(quantiles, batch.series)
        at = batch.series
        self.values.update(quantiles, batch.future, batch.future_mask, mean=self.mean[at], std=self.std[at])
        if paths is not None and len(paths):
            ends = quantiles[some][..., ENDS]
            paths = self.clip(paths, batch.series[some])
            self.joint.update(paths, ends, batch.future[some], batch.future_mask[some])

    def result(self, paths: bool) -> dict[str, Any]:
        return {**self.values.result(), **(self.joint.result() if paths else {})}


@torch.inference_mode()
def score_intervals(
    data: "SeriesModule", chain: Chain, calibration: Calibration, clip: Bounds, *, part: str = "test"
) -> dict[str, Any]:
    """{own (where the output has quantiles of its own), calibrated, adapting}: scores of each, and `paths`."""
    spec, windows, output = data.spec, data.windows(part), chain.output
    every = max(1, -(-len(windows) * PATHS * spec.horizon * spec.targets // PATH_NUMBERS))
    follower, scorer, done = Follower(calibration, len(data.series.ids)), Scores(chain), 0
    draw, levels = torch.Generator().manual_seed(0), torch.tensor(LEVELS)
    ways = ["own", "calibrated", "adapting"] if output.spread else ["calibrated", "adapting"]
    measures = {way: Measure(data, clip) for way in ways}
    for timed in in_time(chain, data.series, data.gather, windows, spec.season):
        made = timed.made
        if "own" in measures and (own := output.own(made, levels)) is not None:
            measures["own"].add(timed, output.value(made, own), None, slice(0))
        tables, sizes = follower(timed, scorer(timed))
        once = calibration.table[None], calibration.size(timed.place), calibration.pool
        now = tables, sizes, follower.adaptive.pool
        some = slice((-done) % every, None, every)
        for way, (table, size, pool) in {"calibrated": once, "adapting": now}.items():
            ranked = ranks(pool, PATHS, draw)
            few = table if len(table) < len(made) else table[some]  # calibrated once: one table for all
            scores = scores_at(few, ranked) * size[some][..., None]
            quantiles = output.value(made, table * size[..., None])
            measures[way].add(timed, quantiles, output.value(made[some], scores), some)
        done += len(made)
    found = {way: measure.result(way != "own") for way, measure in measures.items()}
    return {**found, "paths": {"count": PATHS, "windows": -(-len(windows) // every), "of": len(windows)}}
