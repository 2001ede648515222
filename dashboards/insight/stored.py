"""insight.json and insight.parquet of a run as plain values: what its encoder looked at, how far it reaches, and what
each input is worth. Written by train and evaluate; nothing here is computed from a model."""

import json
import math
from typing import Any, NamedTuple

import polars as pl

from forecast.dashboards.load import Facts, Run
from forecast.errors import ArtifactError

PICKS = ("best", "median", "worst")
COLUMNS = ("part", "window", "layer", "head", "k", "step", "value", "kept")


class Worth(NamedTuple):
    """What an input is worth: by how much the validation MSE (scaled) grows where it is taken from other windows."""

    column: str
    role: str
    mean: float
    sd: float  # over repeats
    se: float  # over windows


class Insight(NamedTuple):
    """What a run wrote on its model."""

    facts: Facts
    table: pl.DataFrame  # see COLUMNS

    @property
    def encoder(self) -> str:
        return str(self.facts.get("encoder") or "encoder")

    @property
    def steps(self) -> int:
        """Steps, or events, of a window; 0 where they differ."""
        return _whole(self.facts.get("context"))

    @property
    def tokens(self) -> int:
        return _whole(self.facts.get("tokens"))

    def length(self, window: int) -> int:
        """Tokens of a window: sequences have lengths of their own."""
        held = self.windows[window].get("tokens") if window < len(self.windows) else None
        return _whole(held) or self.tokens

    @property
    def by_steps(self) -> bool:
        """Whether a token is a step of time."""
        return self.facts.get("layout") == "steps"

    @property
    def layers(self) -> list[Facts]:
        return [layer for layer in self.facts.get("layers") or [] if isinstance(layer, dict)]

    @property
    def windows(self) -> list[Facts]:
        """pick (best, median, worst), series, cutoff, mse of each."""
        return [window for window in self.facts.get("windows") or [] if isinstance(window, dict)]

    @property
    def reach(self) -> Facts:
        found = self.facts.get("reach")
        return found if isinstance(found, dict) else {}

    @property
    def unit(self) -> str:
        """What a token is called."""
        return {"steps": "step", "events": "event"}.get(str(self.facts.get("layout")), "token")

    @property
    def worth(self) -> list[Worth]:
        """The inputs, the targets' own past first; empty where they were not measured."""
        found = self.facts.get("importance")
        rows = (found.get("rows") or []) if isinstance(found, dict) else []
        return [
            Worth(str(row.get("column")), str(row.get("role")), *(_float(row.get(key)) for key in ("mean", "sd", "se")))
            for row in rows
            if isinstance(row, dict)
        ]

    def measured(self, key: str) -> Any:
        """A fact of the measure of importance: windows, repeats, mse."""
        found = self.facts.get("importance")
        return found.get(key) if isinstance(found, dict) else None

    def of(self, part: str, window: int | None = None, **equal: int) -> pl.DataFrame:
        """The rows of a part, of one window or of all, where columns equal what is given."""
        wanted = [pl.col("part") == part, *(pl.col(key) == value for key, value in equal.items())]
        if window is not None:
            wanted.append(pl.col("window") == window)
        return self.table.filter(*wanted)


def read(run: Run) -> Insight | None:
    """What the run wrote; None where it wrote nothing; ArtifactError where one of the files is damaged."""
    facts, table = run.path / "insight.json", run.path / "insight.parquet"
    if not facts.is_file() or not table.is_file():
        return None
    again = f"write it again: forecast evaluate run={run.path.name} insight=true"
    try:
        held = json.loads(facts.read_text(encoding="utf-8"))
    except (ValueError, OSError) as fault:
        raise ArtifactError(f"insight.json cannot be read ({fault})", "JSON as the run wrote it", again) from fault
    if not _sound(held):
        raise ArtifactError("insight.json has another form", "version 1", again)
    try:
        frame = pl.read_parquet(table)
    except (pl.exceptions.PolarsError, OSError) as fault:
        reason = str(fault).splitlines()[0]
        raise ArtifactError(
            f"insight.parquet cannot be read ({reason})", "a table as the run wrote it", again
        ) from fault
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise ArtifactError(f"insight.parquet has no column {missing[0]}", ", ".join(COLUMNS), again)
    return Insight(held, frame)


def _sound(held: object) -> bool:
    """Whether all that figures count on is there, and of its type."""
    if not isinstance(held, dict) or held.get("version") != 1:
        return False
    layers, windows = held.get("layers", []), held.get("windows", [])
    if not isinstance(layers, list) or not isinstance(windows, list):
        return False
    places = ("layer", "tokens", "stride", "offset", "after")
    return all(
        isinstance(layer, dict) and all(isinstance(layer.get(key), int) for key in places) for layer in layers
    ) and all(isinstance(window, dict) and isinstance(window.get("pick"), str) for window in windows)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
