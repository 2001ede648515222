"""The long table of what was measured: insight.parquet."""

from typing import Any, Final

import numpy as np
import polars as pl
from torch import Tensor

# part says what `value` is:
#   sparsity   Informer's M of a query, unscaled scores; `kept`: whether it attended
#   weight     the share that the last output gives to each earlier token
#   effective  of each output, 1 / Σ w², the number of tokens that equal weights would be spread over
#   newest     of each output, the share held by the newest `k` tokens
#   token      the Frobenius norm of the gradient of the encoder's output for each token
#   past       that of the forecast of step `k` (from 1) for each step of the past, over channels
#   channel    that of the whole forecast for channel `k`
SCHEMA: Final = {
    "part": pl.String, "window": pl.Int16, "layer": pl.Int16, "head": pl.Int16, "k": pl.Int32, "step": pl.Int32,
    "value": pl.Float32, "kept": pl.Boolean,
}  # fmt: skip


def long(
    part: str,
    values: Tensor,
    *,
    layer: int | None = None,
    k: int | None = None,
    kept: Tensor | None = None,
    steps: Tensor | None = None,
) -> pl.DataFrame:
    """Values (B, H, n) or, without heads, (B, n) as rows; B windows, n places, or those at `steps` (n,)."""
    heads = values.ndim == 3
    b, h, n = values.shape if heads else (values.shape[0], 1, values.shape[1])
    size = b * h * n
    window, head, step = np.unravel_index(np.arange(size), (b, h, n))
    if steps is not None:
        step = steps.numpy()[step]
    columns: dict[str, Any] = {
        "part": [part] * size, "window": window, "layer": [layer] * size, "head": head if heads else [None] * size,
        "k": [k] * size, "step": step, "value": values.detach().float().reshape(-1).numpy(),
        "kept": [None] * size if kept is None else kept.reshape(-1).numpy(),
    }  # fmt: skip
    return pl.DataFrame(columns, schema=SCHEMA, strict=False)


def joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One table of all, small."""
    return pl.concat([pl.DataFrame(schema=SCHEMA), *frames])
