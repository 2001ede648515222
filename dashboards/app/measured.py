"""Errors of runs, summed in the background and kept until the file changes."""

from typing import Final

from forecast.dashboards.app.background import Background, stamp
from forecast.dashboards.load import Run
from forecast.dashboards.series.residuals import Residuals, measure
from forecast.dashboards.series.scored import Choice

HELD: Final = 48  # choices of runs in memory: some hundred bytes a series


class Measured:
    """Every choice of a run is summed once, whoever asks."""

    def __init__(self) -> None:
        self._work = Background[Residuals | None]("errors", HELD)

    def get(self, run: Run, choice: Choice, wait_s: float = 0.4) -> Residuals | float | None:
        """The errors of a choice; None where there are none, and after `wait_s` the share that is done. ArtifactError
        where the file is damaged."""
        if run.predictions is None:
            return None
        key = stamp(run.predictions), choice
        return self._work.get(key, lambda tell: measure(run, choice, tell), wait_s)
