"""Covariates as numbers a model can read: scaled by the training rows of all series together, categories as codes.

Code 0 is a value that no training row has, or none at all; the others count the values of the training rows in order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecast.errors import ArtifactError

Words = tuple[str, ...] | None  # the values of a category in a table, whose cells hold their numbers; None: numbers


class Column(NamedTuple):
    """How one covariate is coded."""

    name: str
    role: str  # known_future, past_only or static
    words: Words  # those of training, sorted; None for numbers
    mean: float = 0.0
    std: float = 1.0
    beside: bool = False  # it came from the second table

    @property
    def size(self) -> int:
        """Codes, the unknown one among them; 0 for a number."""
        return 0 if self.words is None else len(self.words) + 1

    def apply(self, values: NDArray[np.float64], words: Words) -> NDArray[np.float64]:
        """(M,) cells of a table → scaled numbers or codes; NaN where empty."""
        if self.words is None:
            return np.asarray((values - self.mean) / self.std)
        code = {word: float(i) for i, word in enumerate(self.words, 1)}
        table = np.array([*(code.get(word, 0.0) for word in words or ()), np.nan])
        return np.asarray(table[np.where(np.isnan(values), len(table) - 1, values).astype(np.int64)])


def fit(name: str, role: str, values: NDArray[np.float64], words: Words, *, scaled: bool, beside: bool) -> Column:
    """A column's coding from its cells in training rows (M,); `scaled`: whether numbers are scaled."""
    seen = values[~np.isnan(values)]
    if words is not None:
        return Column(name, role, tuple(sorted(words[i] for i in np.unique(seen).astype(int))), beside=beside)
    if not scaled or not len(seen):
        return Column(name, role, None, beside=beside)
    mean, spread = float(seen.mean()), float(seen.std())
    flat = spread <= 1e-12 * max(abs(mean), float(np.finfo(float).tiny))
    return Column(name, role, None, mean, 1.0 if flat else spread, beside)


class Coding(NamedTuple):
    """All covariates of a run: those known ahead, those seen in the past only, facts of series."""

    columns: tuple[Column, ...]

    def names(self, role: str) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.role == role)

    def get(self, name: str) -> Column | None:
        return next((c for c in self.columns if c.name == name), None)

    @property
    def moving(self) -> tuple[Column, ...]:
        """Those with a value for each step."""
        return tuple(c for c in self.columns if c.role != "static")

    @property
    def facts(self) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if c.role == "static")

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain data for JSON; the inverse of `from_dict`."""
        return [{**c._asdict(), "words": None if c.words is None else list(c.words)} for c in self.columns]

    @classmethod
    def from_dict(cls, plain: Sequence[Mapping[str, Any]]) -> "Coding":
        """ArtifactError for anything that is no coding."""
        try:
            columns = tuple(
                Column(str(c["name"]), str(c["role"]), None if c["words"] is None else tuple(map(str, c["words"])),
                       float(c["mean"]), float(c["std"]), bool(c["beside"]))
                for c in plain
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as fault:
            raise ArtifactError(
                "the saved covariates are damaged", "expected name, role, words", "train again"
            ) from fault
        if not all(np.isfinite([c.mean, c.std]).all() and c.std > 0 for c in columns):
            raise ArtifactError("the saved covariates are damaged", "expected finite numbers", "train again")
        return cls(columns)
