"""ProbSparse attention against its equations, term by term in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.ops import selection
from forecast.ops.probsparse import attend, lazy_values, probsparse_attention
from forecast.ops.selection import budget, sample_keys, sparsity, top_queries


def tensors(b: int, h: int, l_q: int, l_k: int, e: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(b, h, l_q, e, generator=g, dtype=torch.float64),
        torch.randn(b, h, l_k, e, generator=g, dtype=torch.float64),
        torch.randn(b, h, l_k, e, generator=g, dtype=torch.float64),
    )


def softmax_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool) -> torch.Tensor:
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
    return scores.softmax(-1) @ v


def by_the_paper(q, k, v, sample, u, *, causal, lazy, divisor):
    """Algorithm 1, one query at a time."""
    b, h, l_q, e = q.shape
    l_k = k.shape[2]
    out = torch.empty_like(q)
    for bi in range(b):
        for hi in range(h):
            measure = []
            for i in range(l_q):
                s = torch.stack([q[bi, hi, i] @ k[bi, hi, j] for j in sample[i]])
                measure.append(s.max() - s.sum() / (l_k if divisor == "keys" else len(s)))
            kept = set(torch.stack(measure).topk(u).indices.tolist())
            for i in range(l_q):
                last = i + 1 if causal else l_k
                if i in kept:
                    weight = (q[bi, hi, i] @ k[bi, hi, :last].T / math.sqrt(e)).softmax(-1)
                    out[bi, hi, i] = weight @ v[bi, hi, :last]
                else:
                    total = v[bi, hi, :last].sum(0)
                    out[bi, hi, i] = total if causal and lazy == "sum" else total / last
    return out


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("lazy", "divisor"), [("sum", "keys"), ("mean", "sample")])
def test_equals_the_algorithm_of_the_paper(causal, lazy, divisor):
    q, k, v = tensors(2, 3, 13, 13, 5)
    sample = sample_keys(13, 13, 6, seed=1, layer=0)
    ours = probsparse_attention(q, k, v, sample, 4, causal=causal, lazy=lazy, divisor=divisor)
    theirs = by_the_paper(q, k, v, sample, 4, causal=causal, lazy=lazy, divisor=divisor)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 40), heads=st.integers(1, 3), causal=st.booleans(), seed=st.integers(0, 99))
def test_with_every_query_kept_it_is_full_attention(length, heads, causal, seed):
    q, k, v = tensors(2, heads, length, length, 4, seed)
    sample = sample_keys(length, length, 3, seed=seed, layer=0)
    ours = probsparse_attention(q, k, v, sample, length, causal=causal)
    torch.testing.assert_close(ours, softmax_attention(q, k, v, causal=causal), rtol=1e-12, atol=1e-12)


def test_a_kept_query_of_a_causal_layer_sees_no_later_key():
    q, k, v = tensors(1, 2, 12, 12, 4)
    sample = sample_keys(12, 12, 5, seed=0, layer=0)
    index = top_queries(sparsity(q, k, sample), 12)
    before = probsparse_attention(q, k, v, sample, 12, causal=True)
    v2 = v.clone()
    v2[:, :, 8:] += 100
    after = probsparse_attention(q, k, v2, sample, 12, causal=True)
    assert torch.equal(before[:, :, :8], after[:, :, :8])
    assert index.sort(-1).values.equal(torch.arange(12).expand(1, 2, -1))


@pytest.mark.parametrize("length", [1, 2, 3, 7, 63, 65])
def test_odd_and_tiny_lengths_are_finite(length):
    q, k, v = tensors(2, 2, length, length, 4)
    u = budget(length, 5)
    sample = sample_keys(length, length, u, seed=0, layer=0)
    for causal in (False, True):
        assert probsparse_attention(q, k, v, sample, u, causal=causal).isfinite().all()


def test_one_head_selects_per_row():
    """A squeeze too many once made every row attend at the union of all rows' positions (TSLib, neuralforecast)."""
    q, k, v = tensors(4, 1, 20, 20, 4)
    sample = sample_keys(20, 20, 6, seed=0, layer=0)
    together = probsparse_attention(q, k, v, sample, 6)
    alone = torch.cat([probsparse_attention(q[i : i + 1], k[i : i + 1], v[i : i + 1], sample, 6) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_blocks_bound_the_memory_and_change_nothing(monkeypatch):
    q, k, _ = tensors(2, 2, 50, 50, 4)
    sample = sample_keys(50, 50, 9, seed=0, layer=0)
    whole = sparsity(q, k, sample)
    monkeypatch.setattr(selection, "HELD_ON_CPU", 2 * 9 * 7)
    torch.testing.assert_close(sparsity(q, k, sample), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_what_stands_under_the_mask_changes_nothing(causal):
    q, k, v = tensors(2, 2, 15, 15, 4)
    mask = torch.rand(2, 15, generator=torch.Generator().manual_seed(3)) > 0.4
    sample = sample_keys(15, 15, 5, seed=0, layer=0)
    before = probsparse_attention(q, k, v, sample, 5, causal=causal, mask=mask)
    hidden = ~mask[:, None, :, None]
    after = probsparse_attention(
        q, k.masked_fill(hidden, 7.0), v.masked_fill(hidden, -9.0), sample, 5, causal=causal, mask=mask
    )
    assert torch.equal(before, after)


def test_a_row_without_any_visible_key_is_finite():
    q, k, v = tensors(1, 1, 4, 4, 2)
    mask = torch.zeros(1, 4, dtype=torch.bool)
    sample = sample_keys(4, 4, 2, seed=0, layer=0)
    assert probsparse_attention(q, k, v, sample, 2, mask=mask).isfinite().all()
    assert attend(q, k, v, blocked=~mask[:, None, None, :]).isfinite().all()


def test_the_running_mean_and_sum_of_the_lazy_queries():
    v = torch.arange(1.0, 5.0, dtype=torch.float64)[None, None, :, None]
    assert lazy_values(v, causal=True, mask=None, lazy="sum").flatten().tolist() == [1, 3, 6, 10]
    assert lazy_values(v, causal=True, mask=None, lazy="mean").flatten().tolist() == [1, 1.5, 2, 2.5]
    assert lazy_values(v, causal=False, mask=None, lazy="mean").flatten().tolist() == [2.5]


def test_the_sample_is_a_function_of_seed_layer_and_step():
    def draw(**change):
        return sample_keys(30, 30, 8, **{"seed": 1, "layer": 0, "step": 5, **change})

    assert draw().equal(draw())
    for change in ({"seed": 2}, {"layer": 1}, {"step": 6}, {"step": None}):
        assert not draw().equal(draw(**change))
    state = torch.get_rng_state()
    draw(step=99)
    assert torch.get_rng_state().equal(state)  # nobody else's randomness is touched


def test_the_sample_covers_the_keys_evenly():
    counts = torch.bincount(sample_keys(2000, 50, 20, seed=0, layer=0).flatten(), minlength=50)
    assert counts.min() > 650
    assert counts.max() < 950  # expected 800, standard deviation 28


SIZES = [(96, 5, 25), (720, 5, 35), (1, 5, 1), (3, 5, 3), (48, 3, 12)]


@pytest.mark.parametrize(("length", "factor", "expected"), SIZES)
def test_budget(length, factor, expected):
    assert budget(length, factor) == expected


def test_gradients_by_finite_differences():
    q, k, v = (t.requires_grad_() for t in tensors(1, 2, 6, 6, 3))
    sample = sample_keys(6, 6, 3, seed=0, layer=0)
    for causal in (False, True):
        assert torch.autograd.gradcheck(
            lambda q, k, v, causal=causal: probsparse_attention(q, k, v, sample, 3, causal=causal), (q, k, v)
        )


def test_causal_needs_equal_lengths():
    q, k, v = tensors(1, 1, 3, 4, 2)
    with pytest.raises(ValueError, match="3 queries and 4 keys"):
        probsparse_attention(q, k, v, sample_keys(3, 4, 2, seed=0, layer=0), 2, causal=True)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("l_q", "l_k", "factor"), [(96, 96, 5), (33, 200, 1), (720, 720, 2), (50, 2048, 3)])
def test_both_ways_to_measure_select_the_same_queries(l_q, l_k, factor, masked, monkeypatch):
    q, k, _ = (torch.randn(2, 3, n, 16, dtype=torch.float64) for n in (l_q, l_k, l_k))
    mask = torch.rand(2, l_k) > 0.3 if masked else None
    sample = sample_keys(l_q, l_k, budget(l_k, factor), seed=1, layer=0)
    found = []
    for sampled in (selection._sampled, lambda q, k, _: selection.gathered(q, k.unflatten(1, (l_k, 3)), sample)):
        monkeypatch.setattr(selection, "_sampled", sampled)
        found.append(sparsity(q, k, sample, mask=mask))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
    chosen = [top_queries(measure, budget(l_q, factor)).sort(-1).values for measure in found]
    assert chosen[0].equal(chosen[1])
