"""What takes seconds, made in the background, once for all who ask, and kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as until
from pathlib import Path
from typing import Final, Generic, TypeVar

AT_ONCE: Final = 2  # made beside each other
T = TypeVar("T")
Tell = Callable[[float], None]  # takes the share that is done


class _Made(Future[T]):
    """On its way; `share` of the work is done."""

    share = 0.0

    def tell(self, share: float) -> None:
        self.share = share


class Background(Generic[T]):
    """Safe for several threads. `held` of them stay in memory, those that were asked for last."""

    def __init__(self, name: str, held: int) -> None:
        self.held = held
        self._pool = ThreadPoolExecutor(AT_ONCE, name)
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, _Made[T]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[Tell], T], wait_s: float) -> T | float:
        """What `make` gave for this key, or after `wait_s` the share that is done; a fault of `make` is raised here."""
        with self._lock:
            made = self._made.get(key)
            if made is None:
                made = self._made[key] = _Made()
                self._pool.submit(_fill, make, made)
            self._made.move_to_end(key)
            while len(self._made) > self.held:
                self._made.popitem(last=False)
        until([made], wait_s)
        return made.result() if made.done() else made.share


def stamp(*paths: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes with the files: name, time and size of each; zeros for one that is not there."""
    found = []
    for path in paths:
        facts = path.stat() if path.is_file() else None
        found.append((str(path), facts.st_mtime_ns, facts.st_size) if facts else (str(path), 0, 0))
    return tuple(found)


def _fill(make: Callable[[Tell], T], made: _Made[T]) -> None:
    try:
        made.set_result(make(made.tell))
    except Exception as fault:  # it is raised again where it is asked for
        made.set_exception(fault)
