"""A run folder of events that forecasts: the next event of each sequence of a table.

EventPredictor.load("latest").predict(frame_or_path) -> polars frame, one row for each sequence
"""

from pathlib import Path
from typing import Any

from forecast import build
from forecast.artifacts import Run, find
from forecast.data.event_recipe import EventRecipe
from forecast.errors import ArtifactError, UsageError
from forecast.heads.event_chain import EventChain
from forecast.where import RUNS


class EventPredictor:
    """A trained chain with the treatment of data it was trained under."""

    def __init__(self, chain: EventChain, recipe: EventRecipe, name: str) -> None:
        self.chain, self.recipe, self.name = chain.eval(), recipe, name

    @classmethod
    def load(cls, run: "str | Path | Run" = "latest", *, runs: str | Path = RUNS) -> "EventPredictor":
        """From a finished run: a path, an id, or `latest`. Reads safetensors and JSON, nothing else."""
        if not isinstance(run, Run):
            run = find(str(run), runs)
        config, state = run.read("config.json"), run.read("data.json")
        if build.task_of(config) != "event":
            raise UsageError(f"run {run.id} forecasts series, not events", do="name a run of task=event")
        recipe = EventRecipe.from_state(state)
        try:
            chain = build.event_chain(config, recipe.spec)
            name = named(config)
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{run.path / 'config.json'} is no configuration of a run: {error}") from error
        run.load_weights(chain)
        return cls(chain, recipe, name)


def named(config: Any) -> str:
    """The name of a run's model in tables."""
    return str(config["name"] or config["model"]["_target_"].rpartition(".")[2].lower())
