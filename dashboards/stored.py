"""Small tables that a run left to be drawn."""

from collections.abc import Sequence

import polars as pl

from forecast.dashboards.load import Run
from forecast.errors import ArtifactError


def stored(run: Run, name: str, columns: Sequence[str]) -> pl.DataFrame | None:
    """The `columns` of a parquet file of the run; None where it wrote none or no rows, ArtifactError for another
    table."""
    path = run.path / name
    if not path.is_file():
        return None
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as fault:
        reason = str(fault).splitlines()[0]
        raise ArtifactError(f"{name} cannot be read ({reason})", "a parquet file", "run it again") from fault
    if lost := [column for column in columns if column not in frame.columns]:
        raise ArtifactError(f"{name} has no column {lost[0]}", f"expected {', '.join(columns)}", "run it again")
    return frame.select(columns) if frame.height else None
