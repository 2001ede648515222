"""What a run remembers of its data: enough to read another table the same way and forecast it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from forecast.data.card import Card
from forecast.data.coding import Coding
from forecast.data.holidays import Holidays
from forecast.data.known import complete, known_of
from forecast.data.panel import pad
from forecast.data.read import absolute, from_frame, read_series
from forecast.data.scale import Scaler
from forecast.data.table import Series, apply_gaps, extend, tail
from forecast.data.window import Windows, last_windows
from forecast.errors import ArtifactError, DataError, UsageError

if TYPE_CHECKING:
    from forecast.data.batch import Gather
    from forecast.types import Spec

VERSION = 1
SCALER = "scaler.parquet"


class Ready(NamedTuple):
    """Another table, ready to be forecast."""

    series: Series  # the last context of each, then the horizon; after the treatment of gaps
    scaler: Scaler  # in the order of `series.ids`
    gather: "Gather"
    windows: Windows  # one per series: its future
    unknown: list[str]  # series that were not in training
    notes: list[str]  # for people: what was found while reading, series that are new


class Recipe(NamedTuple):
    """The treatment of one data set: how it is read, cut, scaled."""

    card: Card  # its channels are those of the spec, no others need be in a file
    gaps: str
    scaler: Scaler
    spec: "Spec"
    holidays: Holidays | None = None  # the days off that the training knew
    coding: Coding | None = None  # its covariates
    least: int | None = None  # data.min_context: steps of history of the shortest context in training

    def to_state(self, *, apart: bool = False) -> dict[str, Any]:
        """Plain data for JSON; the inverse of `from_state`. `apart`: the scaler of very many series lies beside it, in
        the file SCALER, which who writes the record writes too."""
        spec = {k: list(v) if isinstance(v, tuple) else v for k, v in self.spec._asdict().items()}
        return {
            "version": VERSION,
            "card": self.card.to_dict(),
            "gaps": self.gaps,
            "scaler": {"kind": self.scaler.kind, "file": SCALER} if apart else self.scaler.to_dict(),
            "spec": spec,
            **({"holidays": self.holidays.to_dict()} if self.holidays else {}),
            **({"covariates": self.coding.to_dict()} if self.coding else {}),
            **({"min_context": self.least} if self.least is not None else {}),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], place: Callable[[str], Path] | None = None) -> "Recipe":
        """From what a run folder holds; ArtifactError when that is something else. `place`: name → path of a file
        beside the record."""
        from forecast.types import Spec

        try:
            if state["version"] != VERSION:
                raise ArtifactError(
                    f"the run's data record has version {state['version']}",
                    f"this program reads {VERSION}",
                    "train again, or use a newer program",
                )
            facts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in state["spec"].items()}
            return cls(
                Card.from_dict(state["card"]),
                state["gaps"],
                _scaler(state["scaler"], place),
                Spec(**facts),
                Holidays.from_dict(state["holidays"]) if state.get("holidays") else None,
                Coding.from_dict(state["covariates"]) if state.get("covariates") else None,
                state.get("min_context"),
            )
        except (KeyError, TypeError, AttributeError, DataError) as fault:
            raise ArtifactError(
                f"the run's data record is damaged: {' '.join(str(fault).split())}",
                "expected card, scaler and spec",
                "train again",
            ) from fault

    def read(
        self,
        source: "str | Path | pl.DataFrame | Any",
        where: str = "the table",
        notes: list[str] | None = None,
        covariates: "str | Path | None" = None,
    ) -> Series:
        """A file, a polars frame or a pandas frame with the same columns → series, checked as in training.

        The digest in the card is that of the training data and not expected of another file. `covariates` is a second
        table; left out, that of the training, where it still is.
        """
        card = replace(self.card, covariates=self.beside(covariates))
        if isinstance(source, str | Path):
            return read_series(card, path=source, notes=notes, holidays=self.holidays, coding=self.coding)
        frame = source if isinstance(source, pl.DataFrame) else pl.from_pandas(source)
        return from_frame(card, frame, where, notes, self.holidays, self.coding)

    def beside(self, given: "str | Path | None") -> str | None:
        """The path of the second table."""
        if given is not None:
            if self.coding is None or not self.coding.moving:
                raise UsageError(f"covariates={given}: the model knows none", do="leave it out")
            return str(absolute(given))
        before = self.card.covariates
        return before if before is not None and Path(before).is_file() else None

    def future(self, series: Series, notes: Sequence[str] = (), short: str | None = None) -> Ready:
        """Everything needed to forecast the steps after the end of each series; `notes` are those of `read`.

        A series shorter than the context is an error (`short` is error) or its context is masked (mask); None: masked
        if the run was trained with such contexts.
        """
        from forecast.data.batch import Gather

        context, horizon = self.spec.context, self.spec.horizon
        masked = self._masks(series, short)
        scaler, unknown = self.scaler.for_ids(series)
        said = [*notes, _unknown(unknown, len(series.ids), scaler.kind)] if unknown else list(notes)
        if self.gaps == "fill":  # a value may be carried in from before the context
            series, _ = apply_gaps(series, "fill")
        recent = tail(series, context)
        recent = recent if self.gaps == "fill" else apply_gaps(recent, self.gaps)[0]
        if masked:
            recent, _ = pad(recent, np.maximum(context - recent.rows, 0))
        help = "give a longer history" + (", or set short=mask" if self.gaps != "error" else "")
        ahead = extend(recent, context, horizon, help)
        said += _other_version(self.holidays, ahead.holidays)
        last = ahead.start[1:] - horizon - 1
        known = known_of(ahead, self.coding, context=context, horizon=horizon, gaps=self.gaps, cutoff=last)
        complete(known, ahead, ahead.start[1:], self.coding, ahead=True)
        gather = Gather.of(ahead, scaler, context=context, horizon=horizon, known=known)
        return Ready(ahead, scaler, gather, last_windows(ahead, context, horizon), unknown, said)

    def masks(self, short: str | None) -> bool:
        """Whether contexts are masked where a series is too short for them; UsageError where the model cannot."""
        if short != "mask" and (short is not None or self.least is None):
            return False
        if self.gaps == "error":
            raise UsageError(
                "short=mask with a run that was trained with data.gaps=error",
                "expected a model that is told what it did not see",
                "give a longer history, or train with data.gaps=mask data.min_context=1",
            )
        return True

    def _masks(self, series: Series, short: str | None) -> bool:
        """As `masks`; each series must have a value to go by."""
        if not self.masks(short):
            return False
        seen = np.add.reduceat((~np.isnan(series.values[:, : series.targets])).any(axis=1), series.start[:-1])
        if not seen.all():
            s = int((seen == 0).argmax())
            raise DataError(
                f"series '{series.ids[s]}' has no value in any of its {series.rows[s]:,} rows",
                "expected at least one to go by",
                "give its history, or leave it out",
            )
        return True


def _scaler(plain: Mapping[str, Any], place: Callable[[str], Path] | None) -> Scaler:
    """From the record, or from the file beside it."""
    if "file" not in plain:
        return Scaler.from_dict(plain)
    if plain["file"] != SCALER or place is None:
        raise KeyError(SCALER)
    return Scaler.read(place(SCALER), str(plain["kind"]))


def _unknown(names: list[str], count: int, kind: str) -> str:
    """A line for people about series that were not in training."""
    how = "" if kind == "none" else f"; {'it' if len(names) == 1 else 'each'} is scaled by its own history"
    were = "was" if len(names) == 1 else "were"
    return f"{len(names):,} of {count:,} series {were} not in training{how} (first: '{names[0]}')"


def _other_version(known: Holidays | None, now: Holidays | None) -> list[str]:
    """A line for people where laws were looked up in another version of the package than in training."""
    if known is None or now is None or known.package == now.package:
        return []
    return [
        f"holidays after {known.last} are of the package's version {now.package}; in training it was {known.package}"
    ]
