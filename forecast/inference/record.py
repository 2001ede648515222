"""predictions.parquet, written as the windows are scored: memory for a batch and a row group, not for the test set.

unique_id, channel, cutoff, ds, step, y, y_hat, naive, and where there are intervals `lo` and `hi`, the ends of that of
90 %, `lo50` … `hi95` those of the others, and `median`. Rows are in order of series, cutoff, step, channel, as windows
are scored: a reader that wants one window finds it by the statistics of the row groups.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from forecast.artifacts import atomic
from forecast.data.module import SeriesModule
from forecast.inference.predictor import Predictor, long_frame
from forecast.types import SeriesBatch

QUANTILES: Final[Mapping[str, float]] = {
    "lo": 0.05, "hi": 0.95, "lo50": 0.25, "hi50": 0.75, "lo80": 0.1, "hi80": 0.9, "lo95": 0.025, "hi95": 0.975,
    "median": 0.5,
}  # fmt: skip
GROUP: Final = 1 << 17  # rows of a row group: read in some 10 ms, and 10 million rows have 80
# Values that come again in neighbouring windows are numbered; bytes of the others are laid beside those of their kind,
# which takes a third less room (zstd) and half the time.
REPEATED: Final = ("unique_id", "channel", "cutoff", "ds", "step", "y", "naive")


class Recorder:
    """Use as a context manager and hand `watch` to `score`."""

    def __init__(self, path: Path, data: SeriesModule, predictor: Predictor) -> None:
        self.data, self.name, self.predictor = data, predictor.name, predictor
        self.file = atomic(path)
        self.writer: pq.ParquetWriter | None = None
        self.pending: list[pa.Table] = []

    def __enter__(self) -> "Recorder":
        self.temporary = self.file.__enter__()
        return self

    def watch(self, batch: SeriesBatch, made: Mapping[str, Tensor]) -> None:
        number, scaler, targets = batch.series.numpy(), self.data.scaler, self.data.spec.targets
        naive = made.get("seasonal naive", made["last value"])
        truth = scaler.undo(batch.future.numpy(), number, targets)
        values = {
            "y": np.where(batch.future_mask.numpy(), truth, np.nan),
            "y_hat": scaler.undo(made[self.name].numpy(), number, targets),
            "naive": scaler.undo(naive.numpy(), number, targets),
        }
        levels = torch.tensor(list(QUANTILES.values()))
        quantiles = self.predictor.quantiles(batch, self.data.series, levels)
        if quantiles is not None:
            parts = quantiles.numpy().transpose(3, 0, 1, 2)
            values |= {key: scaler.undo(part, number, targets) for key, part in zip(QUANTILES, parts, strict=True)}
        small = {key: value.astype(np.float32) for key, value in values.items()}
        frame = long_frame(self.data.series, number, batch.origin.numpy(), small, self.data.spec.channels)
        self.pending.append(frame.fill_nan(None).to_arrow())
        if sum(map(len, self.pending)) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        """What has come since the last row group becomes the next one."""
        table = pa.concat_tables(self.pending)
        self.pending.clear()
        if self.writer is None:
            self.writer = opened(self.temporary, table.schema)
        self.writer.write_table(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pending and kind is None:
            self._flush()
        if self.writer is not None:
            self.writer.close()
        elif kind is None:
            pq.write_table(pa.table({}), self.temporary)
        self.file.__exit__(kind, error, trace)


def opened(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of such a table."""
    apart = [name for name in schema.names if name not in REPEATED]
    return pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=list(REPEATED), use_byte_stream_split=apart
    )
