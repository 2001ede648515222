"""Marks as text into what a model takes and what a state keeps of them."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.data.event_recipe import EventRecipe, parted
from forecast.data.freq import Ints

KEPT: Final = 1 << 16  # texts whose codes are kept


class Coded(NamedTuple):
    """The marks of N events."""

    mark: NDArray[Any]  # (N,) int64 codes, M for one that training did not have; or (N, M) bool labels
    key: Ints  # (N,) equal where the marks are, for unknown ones too
    unknown: NDArray[np.bool_]  # (N,) whether training did not have it, or one of its labels

    def at(self, rows: Ints) -> "Coded":
        return Coded(self.mark[rows], self.key[rows], self.unknown[rows])


class EventMarks:
    """The marks of one run."""

    def __init__(self, recipe: EventRecipe) -> None:
        self.separator = recipe.card.labels if recipe.spec.labels else None
        self.place = {name: code for code, name in enumerate(recipe.spec.marks)}
        self.labels = recipe.spec.labels
        self.kept: dict[str, tuple[Any, int, bool]] = {}

    def __call__(self, texts: Sequence[str]) -> Coded:
        """(N,)"""
        if len(self.kept) > KEPT:
            self.kept.clear()
        found = [self.kept.get(text) or self._coded(text) for text in texts]
        shape = (len(texts), len(self.place)) if self.labels else (len(texts),)
        mark = np.array([each[0] for each in found], bool if self.labels else np.int64).reshape(shape)
        return Coded(mark, np.array([each[1] for each in found], np.int64), np.array([each[2] for each in found], bool))

    def _coded(self, text: str) -> tuple[Any, int, bool]:
        made: tuple[Any, int, bool]
        if self.labels:
            names = sorted(set(parted(text, self.separator)))
            row = np.zeros(len(self.place), bool)
            row[[self.place[name] for name in names if name in self.place]] = True
            made = row, _digest("\0".join(names)), any(name not in self.place for name in names)
        elif (code := self.place.get(text)) is not None:
            made = code, code, False
        else:
            made = len(self.place), _digest(text), True
        self.kept[text] = made
        return made


def _digest(text: str) -> int:
    """Below 0, where no code is."""
    return -1 - (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1)
