"""How a forecast at an origin is made: by the run's model from the window before it, by models that were trained again
since, or by a stream that has come so far.

Each policy forecasts batches of windows in the run's scaled units, as the naive rows do, and keeps what it said of the
last batch in original units.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.backtest.table import Table
from forecast.data.freq import Ints
from forecast.data.module import SeriesModule
from forecast.data.scale import Scaler
from forecast.data.table import Series
from forecast.data.window import Windows, chosen
from forecast.inference.baseline import Forecaster
from forecast.inference.predictor import Predictor, column
from forecast.inference.timed import places
from forecast.streaming.live import Live
from forecast.streaming.replay import pieces, readings
from forecast.types import SeriesBatch

Numbers = NDArray[np.float64]
READINGS: Final = 1000  # at once, as `feed=replay` takes them: the same numbers to the last bit


class Policy(Protocol):
    """A model's forecasts of windows."""

    name: str
    values: Mapping[str, Numbers]  # of the last batch: y_hat and its quantiles, (B, H, T) in original units

    def __call__(self, batch: SeriesBatch) -> Tensor:
        """(B, H, T), scaled."""
        ...


class Window:
    """The model of a run, from the last context of steps."""

    def __init__(self, predictor: Predictor, data: SeriesModule, levels: Sequence[float]) -> None:
        self.predictor, self.series, self.scaler = predictor, data.series, data.scaler
        self.name, self.levels = predictor.name, list(levels)
        self.clip = predictor.clip_for(data.scaler)
        self.values: Mapping[str, Numbers] = {}

    @torch.inference_mode()
    def __call__(self, batch: SeriesBatch) -> Tensor:
        predictor = self.predictor
        output, made = predictor.chain.output, predictor.chain(batch)
        point = self.clip(output.point(made), batch.series)
        values = {"y_hat": self._undone(point, batch)}
        if self.levels:
            quantiles = self.clip(output.value(made, self._scores(batch, made)), batch.series)
            values |= {column(p): self._undone(quantiles[..., i], batch) for i, p in enumerate(self.levels)}
        self.values = values
        return point

    def _scores(self, batch: SeriesBatch, made: Tensor) -> Tensor:
        predictor, spec, levels = self.predictor, self.predictor.recipe.spec, torch.tensor(self.levels)
        if predictor.calibration is None:
            own = predictor.chain.output.own(made, levels)
            assert own is not None
            return own
        place = places(self.series, batch.origin.numpy(), spec.horizon, spec.season)[1]
        return predictor.calibration.scores(levels, place)

    def _undone(self, values: Tensor, batch: SeriesBatch) -> Numbers:
        low, high = self.predictor.bounds
        found = self.scaler.undo(values.numpy(), batch.series.numpy(), self.predictor.recipe.spec.targets)
        return np.clip(found, -np.inf if low is None else low, np.inf if high is None else high)


class Start:
    """One stream from the first reading of each series on: the very numbers of `forecast stream feed=replay`."""

    def __init__(self, live: Live, table: Table) -> None:
        """Takes all readings up to the last origin."""
        data, self.name = table.data, f"{live.predictor.name}, streamed"
        self.scaler = data.scaler
        self.values: Mapping[str, Numbers] = {}
        raw = data.series._replace(values=np.where(data.observed, data.series.values, np.nan))
        origin, _ = table.windows.at(np.arange(len(table.windows), dtype=np.int64))
        wanted = np.zeros(len(raw.time) + 1, bool)
        wanted[origin] = True
        rows, made = _streamed(live, raw, wanted)
        order = np.argsort(rows, kind="stable")
        self.rows = rows[order]  # (K,) origins that have a forecast
        self.made = {key: value[order] for key, value in made.items()}  # (K, H, T) each

    def has(self, windows: Windows) -> NDArray[np.bool_]:
        """Of which windows there is a forecast: none is made after a step at which nothing was observed."""
        return np.isin(windows.at(np.arange(len(windows), dtype=np.int64))[0], self.rows)

    def __call__(self, batch: SeriesBatch) -> Tensor:
        at = np.searchsorted(self.rows, batch.origin.numpy())
        self.values = {key: value[at] for key, value in self.made.items()}
        return scaled(self.scaler, self.values["y_hat"], batch)


