"""A run folder that tells classes: which one is each series of a table, and how sure that is.

ClassPredictor.load("latest").predict(frame_or_path) -> polars frame, one row for each series
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecast import build
from forecast.artifacts import Run, find
from forecast.data.event_batch import LEAST, buckets, rungs
from forecast.data.label_batch import LabelGather
from forecast.data.label_recipe import LabelRecipe
from forecast.errors import ArtifactError, UsageError
from forecast.heads.flat_label import FlatLabel
from forecast.heads.label_chain import LabelChain
from forecast.types import LabelBatch
from forecast.where import RUNS

log = logging.getLogger(__name__)

BATCH: Final = 64  # series; fixed, so that evaluation repeats training's own scores to the last bit
PLACES: Final = 1 << 18  # steps and padding at once
TEMPERATURE: Final = "temperature.json"


class ClassPredictor:
    """A trained chain with the treatment of data it was trained under. Logits are divided by `temperature`."""

    def __init__(self, chain: LabelChain, recipe: LabelRecipe, name: str, *, temperature: float = 1.0) -> None:
        self.chain, self.recipe, self.name, self.temperature = chain.eval(), recipe, name, temperature

    @classmethod
    def load(cls, run: "str | Path | Run" = "latest", *, runs: str | Path = RUNS) -> "ClassPredictor":
        """From a finished run: a path, an id, or `latest`. Reads safetensors and JSON, nothing else."""
        if not isinstance(run, Run):
            run = find(str(run), runs)
        config, state = run.read("config.json"), run.read("data.json")
        if (task := build.task_of(config)) != "classify":
            raise UsageError(f"run {run.id} is of task={task}", do="name a run of task=classify")
        recipe = LabelRecipe.from_state(state)
        try:
            chain = build.label_chain(config, recipe.spec)
            name = str(config["name"] or config["model"]["_target_"].rpartition(".")[2].lower())
            temperature = float(run.read(TEMPERATURE)["temperature"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ArtifactError(f"{run.path / 'config.json'} is no configuration of a run: {error}") from error
        run.load_weights(chain)
        return cls(chain, recipe, name, temperature=temperature)

    def predict(
        self, table: Any, *, tell: Callable[[str], object] = log.info, apart: bool = False
    ) -> pl.DataFrame:  # fmt: skip
        """The class of each series: unique_id, label (the likeliest), p (its probability), and p_NAME of each class.

        `table` is a path or a frame with the columns of the training data; it needs no labels. `tell` is called with
        what a person should know. `apart`: the last bits of what is told of a series, too, depend on it alone.
        """
        notes: list[str] = []
        read = self.recipe.read(table, notes=notes)
        longest = self.recipe.spec.longest
        if isinstance(self.chain.head, FlatLabel) and (many := int((read.lengths > longest).sum())):
            notes.append(
                f"of {many:,} series only the first {longest:,} steps are looked at: training had no longer ones"
            )
        for note in notes:
            tell(note)
        chance = self.chances(self.recipe.gather(read), apart=apart)
        guess = chance.argmax(1)
        return pl.DataFrame({
            "unique_id": pl.Series(read.ids, dtype=pl.String),
            "label": self.recipe.names(guess),
            "p": chance[np.arange(len(guess)), guess].astype(np.float32),
            **self.columns(chance),
        })  # fmt: skip

    def columns(self, chance: Any) -> dict[str, Any]:
        """(n, K) -> a column for each class."""
        return {f"p_{name}": chance[:, k].astype(np.float32) for k, name in enumerate(self.recipe.spec.classes)}

    def chances(self, gather: LabelGather, *, apart: bool = False) -> Any:
        """Probabilities (n, K) of the classes of all series, float64."""
        return (self.logits(gather, apart=apart) / self.temperature).softmax(-1).numpy()

    @torch.inference_mode()
    def logits(
        self, gather: LabelGather, cut: Callable[[LabelBatch], LabelBatch] = lambda batch: batch, *, apart: bool = False
    ) -> Tensor:
        """(n, K) float64, not yet divided by the temperature; `cut` changes each batch first."""
        made = torch.empty(len(gather), len(self.recipe.spec.classes), dtype=torch.float64)
        for numbers, batch in (passes_apart if apart else passes)(gather):
            made[numbers] = self.chain(cut(batch))[: len(numbers)].double()
        return made


def passes(gather: LabelGather) -> Iterator[tuple[Tensor, LabelBatch]]:
    """All series in batches of like length, with their numbers; always the same ones."""
    for some in buckets(gather.length.numpy(), BATCH, places=PLACES):
        numbers = torch.from_numpy(some)
        yield numbers, gather(numbers)


def passes_apart(gather: LabelGather) -> Iterator[tuple[Tensor, LabelBatch]]:
    """All series in batches in which what a row gives depends on that row alone; numbers of the first rows of each."""
    for some, whole, long in rungs(gather.length.numpy(), BATCH, places=PLACES, least=LEAST):
        yield torch.from_numpy(some), gather(torch.from_numpy(whole), long)
