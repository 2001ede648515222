"""From a table to a trained run in memory, and from that to forecasts: the data module, chain, task, trainer and
predictor of `forecast train`, without its folder."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import torch

from forecast.data.freq import Ints
from forecast.data.memory import TableModule
from forecast.data.recipe import Recipe
from forecast.data.table import Floats
from forecast.errors import DataError
from forecast.inference.predictor import Ahead, Predictor, column
from forecast.inference.training import assemble, chain, learn, task, warm
from forecast.tasks.base import Task
from forecast.tasks.callbacks import Row
from forecast.tasks.trainer import hush, make_trainer, seconds_of

LONGEST: Final = 512  # steps of a context that nobody asked for
SHORTEST: Final = 4
USUAL: Final = 24  # where there is no season
STEPS: Final = 1000  # of the optimiser, that a training of nobody's choice aims at
EPOCHS: Final = (4, 100)  # but within these
FEW: Final = 20  # validation windows from which on an output with a spread of its own is calibrated


class Plan(NamedTuple):
    """How a table is cut: the context, the least history of it that is not masked (None: all), the share of each
    series that validates, and whether there is one at all."""

    context: int
    least: int | None
    share: float
    held_out: bool
    windows: int  # of the training, about

    @classmethod
    def of(cls, rows: Ints, horizon: int, season: int, context: int | None, validation: float) -> "Plan":
        """For series of these lengths (S,). DataError where the longest is shorter than a step and the horizon."""
        longest = int(rows.max())
        if longest <= horizon:
            raise DataError(
                f"the longest series has {longest} steps", f"a horizon of {horizon} needs {horizon + 1} at least",
                "give a longer history, or shorten fh",
            )  # fmt: skip
        share = max(validation, (horizon + 1e-6) / longest)  # at least one window
        held_out = validation > 0 and int(longest * (1 - share)) > horizon
        share = share if held_out else 0.0
        train = (rows * (1 - share)).astype(np.int64)
        room = max(SHORTEST, (int(train.max()) - horizon) // 2)
        length = context or min(max(2 * season, 2 * horizon, USUAL), LONGEST, room)
        spare = int(train.min()) - horizon
        least = None if spare >= length else max(1, spare)
        count = np.maximum(train - horizon - (least or length) + 1, 0).sum()
        return cls(length, least, share, held_out, int(count))

    def epochs(self, batch_size: int) -> int:
        """As many as make STEPS, within EPOCHS."""
        least, most = EPOCHS
        return min(max(math.ceil(STEPS / max(1, math.ceil(self.windows / batch_size))), least), most)

    def keys(self) -> dict[str, Any]:
        """For the config."""
        splits = {"train": 1 - self.share, "val": self.share, "test": 0.0}
        return {"task.context": self.context, "data.min_context": self.least, "data.splits": splits}


class Trained:
    """A trained chain with the treatment of its data, the history it forecasts from, and how it came about."""

    def __init__(
        self, config: dict[str, Any], predictor: Predictor, table: pl.DataFrame, *, held_out: bool = True,
        facts: Mapping[str, Any] | None = None, history: Sequence[Row] = (),
    ) -> None:  # fmt: skip
        """`facts`: best, epochs, steps, seconds, windows (of validation)."""
        self.config, self.predictor, self.table, self.held_out = config, predictor, table, held_out
        self.facts, self.history = dict(facts or {}), list(history)

    @property
    def context(self) -> int:
        return self.predictor.recipe.spec.context

    @property
    def horizon(self) -> int:
        return self.predictor.recipe.spec.horizon

    def data(self) -> TableModule:
        """The table as it is now, treated as in training."""
        like = self.predictor.recipe
        made = TableModule(self.table, self.config["data"], like=like, held_out=self.held_out)
        made.prepare()
        return made

    def add(self, table: pl.DataFrame, until: Mapping[str | None, Any]) -> None:
        """Rows more, or again; what is later than the last new stamp of a series (`until`) is forgotten."""
        card = self.predictor.recipe.card
        keys = [card.time.column] if card.id is None else [card.id, card.time.column]
        joined = pl.concat([self.table, table], how="vertical_relaxed")
        joined = joined.unique(subset=keys, keep="last", maintain_order=True)
        end = pl.lit(until[None]) if card.id is None else pl.col(card.id).replace_strict(until, default=None)
        late = pl.col(card.time.column) > end
        self.table = joined.filter(~late.fill_null(False))

    def arrays(self, future: pl.DataFrame | None, levels: Sequence[float] = ()) -> dict[str, Floats]:
        """y_hat and the quantiles q05, …: (S, H, T) each, of the steps after the end of each series; `future`: rows
        of what is known ahead."""
        spec = self.predictor.recipe.spec
        frames = pl.concat(self.predictor.frames(self.ahead(future), list(levels)))
        shape = (-1, spec.horizon, spec.targets)
        names = ["y_hat", *(column(level) for level in levels)]
        return {name: frames[name].to_numpy().reshape(shape) for name in names}

    @torch.inference_mode()
    def ahead(self, future: pl.DataFrame | None) -> Ahead:
        """The history made ready."""
        recipe = self.predictor.recipe
        card, recent = recipe.card, self.table
        if recipe.gaps != "fill":  # of which values are carried on from before the context
            recent = recent.tail(self.context) if card.id is None else recent.group_by(
                card.id, maintain_order=True).tail(self.context).select(recent.columns)  # fmt: skip
        if future is not None:
            recent = pl.concat([recent, self._after(recent, future)], how="vertical_relaxed")
        short = "mask" if recipe.gaps != "error" else None
        return self.predictor.ahead(recent, short=short)

    def _after(self, recent: pl.DataFrame, future: pl.DataFrame) -> pl.DataFrame:
        """The rows of `future` that come after those of `recent`, series by series."""
        card = self.predictor.recipe.card
        time, columns = card.time.column, recent.columns
        if card.id is None:
            return future.filter(pl.col(time) > recent[time].max()).select(columns)
        ends = recent.group_by(card.id).agg(pl.col(time).max().alias("\0end"))
        later = future.join(ends, on=card.id, how="inner", maintain_order="left")
        return later.filter(pl.col(time) > pl.col("\0end")).select(columns)


def train(
    config: dict[str, Any], table: pl.DataFrame, *, held_out: bool = True, after: Trained | None = None
) -> Trained:
    """Train as `config` says on a table; `after`: from its weights on, under its treatment of data."""
    like = None if after is None else after.predictor.recipe
    data = TableModule(table, config["data"], like=like, held_out=held_out)
    data.prepare()
    counts = {part: len(data.windows(part)) for part in ("train", "val")}
    with apart(config["seed"]), TemporaryDirectory(prefix="forecast-") as name:
        folder = Path(name)
        model = chain(config, data) if after is None else deepcopy(after.predictor.chain).train()
        made = assemble(task, config, model, data)
        if after is None:
            warm(model, data)
        facts, history, _ = learned(config, made, data, folder)
        model.cpu()
    predictor = Predictor(
        model, Recipe.from_state(data.state()), str(config["name"] or kind(config)),
        bounds=(config["task"]["min"], config["task"]["max"]),
    )  # fmt: skip
    if config["task"]["calibrate"] and (counts["val"] >= FEW or not model.output.spread):
        predictor.calibrate(data)
    facts["windows"] = counts["val"]
    return Trained(config, predictor, table, held_out=held_out, facts=facts, history=history)


def learned(config: dict[str, Any], made: Task, data: Any, folder: Path) -> tuple[dict[str, Any], list[Row], Any]:
    """Train in a folder: best, epochs, steps and seconds; the history; Lightning's trainer."""
    history: list[Row] = []
    words: dict[str, Any] = {"quiet": True, "budget": config["budget"], "resumable": False}
    trainer = make_trainer(config["trainer"], folder, sink=history.extend, monitor=made.SCORES[0], **words)
    best = learn(trainer, made, data, folder)
    facts = {"best": best, "epochs": trainer.current_epoch, "steps": trainer.global_step,
             "seconds": seconds_of(trainer)}  # fmt: skip
    return facts, history, trainer


def kind(config: Mapping[str, Any]) -> str:
    """aaren, lstm, …"""
    return str(config["model"]["_target_"]).rpartition(".")[2].lower()


@contextmanager
def apart(seed: int) -> Iterator[None]:
    """Draws from `seed` on; the generators and settings of the process are as before afterwards."""
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), warnings.catch_warnings():
            torch.manual_seed(seed)
            hush()
            yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        torch.backends.cudnn.benchmark = benchmark
