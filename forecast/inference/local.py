"""Local models: each series for itself, by the rows before an origin alone.

`theta` and those of sktime are fitted anew at every origin. `ets` chooses its form and parameters once for each
series and channel, on rows before the first origin scored, and from then on only its states follow what is observed,
as in use;
`ets(refit=True)` is fitted anew at every origin. Where a fit fails the seasonal naive forecast stands in, and is
counted.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forecast.data.module import SeriesModule
from forecast.inference import fits
from forecast.inference.baseline import Forecaster, naive_rows
from forecast.inference.histories import Histories, Values
from forecast.inference.theta import theta
from forecast.types import SeriesBatch

Pieces = Sequence[Values]
Fit = Callable[[Pieces], fits.Made]
Spread = Callable[[Callable[[Pieces], Any], Pieces], Iterable[Any]]
MOST_WORKERS = 8
ALONE = 48  # fits of a second or less are not worth processes that first import their library
PIECES = 16  # of a task


class Local:
    """A forecaster that fits each history anew; counts fits, failures and bridged values."""

    def __init__(self, histories: Histories, rows: int, fit: Fit) -> None:
        self.histories, self.rows, self.fit = histories, rows, fit
        self.fitted = f"anew at each origin, on the last {rows:,} rows before it"
        self.count = self.failed = self.bridged = 0
        self.reason = ""
        self.fallback = fallback(histories.data)

    def __call__(self, batch: SeriesBatch) -> Tensor:
        pieces, bridged = self.histories.before(batch.origin.numpy(), batch.series.numpy(), self.rows)
        self.bridged += bridged
        made = self.fit(pieces)
        return self._whole(made.forecasts, made.reason, batch)

    def _whole(self, made: Values, reason: str, batch: SeriesBatch) -> Tensor:
        """Scaled forecasts; of what failed the naive one."""
        bad = np.isfinite(made).sum(1) < made.shape[1]
        self.count, self.failed = self.count + len(bad), self.failed + int(bad.sum())
        self.reason = self.reason or reason
        scaled = self.histories.scaled(made, batch)
        if not bad.any():
            return scaled
        lost = torch.from_numpy(bad.reshape(len(batch.origin), 1, -1))
        return torch.where(lost, self.fallback(batch), scaled)


class Ets(Local):
    """ETS whose parameters are fitted once on rows before the first origin of a part, and whose states are run on to
    the last."""

    def __init__(self, histories: Histories, rows: int, season: int, part: str, spread: Spread) -> None:
        super().__init__(histories, rows, lambda pieces: fits.Made(np.empty((0, 0)), ""))
        data, t = histories.data, histories.targets
        self.fitted = (
            f"form and parameters once for each series, on the last {rows:,} rows before the {part} part; "
            "its states follow every row"
        )
        # A series without a window may have its first origin behind its end.
        origin, number = np.minimum(data.windows(part).first, histories.start[1:]), np.arange(len(data.series.ids))
        pieces, self.bridged = histories.before(origin, number, rows)
        forms: list[fits.Form | None] = []
        for found, reason in spread(partial(fits.ets_forms, season), pieces):
            forms += found
            self.reason = self.reason or reason
        nothing = fits.Form(0.0, 0.0, 0.0, 1.0, np.nan, np.nan, np.zeros(1))  # forecasts NaN, which counts as failed
        self.forms = [form or nothing for form in forms]  # (S·T)
        self.begin = np.repeat(origin, t) - np.array([len(piece) for piece in pieces])
        self._run()

    def _run(self) -> None:
        """The states after every row, from the first row of each fit to the end of its series."""
        h, t = self.histories, self.histories.targets
        end = np.repeat(h.start[1:], t)
        n = int((end - self.begin).max())
        values = np.full((len(self.forms), n), np.nan)
        for k, (a, b) in enumerate(zip(self.begin.tolist(), end.tolist(), strict=True)):
            values[k, : b - a] = h.seen[a:b, k % t]
        self.level, self.slope, self.season = fits.states(self.forms, values)
        self.m = self.season.shape[1] - n

    def __call__(self, batch: SeriesBatch) -> Tensor:
        t = self.histories.targets
        row = (batch.series.numpy()[:, None] * t + np.arange(t)).reshape(-1)
        n = np.repeat(batch.origin.numpy(), t) - self.begin[row]  # values seen; the column after the last of them
        early = n < 1  # an origin before the fit: a part other than that it was fitted for
        at = np.maximum(n, 1)
        last = self.season[row[:, None], at[:, None] + np.arange(self.m)]
        forms = [self.forms[k] for k in row.tolist()]
        made = fits.ahead(forms, self.level[row, at - 1], self.slope[row, at - 1], last, self.histories.horizon)
        made[early] = np.nan
        return self._whole(made, "", batch)


def fallback(data: SeriesModule) -> Forecaster:
    """The seasonal naive row, or the last value without a season."""
    return next(iter(naive_rows(data.spec, data.gather, torch.from_numpy(data.series.start[:-1])).values()))


def by_theta(season: int, horizon: int, pieces: Pieces) -> fits.Made:
    """All pieces of a length at once."""
    out = np.full((len(pieces), horizon), np.nan)
    length = np.array([len(piece) for piece in pieces])
    for n in np.unique(length[length > 0]).tolist():
        same = np.flatnonzero(length == n)
        out[same] = theta(np.stack([pieces[k] for k in same.tolist()]), season, horizon)
    return fits.Made(out, "no value was seen before the origin")


def spread_fit(spread: Spread, fit: Fit, pieces: Pieces) -> fits.Made:
    """The same fits, over processes."""
    done = list(spread(fit, pieces))
    return fits.Made(np.concatenate([each.forecasts for each in done]), next((e.reason for e in done if e.reason), ""))


@contextmanager
def processes() -> Iterator[Spread]:
    """Spread pieces over processes, as many as this one may use cores; a few are not worth starting any."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, MOST_WORKERS)
    pool: ProcessPoolExecutor | None = None

    def spread(fit: Callable[[Pieces], Any], pieces: Pieces) -> Iterable[Any]:
        nonlocal pool
        if workers == 1 or (pool is None and len(pieces) <= ALONE):
            return [fit(pieces)]
        if pool is None:  # spawned: a fork would copy torch's threads and locks
            pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=fits.start)
        return pool.map(fit, [pieces[k : k + PIECES] for k in range(0, len(pieces), PIECES)])

    try:
        yield spread
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
