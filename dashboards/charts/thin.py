"""Fewer points of a long line, with all that an eye would look for: the extremes, the ends and the gaps.

A line of n values is cut into buckets of neighbours, more than a screen has columns. Of each bucket the first and the
last value, the lowest and the highest, and the first gap are kept, so that the drawing is the same to the pixel: no
peak is lost, no step moves, no line is drawn across what was never observed.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST: Final = 4000  # points of a line


def places(*lines: Any, most: int = MOST) -> NDArray[np.int64]:
    """Which of the values of lines (n,) over one axis to draw, in order: at most `most`, all of them where n is less.

    Of every bucket of neighbours it has the first and the last place, and of each line the lowest and the highest
    value and the first that is not finite (a gap), if there is one.
    """
    n, kinds = len(lines[0]), 2 + 3 * len(lines)
    if n <= most:
        return np.arange(n)
    size = -(-n // max(most // kinds, 1))
    starts = np.arange(0, n, size)
    kept = [starts, np.append(starts[1:], n) - 1]
    for line in lines:
        table = np.full(len(starts) * size, np.nan)
        table[:n] = np.asarray(line, dtype=np.float64)
        there = np.isfinite(table)
        gaps = (~there)[:n].nonzero()[0]
        _, first = np.unique(gaps // size, return_index=True)
        kept += [starts + np.where(there, table, np.inf).reshape(-1, size).argmin(1)]
        kept += [starts + np.where(there, -table, np.inf).reshape(-1, size).argmin(1), gaps[first]]
    return np.unique(np.concatenate(kept))
