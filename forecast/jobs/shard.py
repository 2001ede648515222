"""The work on one shard: read whole series, forecast them, write what became of them. Whole files or none.

Every engine calls `opened` once in each of its processes, and `work` for each shard.
"""

import time
from pathlib import Path
from typing import Any, Final

import polars as pl

from forecast.artifacts import Run, atomic
from forecast.data.stamps import NOTHING
from forecast.errors import DataError, RunError, fits_in_memory
from forecast.jobs.source import Refused, read
from forecast.jobs.types import Job, Shard
from forecast.ledger import CORRUPT, QUARANTINE, QUARANTINED, Done

WHY: Final = ("unique_id", "status", "reason", "detail")


def opened(job: Job) -> Any:
    """The predictor of the job's run, for `work`."""
    import torch

    from forecast.inference.frame import load

    torch.set_num_threads(1)  # as many processes as there are cores; and results do not depend on the machine
    return load(Run(Path(job.run)))


def work(shard: Shard, job: Job, predictor: Any) -> Done:
    """Read, forecast, write; the same bytes whenever and wherever it is done."""
    began = time.perf_counter()
    with fits_in_memory("shard_rows", max(shard.rows, 1)):
        table, refused = read(shard, job)
        if refused and job.on_bad == "error":
            raise DataError(
                refused[0].detail, "with on_bad=error each file must be readable", "repair it, or leave it out"
            )
        rows, series = table.height, counted(table, job)
        made = forecasts(table, job, predictor) if rows else None
    bad = lost(refused)
    good, status, reasons = None, dict[str, int](), dict[str, int]()
    if made is not None:
        status = dict(made.group_by("unique_id").agg(pl.col("status").first())["status"].value_counts().iter_rows())
        status, reasons = {word: status[word] for word in sorted(status)}, why(made)
        conserved(shard, series, status)
        held = made["status"] == QUARANTINED
        bad = pl.concat([made.filter(held).select(WHY), bad])
        good = named(made.filter(~held), job, predictor)
    name = f"part-{shard.number:05d}-{shard.key[:8]}.parquet"
    files = [(name, good), (f"{QUARANTINE}/{name}", bad if bad.height else None)]
    sizes = tuple(write(Path(job.output) / path, frame) for path, frame in files if frame is not None)
    part, quarantine = (path if frame is not None else None for path, frame in files)
    return Done(
        number=shard.number, key=shard.key, part=part, quarantine=quarantine, sizes=sizes, rows_in=rows,
        rows_out=0 if good is None else good.height, series=series, status=status, reasons=reasons,
        corrupt=tuple(each.path for each in refused), seconds=round(time.perf_counter() - began, 3),
    )  # fmt: skip


def forecasts(table: pl.DataFrame, job: Job, predictor: Any) -> pl.DataFrame:
    from forecast.inference.frame import forecast_frame

    return forecast_frame(table, predictor, job.asked)


def counted(table: pl.DataFrame, job: Job) -> int:
    """Series of a table, by the names that they have as text."""
    if not table.height:
        return 0
    if job.id is None:
        return 1
    names = table[job.id].cast(pl.String).str.strip_chars()
    return names.set(names.str.to_lowercase().is_in(NOTHING), None).n_unique()  # rows without a name are one


def conserved(shard: Shard, series: int, status: dict[str, int]) -> None:
    """No series gets lost, and none comes twice; RunError otherwise, which would be a defect of ours."""
    if (out := sum(status.values())) != series:
        raise RunError(
            f"shard {shard.number}: {series:,} series went in and {out:,} came out", "expected each one once",
            "this is a defect of forecast; nothing of this shard was written",
        )  # fmt: skip


def lost(refused: list[Refused]) -> pl.DataFrame:
    """Files that could not be read, as rows of the quarantine; which series they hold nobody knows."""
    schema = dict.fromkeys(WHY, pl.String)
    return pl.DataFrame([(None, QUARANTINED, CORRUPT, each.detail) for each in refused], schema=schema, orient="row")


def why(made: pl.DataFrame) -> dict[str, int]:
    """Code of a reason → series; sorted by code."""
    one = made.filter(pl.col("reason").is_not_null()).unique("unique_id")
    found = dict(one["reason"].value_counts().iter_rows())
    return {code: found[code] for code in sorted(found)}


def named(made: pl.DataFrame, job: Job, predictor: Any) -> pl.DataFrame:
    """The rows of a part: what was forecast, and by what."""
    if job.nixtla:
        from forecast.inference.nixtla import nixtla

        return nixtla(made, job.model, predictor.asked(job.levels))
    by = {"model": job.model, "model_version": job.version, "run_id": job.run_id}
    return made.drop("detail").with_columns(pl.lit(value, pl.String).alias(key) for key, value in by.items())


def write(path: Path, frame: pl.DataFrame) -> int:
    """The bytes of a file that appears whole."""
    try:
        with atomic(path) as temporary:
            frame.write_parquet(temporary, compression="zstd")
            return temporary.stat().st_size
    except OSError as error:
        raise RunError(
            f"{path} cannot be written: {error.strerror or error}", do="make room, and run the same command again"
        ) from error
