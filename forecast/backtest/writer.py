"""forecasts.parquet of a backtest, written as the windows are scored: memory for a piece of it."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forecast.artifacts import atomic
from forecast.data.freq import Ints
from forecast.data.table import Series
from forecast.inference.predictor import long_frame

Numbers = NDArray[np.float64]
ROWS: Final = 1 << 19  # forecasts in a piece


class Writer:
    """A context manager: unique_id, channel, cutoff, ds, step, y, y_hat, quantiles, policy, part, and with refits the
    run that each is of. The file appears whole, or not at all."""

    def __init__(self, path: Path, series: Series, channels: tuple[str, ...]) -> None:
        self.series, self.channels, self.file = series, channels, atomic(path)
        self.writer: pq.ParquetWriter | None = None
        self.waiting: dict[str, list[tuple[Ints, Ints, dict[str, Numbers], dict[str, Ints]]]] = {}
        self.rows = 0

    def __enter__(self) -> "Writer":
        self.temporary = self.file.__enter__()
        return self

    def add(
        self, policy: str, number: Ints, origin: Ints, values: Mapping[str, Numbers], codes: Mapping[str, Ints]
    ) -> None:
        """Values (B, h, T) in original units of windows; `codes` (B,): places in `words` of further columns."""
        self.waiting.setdefault(policy, []).append((number, origin, dict(values), dict(codes)))
        self.rows += next(iter(values.values())).size
        if self.rows >= ROWS:
            self._flush()

    words: Mapping[str, tuple[str | None, ...]] = {}  # of each code

    def _flush(self) -> None:
        for policy, parts in self.waiting.items():
            numbers, origins, values, codes = zip(*parts, strict=True)
            joined = {key: np.concatenate([each[key] for each in values]) for key in values[0]}
            size = next(iter(joined.values()))[0].size
            frame = long_frame(self.series, np.concatenate(numbers), np.concatenate(origins), joined, self.channels)
            frame = frame.with_columns(pl.col(*joined).fill_nan(None), policy=pl.lit(policy))
            for key, words in self.words.items():
                code = np.repeat(np.concatenate([each[key] for each in codes]), size)
                frame = frame.with_columns(pl.Series(key, words, dtype=pl.String).gather(code).alias(key))
            table = frame.to_arrow()
            if self.writer is None:
                self.writer = pq.ParquetWriter(self.temporary, table.schema, compression="zstd")
            self.writer.write_table(table)
        self.waiting, self.rows = {}, 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        if self.writer is not None:
            self.writer.close()
        self.file.__exit__(kind, error, trace)
