"""Facts of labelled series, for people: how many, how long, what is missing, which classes."""

from typing import NamedTuple

import numpy as np

from forecast.data.labelled import Labelled


class LabelFacts(NamedTuple):
    """Counts of labelled series."""

    series: int
    steps: int
    lengths: tuple[int, int, int]  # of a series: least, median, most
    channels: int
    missing: float  # share of the values that were not measured
    constant: tuple[str, ...]  # channels that never change
    classes: dict[str, int]  # series of each class, in the order of their codes
    unlabelled: int  # series without a label


def label_facts(labelled: Labelled) -> LabelFacts:
    """The facts of series as they were read."""
    lengths, values = labelled.lengths, labelled.values
    seen = ~np.isnan(values)
    low = np.where(seen, values, np.inf).min(axis=0)
    high = np.where(seen, values, -np.inf).max(axis=0)
    return LabelFacts(
        series=len(labelled),
        steps=len(values),
        lengths=(int(lengths.min()), int(np.median(lengths)), int(lengths.max())),
        channels=len(labelled.channels),
        missing=float(1 - seen.mean()),
        constant=tuple(name for name, flat in zip(labelled.channels, low >= high, strict=True) if flat),
        classes=dict(zip(labelled.classes, labelled.counts.tolist(), strict=True)),
        unlabelled=int((labelled.label < 0).sum()),
    )
