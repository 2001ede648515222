"""A table in memory as the data of a run: the same checks, the same treatment, no file."""

import hashlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from forecast.data.card import Card, CardFile
from forecast.data.coding import Coding
from forecast.data.module import SeriesModule
from forecast.data.recipe import Recipe
from forecast.data.scale import Scaler
from forecast.data.split import Split
from forecast.data.table import Series


class TableModule(SeriesModule):
    """`frame` in place of a file; the settings are those of SeriesModule, whose `path` only names the table."""

    def __init__(
        self, frame: pl.DataFrame, settings: Mapping[str, Any], *, like: Recipe | None = None, held_out: bool = True
    ) -> None:
        """`like`: scale values and code covariates as that run did, whose weights are trained on. `held_out`: without
        it validation is on the windows of the training, for tables too short to part with any."""
        super().__init__(**{"path": "y", **settings})
        self.frame, self.like, self.held_out = frame, like, held_out

    def _file(self, place: Path, notes: list[str]) -> tuple[pl.DataFrame, CardFile]:
        written = BytesIO()
        self.frame.write_ipc(written)
        digest = hashlib.sha256(written.getbuffer()).hexdigest()
        return self.frame, CardFile(str(place), sha256=digest, rows=self.frame.height)

    def _split(self, measured: Series, card: Card) -> Split:
        parts = super()._split(measured, card)
        return parts if self.held_out else parts._replace(val=parts.train)

    def _scaler(self, measured: Series, parts: Split) -> Scaler:
        return super()._scaler(measured, parts) if self.like is None else self.like.scaler.for_ids(measured)[0]

    def _coding(self, series: Series) -> Coding | None:
        return super()._coding(series) if self.like is None else self.like.coding
