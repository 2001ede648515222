"""A file replayed as if it came live, and what its forecasts were worth: prequential errors (Dawid 1984), each forecast
scored when its truth had come, beside those of the windowed model and of naive forecasts from the same moments.

All rows are scored on the same forecasts: those made after at least a context of steps. Errors are in scaled units.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from forecast.data.batch import Gather
from forecast.data.freq import Ints
from forecast.data.recipe import Recipe
from forecast.data.scale import Scaler
from forecast.data.table import Series, apply_gaps, extend
from forecast.heads.stream import Stream
from forecast.inference.baseline import Forecaster, naive_rows
from forecast.streaming.live import Live
from forecast.streaming.outlook import Forecasts, Numbers
from forecast.streaming.taken import Taken

PROVEN: Final = 10_000  # steps of a series that are compared with one scan
COLUMNS: Final = ("count", "squared", "absolute", "inside", "counted")
STREAMED: Final = "streamed"
CORRECTED: Final = "streamed, correcting itself"
WINDOWED: Final = "windowed"


class Readings(NamedTuple):
    """A table in the order of time, N readings."""

    names: list[str]
    time: Ints  # (N,) microseconds in UTC
    values: Numbers  # (N, C)
    series: Ints  # (N,) numbers of their series
    row: Ints  # (N,) rows of the table


def readings(series: Series) -> Readings:
    """The readings of a table in the order of time, those of one time in the order of their series; rows in which
    nothing was observed are none."""
    rows = np.flatnonzero((~np.isnan(series.values)).any(1))
    rows = rows[np.argsort(series.time[rows], kind="stable")]
    number = series.number[rows]
    return Readings(
        [series.ids[s] for s in number.tolist()], series.time[rows].astype("datetime64[us]").astype(np.int64),
        series.values[rows], number, rows,
    )  # fmt: skip


def pieces(count: int, size: int, first: int = 0) -> Iterator[slice]:
    """`count` readings, `size` at a time."""
    return (slice(at, min(at + size, count)) for at in range(first, count, size))


class Sums:
    """Errors of one row, by month: {month: [N, Σe², Σ|e|, inside, counted]}."""

    def __init__(self) -> None:
        self.months: dict[str, np.ndarray] = {}

    def add(self, month: np.ndarray, error: Numbers, inside: Numbers | None) -> None:
        """month (B,), error (B, H, T) NaN where no truth came; inside (B, H, T) 1, 0 or NaN."""
        axes = tuple(range(1, error.ndim))
        parts = [(~np.isnan(error)).sum(axes), np.nansum(error**2, axes), np.nansum(np.abs(error), axes)]
        parts += [np.zeros(len(error))] * 2 if inside is None else [
            np.nansum(inside, axes), (~np.isnan(inside)).sum(axes)
        ]  # fmt: skip
        each = np.stack(parts, 1)
        for name in np.unique(month).tolist():
            self.months[name] = self.months.get(name, 0) + each[month == name].sum(0)

    def result(self) -> dict[str, Any]:
        """{mse, mae, coverage of the 90 % interval, months: {month: the same}}."""
        found = _means(sum(self.months.values(), np.zeros(len(COLUMNS))))
        return {**found, "months": {name: _means(part) for name, part in sorted(self.months.items())}}


def _means(sums: np.ndarray) -> dict[str, float | None]:
    count, squared, absolute, inside, counted = sums.tolist()
    return {
        "mse": squared / count if count else None, "mae": absolute / count if count else None,
        "coverage": inside / counted if counted else None,
    }  # fmt: skip


class Replay:
    """A file under a run: its readings in the order of time, and the scores of forecasts made after them."""

    def __init__(self, live: Live, path: str | Path, *, windowed: bool = True) -> None:
        """windowed: score the windowed model too."""
        recipe, spec = live.recipe, live.spec
        self.live, self.spec = live, spec
        self.series = series = recipe.read(path)
        self.readings = readings(series)
        self.scaler = _scaler(live, recipe, series.ids)
        ahead = extend(apply_gaps(series, "fill" if live.fold.gaps == "fill" else "mask")[0], 1, spec.horizon)
        truth = ~np.isnan(extend(series, 1, spec.horizon).values)
        self.shift = ahead.start[:-1] - series.start[:-1]  # rows of the longer table before those of a series
        self.start = torch.from_numpy(ahead.start[:-1])
        self.gather = Gather.of(ahead, self.scaler, context=spec.context, horizon=spec.horizon, observed=truth)
        self.others: dict[str, Forecaster] = naive_rows(spec, self.gather, self.start)
        if windowed:
            self.others[WINDOWED] = live.predictor.chain.point
        self.sums: dict[str, Sums] = {}
        self.proof: list[tuple[Tensor, Tensor]] = []  # of the first series: origins, and its forecasts

    def batches(self, size: int, first: int = 0) -> Iterator[slice]:
        """Readings `size` at a time."""
        return pieces(len(self.readings.names), size, first)

    @torch.inference_mode()
    def score(self, some: slice, taken: Taken, name: str, *, others: bool) -> None:
        """Score what was made after readings `some`; others: the other rows too."""
        number, row = self.readings.series[some][taken.at], self.readings.row[some][taken.at]
        origin = torch.from_numpy(row + self.shift[number] + 1)
        old = (origin - self.start[number] >= self.spec.context).numpy()
        if name == STREAMED:
            self._remember(number, origin, taken.forecasts)
        if not old.any():
            return
        batch = self.gather(origin[old], torch.from_numpy(number[old]))
        truth = batch.future.where(batch.future_mask, torch.nan).double().numpy()
        month = self.series.time[row[old]].astype("datetime64[M]").astype(str)
        made = self._scaled(taken.forecasts, number)
        inside = None
        if taken.forecasts.quantiles.shape[-1]:
            low, high = (made[1][old][..., end] for end in self._ends(taken.forecasts))
            inside = np.where(np.isnan(truth), np.nan, (truth >= low) & (truth <= high))
        self._sums(name).add(month, made[0][old] - truth, inside)
        if others:
            for other, forecaster in self.others.items():
                self._sums(other).add(month, forecaster(batch).double().numpy() - truth, None)

    def _sums(self, name: str) -> Sums:
        return self.sums.setdefault(name, Sums())

    def _scaled(self, made: Forecasts, number: Ints) -> tuple[Numbers, Numbers]:
        targets = self.spec.targets
        mean, std = (part[number][:, None, :targets] for part in (self.scaler.mean, self.scaler.std))
        return (made.y_hat - mean) / std, (made.quantiles - mean[..., None]) / std[..., None]

    def _ends(self, made: Forecasts) -> tuple[int, int]:
        """The places of the 5 and 95 % quantiles, or of the lowest and highest there are."""
        levels = list(made.levels)
        return tuple(levels.index(p) if p in levels else end for p, end in ((0.05, 0), (0.95, -1)))  # type: ignore[return-value]

    def _remember(self, number: Ints, origin: Tensor, made: Forecasts) -> None:
        if sum(len(rows) for rows, _ in self.proof) < PROVEN:
            mine = number == 0
            self.proof.append((origin[mine], torch.from_numpy(self._scaled(made, number)[0][mine])))

    @torch.inference_mode()
    def difference(self) -> tuple[float, int]:
        """The largest difference between the stream and one scan from the same first step, in scaled units, and over
        how many forecasts of the first series."""
        rows, made = (torch.cat(part) for part in zip(*self.proof, strict=True))
        rows, made = rows[:PROVEN], made[:PROVEN]
        if not len(rows):
            return 0.0, 0
        first, until = int(self.start[0]), int(rows[-1])
        past = self.gather.values[first:until][None]
        stream = Stream(self.live.predictor.chain, len(self.spec.channels)).eval()
        clock = self.gather.clock[first : until + self.spec.horizon][None]
        seen = ~past.isnan() if stream.chain.masked else None
        _, scanned = stream.forecasts(stream.start(1), past.nan_to_num(0.0), seen, clock)
        return float((scanned[0, rows - first - 1] - made).abs().max()), len(rows)

    def results(self) -> dict[str, Any]:
        """{scores: {row: {mse, mae, coverage, months}}, live_minus_scan, forecasts_compared}."""
        difference, count = self.difference()
        scores = {name: sums.result() for name, sums in self.sums.items()}
        return {"scores": scores, "live_minus_scan": difference, "forecasts_compared": count}


def _scaler(live: Live, recipe: Recipe, ids: tuple[str, ...]) -> Scaler:
    """The statistics that the stream scales these series by."""
    which = [live.fold.known.get(name, -1) for name in ids]
    return Scaler(ids, live.fold.mean[which], live.fold.std[which], recipe.scaler.kind)
