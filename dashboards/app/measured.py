"""Errors of runs, summed in the background and kept until the file changes."""

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as until
from typing import Final

from forecast.dashboards.load import Run
from forecast.dashboards.series.residuals import Residuals, measure
from forecast.dashboards.series.scored import Choice

HELD: Final = 48  # choices of runs in memory: some hundred bytes a series
AT_ONCE: Final = 2  # made beside each other
Key = tuple[str, int, int, Choice]


class Made(Future[Residuals | None]):
    """Sums on their way; `share` of the rows are done."""

    share = 0.0

    def tell(self, share: float) -> None:
        self.share = share


class Measured:
    """Safe for several threads: every choice of a run is summed once, whoever asks."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, "errors")
        self._lock = threading.Lock()
        self._made: OrderedDict[Key, Made] = OrderedDict()

    def get(self, run: Run, choice: Choice, wait_s: float = 0.4) -> Residuals | float | None:
        """The errors of a choice; None where there are none, and after `wait_s` the share that is done. ArtifactError
        where the file is damaged."""
        if run.predictions is None:
            return None
        held = self._start(run, choice)
        until([held], wait_s)
        return held.result() if held.done() else held.share

    def _start(self, run: Run, choice: Choice) -> Made:
        assert run.predictions is not None
        facts = run.predictions.stat()
        key = (str(run.predictions), facts.st_mtime_ns, facts.st_size, choice)
        with self._lock:
            held = self._made.get(key)
            if held is None:
                held = self._made[key] = Made()
                self._pool.submit(_fill, run, choice, held)
            self._made.move_to_end(key)
            while len(self._made) > HELD:
                self._made.popitem(last=False)
        return held


def _fill(run: Run, choice: Choice, made: Made) -> None:
    try:
        made.set_result(measure(run, choice, made.tell))
    except Exception as fault:  # it is raised again where the errors are asked for
        made.set_exception(fault)
