"""Which labelled series train, validate and test: each class is parted alike, by a draw that the seed fixes.

Quotas are by the largest remainder: of n series, n_k of class k and a share s

    round(s n) are taken, floor(s n_k) of each class, and one more where s n_k has the largest fraction

and never all of a class: one stays at least, so a class with one series stays whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from forecast.data.event_split import named
from forecast.data.freq import Ints
from forecast.data.labelled import Labelled
from forecast.errors import DataError

VAL: Final = 0.2  # of the training series validate, where nothing else is said
_HOW: Final = "give {train: .8, test: .2}, lists of ids, or two files"


def quotas(counts: Ints, share: float) -> Ints:
    """(K,) series to take of each class, of (K,) there are."""
    exact = share * counts
    room = np.maximum(counts - 1, 0)
    taken = np.minimum(np.floor(exact + 1e-9).astype(np.int64), room)
    left = int(np.rint(share * counts.sum())) - int(taken.sum())
    if share > 0 and not taken.any():
        left = max(left, 1)
    order = np.argsort(-(exact - taken), kind="stable")
    while left > 0 and (open_ := order[taken[order] < room[order]]).size:
        taken[open_[:left]] += 1
        left -= len(open_[:left])
    return taken


def draw(label: Ints, classes: int, share: float, seed: Sequence[int]) -> tuple[Ints, Ints]:
    """Numbers of the series that stay, and of those that are taken, both rising: a function of labels and seed."""
    rng = np.random.default_rng(list(seed))
    take = np.zeros(len(label), np.bool_)
    for code, many in enumerate(quotas(np.bincount(label, minlength=classes), share).tolist()):
        take[rng.permutation(np.flatnonzero(label == code))[:many]] = True
    return np.flatnonzero(~take), np.flatnonzero(take)


def split_labelled(labelled: Labelled, splits: Mapping[str, Any], seed: int) -> dict[str, Labelled]:
    """train and test, and val where the splits name it: shares of the series, or lists of ids.

    DataError for splits that say neither, and for a training part without series.
    """
    if not {"train", "test"} <= set(splits):
        raise DataError(f"splits has {', '.join(splits) or 'nothing'}", "expected train and test, and maybe val", _HOW)
    names = [name for name in ("train", "val", "test") if name in splits]
    values = [splits[name] for name in names]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return _by_shares(labelled, {name: float(splits[name]) for name in names}, seed)
    if not all(isinstance(value, Sequence) and not isinstance(value, str) for value in values):
        raise DataError(f"splits is {dict(splits)}", "expected shares, or lists of ids", _HOW)
    numbers = named(labelled.ids, [[str(one) for one in value] for value in values])
    if not len(numbers[0]):
        raise DataError("splits: train names no id", "expected the ids of the training series", _HOW)
    return {name: labelled.take(some) for name, some in zip(names, numbers, strict=True)}


def _by_shares(labelled: Labelled, shares: Mapping[str, float], seed: int) -> dict[str, Labelled]:
    """Test is drawn from all series, validation from the rest."""
    if not (min(shares.values()) >= 0 and shares["train"] > 0 and abs(sum(shares.values()) - 1) <= 1e-6):
        raise DataError(f"splits is {dict(shares)}", "expected shares that sum to 1, that of train above 0", _HOW)
    if (labelled.label < 0).any():
        raise unlabelled(labelled)
    classes = len(labelled.classes)
    rest, test = draw(labelled.label, classes, shares["test"], (seed, 2))
    parts = {"train": labelled.take(rest), "test": labelled.take(test)}
    if "val" in shares:
        parts |= cut(parts["train"], shares["val"] / (shares["train"] + shares["val"]), seed)
    return parts


def cut(train: Labelled, share: float, seed: int) -> dict[str, Labelled]:
    """train and val of the training series; both keep their order."""
    stay, taken = draw(train.label, len(train.classes), share, (seed, 1))
    return {"train": train.take(stay), "val": train.take(taken)}


def unlabelled(labelled: Labelled, part: str = "the data") -> DataError:
    """The error of a series without a label, where each needs one."""
    at = int((labelled.label < 0).argmax())
    return DataError(
        f"{part}: series '{labelled.ids[at]}' has no label",
        "expected one for every series that trains or tests",
        "write it, or leave the series out",
    )
