"""Scores of forecasters on every window of a part, beside the naive rows, in one pass over the data.

The same function scores at the end of training and in `forecast evaluate`: same batches, same order, same numbers.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from forecast.data.batch import batches
from forecast.data.module import SeriesModule
from forecast.data.window import Windows
from forecast.inference.baseline import Forecaster, Ridge, Seasonal, naive_rows
from forecast.metrics import Errors, SeriesMase, seasonal_scale
from forecast.types import SeriesBatch

BATCH = 256  # windows; fixed, so that evaluation repeats training's own scores to the last bit
Watch = Callable[[SeriesBatch, Mapping[str, Tensor]], None]


def rivals(data: SeriesModule) -> dict[str, Forecaster]:
    """The naive rows of a data set and the ridge row fitted on its training windows."""
    start = torch.from_numpy(data.series.start[:-1])
    return {**naive_rows(data.spec, data.gather, start), "ridge": Ridge.fit(data.gather, data.windows("train"))}


@torch.inference_mode()
def score(
    data: SeriesModule,
    model: Forecaster,
    name: str,
    *,
    part: str = "test",
    batch_size: int = BATCH,
    watch: Watch | None = None,
    others: Mapping[str, Forecaster] | None = None,
    windows: Windows | None = None,
    horizon: int | None = None,
) -> list[dict[str, Any]]:
    """One row of scores per forecaster, the model first; of a panel with `series`, the mean over series of their MASE.

    `watch` sees every batch with all its forecasts; `windows`: other ones than all of the part; `horizon`: score only
    the first so many steps.
    """
    spec, steps = data.spec, data.spec.horizon if horizon is None else horizon
    everyone = {name: model, **(rivals(data) if others is None else others)}
    targets = spec.channels[: spec.targets]
    sums = {key: Errors(steps, targets, spec.units[: spec.targets]) for key in everyone}
    mean, std, scale = units(data)
    each = {key: SeriesMase(len(data.series.ids)) for key in everyone}
    for batch in batches(data.gather, data.windows(part) if windows is None else windows, batch_size):
        made = {key: forecaster(batch)[:, :steps] for key, forecaster in everyone.items()}
        at, future, mask = batch.series, batch.future[:, :steps], batch.future_mask[:, :steps]
        for key, forecast in made.items():
            sums[key].update(forecast, future, mask, mean=mean[at], std=std[at], scale=scale[at])
            each[key].update((forecast - future) * std[at], mask, scale[at], at)
        if watch is not None:
            watch(batch, made)
    kinds = {key: "model" if key == name else "naive" for key in everyone}
    rows = [{"name": key, "kind": kinds[key], **errors.result()} for key, errors in sums.items()]
    for row in rows:
        if len(data.series.ids) > 1:
            row["series"] = each[row["name"]].result()
        if isinstance(forecaster := everyone[row["name"]], Seasonal):
            row["bridged"] = forecaster.bridged  # values whose day before was missing
    return rows


def both(one: Watch, other: Watch) -> Watch:
    """Two who watch the same pass."""

    def watch(batch: SeriesBatch, made: Mapping[str, Tensor]) -> None:
        one(batch, made)
        other(batch, made)

    return watch


def units(data: SeriesModule) -> tuple[Tensor, Tensor, Tensor]:
    """What scaled errors are brought to original units with: mean, std and the denominator of MASE, each (S, 1, T)."""
    mean, std = (torch.from_numpy(part[:, None, : data.spec.targets]) for part in (data.scaler.mean, data.scaler.std))
    return mean, std, _mase_scales(data)[:, None]


def _mase_scales(data: SeriesModule) -> Tensor:
    """(S, T) the denominators of MASE, from the observed training rows of each series."""
    scales = []
    for _, series, ranges in data.blocks("train"):
        values = torch.from_numpy(series.values[:, : data.spec.targets])
        scales += [seasonal_scale(values[first:last], data.spec.season) for first, last in ranges.tolist()]
    return torch.stack(scales)
