"""What augmentation may change of labelled series, and what not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.tasks.augment import Augment, channels_kept, mixed, warped, warped_time
from forecast.types import LabelBatch

K = 3


def batch(*lengths: int, channels: int = 2, missing: float = 0.0, seed: int = 0) -> LabelBatch:
    g = torch.Generator().manual_seed(seed)
    length = torch.tensor(lengths)
    steps = (torch.arange(max(lengths)) < length[:, None])[..., None]
    mask = (torch.rand(len(lengths), max(lengths), channels, generator=g) >= missing) & steps
    values = torch.randn(mask.shape, generator=g) * mask
    return LabelBatch(values, mask, length, torch.arange(len(lengths)) % K, torch.arange(len(lengths)))


STRONG = Augment(jitter=0.2, scale=0.3, warp=0.5, channel_dropout=0.3, mixup=0.4)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6), seed=st.integers(0, 10**6),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
)  # fmt: skip
def test_lengths_stay_padding_is_0_and_targets_are_shares(lengths, seed, missing):
    x = batch(*lengths, missing=missing, seed=seed)
    torch.manual_seed(seed)
    y, targets = STRONG(x, K)
    assert y.length.equal(x.length)
    assert y.label.equal(x.label)
    assert y.values.shape == x.values.shape
    assert y.values.isfinite().all()
    assert (y.values[~y.mask] == 0).all()
    steps = torch.arange(x.values.shape[1]) < x.length[:, None]
    assert not y.mask[~steps].any()
    torch.testing.assert_close(targets.sum(1), torch.ones(len(lengths)))
    assert (targets >= 0).all()
    assert (targets[torch.arange(len(lengths)), x.label] >= 0.5 - 1e-6).all()


def test_nothing_changes_nothing():
    x = batch(9, 4, missing=0.2)._replace(label=torch.tensor([2, -1]))
    y, targets = Augment()(x, K)
    assert all(a is b for a, b in zip(x, y, strict=True))
    assert targets.tolist() == [[0, 0, 1], [0, 0, 0]]


def test_the_seed_says_it_all():
    x = batch(12, 7, 12)

    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return STRONG(x, K)[0].values

    assert drawn(3).equal(drawn(3))
    assert not drawn(3).equal(drawn(4))


def test_jitter_is_noise_of_that_size_and_scale_one_factor_for_a_channel():
    x = batch(*[400] * 20)
    torch.manual_seed(0)
    off = Augment(jitter=0.3)(x, K)[0].values - x.values
    assert float(off.std()) == pytest.approx(0.3, rel=0.03)
    ratio = Augment(scale=0.2)(x, K)[0].values / x.values
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))
    assert len(ratio[:, 0].unique()) == 40
    assert float(ratio[:, 0].log().std()) == pytest.approx(0.2, rel=0.35)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5), strength=st.floats(0.01, 2.0))
def test_warped_time_rises_within_its_series_from_end_to_end(lengths, strength):
    length = torch.tensor(lengths)
    time = warped_time(length, 40, strength, torch.float64)
    for row, n in zip(time, lengths, strict=True):
        assert float(row[0]) == 0.0
        assert float(row[n - 1]) == pytest.approx(n - 1)
        assert (row[:n].diff() > 0).all()
        assert (row[n:] == 0).all()


def test_warping_bends_a_line_to_its_time_and_keeps_the_ends():
    x = batch(30, 11, channels=1)
    line = torch.arange(30.0)[None, :, None] * x.mask
    torch.manual_seed(5)
    values, mask = warped(line, x.mask, x.length, 0.5)
    torch.manual_seed(5)
    time = warped_time(x.length, 30, 0.5, torch.float32)
    assert mask.equal(x.mask)
    torch.testing.assert_close(values[..., 0], time)
    assert float((values[0, :, 0] - line[0, :, 0]).abs().max()) > 0.3
    torch.testing.assert_close(values[:, 0], line[:, 0])


def test_no_warping_is_the_series_itself():
    x = batch(30, 11, missing=0.3)
    values, mask = warped(x.values, x.mask, x.length, 1e-12)
    torch.testing.assert_close(values, x.values, atol=1e-4, rtol=1e-4)
    assert mask.equal(x.mask)


def test_warping_never_mixes_a_gap_into_a_value():
    x = batch(40, 40, missing=0.4)
    values, mask = warped(torch.where(x.mask, 5.0, 0.0), x.mask, x.length, 0.8)
    torch.testing.assert_close(values, torch.where(mask, 5.0, 0.0))
    assert 0.4 < float(mask.float().mean()) < 0.8


def test_mixup_mixes_what_both_have_and_weighs_labels_by_it():
    x = batch(10, 5, channels=1)
    values = torch.tensor([1.0, 3.0])[:, None, None] * x.mask
    for seed in range(20):
        torch.manual_seed(seed)
        made, targets = mixed(values, x.mask, x.length, torch.eye(2), 0.5)
        if not made.equal(values):
            break
    own = [(3 - float(made[0, 0])) / 2, (float(made[1, 0]) - 1) / 2]
    assert min(own) >= 0.5
    torch.testing.assert_close(made[0, :5], made[:1, 0].expand(5, 1))
    assert (made[0, 5:] == 1).all()
    assert (made[1, 5:] == 0).all()
    assert float(targets[0, 1]) == pytest.approx((1 - own[0]) / 2, rel=1e-5)
    assert float(targets[1, 0]) == pytest.approx(1 - own[1], rel=1e-5)


def test_a_channel_is_hidden_as_often_as_asked_and_never_all():
    mask = torch.ones(4000, 5, 3, dtype=torch.bool)
    torch.manual_seed(0)
    kept = channels_kept(mask, 0.3)
    assert kept.any(1).all()
    assert float(1 - kept.float().mean()) == pytest.approx(0.3 - 0.3**3 / 3, abs=0.01)
    assert channels_kept(mask[..., :1], 0.9).all()
    x = batch(7, 4, channels=3)
    y, _ = Augment(channel_dropout=0.6)(x, K)
    steps = torch.arange(7) < x.length[:, None]
    for row in range(2):
        some = y.mask[row, steps[row]]
        assert (some.all(0) | ~some.any(0)).all()
        assert y.values[row].equal(x.values[row] * y.mask[row])


@pytest.mark.parametrize("words", [{"jitter": -0.1}, {"warp": float("nan")}, {"channel_dropout": 1.0}])
def test_strengths_that_mean_nothing_are_refused(words):
    with pytest.raises(ValueError, match=f"task.augment.{next(iter(words))}"):
        Augment(**words)
