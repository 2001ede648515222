"""Which queries attend, against definitions written out one query at a time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forecast.ops.probsparse import probsparse_attention
from forecast.ops.selection import BLOCK, prefix_queries, sample_keys, sparsity, top_queries


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kept_by_definition(measure: list[float], u: int) -> list[int]:
    """Query i, if fewer than u of the queries before it have at least its measure."""
    return [i for i, own in enumerate(measure) if sum(other >= own for other in measure[:i]) < u]


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 3 * BLOCK),
    u=st.integers(1, 70),
    levels=st.sampled_from([2, 5, 10_000]),
    seed=st.integers(0, 9),
)
def test_prefix_queries_by_definition(length, u, levels, seed):
    measure = torch.randint(levels, (2, 2, length), generator=torch.Generator().manual_seed(seed)).double()
    found = prefix_queries(measure, u)
    for row, positions in zip(measure.view(4, -1).tolist(), found.view(4, -1).tolist(), strict=True):
        kept = kept_by_definition(row, u)
        assert positions == kept + [length] * (length - len(kept))


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 200), share=st.floats(0.01, 1), levels=st.sampled_from([1, 3, 10_000]), seed=st.integers(0, 9)
)
def test_top_queries_are_the_largest_and_of_equals_the_earliest(length, share, levels, seed):
    u = max(1, int(length * share))
    measure = torch.randint(levels, (2, 1, length), generator=torch.Generator().manual_seed(seed)).double()
    for row, found in zip(measure.view(2, -1).tolist(), top_queries(measure, u).view(2, -1).tolist(), strict=True):
        assert found == sorted(sorted(range(length), key=lambda i: (-row[i], i))[:u])


def test_nan_and_infinite_measures_are_ranked_too():
    measure = torch.tensor([0.0, -torch.inf, torch.nan, 3.0, torch.inf, -torch.inf])[None, None]
    assert top_queries(measure, 3).flatten().tolist() == [2, 3, 4]
    assert top_queries(measure, 5).flatten().tolist() == [0, 1, 2, 3, 4]
    assert prefix_queries(measure, 1).flatten().tolist() == [0, 2, 6, 6, 6, 6]


def test_about_u_times_one_plus_log_are_kept_by_prefix():
    length, u = 4096, 45
    kept = (prefix_queries(random(1, 8, length), u) < length).sum(-1).double()
    assert kept.mean().item() == pytest.approx(u * (1 + math.log(length / u)), rel=0.05)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("divisor", ["keys", "sample"])
@pytest.mark.parametrize(("l_q", "l_k"), [(1, 1), (2, 2), (63, 63), (64, 64), (65, 65), (7, 1000)])
def test_the_measure_by_definition(l_q, l_k, divisor, causal, masked):
    l_k = l_q if causal else l_k
    q, k = random(2, 3, l_q, 5), random(2, 3, l_k, 5, seed=1)
    mask = random(2, l_k, seed=2) > -0.5 if masked else None
    sample = sample_keys(l_q, l_k, min(9, l_k), seed=0, layer=0)
    found = sparsity(q, k, sample, mask=mask, divisor=divisor, causal=causal)
    for b in range(2):
        for i in range(l_q):
            visible = [j for j in range(l_k) if (mask is None or mask[b, j]) and (not causal or j <= i)]
            picked = [j for j in sample[i].tolist() if j in visible]
            if not picked:
                assert (found[b, :, i] == -torch.inf).all()
                continue
            scores = torch.stack([(q[b, :, i] * k[b, :, j]).sum(-1) for j in picked])
            expected = scores.amax(0) - scores.sum(0) / (len(visible) if divisor == "keys" else len(picked))
            torch.testing.assert_close(found[b, :, i], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [48, 96, 200])
@pytest.mark.parametrize("lazy", ["sum", "mean"])
def test_ranked_by_prefix_the_future_reaches_no_earlier_output(length, lazy):
    """Bit for bit, for outputs and for the gradients of a loss on the earlier outputs."""
    q, k, v = (random(2, 3, length, 8, seed=i).float() for i in range(3))
    sample = sample_keys(length, length, 20, seed=0, layer=0, causal=True)
    cut = length - 7

    def run(q, k, v):
        inputs = [x.clone().requires_grad_() for x in (q, k, v)]
        out = probsparse_attention(*inputs, sample, 10, causal=True, lazy=lazy, rank="prefix")
        out[:, :, :cut].square().sum().backward()
        return out[:, :, :cut], *(x.grad[:, :, :cut] for x in inputs)

    edited = [x.index_add(2, torch.arange(cut, length), torch.full((2, 3, 7, 8), 50.0)) for x in (q, k, v)]
    for before, after in zip(run(q, k, v), run(*edited), strict=True):
        assert torch.equal(before, after)


def test_ranked_globally_the_future_does_reach_earlier_outputs():
    """Why rank="prefix" exists: the same edit changes 8-11 % of the earlier outputs of the paper's masked layer."""
    q, k, v = (random(4, 8, 96, 16, seed=i) for i in range(3))
    sample = sample_keys(96, 96, 25, seed=0, layer=0)
    before = probsparse_attention(q, k, v, sample, 25, causal=True)
    q2, k2, v2 = (x.clone() for x in (q, k, v))
    for x in (q2, k2, v2):
        x[:, :, -1] += 5
    after = probsparse_attention(q2, k2, v2, sample, 25, causal=True)
    assert (before[:, :, :-1] != after[:, :, :-1]).any(-1).double().mean() > 0.02


def test_ranking_by_prefix_needs_causal():
    q = random(1, 1, 8, 4)
    with pytest.raises(ValueError, match="rank is prefix without causal"):
        probsparse_attention(q, q, q, sample_keys(8, 8, 2, seed=0, layer=0), 2, rank="prefix")


def test_a_causal_sample_draws_from_the_keys_up_to_the_query():
    sample = sample_keys(400, 400, 50, seed=3, layer=1, step=7, causal=True)
    assert (sample <= torch.arange(400)[:, None]).all()
    assert (sample >= 0).all()
    share = sample.double() / torch.arange(1, 401)[:, None]
    assert share[100:].mean().item() == pytest.approx(0.5, abs=0.01)
    assert sample.equal(sample_keys(400, 400, 50, seed=3, layer=1, step=7, causal=True))


def test_a_sequence_with_fewer_keys_than_are_drawn_has_its_measure():
    """Of a short sequence alone torch's sparse product refuses rows that hold more values than there are keys."""
    q, k = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
    sample = torch.randint(3, (3, 40))
    scores = (q @ k.transpose(-1, -2)).gather(-1, sample.expand(1, 2, 3, 40))
    torch.testing.assert_close(sparsity(q, k, sample), scores.amax(-1) - scores.sum(-1) / 3)
