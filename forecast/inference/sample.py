"""What is scored beside the errors of all windows, where there are too many series for it: intervals, streams, other
models and the table of predictions are then of some of them, drawn with a fixed seed and held in memory.

Errors are sums, and are always of every window. With fewer rows than the data module's bound the sample is everything.
"""

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from forecast.inference.baseline import naive_rows
from forecast.inference.predictor import Predictor
from forecast.inference.scoring import Watch, score

if TYPE_CHECKING:  # Lightning
    from forecast.data.module import SeriesModule
    from forecast.inference.calibration import Calibration

log = logging.getLogger("forecast")


class Sample(NamedTuple):
    """Some series of a data set, and a run's predictor of them."""

    data: "SeriesModule"
    predictor: Predictor
    facts: dict[str, Any]  # series, of, test windows; empty where it is everything

    def calibrate(self, predictor: Predictor) -> "Calibration":
        """The calibration, from now on that of `predictor` too."""
        predictor.calibration = self.predictor.calibrate(self.data)
        return predictor.calibration

    def score(self, data: "SeriesModule", predictor: Predictor, watch: Watch) -> list[dict[str, Any]]:
        """The rows of all test windows of `data`; `watch` sees those of the sample."""
        if not self.facts:
            return score(self.data, self.predictor.forecast, predictor.name, watch=watch)
        held = self.data
        naive = naive_rows(held.spec, held.gather, torch.from_numpy(held.series.start[:-1]))
        score(held, self.predictor.forecast, predictor.name, watch=watch, others=naive)
        return score(data, predictor.forecast, predictor.name)

    def row(self, rows: list[dict[str, Any]], *, part: str = "test", batch_size: int = 256) -> dict[str, Any]:
        """The model's own scores on the sample; `rows` are those of everything."""
        if not self.facts:
            return rows[0]
        name = self.predictor.name
        own = score(self.data, self.predictor.forecast, name, part=part, batch_size=batch_size, others={})
        return own[0]


def sample(data: "SeriesModule", predictor: Predictor) -> Sample:
    """All series, or as many as the data module holds in memory at once."""
    held = data.sampled()
    if held is data:
        return Sample(data, predictor, {})
    recipe = predictor.recipe._replace(scaler=held.scaler)
    own = Predictor(predictor.chain, recipe, predictor.name, calibration=predictor.calibration, bounds=predictor.bounds)
    some, every = len(held.series.ids), len(data.series.ids)
    if some == every:
        return Sample(held, own, {})
    facts = {"series": some, "of": every, "windows": len(held.windows("test"))}
    log.info("intervals, streams and predictions are of %s of %s series", f"{some:,}", f"{every:,}")
    return Sample(held, own, facts)
