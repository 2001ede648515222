"""Windows in the order of time, with the chain's forecast of each and the scores of what came."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from forecast.data.batch import Gather, take
from forecast.data.table import Series
from forecast.data.window import Windows
from forecast.heads import Chain
from forecast.inference.calibration import LEVELS
from forecast.types import SeriesBatch

BATCH: Final = 256  # windows at most,
NUMBERS: Final = 1 << 23  # quantiles of them at once


class Timed(NamedTuple):
    """A batch of windows whose forecasts are made at one time or after each other."""

    batch: SeriesBatch
    made: Tensor  # the chain's forecast
    time: np.ndarray  # (B,) the step at which each forecast is made
    place: Tensor  # (B, H) the place of each target in the season


def places(series: Series, origin: np.ndarray, horizon: int, season: int) -> tuple[np.ndarray, Tensor]:
    """The time of origins (B,) as steps, and the place (B, H) in the season of the H steps from there on."""
    time = series.steps(origin)
    return time, torch.from_numpy((time[:, None] + np.arange(horizon)) % season)


@torch.inference_mode()
def in_time(
    chain: Chain, series: Series, gather: Gather, windows: Windows, season: int, numbers: np.ndarray | None = None
) -> Iterator[Timed]:
    """All windows, or those of `numbers`, in the order of time; memory for a batch."""
    numbers = np.arange(len(windows), dtype=np.int64) if numbers is None else numbers
    if len(series.ids) > 1:
        numbers = numbers[np.argsort(series.steps(windows.at(numbers)[0]), kind="stable")]
    size = max(1, min(BATCH, NUMBERS // (len(LEVELS) * gather.horizon * gather.targets)))
    for first in range(0, len(numbers), size):
        batch = take(gather, windows, numbers[first : first + size])
        time, place = places(series, batch.origin.numpy(), gather.horizon, season)
        yield Timed(batch, chain(batch), time, place)


class Scores:
    """Scores of batches; where counts have jumps, at a place within them that is drawn with a fixed seed."""

    def __init__(self, chain: Chain) -> None:
        self.output, self.draw = chain.output, torch.Generator().manual_seed(0)

    def __call__(self, timed: Timed) -> Tensor:
        """(B, H, T), NaN where nothing was observed."""
        y, mask = timed.batch.future, timed.batch.future_mask
        mix = torch.rand(y.shape, generator=self.draw) if self.output.counts else 0.5
        return self.output.score(timed.made, y, mix).masked_fill(~mask, torch.nan)
