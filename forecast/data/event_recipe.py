"""What a run of events remembers of its data: enough to read another table the same way and forecast it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from forecast.data.event_batch import EventGather
from forecast.data.event_card import EventCard, read_event_frames
from forecast.data.event_extra import Extra
from forecast.data.event_split import Part
from forecast.data.events import UNITS, Events, read_events, recode
from forecast.data.stamps import is_stamps
from forecast.errors import ArtifactError, DataError
from forecast.types import EventSpec

VERSION: Final = 1


class EventRecipe(NamedTuple):
    """The treatment of one data set of events: how it is read, coded, scaled and gathered."""

    card: EventCard
    spec: EventSpec
    extra: Extra
    stamps: bool  # whether times are stamps; else they are numbers, in the unit

    def to_state(self) -> dict[str, Any]:
        """Plain data for JSON; the inverse of `from_state`."""
        spec = {k: list(v) if isinstance(v, tuple) else v for k, v in self.spec._asdict().items()}
        plain = {"version": VERSION, "card": self.card.to_dict(), "spec": spec, "extra": self.extra.to_dict()}
        return {**plain, "stamps": self.stamps}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "EventRecipe":
        """From what a run folder holds; ArtifactError when that is something else."""
        try:
            if state["version"] != VERSION:
                raise ArtifactError(
                    f"the run's data record has version {state['version']}",
                    f"this program reads {VERSION}",
                    "train again, or use a newer program",
                )
            facts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in state["spec"].items()}
            spec, extra = EventSpec(**facts), Extra.from_dict(state["extra"])
            return cls(EventCard.from_dict(state["card"]), spec, extra, bool(state.get("stamps", spec.unit in UNITS)))
        except (KeyError, TypeError, AttributeError, DataError) as fault:
            raise ArtifactError(
                f"the run's data record is damaged: {' '.join(str(fault).split())}",
                "expected card, spec and extra",
                "train again",
            ) from fault

    def read(
        self, source: "str | Path | pl.DataFrame | Any", where: str = "the table", notes: list[str] | None = None,
        origin: np.datetime64 | None = None,
    ) -> Events:  # fmt: skip
        """A file, a polars or a pandas frame with the same columns -> events with the marks of the training; another
        mark has the code M, and a note counts those."""
        if isinstance(source, str | Path):
            ((where, frame),), _ = read_event_frames(self.card, path=source, notes=notes)
        else:
            frame = source if isinstance(source, pl.DataFrame) else pl.from_pandas(source)
        card = replace(self.card, grid=self.spec.grid)
        if not self.stamps and card.time in frame.columns and is_stamps(frame[card.time]):
            raise self._other_clock(where)
        events = read_events(frame, card.columns, where, notes=notes, origin=origin)
        if self.stamps and events.origin is None:
            raise self._other_clock(where)
        return events if self.spec.labels else recode(events, self.spec.marks, where, unknown="code", notes=notes)

    def _other_clock(self, where: str) -> DataError:
        """The error of a table with numbers where training had stamps, or the other way round."""
        found, wanted = ("numbers", "stamps") if self.stamps else ("stamps", f"numbers, in {self.spec.unit}s")
        return DataError(
            f"{where}: column '{self.card.time}' holds {found}",
            f"expected {wanted}, as in the training",
            "convert the column, or train with times like these",
        )

    def gather(self, part: Part, *, longest: int | None = None) -> EventGather:
        """Batches of a part that was read so."""
        extra = self.extra.events(part.events)
        return EventGather(
            part, floor=self.spec.floor, longest=longest, labels=self.sets(part.events),
            extra=None if extra is None else torch.from_numpy(extra),
        )  # fmt: skip

    def ahead(self, events: Events) -> Callable[[Tensor], Tensor]:
        """Times (R,) of events to come, on the clock of a table -> what is known of them (R, E)."""
        return lambda time: torch.from_numpy(self.extra.ahead(time.cpu().numpy(), events.origin, events.unit))

    def sets(self, events: Events) -> Tensor | None:
        """(K, M) bool, the labels in each of the K marks of a table; None where an event has one mark. Labels that
        training did not have are left out."""
        return sets(events.marks, self.spec.marks, self.card.labels) if self.spec.labels else None

    def joined(self, flags: Any) -> pl.Series:
        """Labels (N, M) bool -> N marks, as a table has them."""
        found, place = np.unique(flags.astype(bool), axis=0, return_inverse=True)
        names = np.array(self.spec.marks)
        return pl.Series([(self.card.labels or "").join(names[one]) for one in found], dtype=pl.String).gather(place)

    def names(self, codes: Any) -> pl.Series:
        """Names of marks (N,), null for M."""
        names = pl.Series(self.spec.marks, dtype=pl.String)
        codes = np.asarray(codes)
        return names.gather(pl.Series(np.where(codes < len(names), codes, -1)).replace(-1, None))


def sets(marks: tuple[str, ...], labels: tuple[str, ...], separator: str | None) -> Tensor:
    """(K, M) bool: which labels are in each mark."""
    place = {name: number for number, name in enumerate(labels)}
    found = torch.zeros(len(marks), len(labels), dtype=torch.bool)
    for row, mark in enumerate(marks):
        found[row, [place[name] for name in parted(mark, separator) if name in place]] = True
    return found


def labels_of(marks: tuple[str, ...], separator: str | None) -> tuple[str, ...]:
    """The labels that some marks are made of, sorted."""
    return tuple(sorted({name for mark in marks for name in parted(mark, separator)}))


def parted(mark: str, separator: str | None) -> list[str]:
    """The labels of a mark."""
    return [part.strip() for part in mark.split(separator) if part.strip()]
