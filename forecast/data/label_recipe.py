"""What a run of labelled series remembers of its data: enough to read another table the same way."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl

from forecast.data.label_batch import LabelGather
from forecast.data.label_card import LabelCard, read_label_frames
from forecast.data.labelled import LabelColumns, Labelled, read_labelled
from forecast.errors import ArtifactError, DataError
from forecast.types import LabelSpec

VERSION: Final = 1
SCALES: Final = ("standard", "none")


class LabelScale(NamedTuple):
    """What each of C channels is shifted and divided by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, train: Labelled, kind: str) -> "LabelScale":
        """standard: mean and deviation of all steps of train that were measured, a channel that never changes is only
        shifted; none: as they are. DataError for a channel that was never measured."""
        count = len(train.channels)
        if (empty := np.isnan(train.values).all(axis=0)).any():
            name = train.channels[int(empty.argmax())]
            raise DataError(f"channel '{name}' holds no number in train", "expected some", "leave it out")
        if kind == "none":
            return cls((0.0,) * count, (1.0,) * count)
        mean, std = np.nanmean(train.values, axis=0), np.nanstd(train.values, axis=0)
        flat = np.nanmax(train.values, axis=0) == np.nanmin(train.values, axis=0)
        return cls(tuple(mean.tolist()), tuple(np.where(flat | (std == 0), 1.0, std).tolist()))


class LabelRecipe(NamedTuple):
    """The treatment of one data set of labelled series: how it is read, coded, scaled and gathered."""

    card: LabelCard
    spec: LabelSpec
    scale: LabelScale
    stamps: bool = False  # whether the card's times are stamps; else they are numbers, or there are none

    def to_state(self) -> dict[str, Any]:
        """Plain data for JSON; the inverse of `from_state`."""
        spec = {k: list(v) if isinstance(v, tuple) else v for k, v in self.spec._asdict().items()}
        scale = {k: list(v) for k, v in self.scale._asdict().items()}
        return {"version": VERSION, "card": self.card.to_dict(), "spec": spec, "scale": scale, "stamps": self.stamps}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "LabelRecipe":
        """From what a run folder holds; ArtifactError when that is something else."""
        try:
            if state["version"] != VERSION:
                raise ArtifactError(
                    f"the run's data record has version {state['version']}",
                    f"this program reads {VERSION}",
                    "train again, or use a newer program",
                )
            facts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in state["spec"].items()}
            spec = LabelSpec(**facts)
            scale = LabelScale(*(tuple(float(one) for one in state["scale"][key]) for key in LabelScale._fields))
            if not len(scale.mean) == len(scale.std) == len(spec.channels):
                raise ValueError("its scale is not that of its channels")
            return cls(LabelCard.from_dict(state["card"]), spec, scale, bool(state.get("stamps", False)))
        except (KeyError, TypeError, ValueError, AttributeError, DataError) as fault:
            raise ArtifactError(
                f"the run's data record is damaged: {' '.join(str(fault).split())}",
                "expected card, spec and scale",
                "train again",
            ) from fault

    @property
    def columns(self) -> LabelColumns:
        """The columns of a table, with the channels of the training in their order."""
        return replace(self.card.columns(()), channels=self.spec.channels)

    def read(
        self, source: "str | Path | pl.DataFrame | Any", where: str = "the table", notes: list[str] | None = None
    ) -> Labelled:
        """A file, a polars or a pandas frame with the same columns -> series with the classes of the training. The
        column of labels may be absent; a series of another class has the label -1, and a note counts those."""
        if isinstance(source, str | Path):
            ((where, frame),), _ = read_label_frames(self.card, path=source, notes=notes)
        else:
            frame = source if isinstance(source, pl.DataFrame) else pl.from_pandas(source)
        return read_labelled(
            frame, self.columns, where, classes=self.spec.classes, unknown="none", bare=True, notes=notes
        )

    def gather(self, labelled: Labelled) -> LabelGather:
        """Batches of series that were read so."""
        return LabelGather(labelled, np.array(self.scale.mean), np.array(self.scale.std))

    def names(self, codes: Any) -> pl.Series:
        """Names of classes (n,), null for -1."""
        names = pl.Series(self.spec.classes, dtype=pl.String)
        return names.gather(pl.Series(np.asarray(codes, np.int64)).replace(-1, None))