def _streamed(live: Live, raw: Series, wanted: NDArray[np.bool_]) -> tuple[Ints, dict[str, Numbers]]:
    """The forecasts of a replay at the origins that are `wanted` (N + 1): their rows (K,), and (K, H, T) of each
    column."""
    came, shape = readings(raw), (0, live.spec.horizon, live.spec.targets)
    rows, points, quantiles = [np.empty(0, np.int64)], [np.empty(shape)], [np.empty((*shape, len(live.levels)))]
    ends = np.flatnonzero(wanted[came.row + 1])
    until = int(ends[-1]) + 1 if len(ends) else 0
    for some in pieces(len(came.names), READINGS):
        if some.start >= until:
            break
        taken = live.take(came.names[some], came.time[some], came.values[some])
        origin = came.row[some][taken.at] + 1
        kept = wanted[origin]
        rows.append(origin[kept])
        points.append(taken.forecasts.y_hat[kept])
        quantiles.append(taken.forecasts.quantiles[kept])
    wide = np.concatenate(quantiles)
    made = {"y_hat": np.concatenate(points), **{column(p): wide[..., i] for i, p in enumerate(live.levels)}}
    return np.concatenate(rows), made


def streamed_too(table: Table, start: Start) -> tuple[Table, int]:
    """The table with those windows only of which the stream has a forecast, and how many it lacks."""
    has = start.has(table.windows)
    if has.all():
        return table, 0
    return table._replace(windows=chosen(table.windows, np.flatnonzero(has))), int((~has).sum())


class Block(NamedTuple):
    """The model that was trained on what was known at a time, and its own view of the data."""

    since: int  # microseconds in UTC: it forecasts from this cutoff on
    data: SeriesModule
    maker: Any  # a Policy, or a naive row; before that its Predictor
    run: str  # its id


class Again:
    """Models that were trained again on what was known at some of the origins; each forecasts from then on."""

    def __init__(self, name: str, base: SeriesModule, blocks: Sequence[Block]) -> None:
        self.name, self.base, self.blocks = name, base, blocks
        self.since = np.array([block.since for block in blocks])
        self.shift = [_shift(base.series, block.data.series) for block in blocks]
        self.values: Mapping[str, Numbers] = {}
        self.which: Ints = np.empty(0, np.int64)  # (B,) the block of each window of the last batch

    def __call__(self, batch: SeriesBatch) -> Tensor:
        number, origin = batch.series.numpy(), batch.origin.numpy()
        time = self.base.series.time[origin - 1].astype("datetime64[us]").astype(np.int64)
        which = np.searchsorted(self.since, time, side="right") - 1
        found = dict[str, Numbers]()
        for k in np.unique(which).tolist():
            block, mine = self.blocks[k], which == k
            own = block.data.gather(torch.from_numpy(origin[mine] + self.shift[k][number[mine]]), batch.series[mine])
            for key, value in _said(block, own).items():
                found.setdefault(key, np.empty((len(number), *value.shape[1:])))[mine] = value
        self.values, self.which = found, which
        return scaled(self.base.scaler, found["y_hat"], batch)


def _said(block: Block, batch: SeriesBatch) -> Mapping[str, Numbers]:
    """What a block says of a batch of its own, in original units."""
    made = block.maker(batch)
    if hasattr(block.maker, "values"):
        return dict(block.maker.values)
    return {"y_hat": block.data.scaler.undo(made.numpy(), batch.series.numpy(), block.data.spec.targets)}


def _shift(base: Series, other: Series) -> Ints:
    """(S,) by how many rows each series of the same data lies further on in another table of them."""
    begins = (table.steps(table.start[:-1]) for table in (base, other))
    first, mine = begins
    return np.asarray(other.start[:-1] - base.start[:-1] + first - mine)


def scaled(scaler: Scaler, values: Numbers, batch: SeriesBatch) -> Tensor:
    """(B, H, T) in original units -> scaled, as float32."""
    number, targets = batch.series.numpy(), values.shape[-1]
    mean, std = (part[number][:, None, :targets] for part in (scaler.mean, scaler.std))
    return torch.from_numpy(((values - mean) / std).astype(np.float32))


def again_too(base: SeriesModule, blocks: Sequence[Block], rows: Iterable[str], of: Any) -> dict[str, Forecaster]:
    """Naive rows that are fitted, fitted again whenever the model was."""
    return {name: Again(name, base, [block._replace(maker=of(block.data)[name]) for block in blocks]) for name in rows}
