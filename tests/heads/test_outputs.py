"""Laws of every output: values and scores are each other's inverse, quantiles rise, losses are proper and masked."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from forecast import build
from forecast.heads import NegativeBinomial, Normal, Point, Quantiles, StudentT, ZeroInflated
from forecast.heads.distribution import student_quantile
from forecast.models.normalise import Statistics

OUTPUTS = {
    "point": Point, "quantiles": Quantiles, "normal": Normal, "student_t": StudentT,
    "negative_binomial": NegativeBinomial, "zero_inflated": ZeroInflated,
}  # fmt: skip
B, H, T = 5, 4, 3


@pytest.fixture(params=list(OUTPUTS))
def output(request):
    return OUTPUTS[request.param]().double()


def forecast(output, *, seed=0, wide=2.0):
    g = torch.Generator().manual_seed(seed)
    shape = (B, H, T) if output.width == 1 else (B, H, T, output.width)
    raw = wide * torch.randn(shape, generator=g, dtype=torch.float64) + (3.0 if output.counts else 0.0)
    std = torch.rand(B, 1, T + 1, generator=g, dtype=torch.float64) + 0.5
    return output(raw, Statistics(torch.randn(B, 1, T + 1, generator=g, dtype=torch.float64), std))


def test_the_table_of_outputs_is_that_of_the_configuration(output):
    assert build.OUTPUTS[next(k for k, v in OUTPUTS.items() if isinstance(output, v) and type(output) is v)]


@pytest.mark.parametrize("name", OUTPUTS)
@given(seed=st.integers(0, 50))
def test_values_rise_with_their_scores_and_scores_come_back(name, seed):
    output = OUTPUTS[name]().double()
    made = forecast(output, seed=seed)
    scores = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)
    values = output.value(made, scores)
    assert values.shape == (B, H, T, 9)
    assert (values.diff(dim=-1) >= 0).all()
    if output.counts:  # a count is the first whose probability, or less, reaches that of the score
        low, high = output.score(made, values[..., 4], 0.0), output.score(made, values[..., 4], 1.0)
        assert (low <= 1e-9).all() and (high >= -1e-9).all()
    else:
        torch.testing.assert_close(output.score(made, values[..., 2]), scores[2].expand(B, H, T), rtol=1e-7, atol=1e-7)


def test_own_quantiles_hold_what_they_claim(output):
    levels = torch.tensor([0.05, 0.3, 0.5, 0.9], dtype=torch.float64)
    made = forecast(output, wide=0.5)
    own = output.own(made, levels)
    if own is None:
        assert not output.spread
        return
    values = output.value(made, own)
    if isinstance(output, StudentT):
        parts = (made[..., i : i + 1].numpy() for i in (2, 0, 1))
        np.testing.assert_allclose(values.numpy(), stats.t.ppf(levels.numpy(), *parts), rtol=2e-3, atol=2e-3)
    elif type(output) is Normal:
        expected = stats.norm.ppf(levels.numpy(), made[..., :1].numpy(), made[..., 1:].numpy())
        np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9)
    elif type(output) is NegativeBinomial:
        mean, r = made[..., :1].numpy(), made[..., 1:2].numpy()
        assert np.array_equal(values.numpy(), stats.nbinom.ppf(levels.numpy(), r, r / (r + mean)))
    elif isinstance(output, Quantiles):
        torch.testing.assert_close(values[..., 0], made[..., 0])
        torch.testing.assert_close(values[..., 2], output.point(made))


@pytest.mark.parametrize("nu", [2.01, 2.5, 3, 4.5, 7, 30, 1000])
def test_student_quantiles_agree_with_scipy(nu):
    levels = torch.tensor([0.001, 0.01, 0.05, 0.2, 0.45, 0.6, 0.9, 0.99, 0.999], dtype=torch.float64)
    ours = student_quantile(levels, torch.tensor([nu], dtype=torch.float64))
    np.testing.assert_allclose(ours.numpy(), stats.t.ppf(levels.numpy(), nu), rtol=3e-3)


def test_likelihoods_are_those_of_scipy():
    y = torch.arange(7, dtype=torch.float64)[:, None, None]
    one = torch.ones(7, 1, 1, dtype=torch.float64)
    normal = torch.stack([one * 1.5, one * 0.7], -1)
    np.testing.assert_allclose(Normal().each(normal, y).squeeze(), -stats.norm.logpdf(y.squeeze(), 1.5, 0.7), rtol=1e-5)
    student = torch.stack([one * 1.5, one * 0.7, one * 3.3], -1)
    expected = -stats.t.logpdf(y.squeeze(), 3.3, 1.5, 0.7)
    np.testing.assert_allclose(StudentT().each(student, y).squeeze(), expected, rtol=1e-5)
    counts = torch.stack([one * 2.5, one * 1.7], -1)
    expected = -stats.nbinom.logpmf(y.squeeze(), 1.7, 1.7 / (1.7 + 2.5))
    np.testing.assert_allclose(NegativeBinomial().each(counts, y).squeeze(), expected, rtol=1e-5)
    zeros = torch.cat([counts, one[..., None] * -0.4], -1)
    share = 1 / (1 + math.exp(0.4))
    mass = (1 - share) * np.exp(-expected) + share * (y.squeeze().numpy() == 0)
    np.testing.assert_allclose(ZeroInflated().each(zeros, y).squeeze(), -np.log(mass), rtol=1e-5)
    np.testing.assert_allclose(ZeroInflated().point(zeros)[0], 2.5 * (1 - share), rtol=1e-6)


def test_a_gap_counts_for_nothing_and_a_weight_of_two_is_the_window_twice(output):
    made = forecast(output)
    g = torch.Generator().manual_seed(3)
    target = torch.randint(0, 9, (B, H, T), generator=g).double()
    mask = torch.rand(B, H, T, generator=g) > 0.3
    before = output.loss(made, target, mask)
    torch.testing.assert_close(before, output.loss(made, torch.where(mask, target, 7.0), mask))
    assert output.loss(made, target, torch.zeros_like(mask)) == 0
    weight = torch.ones(B, dtype=torch.float64)
    torch.testing.assert_close(before, output.loss(made, target, mask, weight))
    weight[1] = 2.0
    twice = torch.tensor([0, 1, 1, 2, 3, 4])
    torch.testing.assert_close(
        output.loss(made, target, mask, weight), output.loss(made[twice], target[twice], mask[twice])
    )


def test_the_loss_in_frequencies_is_that_of_the_transform():
    output = Point(frequency=0.25).double()
    made = forecast(output)
    target = torch.zeros_like(made)
    apart = np.abs(np.fft.rfft(made.numpy(), axis=1, norm="ortho")).mean()
    expected = 0.75 * made.square().mean().item() + 0.25 * apart
    assert output.loss(made, target, None).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("levels", [[0.5], [0.1, 0.9, 0.95], [0.5, 0.1, 0.9], [0.0, 0.5, 0.9], [0.1, 0.5, 0.5]])
def test_levels_that_are_none_are_refused(levels):
    with pytest.raises(ValueError, match=r"task.levels"):
        Quantiles(levels)


@pytest.mark.parametrize("head", [
    {"_target_": "forecast.heads.Direct", "tokens": 3, "residual": "linear"},
    {"_target_": "forecast.heads.Timewise"}, {"_target_": "forecast.heads.Timewise", "individual": True},
    {"_target_": "forecast.heads.Flat"}, {"_target_": "forecast.heads.Segments", "segment": 3},
    {"_target_": "forecast.heads.Generative", "d_model": 16, "heads": 2, "d_ff": 16, "residual": "linear"},
], ids=lambda head: head["_target_"].rpartition(".")[2])  # fmt: skip
@pytest.mark.parametrize("name", ["quantiles", "student_t"])
def test_every_head_gives_every_output_its_numbers(head, name):
    from tests.problems import batch, spec
    from tests.test_build import config

    task = {"output": name, "loss": "mse", "levels": [0.1, 0.25, 0.5, 0.9]}
    s = spec()
    chain = build.chain(config(head=head, task=task, norm="instance"), s, masked=False)
    windows = batch(s, dtype=torch.float32)
    made = chain(windows)
    assert made.shape == (*windows.future.shape, chain.output.width)
    assert chain.point(windows).shape == windows.future.shape
    chain.output.loss(made, windows.future, None).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in chain.head.parameters())
