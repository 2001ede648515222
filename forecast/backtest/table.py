"""The table that a backtest goes over: the run's own data, or another file read as the run says. Nothing that is fitted
for it saw a row after the first origin of a series."""

import copy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast import build
from forecast.backtest.origins import Rolling, rolled
from forecast.data.card import Card
from forecast.data.coding import Coding
from forecast.data.freq import Ints
from forecast.data.module import SeriesModule
from forecast.data.read import absolute, sha256
from forecast.data.recipe import Recipe
from forecast.data.scale import Scaler
from forecast.data.split import PARTS, Split
from forecast.data.table import Series
from forecast.data.window import Windows
from forecast.errors import DataError, ForecastError

UNKNOWN = -1  # the part of an origin of which nobody knows when the run was trained


class Table(NamedTuple):
    """What is forecast from where."""

    data: SeriesModule  # its training part ends before the first origin of each series
    windows: Windows
    borders: NDArray[np.int64] | None  # (S, 2) rows at which the run's validation and test part begin


class Another(SeriesModule):
    """A file under a run's recipe. What comes before the first origin of a series is its training part."""

    def __init__(self, recipe: Recipe, rolling: Rolling, path: Path, covariates: str | None) -> None:
        spec = recipe.spec
        super().__init__(
            context=spec.context, horizon=spec.horizon, path=str(path), gaps=recipe.gaps, scale=recipe.scaler.kind,
            min_context=recipe.least,
        )  # fmt: skip
        self.recipe, self.rolling, self.beside = recipe, rolling, covariates

    def _read(self, notes: list[str]) -> tuple[Card, Series]:
        assert self.path is not None
        self.given, place = None, absolute(self.path)
        full = self.recipe.read(str(place), notes=notes, covariates=self.beside)
        self.source = {"path": str(place), "sha256": sha256(Path(place)), "rows": len(full.time)}
        return self.recipe.card, full

    def _split(self, measured: Series, card: Card) -> Split:
        spec, start, end = self.recipe.spec, measured.start[:-1], measured.start[1:]
        lack = spec.context - self.least if self.least is not None else 0
        found = rolled(self.rolling, measured, np.stack([start, end], 1), spec.context - lack, spec.horizon)
        first = np.where(np.diff(found.until) > 0, np.clip(found.first, start, end), end)
        return Split(np.stack([start, first], 1), np.stack([first, first], 1), np.stack([first, end], 1))

    def _scaler(self, measured: Series, parts: Split) -> Scaler:
        """The run's; a series that the run does not know is measured by what came before its first origin."""
        rows = np.arange(len(measured.time))
        early = rows < parts.train[:, 1][measured.number]
        return self.recipe.scaler.for_ids(
            measured._replace(values=np.where(early[:, None], measured.values, np.nan))
        )[0]  # fmt: skip

    def _coding(self, series: Series) -> Coding | None:
        return self.recipe.coding


def own(config: dict[str, Any], recipe: Recipe) -> SeriesModule:
    """The data that the run was trained on, cut as they were."""
    return build.data(config).remember(recipe.holidays).prepare()


def of_run(data: SeriesModule, rolling: Rolling) -> Table:
    """The run's own data; without stamps or a count the origins are those of its test part."""
    found = rolled(rolling, data.series, data.split.test, data.context, data.horizon)
    return Table(_before(data, found), found, np.stack([data.split.val[:, 0], data.split.test[:, 0]], 1))


def of_file(
    recipe: Recipe, rolling: Rolling, path: Path, covariates: str | None, trained_on: SeriesModule | None
) -> Table:
    """Another file; `trained_on`: the run's own data, where they still are."""
    if not path.is_file():
        raise DataError(f"{path} is no file", "expected a csv or parquet file with the columns of the training data")
    data = Another(recipe, rolling, path, covariates).prepare()
    series = data.series
    part = np.stack([series.start[:-1], series.start[1:]], 1)
    found = rolled(rolling, series, part, data.context, data.horizon)
    return Table(_before(data, found), found, None if trained_on is None else _borders(series, trained_on))


def still_there(config: dict[str, Any], recipe: Recipe) -> SeriesModule | None:
    """The run's own data, None where they are no longer what they were, or nowhere."""
    try:
        return own(config, recipe)
    except (ForecastError, OSError):
        return None


def _before(data: SeriesModule, windows: Windows) -> SeriesModule:
    """The same data, of which only what comes before the first origin of each series counts as known before: naive
    rows are fitted on it, errors are measured by it."""
    view, some = copy.copy(data), np.diff(windows.until) > 0
    first = np.where(some, np.clip(windows.first, data.series.start[:-1], data.series.start[1:]), data.series.start[1:])
    last = windows.first + (np.diff(windows.until) - 1) * windows.stride + windows.horizon
    train, val = (np.minimum(part, first[:, None]) for part in (data.split.train, data.split.val))
    view.split = Split(train, val, np.stack([first, np.where(some, last, first)], 1))
    return view


def _borders(series: Series, trained_on: SeriesModule) -> NDArray[np.int64]:
    """(S, 2) the rows of another table at which the run's validation and test part begin, by the time; of series that
    the run does not know, their first: nobody has seen them."""
    before, known = trained_on.series, {name: i for i, name in enumerate(trained_on.series.ids)}
    which = np.array([known.get(name, -1) for name in series.ids])
    begins, found = series.steps(series.start[:-1]), np.tile(series.start[:-1, None], 2)
    for k, part in enumerate((trained_on.split.val, trained_on.split.test)):
        row = part[which, 0]
        there = np.minimum(row, before.start[1:][which] - 1)  # a part may begin behind the last row
        at = series.start[:-1] + before.steps(there) + (row - there) - begins
        found[:, k] = np.where(which >= 0, at, series.start[:-1])
    return found


def parts(table: Table, origin: Ints, series: Ints) -> Ints:
    """(B,) of which part of the run's data the first step of each window is, as a place in PARTS; UNKNOWN where that
    cannot be said."""
    if table.borders is None:
        return np.full(len(origin), UNKNOWN)
    return np.asarray((origin[:, None] >= table.borders[series]).sum(1))


NAMES = (*PARTS, None)  # UNKNOWN is the last
