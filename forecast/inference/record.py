"""predictions.parquet, written as the windows are scored: memory for a batch, not for the test set."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from forecast.artifacts import atomic
from forecast.data.module import SeriesModule
from forecast.inference.predictor import Predictor, long_frame
from forecast.types import SeriesBatch


class Recorder:
    """Use as a context manager and hand `watch` to `score`: unique_id, channel, cutoff, ds, step, y, y_hat, naive, and
    where there are intervals lo and hi, the ends of that of 90 %."""

    def __init__(self, path: Path, data: SeriesModule, predictor: Predictor) -> None:
        self.data, self.name, self.predictor = data, predictor.name, predictor
        self.file = atomic(path)
        self.writer: pq.ParquetWriter | None = None

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
        made_of = self.predictor.interval(batch, self.data.series)  # 90 %, as calibrated on validation
        if made_of is not None:
            values["lo"], values["hi"] = (scaler.undo(made_of[..., i].numpy(), number, targets) for i in (0, 1))
        small = {key: value.astype(np.float32) for key, value in values.items()}
        frame = long_frame(self.data.series, number, batch.origin.numpy(), small, self.data.spec.channels)
        table = frame.fill_nan(None).to_arrow()
        if self.writer is None:
            self.writer = pq.ParquetWriter(self.temporary, table.schema, compression="zstd")
        self.writer.write_table(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            self.writer.close()
        elif kind is None:
            pq.write_table(pa.table({}), self.temporary)
        self.file.__exit__(kind, error, trace)
