"""Steps of streams and their stamps: which step a stamp is, when a step is, and its calendar fields.

A step is counted from 1970. `rest` is where within a step the stamps of a series stand, and stays the same for all of
them: microseconds; where steps are counted on the wall clock, whole units of the frequency times UNIT as well.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from forecast.data.clock import clock, to_utc, to_wall
from forecast.data.freq import TICKS, Ints, Stamps, parse_freq
from forecast.data.recipe import Recipe

BLOCK: Final = 1024  # steps whose calendar fields are made at once
KEPT: Final = 64 * BLOCK  # steps whose fields are kept
UNIT: Final = 1 << 44  # more than the microseconds that a stamp may have beyond a unit


class Calendar:
    """The calendar of a run's data. Fields of a step are made once, a block of steps at a time."""

    def __init__(self, recipe: Recipe) -> None:
        self.zone, self.fields, self.holidays = recipe.card.time.zone, recipe.spec.clock, recipe.holidays
        self.freq = parse_freq(recipe.spec.freq)
        # microseconds of a step that is the same on every clock; 0: steps are counted on the wall
        self.ticks = 0 if self.freq.wall else self.freq.n * TICKS[self.freq.unit]
        # a table of days off may end soon: no day is asked for that no series has reached
        self.size = BLOCK if recipe.holidays is None else 1
        self.blocks: dict[tuple[int, int], NDArray[np.float32]] = {}

    def steps(self, time: Stamps) -> tuple[Ints, Ints]:
        """(N,) UTC stamps -> steps (N,), and rests (N,), -1 where no stamp may stand."""
        if self.ticks:
            return np.divmod(time.astype(np.int64), self.ticks)
        ordinal, rest = self.freq.ordinals(to_wall(time, self.zone))
        step, between = np.divmod(ordinal, self.freq.step)
        return step, np.where(rest < 0, -1, rest + UNIT * between)

    def stamps(self, step: Ints, rest: Ints) -> Stamps:
        """Steps and rests, of shapes that fit each other -> UTC stamps."""
        if self.ticks:
            return (step * self.ticks + rest).astype("datetime64[us]")
        between, micros = np.divmod(rest, UNIT)
        found = self.freq.stamps(step * self.freq.step + between, micros)
        return to_utc(found.reshape(-1), self.zone, shift=True).reshape(found.shape)

    def rows(self, step: Ints, rest: Ints) -> NDArray[np.float32]:
        """(N,) steps and rests -> their calendar fields (N, F)."""
        block, place = np.divmod(step, self.size)
        if len(step) == 1 or ((block == block[0]).all() and (rest == rest[0]).all()):
            return self._block(int(block[0]), int(rest[0]))[place]
        keys, back = np.unique(np.stack([block, rest]), axis=1, return_inverse=True)
        back = back.reshape(-1)
        found = np.empty((len(step), len(self.fields)), np.float32)
        for number, (one, its) in enumerate(keys.T.tolist()):
            mine = back == number
            found[mine] = self._block(one, its)[place[mine]]
        return found

    def _block(self, block: int, rest: int) -> NDArray[np.float32]:
        key = block, rest
        if (known := self.blocks.get(key)) is not None:
            return known
        stamps = self.stamps(block * self.size + np.arange(self.size), np.full(self.size, rest))
        days = self.holidays
        if days is not None:
            wall = to_wall(stamps, self.zone).astype("datetime64[D]")
            days = days.covering(wall.min(), wall.max())
        while len(self.blocks) * self.size >= KEPT:
            self.blocks.pop(next(iter(self.blocks)))
        made = self.blocks[key] = clock(stamps, self.fields, self.zone, days)
        return made
