"""What is left of a gap that has not ended yet: against numerical integration in float64, and far out in its tails."""

import math

import pytest
import torch
from scipy.integrate import quad

from forecast.heads.elapsed import after
from forecast.heads.gaps import Gaps

A, B = 1.7, -0.4
ELAPSED = (0.0, 1e-6, 0.03, 0.5, 4.0, 90.0)


def gaps(k: int = 5, rows: int = 1, *, dtype=torch.float64, grid: float = 0.0, seed: int = 0) -> Gaps:
    g = torch.Generator().manual_seed(seed)
    weight, place, scale = (torch.randn(rows, k, generator=g, dtype=torch.float64) for _ in range(3))
    parts = (weight.log_softmax(-1), place, (0.4 * scale - 0.5).clamp(-5, 3), torch.tensor(A), torch.tensor(B))
    return Gaps(*(part.to(dtype) for part in parts), grid)


def density(at: Gaps, tau: float) -> float:
    return float(at.log_density(torch.tensor([tau], dtype=torch.float64)).exp()[0])


def integral(at: Gaps, low: float, high: float, times=lambda tau: 1.0) -> float:
    """∫ f(τ) times(τ) dτ, over log τ."""
    ends = math.log(max(low, 1e-9)), math.log(high)
    inner = lambda z: density(at, math.exp(z)) * math.exp(z) * times(math.exp(z))  # noqa: E731
    marks = [p for p in (-6, -3, -1, 0, 1, 3, 6) if ends[0] < p < ends[1]]
    return quad(inner, *ends, points=marks, limit=500, epsabs=1e-14, epsrel=1e-10)[0]


@pytest.mark.parametrize("elapsed", ELAPSED)
def test_it_is_what_integration_says(elapsed):
    at = gaps()
    left = after(at, elapsed)
    stays = integral(at, elapsed, 1e12)
    for r in (1e-3, 0.1, 1.0, 30.0):
        tau = torch.tensor([r], dtype=torch.float64)
        lasts = integral(at, elapsed + r, 1e12) / stays
        assert float(left.log_survival(tau)) == pytest.approx(math.log(lasts), rel=1e-6, abs=1e-9)
        assert float(left.cdf(tau)) == pytest.approx(integral(at, elapsed, elapsed + r) / stays, rel=1e-6)
        lives = integral(at, elapsed + r, 1e12)
        assert float(left.hazard(tau)) == pytest.approx(density(at, elapsed + r) / lives, rel=1e-6)
        assert float(left.log_density(tau).exp()) == pytest.approx(density(at, elapsed + r) / stays, rel=1e-6)
    mean = integral(at, elapsed, 1e12, lambda tau: tau - elapsed) / stays
    assert float(left.mean()) == pytest.approx(mean, rel=1e-5)


def test_without_time_passed_it_is_the_gap():
    for dtype, near in ((torch.float64, 1e-9), (torch.float32, 3e-5)):
        at = gaps(64, 7, dtype=dtype)
        left, tau = after(at, 0.0), torch.logspace(-3, 3, 7, dtype=dtype)
        for name in ("log_survival", "cdf", "hazard"):
            same = getattr(left, name)(tau), getattr(at, name)(tau)
            torch.testing.assert_close(*same, rtol=near, atol=0.0)
        torch.testing.assert_close(left.mean(), at.mean(), rtol=near, atol=0.0)
        torch.testing.assert_close(left.median(), at.median(), rtol=10 * near, atol=0.0)


@pytest.mark.parametrize("elapsed", ELAPSED)
@pytest.mark.parametrize("most", [0.05, 3.0, 200.0])
def test_means_count_no_more_than_the_longest_gap(elapsed, most):
    """∫ S from 0 to T, for narrow and for wide components, of which some have means beyond all numbers."""
    for wide in (-1.0, 0.5, 3.0):
        at = gaps()._replace(most=most)
        at = at._replace(log_scale=at.log_scale + wide)
        left = after(at, elapsed)
        expected = quad(lambda r: float(left.log_survival(torch.tensor([r]).double()).exp()), 0, most, limit=200)[0]
        assert float(left.mean()) == pytest.approx(expected, rel=1e-6)
        low = after(Gaps(*(part.float() for part in at[:5]), 0.0, most), elapsed)
        assert float(low.mean()) == pytest.approx(expected, rel=1e-3)
        if not elapsed:
            assert float(at.mean()) == pytest.approx(float(left.mean()), rel=1e-9)


