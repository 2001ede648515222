"""Indices of predictions, made in the background and kept until the file changes."""

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as until
from typing import Final

from forecast.dashboards.load import Run
from forecast.dashboards.series import index
from forecast.dashboards.series.index import Index

HELD: Final = 12  # indices in memory: 50 bytes a window
AT_ONCE: Final = 2  # made beside each other
Stamp = tuple[str, int, int]


class Made(Future[Index | None]):
    """An index on its way; `share` of its rows are done."""

    share = 0.0

    def tell(self, share: float) -> None:
        self.share = share


class Indices:
    """Safe for several threads: each index is made once, whoever asks."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, "index")
        self._lock = threading.Lock()
        self._made: OrderedDict[Stamp, Made] = OrderedDict()

    def get(self, run: Run, wait_s: float = 0.4) -> Index | float | None:
        """The index of a run, None where it has no predictions, or after `wait_s` the share that is done. ArtifactError
        where the file is damaged."""
        if run.predictions is None:
            return None
        held = self._start(run)
        until([held], wait_s)
        return held.result() if held.done() else held.share

    def _start(self, run: Run) -> Made:
        assert run.predictions is not None
        facts = run.predictions.stat()
        stamp = (str(run.predictions), facts.st_mtime_ns, facts.st_size)
        with self._lock:
            held = self._made.get(stamp)
            if held is None:
                held = self._made[stamp] = Made()
                self._pool.submit(_fill, run, held)
            self._made.move_to_end(stamp)
            while len(self._made) > HELD:
                self._made.popitem(last=False)
        return held


def _fill(run: Run, made: Made) -> None:
    try:
        made.set_result(index.build(run, made.tell))
    except Exception as fault:  # it is raised again where the index is asked for
        made.set_exception(fault)
