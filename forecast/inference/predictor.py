"""A run folder that forecasts: the one seam behind predict, evaluate, jobs and servers.

Predictor.load("latest").predict(pandas_or_polars_frame_or_path) -> polars frame
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecast import build
from forecast.artifacts import CALIBRATION, Run, find
from forecast.data.batch import batches
from forecast.data.recipe import Ready, Recipe
from forecast.data.scale import Scaler
from forecast.data.table import Series
from forecast.errors import ArtifactError, UsageError
from forecast.heads import Chain
from forecast.inference.bounds import Bounds
from forecast.inference.calibration import Calibration, ranks, scores_at
from forecast.inference.follow import adapted
from forecast.inference.timed import places
from forecast.types import SeriesBatch, Spec
from forecast.where import RUNS

if TYPE_CHECKING:  # Lightning
    from forecast.data.module import SeriesModule

log = logging.getLogger(__name__)


AT_ONCE = 1 << 24  # numbers of joint paths at once


FEW: Final = 8  # rows of a batch from which on a matrix product rounds each of them alike (measured, MKL),
MANY: Final = 17  # … where a head's inputs are more than WIDE, or Aaren's scan has few heads
WIDE: Final = 512


class Ahead(NamedTuple):
    """A table, ready to be forecast, and what its intervals are made with."""

    ready: Ready
    calibration: Calibration | None
    clip: Bounds

    def place(self, batch: SeriesBatch, spec: Spec) -> Tensor:
        """The place (B, H) in the season of each step to come."""
        return places(self.ready.series, batch.origin.numpy(), spec.horizon, spec.season)[1]


class Predictor:
    """A trained chain with the treatment of data it was trained under."""

    def __init__(
        self, chain: Chain, recipe: Recipe, name: str, *, calibration: Calibration | None = None,
        bounds: tuple[float | None, float | None] = (None, None),
    ) -> None:  # fmt: skip
        """`calibration` makes intervals; `bounds` are task.min and task.max."""
        self.chain, self.recipe, self.name = chain.eval(), recipe, name
        self.calibration, self.bounds = calibration, bounds
        self.clip = self.clip_for(recipe.scaler)

    def calibrate(self, data: "SeriesModule") -> Calibration:
        """Intervals from the validation windows of `data`, from now on."""
        from forecast.inference.intervals import calibrate

        self.calibration = calibrate(data, self.chain)
        return self.calibration

    def clip_for(self, scaler: Scaler) -> Bounds:
        """The bounds of forecasts that are scaled so."""
        return Bounds.of(*self.bounds, scaler, self.recipe.spec.targets)

    @classmethod
    def load(cls, run: "str | Path | Run" = "latest", *, runs: str | Path = RUNS) -> "Predictor":
        """From a finished run: a path, an id, or `latest`. Reads safetensors and JSON, nothing else."""
        if not isinstance(run, Run):
            run = find(str(run), runs)
        config, state = run.read("config.json"), run.read("data.json")
        if build.task_of(config) == "event":
            raise UsageError(f"run {run.id} forecasts events, not series", do="name a run of task=forecast")
        if build.task_of(config) == "classify":
            raise UsageError(f"run {run.id} tells classes, and forecasts nothing", do="name a run of task=forecast")
        recipe = Recipe.from_state(state, run.checked)
        try:
            chain = build.chain(config, recipe.spec, masked=recipe.gaps != "error")
            name = str(config["name"] or config["model"]["_target_"].rpartition(".")[2].lower())
            bounds = config["task"].get("min"), config["task"].get("max")
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{run.path / 'config.json'} is no configuration of a run: {error}") from error
        run.load_weights(chain)
        calibration = None
        if (run.path / CALIBRATION).is_file() or run.sealed and CALIBRATION in run.manifest():
            spec = recipe.spec
            calibration = Calibration.of(run.load_tensors(CALIBRATION), spec.horizon, spec.targets)
        return cls(chain, recipe, name, calibration=calibration, bounds=bounds)

    @torch.inference_mode()
    def forecast(self, batch: SeriesBatch) -> Tensor:
        """Scaled forecasts (B, H, T) of a batch of windows of the training data."""
        return self.clip(self.chain.point(batch), batch.series)

    @torch.inference_mode()
    def quantiles(self, batch: SeriesBatch, series: Series, levels: Tensor) -> Tensor | None:
        """Quantiles at `levels` (N,) of windows of the training data, (B, H, T, N), scaled: calibrated where the run
        is, else the output's own; None where it has none."""
        spec, output = self.recipe.spec, self.chain.output
        if self.calibration is None and not output.spread:
            return None
        made = self.chain(batch)
        if self.calibration is not None:
            place = places(series, batch.origin.numpy(), spec.horizon, spec.season)[1]
            scores: Tensor | None = self.calibration.scores(levels, place)
        else:
            scores = output.own(made, levels)
        return None if scores is None else self.clip(output.value(made, scores), batch.series)

    @torch.inference_mode()
    def predict(
        self, table: Any, covariates: "str | Path | None" = None, *, levels: Sequence[float] | None = None,
        adapt: int = 0, batch_size: int = 256, tell: Callable[[str], object] = log.info, short: str | None = None,
    ) -> pl.DataFrame:  # fmt: skip
        """The H steps after the end of each series: unique_id, channel, cutoff, ds, step, y_hat and a column for each
        quantile (q05, q95, …), in original units.

        `table` is a path or a frame with the columns of the training data; no later values or labels are needed, but
        those of the covariates that are known ahead: in rows after the end, or in a second table, `covariates`.
        `levels`: of the quantiles; None: 0.05 and 0.95 where the run has intervals, an empty list: none.
        `adapt`: steps at the end of the table whose values the intervals learn from first, see inference/adaptive.py.
        `tell` is called with what a person should know: series that were not in training, rows read twice. A series
        shorter than the context is an error or has what it lacks masked (`short`: error, mask, None: as in training).
        """
        wanted = self.asked(levels)
        ahead = self.ahead(table, covariates, adapt=adapt, tell=tell, short=short)
        return pl.concat(self.frames(ahead, wanted, batch_size))

    def asked(self, levels: Sequence[float] | None) -> list[float]:
        """The levels to forecast; UsageError for one that is none, or where the run has no intervals."""
        has = self.calibration is not None or self.chain.output.spread
        if levels is None:
            return [0.05, 0.95] if has else []
        for level in levels:
            if not 0 < level < 1:
                raise UsageError(f"levels has {level:g}", "expected numbers between 0 and 1, e.g. [0.05,0.5,0.95]")
        if levels and not has:
            raise UsageError(
                "this run has no intervals: its output is a point and it was not calibrated",
                do="train with task.calibrate=true, or leave levels= and paths= out",
            )
        return list(levels)

    @torch.inference_mode()
    def ahead(
        self, table: Any, covariates: "str | Path | None" = None, *, adapt: int = 0,
        tell: Callable[[str], object] = log.info, short: str | None = None,
    ) -> Ahead:  # fmt: skip
        """The table made ready, and the calibration after the values of its last `adapt` steps."""
        notes: list[str] = []
        read = self.recipe.read(table, notes=notes, covariates=covariates)
        ready = self.recipe.future(read, notes, short)
        for note in ready.notes:
            tell(note)
        calibration = self.calibration
        if adapt and calibration is not None:
            calibration = adapted(self.chain, self.recipe, read, calibration, adapt, tell)
        return Ahead(ready, calibration, self.clip_for(ready.scaler))

    @torch.inference_mode()
    def frames(self, ahead: Ahead, levels: list[float], batch_size: int = 256) -> Iterator[pl.DataFrame]:
        """What `predict` gives, a frame for each batch."""
        ready, spec = ahead.ready, self.recipe.spec
        for batch in batches(ready.gather, ready.windows, batch_size):
            values = self.numbers(ahead, batch, levels)
            yield long_frame(ready.series, batch.series.numpy(), batch.origin.numpy(), values, spec.channels)

    def numbers(self, ahead: Ahead, batch: SeriesBatch, levels: list[float]) -> dict[str, np.ndarray]:
        """y_hat and the quantiles of a batch of windows, (B, H, T) each, in original units.

        Those of a series do not depend on what shares its batch: a small one is filled up to `fewest` rows, from where
        on libraries no longer choose another order of summation.
        """
        rows = len(batch.series)
        batch = filled(batch, fewest(self.chain))
        made, number = self.chain(batch), batch.series.numpy()
        found = {"y_hat": ahead.clip(self.chain.output.point(made), batch.series)}
        if levels:
            quantiles = self._quantiles(ahead, batch, made, torch.tensor(levels))
            found |= {column(p): quantiles[..., i] for i, p in enumerate(levels)}
        return {key: self._undone(value[:rows], number[:rows], ahead.ready.scaler) for key, value in found.items()}

    def _undone(self, values: Tensor, number: np.ndarray, scaler: Scaler) -> np.ndarray:
        """(B, H, T) in original units, within the bounds to the last bit: scaling rounds."""
        found = scaler.undo(values.numpy(), number, self.recipe.spec.targets)
        low, high = self.bounds
        return np.clip(found, -np.inf if low is None else low, np.inf if high is None else high)

    def _quantiles(self, ahead: Ahead, batch: SeriesBatch, made: Tensor, levels: Tensor) -> Tensor:
        """(B, H, T, N) at levels (N,)."""
        output = self.chain.output
        if ahead.calibration is None:
            scores = output.own(made, levels)
            assert scores is not None
        else:
            scores = ahead.calibration.scores(levels, ahead.place(batch, self.recipe.spec))
        return ahead.clip(output.value(made, scores), batch.series)

    @torch.inference_mode()
    def paths(self, ahead: Ahead, count: int, *, batch_size: int = 256, seed: int = 0) -> Iterator[pl.DataFrame]:
        """Joint paths of each series: unique_id, channel, cutoff, ds, step, path, y, in original units; a frame for
        each path and batch. Path n of all series has the ranks of one past window: paths may be added over series."""
        ready, spec = ahead.ready, self.recipe.spec
        if ahead.calibration is None:
            raise UsageError("this run has no joint paths: it was not calibrated", do="train with task.calibrate=true")
        calibration = ahead.calibration
        ranked = ranks(calibration.pool, count, torch.Generator().manual_seed(seed))
        scores = scores_at(calibration.table, ranked)  # (H, T, N)
        for batch in batches(ready.gather, ready.windows, max(1, min(batch_size, AT_ONCE // scores.numel()))):
            size = calibration.size(ahead.place(batch, spec))[..., None]
            made = ahead.clip(self.chain.output.value(self.chain(batch), scores * size), batch.series)
            number, origin = batch.series.numpy(), batch.origin.numpy()
            for n in range(count):
                values = {"y": self._undone(made[..., n], number, ready.scaler)}
                frame = long_frame(ready.series, number, origin, values, spec.channels)
                yield frame.with_columns(pl.lit(n + 1, pl.Int32).alias("path")).select(*frame.columns[:-1], "path", "y")


def fewest(chain: Chain) -> int:
    """The rows of a batch from which on the bits of one do not depend on how many there are."""
    projection = getattr(chain.head, "projection", None)
    wide = isinstance(projection, torch.nn.Linear) and projection.in_features > WIDE
    return MANY if wide or getattr(chain.encoder, "heads", FEW) < 4 else FEW


def filled(batch: SeriesBatch, rows: int) -> SeriesBatch:
    """The batch, its first row repeated behind it until there are so many."""
    if (count := len(batch.series)) >= rows:
        return batch
    index = torch.cat([torch.arange(count), torch.zeros(rows - count, dtype=torch.long)])
    return SeriesBatch._make(None if part is None else part[index] for part in batch)


def column(level: float) -> str:
    """The column of a quantile: 0.05 -> q05, 0.975 -> q97.5."""
    words = f"{100 * level:.10g}"
    return f"q{words.zfill(2)}" if "." not in words else f"q{words}"


def long_frame(
    series: Any, number: np.ndarray, origin: np.ndarray, values: dict[str, np.ndarray], channels: tuple[str, ...]
) -> pl.DataFrame:
    """Arrays (B, H, T) -> one row per window, step and channel, with names and stamps; no per-row Python."""
    b, h, t = next(iter(values.values())).shape
    later = series.time[(origin[:, None] + np.arange(h)).reshape(-1)]
    ids = pl.Series("unique_id", series.ids, dtype=pl.String)
    return pl.DataFrame([
        ids[np.repeat(number, h * t)] if len(ids) > 1 else ids.new_from_index(0, b * h * t),
        named("channel", channels[:t], b * h),
        local(np.repeat(series.time[origin - 1], h * t), series.zone).alias("cutoff"),
        local(np.repeat(later, t), series.zone).alias("ds"),
        pl.Series("step", np.tile(np.repeat(np.arange(1, h + 1, dtype=np.int32), t), b)),
        *(pl.Series(key, np.ascontiguousarray(value).reshape(-1)) for key, value in values.items()),
    ])  # fmt: skip


def named(column: str, names: Sequence[str], times: int) -> pl.Series:
    """The names one after the other, again and again."""
    each = pl.Series(column, names, dtype=pl.String)
    return each.new_from_index(0, times) if len(names) == 1 else each[np.tile(np.arange(len(names)), times)]


def local(time: np.ndarray, zone: str | None) -> pl.Series:
    """UTC stamps as the user wrote them: in the series' zone where it has one."""
    stamps = pl.Series(time)
    return stamps if zone is None else stamps.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
