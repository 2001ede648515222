"""Readings of many series in rounds: the next one of every series at once."""

import numpy as np

from forecast.data.freq import Ints
from forecast.streaming.stepping import AT_ONCE


def rounds(slots: Ints) -> list[Ints]:
    """Readings (N,) of rows `slots` in rounds: the first of each series, the second, …, at most AT_ONCE in each."""
    if len(slots) == 1:
        return [np.zeros(1, np.int64)]
    order = np.argsort(slots, kind="stable")
    first = np.concatenate([[True], slots[order[1:]] != slots[order[:-1]]])
    start = np.flatnonzero(first)
    place = np.arange(len(slots)) - np.repeat(start, np.diff(start, append=len(slots)))
    turn = np.argsort(place, kind="stable")
    edges = np.flatnonzero(np.diff(place[turn])) + 1
    # in the order of the readings, whatever rows their series have: so a batch that is taken again is the same
    found = [np.sort(one) for one in np.split(order[turn], edges)]
    return [part for one in found for part in np.split(one, range(AT_ONCE, len(one), AT_ONCE))]


def last(slots: Ints) -> Ints:
    """The place of the last of each; readings are in rounds."""
    return len(slots) - 1 - np.unique(slots[::-1], return_index=True)[1]
