"""All windows of a backtest scored in one pass: the models' policies, the naive rows, the named models."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecast.backtest.origins import cutoffs
from forecast.backtest.policies import Policy
from forecast.backtest.table import NAMES, Table, parts
from forecast.backtest.tally import Covered, Tally, shown, sums
from forecast.backtest.writer import Writer
from forecast.data.freq import Ints
from forecast.inference.baseline import Forecaster, Ridge, naive_rows
from forecast.inference.beside import beside
from forecast.inference.named import Named
from forecast.inference.predictor import column
from forecast.inference.scoring import BATCH, score, units
from forecast.types import SeriesBatch

Numbers = NDArray[np.float64]


class Found(NamedTuple):
    """What a backtest found."""

    rows: list[dict[str, Any]]  # as of `score`
    records: dict[str, Any]  # of the named models
    intervals: dict[str, Any]  # policy → interval → coverage
    series: pl.DataFrame
    steps: pl.DataFrame
    origins: pl.DataFrame
    seconds: float  # of the pass over the windows, without the named models


def naive(table: Table) -> dict[str, Forecaster]:
    """The naive rows, and ridge where there is a window to fit it on before the first origin."""
    data = table.data
    made = naive_rows(data.spec, data.gather, torch.from_numpy(data.series.start[:-1]))
    begin = np.maximum(data.split.train[:, 0], data.series.start[:-1] + data.context)
    if (data.split.train[:, 1] - data.horizon >= begin).any():
        made["ridge"] = Ridge.fit(data.gather, data.windows("train"))
    return made


class Backtest:
    """The pass over the windows of a table: tables are filled and forecasts written as they are made."""

    def __init__(
        self, table: Table, policies: Mapping[str, Policy], levels: Sequence[float], horizon: int, writer: Writer,
    ) -> None:  # fmt: skip
        """`policies` by the word of the config; `horizon`: steps that are scored and written."""
        data = table.data
        self.table, self.policies, self.levels, self.horizon, self.writer = table, policies, levels, horizon, writer
        self.kinds: dict[str, str] = {policy.name: kind for policy, kind in zip(policies.values(), _kinds(policies),
                                                                                strict=True)}  # fmt: skip
        units_of = data.spec.units[: data.spec.targets]
        self.one_unit = len(set(units_of)) == 1
        self.times, _ = cutoffs(data.series, table.windows)
        self.by_series = Tally(len(data.series.ids), one_unit=self.one_unit)
        self.by_origin = Tally(len(self.times), one_unit=self.one_unit)
        self.covered = {policy.name: Covered(horizon, levels, one_unit=self.one_unit) for policy in policies.values()}
        self.ends = shown(next(iter(self.covered.values())).pairs)
        _, self.std, self.scale = units(data)

    def run(
        self, others: Mapping[str, Forecaster], named: Sequence[Named] = (), *, few: int | None = None,
        batch_size: int = BATCH,
    ) -> Found:  # fmt: skip
        """Score the policies beside `others` and the named models; the first policy is the model of the table."""
        data, windows = self.table.data, self.table.windows
        (first, *more), began = list(self.policies.values()), time.monotonic()
        self.kinds |= dict.fromkeys(others, "naive")
        beside_it: dict[str, Forecaster] = {policy.name: policy for policy in more} | dict(others)
        rows = score(
            data, first, first.name, batch_size=batch_size, watch=self._watch, others=beside_it, windows=windows,
            horizon=self.horizon,
        )  # fmt: skip
        for row in rows:
            row["kind"] = self.kinds[row["name"]]
        seconds = time.monotonic() - began
        extra, records = beside(
            data, first, first.name, named, few=few, quiet=False, windows=windows, horizon=self.horizon,
            watch=self._watch_named,
        )  # fmt: skip
        rows += extra
        return Found(rows, records, {name: each.result() for name, each in self.covered.items() if each.pairs},
                     *self._tables(rows), seconds)  # fmt: skip

    def _tables(self, rows: Sequence[Mapping[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        series = self.table.data.series
        zone = pl.Series(self.times.astype("datetime64[us]"))
        if series.zone is not None:
            zone = zone.dt.replace_time_zone("UTC").dt.convert_time_zone(series.zone)
        return (
            self.by_series.frame({"unique_id": pl.Series(series.ids)}, self.kinds),
            pl.concat([self._steps(row) for row in rows]),
            self.by_origin.frame({"cutoff": zone, "part": self._parts()}, self.kinds),
        )

    def _parts(self) -> pl.Series:
        """The part of each origin: where series differ, the earliest."""
        origin, number = self.table.windows.at(np.arange(len(self.table.windows), dtype=np.int64))
        code, (_, place) = parts(self.table, origin, number), cutoffs(self.table.data.series, self.table.windows)
        found = np.full(len(self.times), len(NAMES))
        np.minimum.at(found, place, code)
        return pl.Series(NAMES, dtype=pl.String).gather(found % len(NAMES))

    def _steps(self, row: Mapping[str, Any]) -> pl.DataFrame:
        ahead, original = row["horizon"], row["horizon"]["original"]
        covered = self.covered.get(row["name"])
        interval = None
        if covered is not None and self.ends is not None:
            interval = covered.result()[f"{100 * (self.ends[1] - self.ends[0]):g}"]
        nothing = [None] * self.horizon
        return pl.DataFrame({
            "name": row["name"], "kind": row["kind"], "step": np.arange(1, self.horizon + 1, dtype=np.int32),
            **{key: _floats(ahead[key]) for key in ("mse", "mae")},
            **{f"{key}_original": _floats(original.get(key, nothing)) for key in ("mae", "rmse", "bias")},
            "mase": _floats(original["mase"]),
            "coverage": _floats(interval["coverage_by_step"] if interval else nothing),
            "width_original": _floats((interval or {}).get("width_by_step") or nothing),
        })  # fmt: skip

    def _watch(self, batch: SeriesBatch, made: Mapping[str, Tensor]) -> None:
        number, origin = batch.series.numpy(), batch.origin.numpy()
        y = self._truth(origin)
        by_name = {policy.name: policy for policy in self.policies.values()}
        for name, forecast in made.items():
            ends = None
            if name in by_name and self.ends is not None:
                said = {p: by_name[name].values[column(p)][:, : self.horizon] for p in self.levels}
                rounded = {round(p, 9): value for p, value in said.items()}
                self.covered[name].add(rounded, y)
                ends = rounded[self.ends[0]], rounded[self.ends[1]]
            self._count(name, batch, forecast, ends, y)
        code = parts(self.table, origin, number) % len(NAMES)
        for word, policy in self.policies.items():
            values = {"y": y, **{key: value[:, : self.horizon] for key, value in policy.values.items()}}
            codes = {"part": code} | ({"run": policy.which} if hasattr(policy, "which") else {})
            self.writer.add(word, number, origin, values, codes)

    def _watch_named(self, batch: SeriesBatch, made: Mapping[str, Tensor]) -> None:
        y = self._truth(batch.origin.numpy())
        for name, forecast in made.items():
            if name not in self.kinds:
                self._count(name, batch, forecast, None, y)

    def _count(
        self, name: str, batch: SeriesBatch, forecast: Tensor, ends: tuple[Numbers, Numbers] | None, y: Numbers
    ) -> None:
        at, series = batch.series, self.table.data.series
        found = sums(forecast, batch, self.std[at], self.scale[at], ends, y)
        time = series.time[batch.origin.numpy() - 1].astype("datetime64[us]").astype(np.int64)
        self.by_series.add(name, at.numpy(), found)
        self.by_origin.add(name, np.searchsorted(self.times, time), found)

    def _truth(self, origin: Ints) -> Numbers:
        """(B, h, T) what came, in original units, NaN where nothing was observed."""
        data = self.table.data
        rows, t = origin[:, None] + np.arange(self.horizon), data.spec.targets
        found: Numbers = np.where(data.observed[rows, :t], data.series.values[rows, :t], np.nan)
        return found


def _kinds(policies: Mapping[str, Policy]) -> list[str]:
    return ["streamed" if word == "start" else "model" for word in policies]


def _floats(values: Any) -> pl.Series:
    return pl.Series(values, dtype=pl.Float64)
