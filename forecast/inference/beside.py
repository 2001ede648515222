"""Rows of the named models beside a run's own: the same windows, the same scores.

All windows are scored unless fewer are asked for; then a row says on how many, and holds the model's own scores on
the same ones.
"""

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from forecast.data.module import SeriesModule
from forecast.data.window import Windows, chosen
from forecast.errors import ForecastError
from forecast.inference.baseline import Forecaster
from forecast.inference.local import processes
from forecast.inference.named import Named, make
from forecast.inference.scoring import Watch, score
from forecast.types import SeriesBatch

log = logging.getLogger("forecast")
BATCH = 64  # windows between two lines of progress
Record = dict[str, Any]


def some(windows: Windows, few: int | None) -> Windows:
    """At most `few` of the windows, spread evenly over all of them, the first and the last included; None: all."""
    if few is None or few >= len(windows):
        return windows
    return chosen(windows, np.arange(few) * (len(windows) - 1) // max(1, few - 1))


def beside(
    data: SeriesModule, model: Forecaster, name: str, named: Sequence[Named], *, part: str = "test",
    few: int | None = None, quiet: bool = True, windows: Windows | None = None, horizon: int | None = None,
    watch: Watch | None = None,
) -> tuple[list[Record], Record]:  # fmt: skip
    """A row of kind "baseline" for each named model, and what is to be known of each: fitted, fits, failed, bridged,
    seconds. `windows`, `horizon`, `watch`: as of `score`.

    A model of which every fit failed has no row; its record says why.
    """
    if not named:
        return [], {}
    windows = data.windows(part) if windows is None else windows
    scored = some(windows, few)
    whole = scored is windows
    how: dict[str, Any] = {"part": part, "batch_size": BATCH, "windows": scored, "horizon": horizon, "watch": watch}
    rows: list[Record] = []
    records: Record = {}
    with processes() as spread:
        for each in named:
            began = time.monotonic()
            log.info("%s on %s %s windows", each.label, f"{len(scored):,}", part)
            try:
                forecaster: Any = make(each, data, part, spread)
            except Exception as error:  # of a library: any; a trained model must not be lost by what stands beside it
                if isinstance(error, ForecastError):
                    raise
                reason = " ".join(str(error).split()) or type(error).__name__
                records[each.label] = {"fitted": "never", "fits": 1, "failed": 1, "bridged": 0, "reason": reason}
                log.warning("%s has no row: it cannot be fitted: %s", each.label, reason)
                continue
            told = _told(forecaster, each.label, len(scored), quiet)
            if whole:
                (row,) = score(data, told, each.label, others={}, **how)
            else:
                own, row = score(data, model, name, others={each.label: told}, **how)
                row["windows"], row["paired"] = len(scored), {"scaled": own["scaled"], "original": own["original"]}
            record = _record(forecaster, time.monotonic() - began)
            records[each.label] = record
            if record["failed"] == record["fits"]:
                log.warning("%s has no row: each of its %s fits failed: %s", each.label, f"{record['fits']:,}",
                            record["reason"])  # fmt: skip
                continue
            row |= {"name": titled(each.label, record, row, len(windows)), "kind": "baseline"}
            rows.append(row | {key: record[key] for key in ("fits", "failed", "bridged")})
    return rows, records


def titled(label: str, record: Mapping[str, Any], row: Mapping[str, Any], windows: int) -> str:
    """The name of a row, with what a reader must know to compare it."""
    few = f", {row['windows']:,} of {windows:,} windows" if "windows" in row else ""
    failed = f", {record['failed']:,} of {record['fits']:,} fits failed" if record["failed"] else ""
    return f"{label}{few}{failed}"


def _record(forecaster: Any, seconds: float) -> Record:
    made = {"fitted": forecaster.fitted, "fits": forecaster.count, "failed": forecaster.failed,
            "bridged": forecaster.bridged, "seconds": round(seconds, 1)}  # fmt: skip
    return made | ({"reason": forecaster.reason} if forecaster.failed else {})


def _told(forecaster: Forecaster, label: str, total: int, quiet: bool) -> Callable[[SeriesBatch], Tensor]:
    """The same forecaster, and on a terminal a line of how far it is."""
    shown = not quiet and sys.stderr.isatty()
    done, last = 0, time.monotonic()

    def call(batch: SeriesBatch) -> Tensor:
        nonlocal done, last
        made = forecaster(batch)
        done += len(batch.origin)
        if shown and (time.monotonic() - last > 1 or done == total):
            last = time.monotonic()
            sys.stderr.write(f"\r{label}: {done:,} of {total:,} windows" + ("\r\033[K" if done == total else ""))
            sys.stderr.flush()
        return made

    return call
