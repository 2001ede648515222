"""Rolling normalisation against its definition, and as a stream."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.models.normalise import RollingNorm, undo


def problem(length: int = 40, missing: float = 0.3):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, length, 3, generator=g, dtype=torch.float64) * 4 + 10
    return x, torch.rand(2, length, 3, generator=g) >= missing


@pytest.mark.parametrize("masked", [False, True])
def test_mean_and_variance_by_definition(masked):
    x, mask = problem()
    norm = RollingNorm(half_life=7.0)
    state, normal, statistics = norm.scan(norm.start(2, 3, dtype=torch.float64), x, mask if masked else None)
    decay = math.log(2) / 7
    for b in range(2):
        for c in range(3):
            values, weights = [0.0], [1.0]  # the step before all: mean 0, variance 1
            spread = 1.0
            for t in range(x.shape[1]):
                if masked and not mask[b, t, c]:
                    assert normal[b, t, c] == 0
                    continue
                weights = [w * math.exp(-decay) for w in weights] + [1.0]
                values.append(x[b, t, c].item())
                total = sum(weights)
                mean = sum(w * v for w, v in zip(weights, values, strict=True)) / total
                # Σ w (v - mean)² / Σ w, and what is left of the variance 1 at the start
                variance = sum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True)) / total
                variance += weights[0] * spread / total
                want = (x[b, t, c].item() - mean) / max(math.sqrt(variance), norm.floor)
                assert normal[b, t, c].item() == pytest.approx(want, rel=1e-9, abs=1e-9)
            assert statistics.mean[b, 0, c].item() == pytest.approx(mean, rel=1e-9)
            assert statistics.std[b, 0, c].item() == pytest.approx(math.sqrt(variance), rel=1e-9)
            assert state.weight[b, c].item() == pytest.approx(total, rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 40), max_size=5).map(sorted), masked=st.booleans())
def test_any_split_gives_the_same(cuts, masked):
    x, mask = problem()
    norm = RollingNorm(half_life=12.0)
    begin = norm.start(2, 3, dtype=torch.float64)
    whole_state, whole, whole_statistics = norm.scan(begin, x, mask if masked else None)
    state, parts, statistics = begin, [], None
    for a, b in zip([0, *cuts], [*cuts, 40], strict=True):
        state, normal, statistics = norm.scan(state, x[:, a:b], mask[:, a:b] if masked else None)
        parts.append(normal)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-10, atol=1e-10)
    for one, other in zip((*state, *statistics), (*whole_state, *whole_statistics), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_step_of_gaps_changes_no_statistics_bit_for_bit():
    x, _ = problem()
    norm = RollingNorm(half_life=5.0)
    state, _, _ = norm.scan(norm.start(2, 3, dtype=torch.float64), x, None)
    after, normal, _ = norm.scan(state, x[:, :4], torch.zeros(2, 4, 3, dtype=torch.bool))
    assert all(a.equal(b) for a, b in zip(state, after, strict=True))
    assert (normal == 0).all()


@pytest.mark.parametrize("masked", [False, True])
def test_the_trace_has_the_statistics_of_every_step(masked):
    x, mask = problem()
    mask[0, :4] = False  # a stream may begin with gaps
    norm = RollingNorm(half_life=6.0)
    begin = norm.start(2, 3, dtype=torch.float64)
    state, normal, each = norm.trace(begin, x, mask if masked else None)
    assert all(torch.equal(a, b) for a, b in zip(state, norm.scan(begin, x, mask if masked else None)[0], strict=True))
    now = begin
    for t in range(x.shape[1]):
        now, one, statistics = norm.scan(now, x[:, t : t + 1], mask[:, t : t + 1] if masked else None)
        torch.testing.assert_close(normal[:, t : t + 1], one, rtol=1e-10, atol=1e-10)
        for a, b in zip(each, statistics, strict=True):
            torch.testing.assert_close(a[:, t : t + 1], b, rtol=1e-10, atol=1e-10)


def test_a_large_offset_leaves_no_negative_variance():
    """E[x²] - E[x]² in fp32 would: values near 10⁵ that differ by 1."""
    x = 1e5 + torch.randn(1, 2000, 1, generator=torch.Generator().manual_seed(0))
    norm = RollingNorm(half_life=50.0)
    _, normal, statistics = norm.scan(norm.start(1, 1), x, None)
    assert normal.isfinite().all()
    assert 0.5 < statistics.std.item() < 2


def test_undo_is_the_way_back():
    x, _ = problem()
    norm = RollingNorm(half_life=5.0)
    normal, statistics = norm(x, None)
    torch.testing.assert_close(undo(normal[:, -1:], statistics), x[:, -1:], rtol=1e-10, atol=1e-10)


def test_a_half_life_of_nothing_is_refused():
    with pytest.raises(ValueError, match="half_life is 0; expected steps, more than 0"):
        RollingNorm(0)