@pytest.mark.parametrize("elapsed", ELAPSED)
def test_quantiles_undo_it(elapsed):
    for dtype, near in ((torch.float64, 1e-8), (torch.float32, 1e-3)):
        left = after(gaps(8, 5, dtype=dtype), elapsed)
        for level in (1e-5, 0.1, 0.5, 0.9):
            torch.testing.assert_close(left.cdf(left.quantile(level)), torch.full((5,), level, dtype=dtype),
                                       rtol=near, atol=0.0)  # fmt: skip
        torch.testing.assert_close(left.log_survival(left.quantile(1 - 2**-12)),
                                   torch.full((5,), -12 * math.log(2), dtype=dtype), rtol=near, atol=0.0)  # fmt: skip


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.01])
def test_far_out_float32_keeps_its_digits(scale):
    """There S is e^-800 and less; float32 is given what it holds exactly, and float64 is far from its own end."""
    one = torch.zeros(1, 1), torch.zeros(1, 1), torch.full((1, 1), math.log(scale))
    low = Gaps(*one, torch.tensor(1.0), torch.tensor(0.0))
    high = Gaps(*(part.double() for part in low[:5]))
    for u in (10.0, 40.0, 200.0):
        e = torch.tensor(math.exp(min(u * scale, 30.0)), dtype=torch.float32)
        left, exact = after(low, e), after(high, e.double())
        for r in (1e-6 * e, 1e-3 * e, 0.1 * e):
            torch.testing.assert_close(left.cdf(r[None]).double(), exact.cdf(r[None].double()), rtol=3e-3, atol=0.0)
        for name in ("mean", "median"):
            torch.testing.assert_close(getattr(left, name)().double(), getattr(exact, name)(), rtol=1e-3, atol=0.0)


def test_the_far_tail_is_that_of_a_normal():
    """log S falls by u Δ + Δ²/2 and the change of log c, which ~ -log(u)."""
    at = Gaps(*(torch.zeros(1, 1, dtype=torch.float64) for _ in range(3)), torch.tensor(1.0).double(),
              torch.tensor(0.0).double())  # fmt: skip
    u, step = 100.0, 0.01
    left = after(at, math.exp(u)).log_survival(torch.tensor([math.exp(u) * math.expm1(step)], dtype=torch.float64))
    assert float(left) == pytest.approx(-u * step - step**2 / 2 - math.log((u + step) / u), rel=1e-6)


def test_longer_waits_do_not_wrap():
    """Whatever has passed, every number is finite in float32, and no hazard negative."""
    for seed in range(3):
        for elapsed in (0.0, 1e-30, 1e-9, 1e-3, 1.0, 1e4, 1e9, 1e20):
            left = after(gaps(64, 4, dtype=torch.float32, seed=seed), elapsed)
            for r in (1e-12, 1e-3, 1.0, 1e6, 1e12):
                tau = torch.full((4,), r)
                assert left.log_survival(tau).isfinite().all() and (left.hazard(tau) >= 0).all()
                assert ((left.cdf(tau) >= 0) & (left.cdf(tau) <= 1)).all()
            assert left.mean().isfinite().all() and (left.mean() > 0).all() and left.median().isfinite().all()


def test_draws_follow_it_and_end_on_the_grid():
    left = after(gaps(4, 2), torch.tensor([0.0, 2.0], dtype=torch.float64))
    drawn = left.sample(20000, torch.Generator().manual_seed(0))
    for level in (0.1, 0.5, 0.9):
        assert ((drawn <= left.quantile(level)).double().mean(0) - level).abs().max() < 0.012
    ticks = after(gaps(4, 2, grid=0.25), 0.5).sample(100, torch.Generator().manual_seed(0))
    assert (((ticks + 0.5) / 0.25) % 1 == 0).all()


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_a_time_that_none_is_is_refused(wrong):
    with pytest.raises(ValueError, match="expected 0 or more"):
        after(gaps(), wrong)
