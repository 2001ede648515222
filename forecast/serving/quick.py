"""The short way of series that need no treatment: no step is missing, each value is a finite number, the context is
full and the model knows no covariates or holidays. A table, its checks and its columns are then left out; the numbers
are those of `forecast_frame`, from the same operations on the same batch."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from forecast.data.batch import Gather
from forecast.data.clock import clock, fields_for
from forecast.data.freq import Ints, Stamps
from forecast.data.recipe import Ready
from forecast.data.scale import Scaler
from forecast.data.table import Series, extend, grid, tail
from forecast.data.window import last_windows
from forecast.inference.predictor import Ahead, Predictor
from forecast.ledger import FORECAST
from forecast.serving.reading import Given
from forecast.serving.tables import ID, Entry, written

AT_ONCE: Final = 256  # series, as `forecast_frame` has them
LARGEST: Final = 1e12  # of a value; a larger one is for the checks


class Quick:
    """Of one predictor."""

    def __init__(self, predictor: Predictor, columns: Sequence[str]) -> None:
        """columns: of the channels, in the order of the training."""
        self.predictor, self.recipe, self.columns = predictor, predictor.recipe, list(columns)
        card = self.recipe.card
        self.able = self.recipe.coding is None and not card.holidays and not card.missing
        self.known = {name: i for i, name in enumerate(self.recipe.scaler.ids)}
        self.fields = fields_for(self.recipe.spec.freq)

    def fits(self, series: Sequence[Given]) -> NDArray[np.bool_]:
        """(S,) which of them may go this way."""
        if not self.able or not series:
            return np.zeros(len(series), np.bool_)
        spec, count = self.recipe.spec, np.array([one.rows for one in series])
        start = _starts(count)
        values = self._values(series)
        calm = np.abs(values).max(axis=1) < LARGEST  # False for NaN too
        time = np.concatenate([one.time for one in series])
        spot = grid(time, start, spec.freq, self.recipe.card.time.zone)
        place = np.arange(len(time)) - np.repeat(start[:-1], count)
        good = calm & spot.fits & (spot.position == place)
        return (count >= spec.context) & np.logical_and.reduceat(good, start[:-1])

    def forecast(self, series: Sequence[Given], levels: Sequence[float]) -> list[list[Entry]]:
        """What is said of each, an entry for each channel."""
        if len(series) > AT_ONCE:
            return self.forecast(series[:AT_ONCE], levels) + self.forecast(series[AT_ONCE:], levels)
        spec, table = self.recipe.spec, self._series(series)
        scaler = self._scaler(table)
        recent = tail(table, spec.context)
        recent = recent._replace(fields=self.fields, clock=clock(recent.time, self.fields, recent.zone, None))
        ahead = extend(recent, spec.context, spec.horizon)
        gather = Gather.of(ahead, scaler, context=spec.context, horizon=spec.horizon)
        ready = Ready(ahead, scaler, gather, last_windows(ahead, spec.context, spec.horizon), [], [])
        origin = ahead.start[1:] - spec.horizon
        batch = gather(torch.from_numpy(origin), torch.arange(len(series)))
        predictor = self.predictor
        made = predictor.numbers(Ahead(ready, predictor.calibration, predictor.clip_for(scaler)), batch, list(levels))
        return self._entries(series, ahead, origin, made)

    def _values(self, series: Sequence[Given]) -> NDArray[np.float64]:
        """(N, C)"""
        return np.column_stack([np.concatenate([one.values[name] for one in series]) for name in self.columns])

    def _series(self, series: Sequence[Given]) -> Series:
        spec, card = self.recipe.spec, self.recipe.card
        time: Stamps = np.concatenate([one.time for one in series])
        return Series(
            tuple(one.key for one in series), _starts(np.array([one.rows for one in series])), time,
            self._values(series), np.empty((len(time), 0), np.float32), (), spec.channels, spec.targets, spec.units,
            spec.freq, card.season, card.time.zone,
        )  # fmt: skip

    def _scaler(self, table: Series) -> Scaler:
        own = self.recipe.scaler
        at = [self.known.get(name, -1) for name in table.ids]
        if -1 in at:
            return own.for_ids(table)[0]
        return Scaler(table.ids, own.mean[at], own.std[at], own.kind)

    def _entries(
        self, series: Sequence[Given], ahead: Series, origin: Ints, made: dict[str, NDArray[np.float64]]
    ) -> list[list[Entry]]:
        spec = self.recipe.spec
        steps = ahead.time[origin[:, None] + np.arange(spec.horizon)]
        cutoff, ds = written(ahead.time[origin - 1], ahead.zone), written(steps.reshape(-1), ahead.zone)
        apart = {key: np.ascontiguousarray(values.transpose(0, 2, 1)) for key, values in made.items()}  # (S, T, H)
        y_hat, h = apart.pop("y_hat"), spec.horizon
        return [
            [
                {
                    ID: one.name, "status": FORECAST, "reason": None, "detail": None, "channel": spec.channels[t],
                    "cutoff": cutoff[s], "ds": ds[s * h : s * h + h], "y_hat": y_hat[s, t],
                    "quantiles": {key: values[s, t] for key, values in apart.items()},
                }
                for t in range(spec.targets)
            ]
            for s, one in enumerate(series)
        ]  # fmt: skip


def _starts(count: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
