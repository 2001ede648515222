"""What is told of labelled series while they go on, what became of their steps, and why some were not taken."""

from typing import Final, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from forecast.data.events import Floats
from forecast.data.freq import Ints

WHY: Final = {
    "duplicate": ("was taken before", "expected a time after the last one of its series"),
    "late": ("is late", "expected a time after the last one of its series"),
    "implausible": ("is implausible", "expected values within a million standard deviations of the training data"),
    "too long": (
        "is one more than the longest series of the training had",
        "expected the series to end: a flat head knows no more steps; train with head=pool",
    ),
    "not begun": ("ends a series that has not begun", "expected a step of it before"),
}
RAW: Final = {**WHY, "implausible": ("is implausible", "expected values within a trillion of 0")}  # data.scale=none


class ClassForecasts(NamedTuple):
    """The class of each of B series, as far as its steps tell."""

    ids: list[str]  # B
    step: Ints  # (B,) how many there were
    ticks: Ints  # (B,) when the last one was (event_time.py); 0 where nothing says
    chance: Floats  # (B, K) probabilities
    classes: tuple[str, ...]  # K

    @property
    def label(self) -> list[str]:
        """The likeliest class of each."""
        return [self.classes[code] for code in self.chance.argmax(1).tolist()]

    def frame(self) -> pl.DataFrame:
        """unique_id, step, label, p (its probability), and p_NAME of each class, as `forecast predict` gives them."""
        return pl.DataFrame({
            "unique_id": pl.Series(self.ids, dtype=pl.String), "step": self.step,
            "label": pl.Series(self.label, dtype=pl.String), "p": self.chance.max(1).astype(np.float32),
            **{f"p_{name}": self.chance[:, k].astype(np.float32) for k, name in enumerate(self.classes)},
        })  # fmt: skip


class ClassTaken(NamedTuple):
    """What became of N steps."""

    status: NDArray[np.int8]  # (N,) places in STATUSES
    at: Ints  # (M,) the steps that have an answer, rising
    forecasts: ClassForecasts  # M of them, in the order of `at`

    @property
    def alarm(self) -> NDArray[np.bool_]:
        """(M, 0): classes raise none."""
        return np.empty((len(self.at), 0), bool)


def chances(logits: NDArray[np.float32], temperature: float) -> Floats:
    """(B, K) -> probabilities, as ClassPredictor.chances makes them."""
    return (torch.from_numpy(logits).double() / temperature).softmax(-1).numpy()
