"""A run folder that forecasts: the one seam behind predict, evaluate, jobs and servers.

Predictor.load("latest").predict(pandas_or_polars_frame_or_path) -> polars frame
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecast import build
from forecast.artifacts import Run, find
from forecast.data.batch import batches
from forecast.data.recipe import Recipe
from forecast.errors import ArtifactError
from forecast.heads import Chain
from forecast.types import SeriesBatch
from forecast.where import RUNS

log = logging.getLogger(__name__)


class Predictor:
    """A trained chain with the treatment of data it was trained under."""

    def __init__(self, chain: Chain, recipe: Recipe, name: str) -> None:
        self.chain, self.recipe, self.name = chain.eval(), recipe, name

    @classmethod
    def load(cls, run: "str | Path | Run" = "latest", *, runs: str | Path = RUNS) -> "Predictor":
        """From a finished run: a path, an id, or `latest`. Reads safetensors and JSON, nothing else."""
        if not isinstance(run, Run):
            run = find(str(run), runs)
        config, state = run.read("config.json"), run.read("data.json")
        recipe = Recipe.from_state(state)
        try:
            chain = build.chain(config, recipe.spec, masked=recipe.gaps != "error")
            name = str(config["name"] or config["model"]["_target_"].rpartition(".")[2].lower())
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{run.path / 'config.json'} is no configuration of a run: {error}") from error
        run.load_weights(chain)
        return cls(chain, recipe, name)

    @torch.inference_mode()
    def forecast(self, batch: SeriesBatch) -> Tensor:
        """Scaled forecasts (B, H, T) of a batch of windows."""
        return self.chain(batch)

    def predict(
        self, table: Any, covariates: "str | Path | None" = None, *, batch_size: int = 256,
        tell: Callable[[str], object] = log.info,
    ) -> pl.DataFrame:  # fmt: skip
        """The H steps after the end of each series: unique_id, channel, cutoff, ds, step, y_hat, in original units.

        `table` is a path or a frame with the columns of the training data; no later values or labels are needed, but
        those of the covariates that are known ahead: in rows after the end, or in a second table, `covariates`.
        `tell` is called with what a person should know: series that were not in training, rows read twice.
        """
        notes: list[str] = []
        ready = self.recipe.future(self.recipe.read(table, notes=notes, covariates=covariates), notes)
        for note in ready.notes:
            tell(note)
        spec = self.recipe.spec
        frames = []
        for batch in batches(ready.gather, ready.windows, batch_size):
            scaled, number = self.forecast(batch).numpy(), batch.series.numpy()
            values = ready.scaler.undo(scaled, number, spec.targets)
            frames.append(long_frame(ready.series, number, batch.origin.numpy(), {"y_hat": values}, spec.channels))
        return pl.concat(frames)


def long_frame(
    series: Any, number: np.ndarray, origin: np.ndarray, values: dict[str, np.ndarray], channels: tuple[str, ...]
) -> pl.DataFrame:
    """Arrays (B, H, T) -> one row per window, step and channel, with names and stamps; no per-row Python."""
    b, h, t = next(iter(values.values())).shape
    rows = origin[:, None] + np.arange(h)  # (B, H)
    local = _local(series, rows.reshape(-1)).gather(np.repeat(np.arange(b * h), t))
    cutoff = _local(series, origin - 1).gather(np.repeat(np.arange(b), h * t))
    ids = pl.Series(series.ids, dtype=pl.String).gather(np.repeat(number, h * t))
    names = pl.Series(channels[:t], dtype=pl.String).gather(np.tile(np.arange(t), b * h))
    steps = np.tile(np.repeat(np.arange(1, h + 1, dtype=np.int32), t), b)
    arrays = {key: np.ascontiguousarray(value).reshape(-1) for key, value in values.items()}
    return pl.DataFrame({"unique_id": ids, "channel": names, "cutoff": cutoff, "ds": local, "step": steps, **arrays})


def _local(series: Any, rows: np.ndarray) -> pl.Series:
    """Stamps of rows as the user wrote them: in the series' zone where it has one."""
    stamps = pl.Series(series.time[rows])
    if series.zone is None:
        return stamps
    return stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(series.zone)
