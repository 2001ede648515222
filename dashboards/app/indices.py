"""Indices of predictions, made in the background and kept until the file changes."""

from typing import Final

from forecast.dashboards.app.background import Background, stamp
from forecast.dashboards.load import Run
from forecast.dashboards.series import index
from forecast.dashboards.series.index import Index

HELD: Final = 12  # indices in memory: 50 bytes a window


class Indices:
    """Each index is made once, whoever asks."""

    def __init__(self) -> None:
        self._work = Background[Index | None]("index", HELD)

    def get(self, run: Run, wait_s: float = 0.4) -> Index | float | None:
        """The index of a run, None where it has no predictions, or after `wait_s` the share that is done. ArtifactError
        where the file is damaged."""
        if run.predictions is None:
            return None
        return self._work.get(stamp(run.predictions), lambda tell: index.build(run, tell), wait_s)
