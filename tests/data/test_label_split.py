"""Parts of labelled series: each class alike, none lost, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecast.data.label_split import cut, draw, quotas, split_labelled
from forecast.data.labelled import Labelled
from forecast.errors import DataError

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=8).map(np.array)
SHARES = st.floats(0.01, 0.9)


def of(counts: np.ndarray, seed: int = 0) -> Labelled:
    """Series of one step, so many of each class, shuffled."""
    label = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(label)
    names = tuple(f"k{i}" for i in range(len(counts)))
    return Labelled(tuple(f"s{i}" for i in range(n)), np.arange(n + 1), np.zeros((n, 1)), label, names, ("x",))


@given(COUNTS, SHARES)
def test_quotas_are_nearest_and_leave_one_of_each_class(counts: np.ndarray, share: float) -> None:
    taken = quotas(counts, share)
    assert (taken >= 0).all() and (taken[counts > 0] < counts[counts > 0]).all() and not taken[counts == 0].any()
    wanted = max(round(share * counts.sum()), 1)
    assert taken.sum() == min(wanted, np.maximum(counts - 1, 0).sum())
    if (np.ceil(share * counts) < counts)[counts > 0].all():  # nobody is spared for being the last of a class
        assert (np.abs(taken - share * counts) < 1 + 1e-6).all() or taken.sum() == 1


def test_the_largest_remainder_wins() -> None:
    assert quotas(np.array([10, 10, 10]), 0.25).tolist() == [3, 3, 2]  # 2.5 each, 8 of 30
    assert quotas(np.array([8, 7, 2, 5]), 0.2).tolist() == [2, 1, 0, 1]  # 1.6, 1.4, 0.4, 1.0
    assert quotas(np.array([1, 1, 2]), 0.2).tolist() == [0, 0, 1]
    assert quotas(np.array([1, 1]), 0.5).tolist() == [0, 0]
    assert quotas(np.array([5, 5]), 0.0).tolist() == [0, 0]


@given(COUNTS, SHARES, st.integers(0, 5))
def test_a_draw_parts_all_series_and_is_that_of_its_seed(counts: np.ndarray, share: float, seed: int) -> None:
    label = of(counts).label
    stay, taken = draw(label, len(counts), share, (seed, 1))
    assert sorted([*stay, *taken]) == list(range(len(label)))
    assert (np.diff(stay) > 0).all() and (np.diff(taken) > 0).all()
    assert np.bincount(label[taken], minlength=len(counts)).tolist() == quotas(counts, share).tolist()
    again = draw(label, len(counts), share, (seed, 1))
    assert (again[0] == stay).all() and (again[1] == taken).all()


def test_another_seed_draws_others() -> None:
    labelled = of(np.array([30, 30]))
    assert cut(labelled, 0.3, 1)["val"].ids == cut(labelled, 0.3, 1)["val"].ids
    assert cut(labelled, 0.3, 1)["val"].ids != cut(labelled, 0.3, 2)["val"].ids


def test_shares_of_the_series() -> None:
    labelled = of(np.array([50, 30, 20]))
    two = split_labelled(labelled, {"train": 0.8, "test": 0.2}, 1)
    assert set(two) == {"train", "test"} and two["test"].counts.tolist() == [10, 6, 4]
    three = split_labelled(labelled, {"train": 0.7, "val": 0.1, "test": 0.2}, 1)
    assert three["test"].ids == two["test"].ids
    assert three["val"].counts.tolist() == [5, 3, 2] and three["train"].counts.tolist() == [35, 21, 14]
    assert len(split_labelled(labelled, {"train": 1, "test": 0}, 1)["test"]) == 0


def test_lists_of_ids() -> None:
    labelled = of(np.array([3, 3]))
    parts = split_labelled(labelled, {"train": ["s1", "s0"], "val": ["s2"], "test": ["s5"]}, 1)
    assert [parts[name].ids for name in ("train", "val", "test")] == [("s1", "s0"), ("s2",), ("s5",)]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": 0.5}, "splits has train; expected train and test"),
        ({"train": 0.5, "test": 0.4}, "expected shares that sum to 1"),
        ({"train": 0, "test": 1}, "that of train above 0"),
        ({"train": 0.5, "test": ["a"]}, "expected shares, or lists of ids"),
        ({"train": "a", "test": "b"}, "expected shares, or lists of ids"),
        ({"train": [], "test": ["s0"]}, "train names no id"),
        ({"train": ["s9"], "test": ["s0"]}, "splits names the id 's9'; expected ids of the table"),
        ({"train": ["s0"], "test": ["s0"]}, "splits names the id 's0' twice"),
    ],
)
def test_splits_that_say_nothing_are_told(splits, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_labelled(of(np.array([3, 3])), splits, 1)


def test_a_series_without_a_label_is_in_no_share() -> None:
    labelled = of(np.array([3, 3]))
    labelled.label[2] = -1
    with pytest.raises(DataError, match="the data: series 's2' has no label"):
        split_labelled(labelled, {"train": 0.5, "test": 0.5}, 1)
